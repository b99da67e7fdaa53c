//! Who connects to the cloud of a test: devices and clients that behave as real ones do, and peers
//! that say exactly what the test tells them.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use loadtest::device::{Client, Device, Driven, Event, Input, Output};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use shared::coap::{Frame, Framed};
use shared::time::Instant;

use crate::message::Msg;

/// Tokens with which a scripted peer signs up, in and out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// The user.
    pub uid: String,
    /// Signs in.
    pub access: String,
    /// Is exchanged for the next pair.
    pub refresh: String,
}

/// A peer that says what the test tells it, over TLS.
pub(super) struct Script {
    config: Arc<ClientConfig>,
    tls: Option<ClientConnection>,
    plain: Vec<u8>,
    pub(super) inbox: VecDeque<Msg>,
    /// The lengths of the frames that came, in bytes.
    pub(super) frame_lengths: Vec<usize>,
    /// How TLS failed.
    pub(super) tls_error: Option<rustls::Error>,
    pub(super) said_goodbye: bool,
    pub(super) account: Account,
    last_token: u64,
}

impl Script {
    pub(super) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            tls: None,
            plain: Vec::new(),
            inbox: VecDeque::new(),
            frame_lengths: Vec::new(),
            tls_error: None,
            said_goodbye: false,
            account: Account::default(),
            last_token: 0x1000_0000_0000_0000,
        }
    }

    /// Begins a TLS handshake on a new connection; returns its first bytes. What came on the one before
    /// is forgotten.
    pub(super) fn connect(&mut self) -> Vec<u8> {
        let name = ServerName::try_from("cloud.example.com").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.config), name).expect("a configuration");
        self.tls = Some(tls);
        self.plain.clear();
        self.inbox.clear();
        (self.tls_error, self.said_goodbye) = (None, false);
        self.sealed()
    }

    pub(super) fn next_token(&mut self) -> [u8; 8] {
        self.last_token += 1;
        self.last_token.to_be_bytes()
    }

    pub(super) fn is_established(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
    }

    /// The TLS connection.
    pub(super) fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().expect("the peer has connected")
    }

    /// Seals bytes; what TLS wants to send comes back.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let tls = self.tls.as_mut().expect("the peer has connected");
        tls.set_buffer_limit(None);
        tls.writer().write_all(plain).expect("the buffer is unbounded");
        self.sealed()
    }

    /// Announces the end of TLS.
    pub(super) fn goodbye(&mut self) -> Vec<u8> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.sealed()
    }

    fn sealed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut bytes).expect("memory takes everything");
            }
        }
        bytes
    }

    /// Takes the bytes of one read; what TLS answers comes back.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return Vec::new() };
        while !bytes.is_empty() && self.tls_error.is_none() {
            tls.read_tls(&mut bytes).expect("memory gives everything");
            match tls.process_new_packets() {
                Ok(state) => self.said_goodbye |= state.peer_has_closed(),
                Err(error) => self.tls_error = Some(error),
            }
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = tls.reader().read(&mut buffer) {
                self.plain.extend_from_slice(&buffer[..count]);
            }
        }
        while let Ok(Framed::Whole(frame, len)) = Frame::parse(&self.plain, usize::MAX) {
            self.inbox.push_back(Msg::parse(frame));
            self.frame_lengths.push(len);
            self.plain.drain(..len);
        }
        self.sealed()
    }
}

/// Somebody at the other end of connections.
pub(super) enum Station {
    /// A simulated device.
    Device(Box<Device>, Arc<ClientConfig>),
    /// A simulated client.
    Client(Box<Client>, Arc<ClientConfig>),
    /// A scripted peer.
    Script(Box<Script>),
}

impl Station {
    fn driven(&mut self) -> Option<(&mut dyn Driven, &Arc<ClientConfig>)> {
        match self {
            Self::Device(device, config) => Some((&mut **device, config)),
            Self::Client(client, config) => Some((&mut **client, config)),
            Self::Script(_) => None,
        }
    }

    /// When a simulated station wants to be woken.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.driven()?.0.poll_timeout()
    }

    /// Wakes a simulated station.
    pub(super) fn wake(&mut self, now: Instant) {
        if let Some((driven, _)) = self.driven() {
            driven.handle(Input::Timeout, now);
        }
    }

    /// What a simulated station wants.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.driven()?.0.poll_output()
    }

    /// The connection that it asked for is there.
    pub(super) fn connected(&mut self, now: Instant) {
        if let Some((driven, config)) = self.driven() {
            let config = Arc::clone(config);
            driven.handle(Input::Connected(config), now);
        }
    }

    /// The connection that it asked for was refused.
    pub(super) fn refused(&mut self, now: Instant) {
        if let Some((driven, _)) = self.driven() {
            driven.handle(Input::NotConnected(std::io::ErrorKind::ConnectionRefused), now);
        }
    }

    /// One read returned these bytes. What a scripted peer's TLS answers comes back.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> Vec<u8> {
        match self {
            Self::Script(script) => script.receive(bytes),
            Self::Device(..) | Self::Client(..) => {
                if let Some((driven, _)) = self.driven() {
                    driven.handle(Input::Received { bytes, cut: false }, now);
                }
                Vec::new()
            }
        }
    }

    /// The cloud has closed the connection.
    pub(super) fn closed(&mut self, now: Instant) {
        if let Some((driven, _)) = self.driven() {
            driven.handle(Input::Closed, now);
        }
    }
}

/// Whether an event shows that the cloud has broken one of the rules of device reference 1.3.
pub(super) fn breach(event: &Event) -> Option<String> {
    match event {
        Event::Breach(breach) => Some(breach.to_string()),
        _ => None,
    }
}
