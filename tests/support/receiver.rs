//! A partner's receiver of events (I/O): an HTTP/1.1 server of few lines that checks every signature
//! by itself, remembers what came, and reacts as the test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::processes::LONG;

/// Seconds by which clocks and machines may differ.
const AGE_MAX: u64 = 5;

/// A request that came, as it came.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Path and query.
    pub path: String,
    /// Headers with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// When it was there.
    pub at: Instant,
    /// The same in seconds since 1970.
    pub unix: u64,
    /// How many came on the same connection before it.
    pub nth: usize,
}

impl Notice {
    /// A header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or_else(|| panic!("no {name} in {self:?}"), String::as_str)
    }

    /// `Event-Type`.
    pub fn event_type(&self) -> &str {
        self.header("event-type")
    }

    /// `Subscription-ID`.
    pub fn id(&self) -> &str {
        self.header("subscription-id")
    }

    /// `Sequence-Number`.
    pub fn number(&self) -> u64 {
        self.header("sequence-number").parse().unwrap()
    }

    /// The body as JSON.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What is wrong with it for somebody who knows the secret.
    pub fn check(&self, secret: &str) -> Result<(), String> {
        let part = |name: &str| self.headers.get(name).map_or("", String::as_str);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        for name in
            ["content-type", "event-type", "subscription-id", "sequence-number", "event-timestamp"]
        {
            mac.update(part(name).as_bytes());
            mac.update(b":");
        }
        mac.update(&self.body);
        let mac = mac.finalize().into_bytes();
        let expected: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        if part("event-signature") != expected {
            return Err("the signature is wrong".into());
        }
        let sent: u64 = part("event-timestamp").parse().map_err(|_| "no timestamp")?;
        if sent.abs_diff(self.unix) > AGE_MAX {
            return Err(format!("it was {} seconds off", sent.abs_diff(self.unix)));
        }
        for forbidden in ["authorization", "cookie", "accept-encoding"] {
            if self.headers.contains_key(forbidden) {
                return Err(format!("it has a header {forbidden}"));
            }
        }
        Ok(())
    }
}

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and one more header.
    With(u16, String),
    /// Answers after this time.
    Late(Duration, u16),
    /// Never answers, and closes the connection after this time.
    Silent(Duration),
    /// Cuts the connection.
    Cut,
}

type React = dyn Fn(&Notice) -> Reaction + Send + Sync;

#[derive(Default)]
struct Inbox {
    notices: Mutex<Vec<Notice>>,
    more: Condvar,
}

/// A running receiver. Its threads end with the process.
pub struct Receiver {
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::reacting(|_| Reaction::Status(200))
    }

    /// One that does with each request what is said; what it has not answered 2xx it has not taken,
    /// but remembers it all the same.
    pub fn reacting(react: impl Fn(&Notice) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = Arc::new(Inbox::default());
        let (react, kept): (Arc<React>, _) = (Arc::new(react), inbox.clone());
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (react, inbox) = (react.clone(), kept.clone());
                thread::spawn(move || {
                    // Whoever sends may go away at any time.
                    let _gone = serve(socket, &*react, &inbox);
                });
            }
        });
        Self { address, inbox }
    }

    /// Where events for it go.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that came.
    pub fn notices(&self) -> Vec<Notice> {
        self.inbox.notices.lock().unwrap().clone()
    }

    /// How many came.
    pub fn count(&self) -> usize {
        self.inbox.notices.lock().unwrap().len()
    }

    /// Waits until so many have come, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Notice> {
        let notices = self.inbox.notices.lock().unwrap();
        let few = |notices: &mut Vec<Notice>| notices.len() < count;
        let (notices, waited) = self.inbox.more.wait_timeout_while(notices, LONG, few).unwrap();
        assert!(!waited.timed_out(), "{count} are to come: {notices:#?}");
        notices.clone()
    }

    /// Waits until one has come that is it.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_it: impl Fn(&Notice) -> bool) -> Notice {
        let notices = self.inbox.notices.lock().unwrap();
        let none = |notices: &mut Vec<Notice>| !notices.iter().any(&is_it);
        let (notices, waited) = self.inbox.more.wait_timeout_while(notices, LONG, none).unwrap();
        assert!(!waited.timed_out(), "waited too long for {what}: {notices:#?}");
        notices.iter().find(|notice| is_it(notice)).unwrap().clone()
    }
}

fn serve(socket: TcpStream, react: &React, inbox: &Inbox) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    for nth in 0.. {
        let Some(notice) = read(&mut reader, nth)? else { return Ok(()) };
        let reaction = react(&notice);
        {
            inbox.notices.lock().unwrap().push(notice);
            inbox.more.notify_all();
        }
        let (status, header) = match reaction {
            Reaction::Status(status) => (status, String::new()),
            Reaction::With(status, header) => (status, format!("{header}\r\n")),
            Reaction::Late(by, status) => {
                thread::sleep(by);
                (status, String::new())
            }
            Reaction::Silent(time) => {
                thread::sleep(time);
                return Ok(());
            }
            Reaction::Cut => return Ok(()),
        };
        write!(socket, "HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n{header}\r\n")?;
    }
    Ok(())
}

/// The next request; none at the end of the connection.
fn read(reader: &mut impl BufRead, nth: usize) -> std::io::Result<Option<Notice>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(line.starts_with("POST "), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let before = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert_eq!(before, None, "{name} is there twice");
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Ok(Some(Notice { path, headers, body, at: Instant::now(), unix, nth }))
}
