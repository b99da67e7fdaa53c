//! The device ring as the core sees it: accepts, receives, sends, closes, and the descriptor's part
//! of a move.

use std::ops::Range;

use shared::ids::ShardId;
use shared::ring::{Close, Event, ListenerId, SocketId};
use shared::time::Now;

use super::driver::Driver;
use super::mail::Mail;
use super::store::Answer;
use crate::connection::ConnectionId;
use crate::connection::close::Closing;
use crate::shard::{CommitId, Input, Listener, Receive};
use crate::store::{Batch, CommitOutcome};

fn connection(socket: SocketId) -> ConnectionId {
    ConnectionId { index: socket.index, generation: socket.generation }
}

fn socket(connection: ConnectionId) -> SocketId {
    SocketId { index: connection.index, generation: connection.generation }
}

impl Driver {
    /// Takes one event of the ring, if there is one.
    pub(super) fn take_event(&mut self) -> bool {
        let Some(event) = self.ring.next_event() else { return false };
        let now = self.now;
        match event {
            Event::Received { socket, bytes } => {
                let connection = connection(socket);
                self.shard.handle(Input::Received { connection, bytes }, now);
            }
            Event::Sent { socket, bytes, result } => {
                let (connection, whole) = (connection(socket), result.is_ok());
                self.shard.handle(Input::Sent { connection, bytes, whole }, now);
            }
            Event::Accepted { listener: ListenerId(number), socket, peer } => {
                let (connection, listener) = (connection(socket), Listener(number));
                self.shard.handle(Input::Accepted { connection, peer, listener }, now);
            }
            Event::Ended { socket, result } => {
                let (connection, orderly) = (connection(socket), result.is_ok());
                self.shard.handle(Input::Ended { connection, orderly }, now);
            }
            Event::AcceptFailed { error, .. } => {
                tracing::warn!(%error, "a connection could not be accepted");
            }
            Event::DescriptorSent { socket, result } => {
                let failed = result.err().map(|error| {
                    tracing::warn!(cause = %error.error, "a connection could not be moved");
                    error.address
                });
                self.on_descriptor_sent(socket, failed, now);
            }
            Event::DescriptorArrived { socket } => {
                if let Some(state) = self.handover.descriptor_arrived(socket) {
                    let connection = connection(socket);
                    self.shard.handle(Input::MovedIn { connection, state }, now);
                }
            }
            // The core has no use for a slot that is free: the next occupant is another one.
            Event::Closed { .. } => {}
            Event::Connected { .. } | Event::ConnectFailed { .. } => {
                unreachable!("the gateway connects to nobody")
            }
        }
        true
    }

    pub(super) fn receive(&mut self, connection: ConnectionId, how: Receive) {
        let socket = socket(connection);
        let received = match how {
            Receive::Once => self.ring.receive_once(socket),
            Receive::Many => self.ring.receive_many(socket),
        };
        if let Err(reason) = received {
            tracing::debug!(?connection, %reason, "not received");
        }
    }

    /// Tells a peer that its bytes have come.
    pub(super) fn acknowledge(&mut self, connection: ConnectionId) {
        // Before Linux 6.7 devices have to be patient.
        let _ = self.ring.quick_ack(socket(connection));
    }

