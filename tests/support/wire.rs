//! Bare connections to the gateway (I/O): TLS with CoAP frames as the test writes them, or whatever
//! bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use shared::coap::{CoapOption, Code, Frame, Framed, Message, MessageWriter, RequestType, Token};

use crate::processes::LONG;

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
    pub fn connect(gateway: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        let name = ServerName::from(gateway.ip());
        let session = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp(gateway));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends bytes in a record of their own.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
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

    /// The next message; none when the gateway has closed.
    ///
    /// # Errors
    /// What TLS or TCP says.
    pub fn receive(&mut self) -> std::io::Result<Option<Taken>> {
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

/// A TCP connection that nobody waits on for ever.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
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
