//! Bytes to messages: handshakes, records, frames, and what has to wait.

use shared::coap::{Frame, Framed, signal};
use shared::record::RECORD_BYTES_MAX;

use super::Shard;
use super::dispatch::Flow;
use super::input::{Output, Receive};
use super::staging::Waiter;
use crate::connection::close::Closing;
use crate::connection::signaling::SIGNAL_TOKEN;
use crate::connection::tls::{Progress, TlsError, Transport};
use crate::connection::{CloseReason, ConnectionId, Phase, Unprocessed};

/// Boxes for unprocessed text that are kept for later use.
const SPARE_INPUTS_MAX: usize = 256;

impl Shard {
    /// Bytes came in on a connection.
    pub(super) fn on_received(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        connection.heard = self.now.instant;
        match (&mut connection.transport, connection.phase) {
            (_, Phase::Closing { .. }) => self.receive_again(id),
            (Transport::Handshake(handshake), _) => {
                let received = handshake.receive(bytes);
                let waits = std::mem::replace(&mut handshake.queued, true);
                match received {
                    Ok(()) if !waits => {
                        let is_new = !handshake.begun;
                        self.admission.push(id, is_new, self.now.instant);
                    }
                    Ok(()) => {}
                    Err(error) => self.fail_tls(id, CloseReason::HandshakeFailed, error),
                }
            }
            (Transport::Records(_), _) => self.on_records(id, bytes),
            #[cfg(feature = "whole-tls")]
            (Transport::Whole(_), _) => self.on_whole(id, bytes),
            (Transport::Gone, _) => {}
        }
    }

    /// Where no answer tells the peer that its bytes have come, something else does.
    pub(super) fn acknowledge(&mut self, id: ConnectionId) {
        let Some(connection) = self.router.wire.connections.get(id) else { return };
        if let Phase::Open { .. } | Phase::SignedIn = connection.phase
            && connection.output.is_idle()
        {
            self.outputs.push_back(Output::Acknowledge { connection: id });
        }
    }

    /// Records came in. Whole ones are opened where they stand; the beginning of one waits.
    fn on_records(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let connection = self.router.wire.connections.get_mut(id);
        let waiting = connection.and_then(|connection| connection.input.as_mut());
        let waiting = waiting.map(|input| std::mem::take(&mut input.records)).unwrap_or_default();
        if waiting.is_empty() {
            let used = self.open_records(id, bytes);
            self.keep_records(id, &bytes[used..]);
        } else {
            let mut have = waiting;
            have.extend_from_slice(bytes);
            let used = self.open_records(id, &mut have);
            self.keep_records(id, &have[used..]);
        }
        self.receive_again(id);
        self.move_if_idle(id);
    }

    /// Opens the records at the front of `bytes` and handles their text. Returns how many bytes are
    /// done with.
    fn open_records(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let mut texts = std::mem::take(&mut self.texts);
        let (used, result) = self.router.wire.open(id, bytes, &mut texts);
        for text in texts.drain(..) {
            self.on_text(id, &bytes[text]);
        }
        self.texts = texts;
        if let Err(error) = result {
            self.fail_tls(id, CloseReason::TlsFailed, error.into());
        }
        let connection = self.router.wire.connections.get(id);
        if connection.is_some_and(|connection| connection.transport.peer_closed()) {
            self.finish(id, CloseReason::PeerClosed);
        }
        used
    }

