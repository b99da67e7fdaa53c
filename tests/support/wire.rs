//! Bare connections to the gateway (I/O): TLS with CoAP frames as the test writes them, or whatever
//! bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use shared::coap::{CoapOption, Code, Frame, Framed, Message, MessageWriter, RequestType, Token};
use shared::ids::DeviceId;

use crate::processes::{LONG, TestCloud};
use crate::stations::configuration;

/// Longest frame that is taken from the cloud.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A message, taken out of its buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its code.
    pub code: Code,
    /// Its token.
    pub token: Vec<u8>,
    /// Numbers and values of its options.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Taken {
    /// Its code as people write it: 4.04.
    pub fn code(&self) -> String {
        self.code.to_string()
    }

    /// The text in its payload.
    pub fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).unwrap()
    }
}

/// What comes with a code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// CBOR.
    pub content: Option<Vec<u8>>,
    /// In seconds.
    pub max_age: Option<u32>,
}

/// A TLS connection.
pub struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl Wire {
    /// Connects and finishes the handshake, as far as this side can tell.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn connect(gateway: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect_through(gateway, config, |socket, bytes| socket.write_all(bytes))
    }

    /// The same, with each flight of the handshake sent by `write`.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn connect_through(
        gateway: SocketAddr,
        config: Arc<ClientConfig>,
        mut write: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let name = ServerName::from(gateway.ip());
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut socket = tcp(gateway)?;
        while session.is_handshaking() || session.wants_write() {
            if session.wants_write() {
                let mut flight = Vec::new();
                session.write_tls(&mut flight)?;
                write(&mut socket, &flight)?;
            } else if session.read_tls(&mut socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            } else {
                session.process_new_packets().map_err(io::Error::other)?;
            }
        }
        Ok(Self { stream: StreamOwned::new(session, socket), received: Vec::new() })
    }

    /// Signs up as a device of the first user, and signs in.
    pub fn sign_in(&mut self, cloud: &TestCloud, device: DeviceId) {
        let token = configuration(cloud, &cloud.token(), device).token.unwrap();
        let body = json!({ "di": device.to_string(), "accesstoken": &*token });
        self.request(RequestType::Post, &["oic", "sec", "account"], &[], &cbor(&body));
        let account = self.answer();
        assert_eq!(account.code(), "2.04");
        let account: Value = ciborium::from_reader(&*account.payload).unwrap();
        let body = json!({
            "uid": account["uid"],
            "di": device.to_string(),
            "accesstoken": account["accesstoken"],
            "login": true,
        });
        self.request(RequestType::Post, &["oic", "sec", "session"], &[], &cbor(&body));
        assert_eq!(self.answer().code(), "2.04");
    }

    /// Sends bytes in a record of their own.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a request with CBOR in it.
    pub fn request(&mut self, method: RequestType, path: &[&str], query: &[&str], body: &[u8]) {
        let mut out = Vec::new();
        let mut message = MessageWriter::new(&mut out, method, Token::from_u64(7));
        message.path(path.iter().copied());
        if !body.is_empty() {
            message.option_uint(12, 10_000);
        }
        for argument in query {
            message.named(CoapOption::UriQuery, argument.as_bytes());
        }
        if !body.is_empty() {
            message.payload(body);
        }
        message.finish();
        self.send(&out).unwrap();
    }

    /// Sends a message that is no request.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn say(&mut self, token: &[u8], code: Code, said: &Said) -> io::Result<()> {
        let mut out = Vec::new();
        let mut message = MessageWriter::new(&mut out, code, Token::new(token).unwrap());
        if said.content.is_some() {
            message.option_uint(12, 10_000);
        }
        if let Some(seconds) = said.max_age {
            message.option_uint(14, seconds);
        }
        if let Some(content) = said.content.as_ref().filter(|content| !content.is_empty()) {
            message.payload(content);
        }
        message.finish();
        self.send(&out)
    }

    /// The socket, to end it from elsewhere.
    pub fn socket(&self) -> TcpStream {
        self.stream.sock.try_clone().unwrap()
    }

    /// The next message; none when the gateway has closed.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn receive(&mut self) -> io::Result<Option<Taken>> {
        loop {
            if let Ok(Framed::Whole(frame, length)) = Frame::parse(&self.received, FRAME_BYTES_MAX)
            {
                let message = Message::parse(frame).unwrap();
                let options = message.options.into_iter();
                let taken = Taken {
                    code: message.code,
                    token: message.token.as_bytes().to_vec(),
                    options: options.map(|option| (option.number, option.value.to_vec())).collect(),
                    payload: message.payload.to_vec(),
                };
                self.received.drain(..length);
                return Ok(Some(taken));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message that is no CSM and no Ping.
    pub fn answer(&mut self) -> Taken {
        loop {
            let taken = self.receive().unwrap().expect("an answer comes before the end");
            if !matches!(taken.code().as_str(), "7.01" | "7.02") {
                return taken;
            }
        }
    }

    /// Whether nothing follows but an orderly end.
    pub fn ends(&mut self) -> bool {
        loop {
            match self.receive() {
                Ok(Some(taken)) if matches!(taken.code().as_str(), "7.01" | "7.02") => {}
                Ok(None) => return true,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }
}

/// A JSON value as CBOR.
pub fn cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

/// A TCP connection that nobody waits on for ever.
///
/// # Errors
/// What the system says.
pub fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until the other end is gone; what it said.
pub fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => said,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => said,
        Err(error) => panic!("the gateway does not close: {error}"),
    }
}
