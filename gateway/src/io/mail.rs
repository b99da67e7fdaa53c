//! What shards send each other: a letter box for each, and a doorbell.
//!
//! glommio's channels are not used: they are looked into when their executor enters its own ring, and
//! a shard under load has no reason to for a tenth of a second.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use shared::ids::ShardId;
use shared::ring::{Doorbell, RingAddress, SocketId};

use super::handover::MoveId;
use crate::connection::moving::Moving;
use crate::shard::PeerMessage;

/// Letters that a box holds. More wait at their senders.
const LETTERS_MAX: usize = 4096;

/// A letter.
pub enum Mail {
    /// For the core.
    Peer(PeerMessage),
    /// Keep a slot for a connection.
    Reserve {
        /// The move.
        move_id: MoveId,
    },
    /// This slot is kept.
    Reserved {
        /// The move.
        move_id: MoveId,
        /// The slot.
        address: RingAddress,
    },
    /// No slot can be kept.
    NoRoom {
        /// The move.
        move_id: MoveId,
    },
    /// The slot is not needed after all.
    NotComing {
        /// The slot.
        address: RingAddress,
    },
    /// Everything of a connection but the descriptor.
    Arrival {
        /// The slot that the descriptor is in.
        socket: SocketId,
        /// The rest.
        state: Box<Moving>,
    },
}

/// A letter and who wrote it.
pub type Letter = (ShardId, Mail);

/// The letter boxes of all shards, in their order: where letters are put in, and where taken out.
pub fn letter_boxes(shards: u16) -> (Vec<SyncSender<Letter>>, Vec<Receiver<Letter>>) {
    (0..shards).map(|_| sync_channel(LETTERS_MAX)).unzip()
}

/// The way to one other shard. What does not fit into its letter box waits here; its length is
/// bounded by the moves and claims that a shard has under way.
pub struct Outbox {
    from: ShardId,
    to: ShardId,
    letter_box: SyncSender<Letter>,
    doorbell: Doorbell,
    waiting: VecDeque<Mail>,
}

impl Outbox {
    /// From one shard to another.
    pub fn new(
        from: ShardId,
        to: ShardId,
        letter_box: SyncSender<Letter>,
        doorbell: Doorbell,
    ) -> Self {
        Self { from, to, letter_box, doorbell, waiting: VecDeque::new() }
    }

    /// Where it leads.
    pub fn to(&self) -> ShardId {
        self.to
    }

    /// Sends a letter behind those that wait.
    pub fn post(&mut self, mail: Mail) {
        self.waiting.push_back(mail);
        self.flush();
    }

    /// Whether something found no room.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        while let Some(mail) = self.waiting.pop_front() {
            match self.letter_box.try_send((self.from, mail)) {
                Ok(()) => self.doorbell.ring(),
                Err(TrySendError::Full((_, mail))) => {
                    return self.waiting.push_front(mail);
                }
                // The other shard has stopped, and so will this one.
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }
}
