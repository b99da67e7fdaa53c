//! A device that says exactly what the test has written for each of its resources (I/O), on a thread of
//! its own: what partners make of the answers of devices, with the real programs between.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use loadtest::credentials::TlsVersion;
use serde_json::json;
use shared::coap::signal::SignalCode;
use shared::coap::{Code, RequestType};
use shared::ids::DeviceId;

use crate::processes::TestCloud;
use crate::wire::{Said, Taken, Wire, cbor};

const URI_PATH: u16 = 11;
const URI_QUERY: u16 = 15;

/// What a resource says when it is asked.
#[derive(Clone, Debug)]
pub enum Says {
    /// 2.05 with this CBOR; an update replaces it, and is answered 2.04 with what it is then.
    Content(Vec<u8>),
    /// This code, by class and detail, with a Max-Age if there is one, and no payload.
    Code(u8, u8, Option<u32>),
    /// Nothing, ever.
    Nothing,
}

impl Says {
    /// 2.05 with this JSON as CBOR.
    pub fn json(json: &serde_json::Value) -> Self {
        Self::Content(cbor(json))
    }
}

/// A request that has reached the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// 0.01 for GET, and so on.
    pub method: String,
    /// The path, with a leading slash.
    pub href: String,
    /// The query, its parts joined by `&`.
    pub query: String,
    /// What came with it.
    pub payload: Vec<u8>,
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Says>,
    heard: Vec<Heard>,
}

/// A device of the first user, online.
pub struct Scripted {
    di: DeviceId,
    state: Arc<Mutex<State>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Signs up and in, and publishes these resources, if there are any.
    pub fn online(cloud: &TestCloud, di: &str, resources: &[(&str, Says)]) -> Self {
        let di: DeviceId = di.parse().unwrap();
        let credentials = cloud.manufacturer(TlsVersion::Tls12);
        let config = credentials.config(di).unwrap();
        let mut wire = Wire::connect(cloud.cloud.installation.coap(), config).unwrap();
        wire.sign_in(cloud, di);
        if !resources.is_empty() {
            let links: Vec<_> = resources.iter().map(|(href, _)| link(href)).collect();
            let body = json!({ "di": di.to_string(), "ttl": 0, "links": links });
            wire.request(RequestType::Post, &["oic", "rd"], &[], &cbor(&body));
            assert_eq!(wire.answer().code(), "2.04");
        }
        let resources =
            resources.iter().map(|(href, says)| ((*href).to_owned(), says.clone())).collect();
        let state = Arc::new(Mutex::new(State { resources, heard: Vec::new() }));
        let socket = wire.socket();
        let thread = thread::spawn({
            let state = Arc::clone(&state);
            move || serve(wire, &state)
        });
        Self { di, state, socket, thread: Some(thread) }
    }

    /// Its id.
    pub fn di(&self) -> DeviceId {
        self.di
    }

    /// Where partners find one of its resources.
    pub fn path(&self, href: &str) -> String {
        format!("/api/v1/devices/{}{href}", self.di)
    }

    /// From now on a resource says something else.
    pub fn says(&self, href: &str, says: Says) {
        self.state.lock().unwrap().resources.insert(href.into(), says);
    }

    /// The last request that it has heard about a resource.
    pub fn heard(&self, href: &str) -> Option<Heard> {
        let state = self.state.lock().unwrap();
        state.heard.iter().rev().find(|heard| heard.href == href).cloned()
    }

    /// Loses its connection.
    pub fn cut(&mut self) {
        // Whoever has been cut off already is not connected.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn link(href: &str) -> serde_json::Value {
    let resource_type = match href {
        "/oic/d" => "oic.wk.d",
        "/oic/p" => "oic.wk.p",
        _ => "x.test",
    };
    json!({
        "href": href,
        "rt": [resource_type],
        "if": ["oic.if.a", "oic.if.baseline"],
        "p": { "bm": 3 },
        "eps": [{ "ep": "coaps+tcp://192.168.0.9:5684" }],
    })
}

/// Until the connection ends, in whichever way.
fn serve(mut wire: Wire, state: &Mutex<State>) {
    while let Ok(Some(request)) = wire.receive() {
        let said = match (request.code().as_str(), &*request.token) {
            ("7.02", token) => wire.say(token, SignalCode::Pong.code(), &Said::default()),
            ("0.01" | "0.02" | "0.03" | "0.04", token) => match answer(&request, state) {
                Some((code, said)) => wire.say(token, code, &said),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        if said.is_err() {
            return;
        }
    }
}

fn answer(request: &Taken, state: &Mutex<State>) -> Option<(Code, Said)> {
    let text = |number: u16| {
        let values = request.options.iter().filter(move |(known, _)| *known == number);
        values.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    let heard = Heard {
        method: request.code(),
        href: text(URI_PATH).fold(String::new(), |href, segment| href + "/" + &segment),
        query: text(URI_QUERY).collect::<Vec<_>>().join("&"),
        payload: request.payload.clone(),
    };
    let mut state = state.lock().unwrap();
    state.heard.push(heard.clone());
    let code = |class: u8, detail: u8| Code::from_byte(class << 5 | detail);
    let is_read = heard.method == "0.01";
    Some(match state.resources.get_mut(&heard.href) {
        Some(Says::Content(cbor)) => {
            if !is_read {
                cbor.clone_from(&heard.payload);
            }
            let said = Said { content: Some(cbor.clone()), max_age: None };
            (if is_read { code(2, 5) } else { code(2, 4) }, said)
        }
        Some(Says::Code(class, detail, max_age)) => {
            (code(*class, *detail), Said { content: None, max_age: *max_age })
        }
        Some(Says::Nothing) => return None,
        None => (code(4, 4), Said::default()),
    })
}