    /// Keeps the beginning of a record. Its length has been checked: it is bounded.
    fn keep_records(&mut self, id: ConnectionId, rest: &[u8]) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        if rest.is_empty() || matches!(connection.phase, Phase::Closing { .. }) {
            return;
        }
        let spare = &mut self.spare_inputs;
        let input = connection.input.get_or_insert_with(|| spare.pop().unwrap_or_default());
        input.records.extend_from_slice(rest);
    }

    #[cfg(feature = "whole-tls")]
    fn on_whole(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut text = Vec::new();
        let mut result = Ok(());
        self.router.wire.raw(id, |transport, out| {
            if let Transport::Whole(tls) = transport {
                result = tls.open(bytes, &mut text, out);
            }
        });
        self.on_text(id, &text);
        let connection = self.router.wire.connections.get(id);
        let peer_closed = connection.is_some_and(|connection| connection.transport.peer_closed());
        match result {
            Err(error) => self.fail_tls(id, CloseReason::TlsFailed, error),
            Ok(()) if peer_closed => self.finish(id, CloseReason::PeerClosed),
            Ok(()) => self.receive_again(id),
        }
        self.move_if_idle(id);
    }

    /// A connection that has not settled receives one buffer at a time, so that nothing is under way
    /// when it moves.
    pub(super) fn receive_again(&mut self, connection: ConnectionId) {
        let Some(state) = self.router.wire.connections.get(connection) else { return };
        if !state.settled && !matches!(state.phase, Phase::Moving { .. }) {
            self.outputs.push_back(Output::Receive { connection, how: Receive::Once });
        }
    }

    /// One step of the handshake whose turn it is.
    pub(super) fn on_handshake_turn(&mut self) {
        let Some(id) = self.admission.pop(self.now.instant) else { return };
        // One that has failed or was given up meanwhile takes no further step.
        let phase = self.router.wire.connections.get(id).map(|connection| connection.phase);
        let Some(Phase::Handshake { .. }) = phase else { return };
        self.acceptor.set_time(self.now.unix);
        let mut result = Ok(Progress::Waiting);
        let acceptor = &self.acceptor;
        self.router.wire.raw(id, |transport, out| {
            if let Transport::Handshake(handshake) = transport {
                handshake.queued = false;
                handshake.begun = true;
                result = handshake.step(acceptor, out);
            }
        });
        match result {
            Ok(Progress::Waiting) => self.receive_again(id),
            Ok(Progress::Done) => self.establish(id),
            Err(error) => self.fail_tls(id, CloseReason::HandshakeFailed, error),
        }
    }

    /// A handshake is over: the connection may sign up and sign in. Our CSM goes out at once, the
    /// peer's may never come (device reference 1.3, rule 1).
    fn establish(&mut self, id: ConnectionId) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        let transport = std::mem::replace(&mut connection.transport, Transport::Gone);
        let Transport::Handshake(handshake) = transport else {
            connection.transport = transport;
            return;
        };
        self.admission.end();
        let established = match handshake.finish(&self.acceptor) {
            Ok(established) => established,
            Err(error) => return self.fail_tls(id, CloseReason::HandshakeFailed, error),
        };
        connection.transport = established.transport;
        connection.identity = Some(established.identity);
        let until = self.now.instant + self.router.timers.first_request;
        connection.phase = Phase::Open { until };
        self.counters.handshakes += 1;
        self.schedule(id);
        let bytes_max = self.router.limits.frame_bytes_max;
        self.router.wire.write(id, |out| signal::write_csm(out, SIGNAL_TOKEN, bytes_max, true));
        self.on_text(id, &established.early);
        self.keep_records(id, &established.rest);
        self.receive_again(id);
        self.move_if_idle(id);
    }

    /// TLS cannot go on. The alert goes out if it can.
    fn fail_tls(&mut self, id: ConnectionId, reason: CloseReason, error: TlsError) {
        if let Some(connection) = self.router.wire.connections.get(id) {
            self.outputs.push_back(Output::TlsFailed { peer: connection.peer, error });
        }
        self.finish(id, reason);
    }

    /// Text came out of the records of a connection.
    pub(super) fn on_text(&mut self, id: ConnectionId, text: &[u8]) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        let waiting = connection.input.take();
        if text.is_empty() && waiting.is_none() {
            return;
        }
        match waiting {
            None => {
                let consumed = self.on_frames(id, text);
                self.keep_unprocessed(id, &text[consumed..]);
            }
            Some(mut input) => {
                input.text.extend_from_slice(text);
                let consumed = self.on_frames(id, &input.text);
                input.text.drain(..consumed);
                self.put_back(id, input);
            }
        }
    }

    /// Goes on with what a connection had to leave unprocessed.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        if let Some(connection) = self.router.wire.connections.get_mut(id) {
            connection.parked = false;
            self.on_text(id, &[]);
            self.move_if_idle(id);
        }
    }

    fn keep_unprocessed(&mut self, id: ConnectionId, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let mut input = self.spare_inputs.pop().unwrap_or_default();
        input.text.extend_from_slice(rest);
        self.put_back(id, input);
    }

    fn put_back(&mut self, id: ConnectionId, input: Box<Unprocessed>) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else {
            return self.spare(input);
        };
        if input.text.is_empty() && input.records.is_empty() {
            return self.spare(input);
        }
        // What waits behind a staged change or a move is bounded like a frame, and a record more.
        let most = connection.message_bytes_max(&self.router.limits) + RECORD_BYTES_MAX;
        if input.text.len() > most {
            self.spare(input);
            return self.finish(id, CloseReason::Refused);
        }
        connection.input = Some(input);
    }

    fn spare(&mut self, mut input: Box<Unprocessed>) {
        if self.spare_inputs.len() < SPARE_INPUTS_MAX
            && input.text.capacity() + input.records.capacity() <= 2 * RECORD_BYTES_MAX
        {
            input.text.clear();
            input.records.clear();
            self.spare_inputs.push(input);
        }
    }

    /// Handles the frames at the front of `bytes`. Returns how many bytes are done with.
    fn on_frames(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(connection) = self.router.wire.connections.get(id) {
            if !connection.is_served() {
                let ends = matches!(connection.phase, Phase::Closing { .. });
                return if ends { bytes.len() } else { at };
            }
            let limit = connection.message_bytes_max(&self.router.limits);
            let (frame, len) = match Frame::parse(&bytes[at..], limit) {
                Ok(Framed::Whole(frame, len)) => (frame, len),
                Ok(Framed::Partial { .. }) => return at,
                Err(error) => {
                    self.abort(id, error);
                    return bytes.len();
                }
            };
            let flow = match self.on_frame(id, frame) {
                Ok(flow) => flow,
                Err(error) => {
                    self.abort(id, error);
                    return bytes.len();
                }
            };
            match flow {
                Flow::Next => at += len,
                Flow::Stop => return bytes.len(),
                Flow::Park(gate) => {
                    self.park(id, gate);
                    return at;
                }
                Flow::Wait => return at,
                Flow::Move(to) => {
                    self.begin_move(id, to);
                    return at;
                }
            }
        }
        bytes.len()
    }

    fn park(&mut self, id: ConnectionId, gate: super::staging::Gate) {
        // The handler has checked that there is room to wait.
        if self.staging.wait(gate, Waiter::Connection(id)).is_ok()
            && let Some(connection) = self.router.wire.connections.get_mut(id)
        {
            connection.parked = true;
        }
    }

    /// These bytes are no CoAP over TCP: Abort, and the end (device reference 2.6).
    fn abort(&mut self, id: ConnectionId, error: impl std::fmt::Display) {
        let text = error.to_string();
        self.router.wire.write(id, |out| signal::write_abort(out, SIGNAL_TOKEN, None, &text));
        self.finish(id, CloseReason::Framing);
    }

    /// A send has ended.
    pub(super) fn on_sent(&mut self, id: ConnectionId, bytes: Vec<u8>, whole: bool) {
        if !whole {
            self.router.wire.give(bytes);
            return self.end(id, CloseReason::PeerLost, Closing::Reset);
        }
        if let Some(next) = self.router.wire.sent(id, bytes, self.now.instant) {
            self.outputs.push_back(next);
            return;
        }
        let Some(connection) = self.router.wire.connections.get(id) else { return };
        if !connection.output.is_idle() {
            return;
        }
        match connection.phase {
            Phase::Closing { when_sent: true, reason, .. } => {
                self.end(id, reason, Closing::Orderly)
            }
            Phase::Moving { .. } => self.move_if_idle(id),
            _ => self.router.catch_up(id),
        }
    }
}
