//! One connection: bytes in, messages out; messages in, bytes out.

use anyhow::{Result, bail};
use shared::coap::code::Kind;
use shared::coap::{Code, Frame, Framed, Message, Observe, Request, Token};
use shared::ring::SocketId;

use benches::client::records::{Opened, Records, record_len};
use benches::client::tls::{Client, Progress};

/// Longest message that is waited for.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// There is none.
    Off,
    /// TCP connects.
    Connecting,
    /// TLS is being agreed on.
    Handshaking,
    /// The sign-in waits for its answer.
    SigningIn,
    /// Nothing is under way.
    Idle,
    /// A request waits for its answer.
    Asking,
    /// Its end has been said.
    Leaving,
}

/// Somebody who observes a device's light.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub(crate) token: Token,
    /// Of the last notification.
    pub(crate) sequence: u32,
}

/// What is spoken on it.
pub(crate) enum Line {
    /// Nothing yet.
    Off,
    /// TLS with all that rustls knows.
    Tls(Box<Client>),
    /// TLS with what is needed after the handshake.
    Records(Box<Records>),
}

/// What was seen in the bytes of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// The handshake is over.
    Established {
        /// By a session of before.
        resumed: bool,
    },
    /// A message that is no request.
    Message(Code, Token),
    /// A request for the device.
    Request(Token, Option<Observe>),
    /// The server has said goodbye.
    Closed,
}

/// What all connections of a job have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// The version of TLS.
    pub(crate) tls13: bool,
    /// rustls is kept after the handshake, for the tickets that come then.
    pub(crate) keep_rustls: bool,
}

/// A connection.
pub(crate) struct Peer {
    pub(crate) socket: Option<SocketId>,
    pub(crate) stage: Stage,
    pub(crate) line: Line,
    /// A send is in flight.
    pub(crate) sending: bool,
    /// What goes out behind it.
    pub(crate) backlog: Vec<u8>,
    /// Of the request under way.
    pub(crate) token: u64,
    /// When it was due, in nanoseconds since the start.
    pub(crate) due: u64,
    /// Its light is observed.
    pub(crate) observation: Option<Observation>,
    /// The beginning of a record.
    record: Vec<u8>,
    /// The beginning of a message.
    text: Vec<u8>,
}

impl Peer {
    /// No connection.
    pub(crate) fn off() -> Self {
        Self {
            socket: None,
            stage: Stage::Off,
            line: Line::Off,
            sending: false,
            backlog: Vec::new(),
            token: 0,
            due: 0,
            observation: None,
            record: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Takes bytes of the server in. `out` is what TLS has to say to them.
    pub(crate) fn receive(
        &mut self,
        bytes: &mut [u8],
        habits: &Habits,
        out: &mut Vec<u8>,
        seen: &mut Vec<Seen>,
    ) -> Result<()> {
        match &mut self.line {
            Line::Off => Ok(()),
            Line::Tls(_) => self.receive_tls(bytes, habits, out, seen),
            Line::Records(_) => self.receive_records(bytes, seen),
        }
    }

    fn receive_tls(
        &mut self,
        bytes: &[u8],
        habits: &Habits,
        out: &mut Vec<u8>,
        seen: &mut Vec<Seen>,
    ) -> Result<()> {
        let Line::Tls(client) = &mut self.line else { return Ok(()) };
        let mut text = Vec::new();
        let progress = client.receive(bytes, out, &mut text)?;
        let is_new = self.stage == Stage::Handshaking && progress == Progress::Established;
        if is_new {
            seen.push(Seen::Established { resumed: client.has_resumed() });
        }
        take_text(&mut self.text, &text, seen)?;
        if progress == Progress::Closed {
            seen.push(Seen::Closed);
        }
        if is_new && !habits.keep_rustls {
            let Line::Tls(client) = std::mem::replace(&mut self.line, Line::Off) else {
                return Ok(());
            };
            let (records, mut rest) = client.into_records(habits.tls13)?;
            self.line = Line::Records(Box::new(records));
            self.receive_records(&mut rest, seen)?;
        }
        Ok(())
    }

    fn receive_records(&mut self, bytes: &mut [u8], seen: &mut Vec<Seen>) -> Result<()> {
        let Line::Records(records) = &mut self.line else { return Ok(()) };
        if self.record.is_empty() {
            let used = open_all(records, &mut self.text, bytes, seen)?;
            self.record.extend_from_slice(&bytes[used..]);
        } else {
            self.record.extend_from_slice(bytes);
            let used = open_all(records, &mut self.text, &mut self.record, seen)?;
            self.record.drain(..used);
        }
        Ok(())
    }

    /// Appends a message to `out`.
    pub(crate) fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match &mut self.line {
            Line::Off => Ok(()),
            Line::Tls(client) => client.seal(message, out),
            Line::Records(records) => records.seal(message, out),
        }
    }

    /// Appends the goodbye to `out`.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match &mut self.line {
            Line::Off => Ok(()),
            Line::Tls(client) => client.close(out),
            Line::Records(records) => records.close(out),
        }
    }
}

/// Opens the whole records at the front. Returns how many bytes they are.
fn open_all(
    records: &mut Records,
    text: &mut Vec<u8>,
    bytes: &mut [u8],
    seen: &mut Vec<Seen>,
) -> Result<usize> {
    let mut used = 0;
    while let Some(len) = record_len(&bytes[used..])
        && let Some(record) = bytes.get_mut(used..used + len)
    {
        match records.open(record)? {
            Opened::Text(new) => take_text(text, new, seen)?,
            Opened::Nothing => {}
            Opened::Closed => seen.push(Seen::Closed),
        }
        used += len;
    }
    Ok(used)
}

fn take_text(waiting: &mut Vec<u8>, new: &[u8], seen: &mut Vec<Seen>) -> Result<()> {
    if waiting.is_empty() {
        let used = parse_all(new, seen)?;
        waiting.extend_from_slice(&new[used..]);
    } else {
        waiting.extend_from_slice(new);
        let used = parse_all(waiting, seen)?;
        waiting.drain(..used);
    }
    Ok(())
}

fn parse_all(text: &[u8], seen: &mut Vec<Seen>) -> Result<usize> {
    let mut used = 0;
    loop {
        match Frame::parse(&text[used..], MESSAGE_BYTES_MAX) {
            Ok(Framed::Whole(frame, len)) => {
                seen.push(seen_in(frame)?);
                used += len;
            }
            Ok(Framed::Partial { .. }) => return Ok(used),
            Err(error) => bail!("the server does not speak CoAP: {error}"),
        }
    }
}

fn seen_in(frame: Frame<'_>) -> Result<Seen> {
    let Kind::Request(method) = frame.code.kind() else {
        return Ok(Seen::Message(frame.code, frame.token));
    };
    let request = Request::parse(method, &Message::parse(frame)?);
    Ok(Seen::Request(request.token, request.observe))
}
