//! What shards send each other, over glommio's shared channels: one each way between any two.

use std::collections::VecDeque;

use glommio::channels::shared_channel::{
    ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use glommio::{GlommioError, ResourceType};
use shared::ids::ShardId;
use shared::ring::{RingAddress, SocketId};

use super::handover::MoveId;
use crate::connection::moving::Moving;
use crate::shard::PeerMessage;

/// Letters that may be under way between two shards. More wait at the sender.
const UNDER_WAY_MAX: usize = 4096;

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

/// The ends of the channels of one shard, before they are connected.
pub struct PostOffice {
    /// To every other shard.
    pub senders: Vec<(ShardId, SharedSender<Mail>)>,
    /// From every other shard.
    pub receivers: Vec<(ShardId, SharedReceiver<Mail>)>,
}

/// One post office for each shard.
pub fn post_offices(shards: u16) -> Vec<PostOffice> {
    let empty = || PostOffice { senders: Vec::new(), receivers: Vec::new() };
    let mut offices: Vec<_> = (0..shards).map(|_| empty()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (sender, receiver) = new_bounded(UNDER_WAY_MAX);
            offices[usize::from(from)].senders.push((ShardId(to), sender));
            offices[usize::from(to)].receivers.push((ShardId(from), receiver));
        }
    }
    offices
}

/// The way to one other shard. What does not fit into the channel waits here; its length is bounded
/// by the moves and claims that a shard has under way.
pub struct Outbox {
    to: ShardId,
    sender: ConnectedSender<Mail>,
    waiting: VecDeque<Mail>,
}

impl Outbox {
    /// Over this channel.
    pub fn new(to: ShardId, sender: ConnectedSender<Mail>) -> Self {
        Self { to, sender, waiting: VecDeque::new() }
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

    /// Sends what waits, as far as there is room. Returns whether something still waits.
    pub fn flush(&mut self) -> bool {
        while let Some(mail) = self.waiting.pop_front() {
            match self.sender.try_send(mail) {
                Ok(()) => {}
                Err(GlommioError::WouldBlock(ResourceType::Channel(mail))) => {
                    self.waiting.push_front(mail);
                    return true;
                }
                // The other shard has stopped, and so will this one.
                Err(_) => self.waiting.clear(),
            }
        }
        false
    }
}
