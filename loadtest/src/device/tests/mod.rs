//! The device against a cloud that does as the test says, joined in memory under one clock.

mod client;
mod fussy;
mod idle;
mod registration;
mod routed;
mod vectors;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use shared::coap::{Code, Frame, Framed, Message, MessageWriter, RequestType, ResponseType, Token};
use shared::ids::{CloudId, UserId};
use shared::time::Instant;

use super::input::{Event, Input, Output};
use super::station::Application;
use super::*;

pub(super) const SID: CloudId = CloudId::from_bytes([0xc1; 16]);
pub(super) const UID: &str = "77777777-7777-4777-8777-777777777777";

/// Both ends' TLS configurations for a cloud whose certificate has this name.
fn tls(common_name: &str) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    // rustls' own verifier, which serves here, wants the name that it was given.
    let mut cloud = CertificateParams::new(vec!["0.0.0.0".into()]).unwrap();
    cloud.distinguished_name.push(DnType::CommonName, common_name);
    let cloud = cloud.signed_by(&key, &ca).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![cloud.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let mut client = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(roots)
        .with_no_client_auth();
    allow_take_over(&mut client);
    (Arc::new(server), Arc::new(client))
}

static TLS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> =
    LazyLock::new(|| tls(&format!("uuid:{SID}")));

