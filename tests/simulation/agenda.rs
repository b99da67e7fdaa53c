//! What happens when. Of two things at the same time the one that was entered first comes first.

use std::collections::BTreeMap;

use gateway::connection::ConnectionId;
use gateway::shard::{ChannelId, PeerMessage};
use shared::channel::events::{Delivery, Outcome};
use shared::channel::message::{CommandEnvelope, ReplyEnvelope};
use shared::coap::{Code, Token};
use shared::ids::{ShardId, SubscriptionId, UserId};
use shared::time::Instant;

/// Names a link for as long as the simulation runs.
pub(super) type LinkId = usize;

/// Something that is going to happen. What belongs to a process of the gateway says to which, and
/// does not happen when that has died.
pub(super) enum Event {
    /// Bytes of a peer reach the cloud.
    Arrives { link: LinkId, bytes: Vec<u8> },
    /// The end of a peer's stream reaches the cloud.
    PeerGone { link: LinkId, orderly: bool },
    /// A socket that receives is read.
    Read { epoch: u64, node: usize, connection: ConnectionId },
    /// A send of the cloud has ended.
    Sent { epoch: u64, node: usize, connection: ConnectionId },
    /// The bytes up to here reach the peer.
    Delivered { link: LinkId, upto: u64 },
    /// The end of the cloud's stream reaches the peer.
    CloudGone { link: LinkId },
    /// A message reaches another shard.
    Mail { epoch: u64, from: ShardId, to: ShardId, message: Box<PeerMessage> },
    /// A connection on its way to another shard arrives, or is turned back.
    MoveEnds { epoch: u64 },
    /// The first of the waiting commits ends.
    CommitEnds { epoch: u64 },
    /// A peer does the next thing.
    Wake { peer: usize },
    /// A device sends an answer that it has put off.
    Answer { link: LinkId, late: Late },
    /// An `api` process does the next thing.
    PartnerWakes { partner: usize },
    /// A command reaches its shard.
    Command { epoch: u64, channel: ChannelId, envelope: Box<CommandEnvelope> },
    /// A reply reaches its `api` process.
    Reply { channel: ChannelId, envelope: Box<ReplyEnvelope> },
    /// A notification reaches its `api` process, which makes an attempt.
    Delivery { channel: ChannelId, delivery: Box<Delivery> },
    /// An attempt has ended.
    Attempted { channel: ChannelId, attempt: Attempt },
    /// The gateway begins to stop; it is killed at the end.
    Stop,
    /// The gateway is killed.
    Crash,
    /// The gateway starts.
    Start,
    /// The wall clock is set.
    ClockStep,
    /// Nothing new begins from now on, and nothing goes wrong.
    Calm,
    /// Everybody is back, and looks at everything once more.
    Return,
    /// From now on nothing changes any more that anybody has to be told.
    Settle,
    /// What everybody has seen is compared, and everybody leaves.
    Compare,
    /// Nothing is left.
    Rest,
}

/// An attempt to deliver a notification, and how it ended.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    pub(super) user: UserId,
    pub(super) id: SubscriptionId,
    pub(super) number: u64,
    pub(super) outcome: Outcome,
}

/// An answer that a device has put off: what it says is what is so when it is sent.
#[derive(Clone, Copy)]
pub(super) struct Late {
    pub(super) token: Token,
    pub(super) code: Code,
    pub(super) href: usize,
    pub(super) nonce: u64,
}

#[derive(Default)]
pub(super) struct Agenda {
    events: BTreeMap<(Instant, u64), Event>,
    entered: u64,
}

impl Agenda {
    pub(super) fn enter(&mut self, at: Instant, event: Event) {
        self.entered += 1;
        self.events.insert((at, self.entered), event);
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.events.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        self.events.pop_first().map(|(_, event)| event)
    }
}
