//! A cloud of the simplest kind, over real sockets: answers what devices, clients and Mediators ask,
//! each connection on a thread. It shows that the swarm's sockets work; how a cloud must behave is
//! tested elsewhere.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use loadtest::device::CloudConf;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use shared::coap::code::Kind;
use shared::coap::{
    CoapOption, Code, Frame, Framed, Message, MessageWriter, RequestType, ResponseType, Signal,
    Token, signal,
};
use shared::ids::{CloudId, DeviceId};
use shared::ocf::cbor::{self, Writer};
use tempfile::TempDir;

const SID: CloudId = CloudId::from_bytes([0xc1; 16]);

/// A running cloud, and the files that a swarm needs for it.
pub(crate) struct Cloud {
    pub(crate) directory: TempDir,
    pub(crate) api: SocketAddr,
    cis: String,
    seen: Arc<Mutex<Seen>>,
}

/// What the cloud was asked.
#[derive(Default, Clone)]
pub(crate) struct Seen {
    pub(crate) sign_ups: Vec<DeviceId>,
    pub(crate) sign_ins: usize,
    pub(crate) publishes: usize,
    pub(crate) sign_offs: usize,
    pub(crate) retrieves: usize,
    pub(crate) updates: usize,
    /// Connections whose TLS session was an earlier one.
    pub(crate) resumed: usize,
    /// Resources read over the API.
    pub(crate) reads: usize,
    pub(crate) names: Vec<String>,
    /// Bearer tokens that asked for device tokens, and how often.
    pub(crate) users: HashMap<String, usize>,
}

impl Cloud {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let tls = Arc::new(make_certificates(directory.path()));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let coap = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = TcpListener::bind("127.0.0.1:0").unwrap();
        let (coap_address, api_address) = (coap.local_addr().unwrap(), api.local_addr().unwrap());
        serve(coap, tls.clone(), seen.clone(), coap_connection);
        let cis = format!("coaps+tcp://{coap_address}");
        let told = cis.clone();
        serve(api, tls, seen.clone(), move |stream, seen| api_connection(stream, seen, &told));
        std::fs::write(directory.path().join("tokens"), "first\n\nsecond\n").unwrap();
        Self { directory, api: api_address, cis, seen }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a Mediator would write to a device.
    pub(crate) fn conf(&self) -> CloudConf {
        let token = Some("single-use".into());
        CloudConf { cis: self.cis.as_str().into(), sid: SID, provider: None, token }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Arguments that every swarm needs.
    pub(crate) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut arguments = vec![
            "ocf-swarm".into(),
            format!("--api=https://localhost:{}", self.api.port()),
            format!("--tokens={}", file("tokens")),
            format!("--trust-anchor={}", file("ca.pem")),
            format!("--cert={}", file("device.pem")),
            format!("--key={}", file("device.key")),
            "--pace=0.01".into(),
            "--rate=1000".into(),
            "--threads=2".into(),
            "--headless".into(),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }
}

/// A CA, the cloud's certificate and a device's, as files.
fn make_certificates(directory: &Path) -> ServerConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(directory.join("ca.key"), ca.key().serialize_pem()).unwrap();

    let (device_key, cloud_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut device = CertificateParams::new(Vec::new()).unwrap();
    device.distinguished_name.push(DnType::CommonName, "a manufacturer's device");
    let device = device.signed_by(&device_key, &ca).unwrap();
    std::fs::write(directory.join("device.pem"), device.pem()).unwrap();
    std::fs::write(directory.join("device.key"), device_key.serialize_pem()).unwrap();

    let mut cloud = CertificateParams::new(vec!["localhost".into()]).unwrap();
    cloud.distinguished_name.push(DnType::CommonName, format!("uuid:{SID}"));
    let cloud = cloud.signed_by(&cloud_key, &ca).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![cloud.der().clone()],
            PrivateKeyDer::try_from(cloud_key.serialize_der()).unwrap(),
        )
        .unwrap()
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Accepts for as long as the process lives.
fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    seen: Arc<Mutex<Seen>>,
    connection: impl Fn(Tls, &Mutex<Seen>) + Send + Sync + 'static,
) {
    let connection = Arc::new(connection);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(tls.clone()).unwrap();
            let stream = StreamOwned::new(session, stream.unwrap());
            let (connection, seen) = (connection.clone(), seen.clone());
            std::thread::spawn(move || connection(stream, &seen));
        }
    });
}

/// One device or client.
fn coap_connection(mut stream: Tls, seen: &Mutex<Seen>) {
    let mut bytes = Vec::new();
    let mut read = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut read) {
        bytes.extend_from_slice(&read[..count]);
        while let Ok(Framed::Whole(frame, length)) = Frame::parse(&bytes, 65_536) {
            let answer = answer(&Message::parse(frame).unwrap(), &mut seen.lock().unwrap());
            bytes.drain(..length);
            // One write becomes one TLS record.
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
        note_name(&stream, seen);
    }
    if stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        seen.lock().unwrap().resumed += 1;
    }
}

