//! What goes into a shard and what comes out: closed lists.

use std::net::SocketAddr;
use std::ops::Range;

use shared::channel::events::Delivery;
use shared::channel::message::{CommandEnvelope, ReplyEnvelope};
use shared::ids::{DeviceId, ShardId, SubscriptionId, UserId};

use super::admission::Bound;
use super::claims::{ClaimOutcome, EvictOutcome, Takeover};
use crate::connection::close::Closing;
use crate::connection::moving::Moving;
use crate::connection::tickets::TicketKeys;
use crate::connection::tls::{Acceptor, TlsError};
use crate::connection::{CloseReason, ConnectionId};
use crate::events::Ending;
use crate::store::{Batch, CommitOutcome};

/// Number of a listening address, in the order of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener(pub u8);

/// Number of a channel to an `api` process; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelId(pub u64);

/// Number of a commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommitId(pub u64);

/// What happens to a shard.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and none is kept")]
pub enum Input<'a> {
    /// A socket was accepted.
    Accepted {
        /// Its slot.
        connection: ConnectionId,
        /// The other end.
        peer: SocketAddr,
        /// Where.
        listener: Listener,
    },
    /// Bytes came in; they are decrypted in place.
    Received {
        /// Where.
        connection: ConnectionId,
        /// As one receive returned them.
        bytes: &'a mut [u8],
    },
    /// A send has ended.
    Sent {
        /// Where.
        connection: ConnectionId,
        /// The buffer.
        bytes: Vec<u8>,
        /// Whether everything went out.
        whole: bool,
    },
    /// The other end closed its side, or the network lost it.
    Ended {
        /// Which connection.
        connection: ConnectionId,
        /// Which of the two.
        orderly: bool,
    },
    /// There is time for one step of a handshake.
    Handshake,
    /// A connection arrives from another shard.
    MovedIn {
        /// Its slot here.
        connection: ConnectionId,
        /// Everything else of it.
        state: Box<Moving>,
    },
    /// A connection has arrived at the shard that it was sent to.
    Moved {
        /// Its slot here.
        connection: ConnectionId,
    },
    /// The shard that a connection was sent to has no room for it.
    MoveRefused {
        /// Its slot here.
        connection: ConnectionId,
        /// Everything else of it.
        state: Box<Moving>,
    },
    /// Another shard has something to say.
    Peer {
        /// Which.
        from: ShardId,
        /// What.
        message: PeerMessage,
    },
    /// An `api` process asks for something.
    Command {
        /// On which channel.
        channel: ChannelId,
        /// What.
        envelope: CommandEnvelope,
    },
    /// An `api` process is gone.
    ChannelClosed {
        /// Its channel.
        channel: ChannelId,
    },
    /// A commit has ended.
    Committed {
        /// Which.
        commit: CommitId,
        /// How.
        outcome: CommitOutcome,
    },
    /// There are another certificate, other anchors and revocation lists.
    Renewed {
        /// TLS from now on.
        acceptor: Box<Acceptor>,
    },
    /// Time has passed.
    Tick,
    /// The gateway is stopping: say Release to the peers, spread over some time.
    Drain {
        /// Seconds.
        over_secs: u32,
    },
}

/// What a shard wants done.
pub enum Output {
    /// Receive on this connection.
    Receive {
        /// Where.
        connection: ConnectionId,
        /// One buffer, or one after the other.
        how: Receive,
    },
    /// Tell the peer soon that its bytes have come, unless something is sent to it first. Real devices
    /// hold back the second of two messages until then, and the system would wait some 40 ms for an
    /// answer to send it with (device reference 1.3, rule 16).
    Acknowledge {
        /// Where.
        connection: ConnectionId,
    },
    /// Send this part of a buffer, and say when it is done. The buffer comes back with
    /// [`Input::Sent`], whatever happens.
    Send {
        /// Where.
        connection: ConnectionId,
        /// The buffer.
        bytes: Vec<u8>,
        /// The part.
        range: Range<usize>,
    },
    /// Close the socket; its slot may be used again.
    Close {
        /// Which.
        connection: ConnectionId,
        /// How.
        how: Closing,
    },
    /// A connection has ended: for the log.
    Ended {
        /// The other end.
        peer: SocketAddr,
        /// The device that was signed in on it.
        device: Option<DeviceId>,
        /// Why.
        reason: CloseReason,
    },
    /// TLS failed on a connection: for the log.
    TlsFailed {
        /// The other end.
        peer: SocketAddr,
        /// What TLS says about it.
        error: TlsError,
    },
    /// A device has come with another key than that of its sign-up: for the log.
    KeyChanged {
        /// Which device.
        device: DeviceId,
    },
    /// A new connection is turned away, or another one for its sake: for the log, once a minute.
    Full {
        /// The bound that is reached.
        bound: Bound,
    },
    /// Bring a connection to another shard.
    Move {
        /// Its slot here.
        connection: ConnectionId,
        /// The shard.
        to: ShardId,
        /// Everything else of it.
        state: Box<Moving>,
    },
    /// Tell another shard.
    Peer {
        /// Which.
        to: ShardId,
        /// What.
        message: PeerMessage,
    },
    /// Make this durable, after everything that was committed before.
    Commit {
        /// The number under which it comes back.
        commit: CommitId,
        /// The changes.
        batch: Batch,
    },
    /// Hand a notification to an `api` process, which says what comes of it.
    Delivery {
        /// On which channel.
        channel: ChannelId,
        /// It.
        delivery: Box<Delivery>,
    },
    /// A subscription is ending: for the log.
    SubscriptionEnded {
        /// Which.
        id: SubscriptionId,
        /// Why.
        why: Ending,
    },
    /// Answer a command.
    Reply {
        /// On which channel.
        channel: ChannelId,
        /// What.
        envelope: Box<ReplyEnvelope>,
    },
}

/// How to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    /// One buffer. The connection may still move, so nothing may be under way when it does.
    Once,
    /// One buffer after the other, until the connection ends.
    Many,
}

/// What shards say to each other about device ids. Messages between two shards keep their order.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// To the shard of the device id: this user's shard is about to give the device an account.
    Claim {
        /// Returned with the answer.
        transaction: u64,
        /// The device id.
        device: DeviceId,
        /// Who wants it.
        user: UserId,
        /// Whether another user has to yield.
        takeover: Takeover,
    },
    /// The answer to [`Self::Claim`].
    Claimed {
        /// Of the question.
        transaction: u64,
        /// Whether the claim is durable.
        outcome: ClaimOutcome,
    },
    /// To the shard of the user who has claimed the device: somebody else wants it.
    Evict {
        /// Returned with the answer.
        transaction: u64,
        /// The device id.
        device: DeviceId,
        /// Who has it, as far as is known.
        user: UserId,
        /// Whether that user has to yield.
        takeover: Takeover,
    },
    /// The answer to [`Self::Evict`].
    Evicted {
        /// Of the question.
        transaction: u64,
        /// Whether the account is gone.
        outcome: EvictOutcome,
    },
    /// From the shard of partition 0: the keys that session tickets are made with from now on.
    TicketKeys(TicketKeys),
    /// To the shard of the device id: the account is gone, and with it the reason for the claim.
    Unclaim {
        /// The device id.
        device: DeviceId,
        /// Who had it.
        user: UserId,
    },
}