/// A message that the cloud has received.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) code: Code,
    pub(super) token: Token,
    pub(super) options: Vec<(u16, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

impl Seen {
    fn parse(frame: Frame<'_>) -> Self {
        let message = Message::parse(frame).unwrap();
        Self {
            code: message.code,
            token: message.token,
            options: message.options.map(|o| (o.number, o.value.to_vec())).collect(),
            payload: message.payload.to_vec(),
        }
    }

    pub(super) fn path(&self) -> String {
        let segments = self.options.iter().filter(|(number, _)| *number == 11);
        segments.map(|(_, value)| format!("/{}", std::str::from_utf8(value).unwrap())).collect()
    }

    pub(super) fn observe(&self) -> Option<Vec<u8>> {
        self.options.iter().find(|(number, _)| *number == 6).map(|(_, value)| value.clone())
    }

    pub(super) fn body(&self) -> ciborium::Value {
        shared::ocf::cbor::decode(&self.payload).unwrap()
    }

    pub(super) fn text(&self, key: &str) -> String {
        super::answers::member(&self.body(), key).unwrap().as_text().unwrap().to_owned()
    }
}

/// A station, the cloud as the test plays it, and the clock.
pub(super) struct World<A> {
    pub(super) station: Station<A>,
    configs: (Arc<ServerConfig>, Arc<ClientConfig>),
    server: Option<ServerConnection>,
    /// Whether the cloud accepts connections.
    pub(super) listening: bool,
    pub(super) now: Instant,
    pub(super) connections: usize,
    inbox: VecDeque<Seen>,
    plain: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl<A: Application> World<A> {
    pub(super) fn with(station: Station<A>) -> Self {
        Self {
            station,
            configs: TLS.clone(),
            server: None,
            listening: true,
            now: Instant::from_nanos(1_000_000_000),
            connections: 0,
            inbox: VecDeque::new(),
            plain: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Carries out what the station wants until it wants nothing more.
    pub(super) fn pump(&mut self) {
        while let Some(output) = self.station.poll_output() {
            match output {
                Output::Connect if self.listening => {
                    self.connections += 1;
                    self.server = Some(ServerConnection::new(self.configs.0.clone()).unwrap());
                    self.handle(Input::Connected(self.configs.1.clone()));
                }
                Output::Connect => {
                    self.handle(Input::NotConnected(std::io::ErrorKind::ConnectionRefused));
                }
                Output::Send(bytes) => self.cloud_receives(&bytes),
                Output::Close => self.server = None,
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.station.handle(input, self.now);
    }

    fn cloud_receives(&mut self, mut bytes: &[u8]) {
        let Some(server) = &mut self.server else { return };
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            if server.process_new_packets().is_err() {
                // The device has sent an alert.
                self.server = None;
                return;
            }
        }
        let mut plain = [0; 4096];
        while let Ok(count @ 1..) = server.reader().read(&mut plain) {
            self.plain.extend_from_slice(&plain[..count]);
        }
        while let Ok(Framed::Whole(frame, length)) = Frame::parse(&self.plain, usize::MAX) {
            self.inbox.push_back(Seen::parse(frame));
            self.plain.drain(..length);
        }
        self.deliver();
    }

    /// TLS bytes that the cloud wants to send.
    pub(super) fn sealed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(server) = &mut self.server {
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
        }
        bytes
    }

    fn deliver(&mut self) {
        let bytes = self.sealed();
        if !bytes.is_empty() {
            self.receive(&bytes);
        }
    }

    /// The station's socket returns these bytes from one read.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.handle(Input::Received { bytes, cut: false });
        self.pump();
    }

    /// The cloud sends plaintext in one TLS record.
    pub(super) fn send_record(&mut self, plain: &[u8]) {
        self.server.as_mut().expect("there is a connection").writer().write_all(plain).unwrap();
        self.deliver();
    }

    /// The cloud closes the connection.
    pub(super) fn close(&mut self) {
        self.server = None;
        self.handle(Input::Closed);
        self.pump();
    }

    /// Time passes; timers fire on time.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.pump();
        for _ in 0..10_000 {
            match self.station.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(Input::Timeout);
                    self.pump();
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(super) fn pass_secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    /// Everything that has arrived at the cloud.
    pub(super) fn arrived(&mut self) -> Vec<Seen> {
        self.pump();
        self.inbox.drain(..).collect()
    }

    /// Lets time pass until something arrives at the cloud, at most `limit`.
    pub(super) fn next_within(&mut self, limit: Duration) -> Option<Seen> {
        let end = self.now + limit;
        self.pump();
        while self.inbox.is_empty() {
            let at = self.station.poll_timeout().filter(|&at| at <= end)?;
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
            self.pump();
        }
        self.inbox.pop_front()
    }

    /// The next request, which must be for this path.
    pub(super) fn expect(&mut self, path: &str) -> Seen {
        let seen = self.next_within(Duration::from_secs(3)).expect("a request within 3 s");
        assert_eq!(seen.path(), path);
        seen
    }

    pub(super) fn respond(&mut self, to: &Seen, code: ResponseType, body: &[u8]) {
        let mut bytes = Vec::new();
        let mut message = MessageWriter::new(&mut bytes, code, to.token);
        if !body.is_empty() {
            message.ocf_content();
        }
        message.payload(body);
        message.finish();
        self.send_record(&bytes);
    }

    /// Answers sign-up and sign-in as a good cloud does.
    pub(super) fn register(&mut self, expires_in: i64) {
        let sign_up = self.expect("/oic/sec/account");
        self.respond(&sign_up, ResponseType::Changed, &signed_up(expires_in));
        self.sign_in(expires_in);
    }

    pub(super) fn sign_in(&mut self, expires_in: i64) {
        let sign_in = self.expect("/oic/sec/session");
        self.respond(&sign_in, ResponseType::Changed, &signed_in(expires_in));
        assert!(self.station.is_signed_in());
    }

    /// The rules that were broken so far, as tests print them.
    pub(super) fn breaches(&self) -> Vec<String> {
        let breaches = self.events.iter().filter_map(|event| match event {
            Event::Breach(breach) => Some(breach.to_string()),
            _ => None,
        });
        breaches.collect()
    }

    pub(super) fn broken_rules(&self) -> Vec<Option<u8>> {
        let breaches = self.events.iter().filter_map(|event| match event {
            Event::Breach(breach) => Some(breach.rule()),
            _ => None,
        });
        breaches.collect()
    }
}

pub(super) fn conf() -> CloudConf {
    CloudConf {
        cis: "coaps+tcp://127.0.0.1:5684".into(),
        sid: SID,
        provider: None,
        token: Some("first-token-0001".into()),
    }
}

/// A configured light.
pub(super) fn light() -> World<Server> {
    light_with(&Settings::default())
}

pub(super) fn light_with(settings: &Settings) -> World<Server> {
    let mut world = World::with(Device::new(settings, Kind::Light, 7, 42));
    assert_eq!(world.station.write_cloud_conf(&conf().body(), world.now), ResponseType::Changed);
    world
}

/// A light that is signed in and has published.
pub(super) fn signed_in_light() -> World<Server> {
    let mut world = light();
    world.register(-1);
    let publish = world.expect("/oic/rd");
    world.respond(&publish, ResponseType::Changed, &published(&publish));
    assert!(world.station.is_published());
    world
}

pub(super) fn signed_up(expires_in: i64) -> Vec<u8> {
    map(&[
        ("accesstoken", "access-1".into()),
        ("refreshtoken", "refresh-1".into()),
        ("uid", UID.into()),
        ("expiresin", expires_in.into()),
    ])
}

pub(super) fn signed_in(expires_in: i64) -> Vec<u8> {
    map(&[("expiresin", expires_in.into())])
}

pub(super) fn refreshed(expires_in: i64) -> Vec<u8> {
    map(&[
        ("accesstoken", "access-2".into()),
        ("refreshtoken", "refresh-2".into()),
        ("expiresin", expires_in.into()),
    ])
}

/// The answer to a publish: the links with numbers of the cloud's.
pub(super) fn published(publish: &Seen) -> Vec<u8> {
    let body = publish.body();
    let links = super::answers::member(&body, "links").unwrap().as_array().unwrap();
    let links = links.iter().map(|link| {
        let href = super::answers::member(link, "href").unwrap().clone();
        ciborium::Value::Map(vec![("href".into(), href), ("ins".into(), 5.into())])
    });
    map(&[("ttl", 0.into()), ("links", ciborium::Value::Array(links.collect()))])
}

pub(super) fn map(entries: &[(&str, ciborium::Value)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
    let mut out = Vec::new();
    shared::ocf::cbor::encode(&mut out, &ciborium::Value::Map(entries));
    out
}

/// A request as the cloud routes it to a device.
pub(super) fn routed(
    method: RequestType,
    path: &str,
    token: u64,
    options: &[(u16, &[u8])],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut message = MessageWriter::new(&mut bytes, method, Token::from_u64(token));
    let before = options.iter().filter(|(number, _)| *number < 11);
    before.for_each(|(number, value)| {
        message.option(*number, value);
    });
    message.path(path.split('/').filter(|segment| !segment.is_empty()));
    let behind = options.iter().filter(|(number, _)| *number >= 11);
    behind.for_each(|(number, value)| {
        message.option(*number, value);
    });
    message.payload(body);
    message.finish();
    bytes
}

pub(super) fn uid() -> UserId {
    UID.parse().unwrap()
}