fn note_name(stream: &Tls, seen: &Mutex<Seen>) {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let certificates = stream.conn.peer_certificates().unwrap_or_default();
    let Some(certificate) = certificates.first() else { return };
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap();
    let names = &mut seen.lock().unwrap().names;
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

fn answer(message: &Message<'_>, seen: &mut Seen) -> Vec<u8> {
    let mut out = Vec::new();
    let method = match message.code.kind() {
        Kind::Request(method) => method,
        Kind::Signal(_) => {
            if let Ok(Signal::Ping { custody }) = Signal::parse(message) {
                signal::write_pong(&mut out, message.token, custody);
            }
            return out;
        }
        _ => return out,
    };
    let path: String = message
        .options
        .filter(|option| option.name() == CoapOption::UriPath)
        .map(|option| format!("/{}", option.text().unwrap()))
        .collect();
    let (code, body) = match (method, &*path) {
        (RequestType::Post, "/oic/sec/account") => {
            let di = member(message.payload, "di").parse().unwrap();
            if !seen.sign_ups.contains(&di) {
                seen.sign_ups.push(di);
            }
            (ResponseType::Changed, account())
        }
        (RequestType::Delete, "/oic/sec/account") => {
            seen.sign_offs += 1;
            (ResponseType::Deleted, Vec::new())
        }
        (RequestType::Post, "/oic/sec/session") => {
            seen.sign_ins += 1;
            (ResponseType::Changed, b"\xa1\x69expiresin\x20".to_vec())
        }
        (RequestType::Post, "/oic/rd") => {
            seen.publishes += 1;
            (ResponseType::Changed, published(message.payload))
        }
        (RequestType::Get, "/oic/res") => (ResponseType::Content, discovery(message)),
        (RequestType::Get, _) => {
            seen.retrieves += 1;
            (ResponseType::Content, b"\xa0".to_vec())
        }
        _ => {
            seen.updates += 1;
            (ResponseType::Changed, Vec::new())
        }
    };
    respond(&mut out, code, message.token, &body);
    out
}

fn respond(out: &mut Vec<u8>, code: impl Into<Code>, token: Token, body: &[u8]) {
    let mut message = MessageWriter::new(out, code, token);
    if !body.is_empty() {
        message.ocf_content();
    }
    message.payload(body);
    message.finish();
}

fn account() -> Vec<u8> {
    let mut body = Vec::new();
    let mut map = Writer(&mut body);
    map.map(4).text("accesstoken").text("access").text("refreshtoken").text("refresh");
    map.text("uid").text("77777777-7777-4777-8777-777777777777").text("expiresin").negative(0);
    body
}

/// `href` and `ins` of every link.
fn published(body: &[u8]) -> Vec<u8> {
    let body: ciborium::Value = cbor::decode(body).unwrap();
    let get = |map: &ciborium::Value, key: &str| {
        let entries = map.as_map().unwrap();
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).unwrap().1.clone()
    };
    let links = get(&body, "links");
    let links = links.as_array().unwrap();
    let mut out = Vec::new();
    Writer(&mut out).map(1).text("links").array(links.len());
    for link in links {
        let href = get(link, "href");
        Writer(&mut out).map(2).text("href").text(href.as_text().unwrap()).text("ins").unsigned(1);
    }
    out
}

/// A light for every device that was asked for.
fn discovery(message: &Message<'_>) -> Vec<u8> {
    let queries = message.options.filter(|option| option.name() == CoapOption::UriQuery);
    let devices: Vec<_> =
        queries.filter_map(|option| option.text().unwrap().strip_prefix("di=")).collect();
    let mut out = Vec::new();
    Writer(&mut out).array(devices.len());
    for di in devices {
        let mut link = Writer(&mut out);
        link.map(4).text("anchor").text(&format!("ocf://{di}"));
        link.text("href").text(&format!("/{di}/light/1"));
        link.text("rt").array(1).text("oic.r.switch.binary");
        link.text("eps").array(1).map(1).text("ep").text("coaps+tcp://127.0.0.1:1");
    }
    out
}

fn member(body: &[u8], key: &str) -> String {
    let body: ciborium::Value = cbor::decode(body).unwrap();
    let entries = body.as_map().unwrap();
    let entry = entries.iter().find(|(name, _)| name.as_text() == Some(key)).unwrap();
    entry.1.as_text().unwrap().to_owned()
}

/// One connection of a Mediator.
fn api_connection(mut stream: Tls, seen: &Mutex<Seen>, cis: &str) {
    let mut bytes = Vec::new();
    let mut read = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut read) {
        bytes.extend_from_slice(&read[..count]);
        while let Some((request, length)) = http_request(&bytes) {
            let answer = api_answer(&request, seen, cis);
            bytes.drain(..length);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Head of the request at the front, and its length with its body.
fn http_request(bytes: &[u8]) -> Option<(String, usize)> {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let header = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let length: usize = header.unwrap_or(0);
    (rest.len() >= length).then(|| (head.to_owned(), head.len() + 4 + length))
}

fn api_answer(head: &str, seen: &Mutex<Seen>, cis: &str) -> String {
    let bearer = head.split("Bearer ").nth(1).unwrap().lines().next().unwrap();
    let (status, body) = match head.split(' ').nth(1).unwrap() {
        "/api/v1/mediator" => {
            let uid = "77777777-7777-4777-8777-777777777777";
            ("200 OK", format!(r#"{{"uid":"{uid}","accesstoken":"{bearer}","expiresin":-1}}"#))
        }
        "/api/v1/mediator/devices" => {
            *seen.lock().unwrap().users.entry(bearer.to_owned()).or_default() += 1;
            let token = r#""accesstoken":"single-use","expiresin":900"#;
            ("201 Created", format!(r#"{{{token},"cis":"{cis}","sid":"{SID}"}}"#))
        }
        path if path.starts_with("/api/v1/devices/") => {
            seen.lock().unwrap().reads += 1;
            ("200 OK", "{}".into())
        }
        _ => ("404 Not Found", String::new()),
    };
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
