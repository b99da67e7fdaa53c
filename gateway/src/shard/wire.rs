//! The connections of a shard and what goes out on them.

use std::ops::Range;

use shared::channel::figures::TableMemory;
use shared::coap::request::CBOR;
use shared::coap::{CoapOption, Code, MessageWriter, Request, ResponseType, Token};
use shared::record::{Opened, RecordError, Step};
use shared::time::Instant;

use super::input::Output;
use crate::blockwise::answer::Outgoing;
use crate::blockwise::{self, Expectation, Transfers};
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
    /// How a body of ours is marked for it.
    pub format: BodyFormat,
}

/// The Content-Format of our own bodies, which are the same in both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFormat {
    /// 10000, with its version.
    Ocf,
    /// 60, for who accepts only that (device reference 4.1).
    Cbor,
}

/// A message that the peer would not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer has {bytes} bytes, more than your {limit}")]
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
    /// Their peers have said Release, and have all their answers now.
    released: Vec<ConnectionId>,
    /// Bodies that come and answers that go in blocks.
    pub transfers: Transfers,
    send_queue_bytes_max: usize,
    payload_bytes_assumed: u32,
}

impl Wire {
    /// No connections yet.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            connections: Connections::default(),
            buffers: SendBuffers::default(),
            dirty: Vec::new(),
            broken: Vec::new(),
            released: Vec::new(),
            transfers: Transfers::new(now),
            send_queue_bytes_max: limits.send_queue_bytes_max,
            payload_bytes_assumed: limits.peer_payload_bytes_assumed,
        }
    }

    /// What the send buffers occupy that nobody needs.
    pub fn spare_memory(&self) -> TableMemory {
        self.buffers.memory()
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

    /// Sends the answer to a request with this token, in blocks where that was asked for or nothing
    /// else helps (device reference 12).
    pub fn respond(
        &mut self,
        id: ConnectionId,
        token: Token,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooLarge> {
        match self.transfers.expectation(id, token).cloned() {
            None => self.write_bounded(id, write),
            Some(expectation) => {
                let mut answer = Vec::new();
                write(&mut answer);
                self.respond_in_blocks(id, &expectation, answer)
            }
        }
    }

    /// Sends an answer, or the block of it that is wanted; the rest is kept for those who ask for it.
    pub fn respond_in_blocks(
        &mut self,
        id: ConnectionId,
        expectation: &Expectation,
        answer: Vec<u8>,
    ) -> Result<(), TooLarge> {
        let Some(connection) = self.connections.get(id) else { return Ok(()) };
        let capabilities = connection.capabilities;
        let limit = capabilities.message_bytes_max(self.payload_bytes_assumed);
        let Some(message) = blockwise::parse(&answer) else {
            return self.write_bounded(id, |out| out.extend_from_slice(&answer));
        };
        let is_notification =
            message.options.into_iter().any(|option| option.name() == CoapOption::Observe);
        let cut = blockwise::answer::cut(&message, expectation, capabilities, limit);
        let (outgoing, more) = match cut {
            Outgoing::Whole(whole) => (whole, false),
            Outgoing::Block(block, more) => (block, more),
            Outgoing::Beyond => {
                let to = Requester::new(id, expectation.token);
                self.transfers.forget_expectation(id, expectation.token);
                self.explain(&to, ResponseType::BadRequest, "there is no such block");
                return Ok(());
            }
        };
        self.write_bounded(id, |out| out.extend_from_slice(&outgoing))?;
        match is_notification {
            true => self.transfers.begin_notifications(id, expectation.token),
            false => self.transfers.forget_expectation(id, expectation.token),
        }
        if more {
            self.transfers.keep(id, expectation.key.clone(), answer);
        }
        Ok(())
    }

    fn seal(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        // Nothing follows the TLS goodbye (RFC 5246 §7.2.1, RFC 8446 §6.1).
        if connection.has_said_goodbye() {
            return Ok(());
        }
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

    /// Answers a request, if the peer takes so much. `options` appends options and payload.
    pub fn answer_bounded(
        &mut self,
        to: &Requester,
        code: impl Into<Code>,
        options: impl FnOnce(&mut MessageWriter<'_>),
    ) -> Result<(), TooLarge> {
        let code = code.into();
        if to.suppresses(code) {
            self.transfers.forget_expectation(to.connection, to.token);
            return Ok(());
        }
        self.respond(to.connection, to.token, |out| {
            let mut message = MessageWriter::new(out, code, to.token);
            options(&mut message);
            message.finish();
        })
    }

    /// Answers a request. `options` appends options and payload.
    pub fn answer(
        &mut self,
        to: &Requester,
        code: impl Into<Code>,
        options: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        if let Err(too_large) = self.answer_bounded(to, code, options) {
            self.refuse_too_large(to, too_large);
        }
    }

    /// Answers with a body of ours.
    pub fn answer_cbor(&mut self, to: &Requester, code: ResponseType, body: &[u8]) {
        self.answer(to, code, |message| write_body(message, to.format, body));
    }

    /// Answers 2.04 on account, session or token refresh, where 5.00 silences a device for good: one
    /// that takes less than this is told to try again (device reference 4.5).
    pub fn answer_security(&mut self, to: &Requester, body: &[u8]) {
        let answered = self.answer_bounded(to, ResponseType::Changed, |message| {
            write_body(message, to.format, body);
        });
        if answered.is_err() {
            self.explain(to, ResponseType::ServiceUnavailable, "the answer is too large for you");
        }
    }

    /// Answers that a request is refused.
    pub fn refuse(&mut self, to: &Requester, reject: &Reject) {
        self.explain(to, reject.code, &reject.diagnostic);
    }

    /// The answer does not fit into a message that the client takes (device reference 10.4).
    pub fn refuse_too_large(&mut self, to: &Requester, too_large: TooLarge) {
        self.explain(to, ResponseType::InternalServerError, &too_large.to_string());
    }

    /// Answers with a code and a text; without the text when the peer does not take so much.
    pub fn explain(&mut self, to: &Requester, code: ResponseType, text: &str) {
        let explained = self.answer_bounded(to, code, |message| message.payload(text.as_bytes()));
        if explained.is_err() {
            self.write(to.connection, |out| {
                MessageWriter::new(out, code, to.token).finish();
            });
        }
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
        } else {
            connection.output.put_back_unused(&mut self.buffers);
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
            connection.output.put_back_unused(&mut self.buffers);
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

    /// A request of this peer is under way: its answer comes later.
    pub fn request_begun(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.requests = connection.requests.saturating_add(1);
        }
    }

    /// A request that was under way has its answer, or never gets one.
    pub fn request_ended(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.requests = connection.requests.saturating_sub(1);
        if connection.requests == 0 && connection.is_released() {
            self.released.push(id);
        }
    }

    /// A connection whose peer has said Release and has all its answers now.
    pub fn poll_released(&mut self) -> Option<ConnectionId> {
        self.released.pop()
    }

    /// Takes a connection out of the table.
    pub fn remove(&mut self, id: ConnectionId) -> Option<crate::connection::Connection> {
        let mut connection = self.connections.remove(id)?;
        self.transfers.forget(id);
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

/// Appends a body of ours, with the options that say what it is.
pub fn write_body(message: &mut MessageWriter<'_>, format: BodyFormat, body: &[u8]) {
    write_format(message, format);
    message.payload(body);
}

/// Appends the options that say what a body of ours is.
pub fn write_format(message: &mut MessageWriter<'_>, format: BodyFormat) {
    match format {
        BodyFormat::Ocf => drop(message.ocf_content()),
        BodyFormat::Cbor => {
            message.option_uint(CoapOption::ContentFormat.into(), u32::from(CBOR));
        }
    }
}

impl Requester {
    /// Whoever sent a request with this token.
    pub fn new(connection: ConnectionId, token: Token) -> Self {
        Self { connection, token, no_response: 0, format: BodyFormat::Ocf }
    }

    /// Whoever sent this request.
    pub fn of(connection: ConnectionId, request: &Request<'_>) -> Self {
        let format = match request.accept {
            Some(CBOR) => BodyFormat::Cbor,
            _ => BodyFormat::Ocf,
        };
        let no_response = request.no_response;
        Self { connection, token: request.token, no_response, format }
    }

    /// Whether it does not want an answer of this class.
    pub fn suppresses(&self, code: Code) -> bool {
        code.is_response() && self.no_response & (1 << (code.class() - 1)) != 0
    }
}