    pub(super) fn send(&mut self, connection: ConnectionId, bytes: Vec<u8>, range: Range<usize>) {
        self.acks.sent(connection);
        if let Err(refused) = self.ring.send_part(socket(connection), bytes, range) {
            let bytes = refused.bytes;
            self.shard.handle(Input::Sent { connection, bytes, whole: false }, self.now);
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId, how: Closing) {
        let how = match how {
            Closing::Orderly => Close::Graceful,
            Closing::Reset => Close::Reset,
        };
        if let Err(reason) = self.ring.close(socket(connection), how) {
            tracing::debug!(?connection, %reason, "not closed");
        }
    }

    pub(super) fn on_mail(&mut self, from: ShardId, mail: Mail) {
        let now = self.now;
        match mail {
            Mail::Peer(message) => self.shard.handle(Input::Peer { from, message }, now),
            Mail::Reserve { move_id } => {
                if self.stop_by.is_some() {
                    return self.post(from, Mail::NoRoom { move_id });
                }
                let answer = match self.ring.reserve() {
                    Ok(Some(address)) => {
                        self.handover.expect(address.socket());
                        Mail::Reserved { move_id, address }
                    }
                    Ok(None) => Mail::NoRoom { move_id },
                    Err(error) => {
                        tracing::warn!(%error, "no slot can be kept for a connection");
                        Mail::NoRoom { move_id }
                    }
                };
                self.post(from, answer);
            }
            Mail::Reserved { move_id, address } => {
                let Some(connection) = self.handover.reserved(move_id, &address) else {
                    return self.post(from, Mail::NotComing { address });
                };
                if let Err(refused) = self.ring.send_descriptor(socket(connection), address) {
                    tracing::debug!(reason = %refused.reason, "a connection was not sent off");
                    self.post(from, Mail::NotComing { address: refused.address });
                    self.stay(connection, now);
                }
            }
            Mail::NoRoom { move_id } => {
                if let Some(departure) = self.handover.end(move_id) {
                    let (connection, state) = (departure.connection, departure.state);
                    self.shard.handle(Input::MoveRefused { connection, state }, now);
                }
            }
            Mail::NotComing { address } => {
                self.handover.not_coming(address.socket());
                if self.ring.release(address).is_err() {
                    debug_assert!(false, "a shard gives back what it was given");
                }
            }
            Mail::Arrival { socket, state } => {
                if let Some(state) = self.handover.state_arrived(socket, state) {
                    let connection = connection(socket);
                    self.shard.handle(Input::MovedIn { connection, state }, now);
                }
            }
        }
    }

    /// The descriptor is in the target's ring, or not: then its address comes back.
    fn on_descriptor_sent(
        &mut self,
        from: SocketId,
        failed: Option<shared::ring::RingAddress>,
        now: Now,
    ) {
        let here = connection(from);
        if let Some(address) = failed {
            if let Some(departure) = self.handover.end_of(here) {
                self.post(departure.to, Mail::NotComing { address });
                let state = departure.state;
                self.shard.handle(Input::MoveRefused { connection: here, state }, now);
            }
            return;
        }
        let Some(departure) = self.handover.end_of(here) else { return };
        let landing = departure.landing.expect("it was reserved before the descriptor was sent");
        self.post(departure.to, Mail::Arrival { socket: landing, state: departure.state });
        self.shard.handle(Input::Moved { connection: here }, now);
        if let Err(reason) = self.ring.close(from, Close::Detach) {
            tracing::debug!(connection = ?here, %reason, "not detached");
        }
    }

    fn stay(&mut self, connection: ConnectionId, now: Now) {
        if let Some(departure) = self.handover.end_of(connection) {
            let state = departure.state;
            self.shard.handle(Input::MoveRefused { connection, state }, now);
        }
    }

    pub(super) fn commit(&mut self, commit: CommitId, batch: Batch) {
        if let Err(reason) = self.store.try_submit(commit.0, batch) {
            tracing::warn!(%reason, "a change was not stored");
            let outcome = CommitOutcome::Refused;
            self.shard.handle(Input::Committed { commit, outcome }, self.now);
        }
    }

    pub(super) fn take_store_answers(&mut self) {
        let now = self.now;
        while let Some(answer) = self.store.next_answer() {
            match answer {
                Answer::Committed { commit_id, outcome } => {
                    if outcome == CommitOutcome::Unknown {
                        // What is in memory may differ from what is stored: start again from there.
                        tracing::error!(
                            "the store does not know whether a change was stored: stopping, so that \
                             the next start reads what was"
                        );
                        std::process::abort();
                    }
                    let commit = CommitId(commit_id);
                    self.shard.handle(Input::Committed { commit, outcome }, now);
                }
                Answer::Loaded { .. } => {
                    unreachable!("a shard loads its partitions before it starts")
                }
            }
        }
    }
}
