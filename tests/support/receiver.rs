//! A partner's receiver of events (I/O): an HTTP/1.1 server of few lines that checks every signature
//! by itself, remembers what came, and reacts as the test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use sha2::Sha256;

use crate::processes::LONG;

/// Seconds that a notification may have been on its way, on however slow a machine.
const AGE_MAX: u64 = 60;

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
        if sent > self.unix || self.unix - sent > AGE_MAX {
            return Err(format!("it says {sent} and came at {}", self.unix));
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

/// With which certificate the next connection is served.
type Certificate = Arc<Mutex<Arc<ServerConfig>>>;

#[derive(Default)]
struct Came {
    notices: Vec<Notice>,
    connections: usize,
    /// Those of them that were given up before a request.
    refused: usize,
}

#[derive(Default)]
struct Inbox {
    came: Mutex<Came>,
    more: Condvar,
}

impl Inbox {
    fn came(&self) -> MutexGuard<'_, Came> {
        self.came.lock().unwrap()
    }

    /// Waits until it is so.
    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn(&Came) -> bool) -> MutexGuard<'_, Came> {
        let not_yet = |came: &mut Came| !is_so(came);
        let (came, waited) = self.more.wait_timeout_while(self.came(), LONG, not_yet).unwrap();
        assert!(!waited.timed_out(), "waited too long for {what}: {:#?}", came.notices);
        came
    }
}

/// A running receiver. Its threads end with the process.
pub struct Receiver {
    address: SocketAddr,
    inbox: Arc<Inbox>,
    certificate: Option<Certificate>,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::reacting(|_| Reaction::Status(200))
    }

    /// One that takes everything over https, with this certificate.
    pub fn secure(certificate: Arc<ServerConfig>) -> Self {
        let certificate = Arc::new(Mutex::new(certificate));
        Self::listening(|_| Reaction::Status(200), Some(certificate))
    }

    /// One that does with each request what is said; what it has not answered 2xx it has not taken,
    /// but remembers it all the same.
    pub fn reacting(react: impl Fn(&Notice) -> Reaction + Send + Sync + 'static) -> Self {
        Self::listening(react, None)
    }

    fn listening(
        react: impl Fn(&Notice) -> Reaction + Send + Sync + 'static,
        certificate: Option<Certificate>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = Arc::new(Inbox::default());
        let (react, kept): (Arc<React>, _) = (Arc::new(react), inbox.clone());
        let presented = certificate.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                kept.came().connections += 1;
                let (react, inbox) = (react.clone(), kept.clone());
                let tls = presented.as_ref().map(|it| it.lock().unwrap().clone());
                thread::spawn(move || {
                    // Whoever sends may go away at any time.
                    let _gone = accept(socket, tls, &*react, &inbox);
                });
            }
        });
        Self { address, inbox, certificate }
    }

    /// Presents another certificate on connections from now on.
    pub fn present(&self, certificate: Arc<ServerConfig>) {
        *self.certificate.as_ref().expect("it is a secure one").lock().unwrap() = certificate;
    }

    /// Where events for it go.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// All that came.
    pub fn notices(&self) -> Vec<Notice> {
        self.inbox.came().notices.clone()
    }

    /// How many came.
    pub fn count(&self) -> usize {
        self.inbox.came().notices.len()
    }

    /// How often somebody has connected, whatever came of it.
    pub fn connections(&self) -> usize {
        self.inbox.came().connections
    }

    /// Waits until so many have come, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Notice> {
        let what = format!("{count} notifications");
        self.inbox.wait_until(&what, |came| came.notices.len() >= count).notices.clone()
    }

    /// Waits until one has come that is it.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_it: impl Fn(&Notice) -> bool) -> Notice {
        let came = self.inbox.wait_until(what, |came| came.notices.iter().any(&is_it));
        came.notices.iter().find(|notice| is_it(notice)).unwrap().clone()
    }

    /// Waits until so many connections were given up before a request.
    #[track_caller]
    pub fn wait_for_refusals(&self, count: usize) {
        drop(self.inbox.wait_until("refused connections", |came| came.refused >= count));
    }
}

fn accept(
    mut socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    react: &React,
    inbox: &Inbox,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let Some(tls) = tls else { return serve(socket, react, inbox) };
    let mut session = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut socket) {
            inbox.came().refused += 1;
            inbox.more.notify_all();
            return Err(error);
        }
    }
    serve(StreamOwned::new(session, socket), react, inbox)
}

fn serve(stream: impl Read + Write, react: &React, inbox: &Inbox) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    for nth in 0.. {
        let Some(notice) = read(&mut stream, nth)? else { return Ok(()) };
        let reaction = react(&notice);
        inbox.came().notices.push(notice);
        inbox.more.notify_all();
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
        let stream = stream.get_mut();
        write!(stream, "HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n{header}\r\n")?;
        stream.flush()?;
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
