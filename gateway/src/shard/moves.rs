//! Connections on their way to the shard of their user.
//!
//! A connection moves when everything that was sent to it is out, and before anything else is
//! received: nothing is in flight then. It takes the request that named the user along, which is
//! answered where it arrives.

use super::Shard;
use super::admission::Bound;
use super::input::Output;
use crate::connection::moving::Moving;
use crate::connection::{CloseReason, Connection, ConnectionId, Phase};
use crate::reject::Reject;
use shared::coap::{Frame, Framed};
use shared::ids::ShardId;
use shared::record::RECORD_BYTES_MAX;

use super::wire::Requester;

impl Shard {
    /// A connection belongs to another shard. It goes as soon as its sends have ended.
    pub(super) fn begin_move(&mut self, id: ConnectionId, to: ShardId) {
        self.router.wire.set_phase(id, Phase::Moving { to });
        self.schedule(id);
    }

    /// Sends a connection off if it is to move and nothing of it is under way. Not before everything
    /// that was received with the request is kept: it goes along.
    pub(super) fn move_if_idle(&mut self, id: ConnectionId) {
        let until = self.now.instant + self.router.timers.not_signed_in;
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        let Phase::Moving { to } = connection.phase else { return };
        if connection.output.is_idle() && !connection.is_gone() {
            let uploads = self.router.wire.transfers.take_uploads(id);
            let state = Box::new(Moving::take(connection, uploads, until));
            self.outputs.push_back(Output::Move { connection: id, to, state });
        }
    }

    /// A connection has left for good: its slot here is free.
    pub(super) fn on_moved(&mut self, id: ConnectionId) {
        if self.router.wire.remove(id).is_some() {
            self.counters.moved_out += 1;
            self.deadlines.clear(id.index);
        }
    }

    /// A connection could not go: it stays open here, and is told to come again.
    pub(super) fn on_move_refused(&mut self, id: ConnectionId, mut state: Moving) {
        if self.router.wire.remove(id).is_none() {
            return;
        }
        let uploads = state.take_uploads();
        self.put_in(id, state.come_back(id));
        self.router.wire.transfers.give_uploads(id, uploads);
        self.refuse_waiting(id);
        self.on_text(id, &[]);
        self.receive_again(id);
        self.move_if_idle(id);
    }

    /// The request that wanted to go is answered here, what follows it is served as usual.
    fn refuse_waiting(&mut self, id: ConnectionId) {
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        let Some(input) = &mut connection.input else { return };
        if let Ok(Framed::Whole(frame, len)) = Frame::parse(&input.text, RECORD_BYTES_MAX) {
            let requester = Requester::new(id, frame.token);
            input.text.drain(..len);
            self.router.wire.refuse(&requester, &Reject::unavailable("try again"));
        }
    }

    /// A connection arrives, with the request that brings it here.
    pub(super) fn on_moved_in(&mut self, id: ConnectionId, mut state: Moving) {
        self.counters.moved_in += 1;
        let uploads = state.take_uploads();
        self.put_in(id, state.into_connection(id));
        self.router.wire.transfers.give_uploads(id, uploads);
        // The shard that it comes from may have had older revocation lists.
        self.check_trust(id);
        self.on_text(id, &[]);
        self.receive_again(id);
        self.move_if_idle(id);
    }

    fn put_in(&mut self, id: ConnectionId, connection: Connection) {
        if self.is_full() {
            self.tell_of_bound(Bound::Connections);
            return self.turn_away(id, CloseReason::Overloaded);
        }
        self.router.wire.connections.insert(id, connection);
        self.schedule(id);
        self.drain_too(id);
    }
}
