//! A connection from shard to shard: the descriptor by the device ring, the rest by mail.
//!
//! ```text
//! source                                target
//!   │ ── Reserve ───────────────────────► │ keeps a slot
//!   │ ◄─ Reserved(address) or NoRoom ──── │
//!   │ ── descriptor, by MSG_RING ───────► │
//!   │ ── Arrival(slot, state) ──────────► │ either may come first; both make a connection
//!   │ closes its own slot                 │
//! ```
//!
//! What fails leaves the connection where it was.

use std::collections::BTreeMap;

use shared::ids::ShardId;
use shared::ring::{RingAddress, SocketId};

use super::mail::Mail;
use crate::connection::ConnectionId;
use crate::connection::moving::Moving;

/// Names a move between two shards; never used twice by its source.
pub type MoveId = u64;

/// A connection that is leaving.
pub struct Departure {
    /// Its slot here.
    pub connection: ConnectionId,
    /// Where it goes.
    pub to: ShardId,
    /// Everything but the descriptor.
    pub state: Box<Moving>,
    /// The slot there, once the target has named it.
    pub landing: Option<SocketId>,
}

/// What has come of a connection that is arriving.
#[derive(Default)]
struct Arriving {
    descriptor: bool,
    state: Option<Box<Moving>>,
}

/// The moves of a shard.
#[derive(Default)]
pub struct Handover {
    last: MoveId,
    departures: BTreeMap<MoveId, Departure>,
    /// The moves by the slots of their connections here.
    leaving: BTreeMap<ConnectionId, MoveId>,
    arriving: BTreeMap<SocketId, Arriving>,
}

impl Handover {
    /// A connection wants to leave. Returns what to ask the target.
    pub fn depart(&mut self, connection: ConnectionId, to: ShardId, state: Box<Moving>) -> Mail {
        self.last += 1;
        self.leaving.insert(connection, self.last);
        let departure = Departure { connection, to, state, landing: None };
        self.departures.insert(self.last, departure);
        Mail::Reserve { move_id: self.last }
    }

    /// The target has kept a slot: the descriptor may be sent. None when the move is unknown.
    pub fn reserved(&mut self, move_id: MoveId, address: &RingAddress) -> Option<ConnectionId> {
        let departure = self.departures.get_mut(&move_id)?;
        departure.landing = Some(address.socket());
        Some(departure.connection)
    }

    /// Ends the move of this connection, however it went.
    pub fn end_of(&mut self, connection: ConnectionId) -> Option<Departure> {
        let move_id = self.leaving.remove(&connection)?;
        self.departures.remove(&move_id)
    }

    /// Ends a move.
    pub fn end(&mut self, move_id: MoveId) -> Option<Departure> {
        let departure = self.departures.remove(&move_id)?;
        self.leaving.remove(&departure.connection);
        Some(departure)
    }

    /// A slot is kept for a connection that is going to arrive.
    pub fn expect(&mut self, socket: SocketId) {
        self.arriving.insert(socket, Arriving::default());
    }

    /// The source does not need the slot.
    pub fn not_coming(&mut self, socket: SocketId) {
        self.arriving.remove(&socket);
    }

    /// The descriptor has arrived. Returns the rest if that is here already.
    pub fn descriptor_arrived(&mut self, socket: SocketId) -> Option<Box<Moving>> {
        self.arriving.get_mut(&socket)?.descriptor = true;
        self.complete(socket)
    }

    /// Everything else has arrived. Returns it if the descriptor is here already.
    pub fn state_arrived(&mut self, socket: SocketId, state: Box<Moving>) -> Option<Box<Moving>> {
        self.arriving.get_mut(&socket)?.state = Some(state);
        self.complete(socket)
    }

    fn complete(&mut self, socket: SocketId) -> Option<Box<Moving>> {
        let arriving = self.arriving.get_mut(&socket)?;
        if !arriving.descriptor {
            return None;
        }
        let state = arriving.state.take()?;
        self.arriving.remove(&socket);
        Some(state)
    }
}
