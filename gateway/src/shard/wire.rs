//! The connections of a shard and what goes out on them.

use std::ops::Range;

use shared::coap::{Code, MessageWriter, ResponseType, Token};
use shared::record::{Opened, RecordError, Step};
use shared::time::Instant;

use super::input::Output;
use crate::config::Limits;
use crate::connection::send_buffer::SendBuffers;
use crate::connection::tls::Transport;
use crate::connection::{CloseReason, ConnectionId, Connections, Phase};
use crate::reject::Reject;

/// Whoever has asked something and waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requester {
    /// Where the request came from.
    pub connection: ConnectionId,
    /// Its token.
    pub token: Token,
    /// Classes of answers that it does not want (RFC 7967), as the bits of the option.
    pub no_response: u8,
}

/// A message that the peer would not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// Bytes of the message.
    pub bytes: usize,
    /// Bytes that the peer takes.
    pub limit: usize,
}

/// Connections, and the messages that leave on them.
pub struct Wire {
    /// All of them.
    pub connections: Connections,
    buffers: SendBuffers,
    /// Something was appended to their send buffers.
    dirty: Vec<ConnectionId>,
    /// They are to be ended: TLS cannot go on, or the peer does not read.
    broken: Vec<(ConnectionId, CloseReason)>,
    send_queue_bytes_max: usize,
    payload_bytes_assumed: u32,
}

impl Wire {
    /// No connections yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            connections: Connections::default(),
            buffers: SendBuffers::default(),
            dirty: Vec::new(),
            broken: Vec::new(),
            send_queue_bytes_max: limits.send_queue_bytes_max,
            payload_bytes_assumed: limits.peer_payload_bytes_assumed,
        }
    }

    /// Sends what `write` appends. Nothing happens when the connection is gone.
    pub fn write(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        let whole = self.seal(id, |out, _| {
            write(out);
            Ok(())
        });
        debug_assert!(whole.is_ok());
    }

    /// Sends what `write` appends if the peer takes so much in one message.
    pub fn write_bounded(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooLarge> {
        self.seal(id, |out, limit| {
            let start = out.len();
            write(out);
            let bytes = out.len() - start;
            if bytes > limit { Err(TooLarge { bytes, limit }) } else { Ok(()) }
        })
    }

    fn seal(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let limit = connection.capabilities.message_bytes_max(self.payload_bytes_assumed);
        let mut result = Ok(());
        let buffer = connection.output.buffer(&mut self.buffers);
        let sealed = connection.transport.seal(buffer, |out| {
            result = write(out, limit);
            result.is_ok()
        });
        if sealed.is_err() {
            self.broken.push((id, CloseReason::TlsFailed));
        } else if connection.output.queued() > self.send_queue_bytes_max {
            self.broken.push((id, CloseReason::NotReading));
        }
        self.dirty.push(id);
        result
    }

    /// Answers a request. `options` appends options and payload.
    pub fn answer(
        &mut self,
        to: &Requester,
        code: impl Into<Code>,
        options: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let code = code.into();
        if to.suppresses(code) {
            return;
        }
        let answered = self.write_bounded(to.connection, |out| {
            let mut message = MessageWriter::new(out, code, to.token);
            options(&mut message);
            message.finish();
        });
        if let Err(TooLarge { bytes, limit }) = answered {
            self.refuse_too_large(to, bytes, limit);
        }
    }

    /// Answers with a body of ours.
    pub fn answer_cbor(&mut self, to: &Requester, code: ResponseType, body: &[u8]) {
        self.answer(to, code, |message| {
            message.ocf_content();
            message.payload(body);
        });
    }

    /// Answers that a request is refused.
    pub fn refuse(&mut self, to: &Requester, reject: &Reject) {
        self.answer(to, reject.code, |message| message.payload(reject.diagnostic.as_bytes()));
    }

    /// The answer does not fit into a message that the client takes (device reference 10.4).
    pub fn refuse_too_large(&mut self, to: &Requester, bytes: usize, limit: usize) {
        let text = format!("the answer has {bytes} bytes, more than your {limit}");
        self.answer(to, ResponseType::InternalServerError, |message| {
            message.payload(text.as_bytes())
        });
    }

    /// The TLS buffer of a connection, for handshakes and goodbyes.
    pub fn raw(&mut self, id: ConnectionId, write: impl FnOnce(&mut Transport, &mut Vec<u8>)) {
        if let Some(connection) = self.connections.get_mut(id) {
            write(&mut connection.transport, connection.output.buffer(&mut self.buffers));
            self.dirty.push(id);
        }
    }

    /// Opens the records at the front of `bytes`, in place. The places of their texts are added to
    /// `texts`. What could not be opened, if anything, is said behind what could.
    pub fn open(
        &mut self,
        id: ConnectionId,
        bytes: &mut [u8],
        texts: &mut Vec<Range<usize>>,
    ) -> (usize, Result<(), RecordError>) {
        let Some(connection) = self.connections.get_mut(id) else { return (bytes.len(), Ok(())) };
        let Transport::Records(records) = &mut connection.transport else {
            return (bytes.len(), Ok(()));
        };
        let out = connection.output.buffer(&mut self.buffers);
        let queued = out.len();
        let mut opener = records.opener();
        let mut used = 0;
        let result = loop {
            match opener.next(&mut bytes[used..], out) {
                Ok(Step::Partial { .. }) => break Ok(()),
                Ok(Step::Record { len, opened }) => {
                    if let Opened::Text(text) = opened
                        && !text.is_empty()
                    {
                        texts.push(used + text.start..used + text.end);
                    }
                    used += len;
                }
                Err(error) => break Err(error),
            }
        };
        if out.len() > queued {
            self.dirty.push(id);
        }
        (used, result)
    }

    /// The next send that is due, of any connection.
    pub fn poll_send(&mut self, now: Instant) -> Option<Output> {
        while let Some(id) = self.dirty.pop() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if let Some((bytes, range)) = connection.output.next_send(now) {
                return Some(Output::Send { connection: id, bytes, range });
            }
        }
        None
    }

    /// A send has ended well. Returns what is to be sent next of the same buffer.
    pub fn sent(&mut self, id: ConnectionId, bytes: Vec<u8>, now: Instant) -> Option<Output> {
        let Some(connection) = self.connections.get_mut(id) else {
            self.buffers.give(bytes);
            return None;
        };
        let next = connection.output.sent(bytes, now, &mut self.buffers);
        if next.is_none() {
            self.dirty.push(id);
        }
        next.map(|(bytes, range)| Output::Send { connection: id, bytes, range })
    }

    /// A connection that has to be ended, and why.
    pub fn poll_broken(&mut self) -> Option<(ConnectionId, CloseReason)> {
        self.broken.pop()
    }

    /// Takes a connection out of the table.
    pub fn remove(&mut self, id: ConnectionId) -> Option<crate::connection::Connection> {
        let mut connection = self.connections.remove(id)?;
        connection.output.discard(&mut self.buffers);
        Some(connection)
    }

    /// Gives a buffer back whose connection is gone.
    pub fn give(&mut self, bytes: Vec<u8>) {
        self.buffers.give(bytes);
    }

    /// The largest message that the peer of this connection takes, in bytes.
    pub fn message_bytes_max(&self, id: ConnectionId) -> usize {
        let connection = self.connections.get(id);
        let capabilities = connection.map(|connection| connection.capabilities);
        capabilities.unwrap_or_default().message_bytes_max(self.payload_bytes_assumed)
    }

    /// Whether the peer of this connection is behind with reading.
    pub fn is_slow(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|connection| {
            connection.output.sending_since().is_some()
                && connection.output.queued() > self.send_queue_bytes_max / 4
        })
    }

    /// Whether requests of this connection are served.
    pub fn is_served(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(super::super::connection::Connection::is_served)
    }

    /// Sets how far a connection is.
    pub fn set_phase(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.phase = phase;
        }
    }
}

impl Requester {
    /// Whether it does not want an answer of this class.
    pub fn suppresses(&self, code: Code) -> bool {
        code.is_response() && self.no_response & (1 << (code.class() - 1)) != 0
    }
}
