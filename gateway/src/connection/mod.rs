//! One transport: bytes in, messages out; messages in, bytes out.
//!
//! ```text
//! handshake ─► open ─► signed in ─► closing
//!     tls        │         ▲
//!                └─ moving ┘  to the shard of the user, before the first sign-in
//! ```
//!
//! [`tls`] is rustls until the handshake is over, [`hello`] what a peer offered when it fails, [`tickets`] what lets the next one be short, [`send_buffer`] what waits for the peer to read,
//! [`signaling`] CSM, Ping, Release and Abort, [`exchanges`] our requests awaiting a response,
//! [`moving`] a connection on its way to another shard, [`close`] every way a connection ends.

pub mod close;
pub mod exchanges;
pub mod hello;
pub mod moving;
pub mod send_buffer;
pub mod signaling;
pub mod table;
pub mod tickets;
pub mod tls;

use std::net::SocketAddr;

use shared::coap::block::BERT;
use shared::ids::{DeviceId, ShardId};
use shared::time::Instant;

use crate::config::{Limits, Timers};
use crate::identity::Verified;
use crate::limits::{OPEN_FRAME_BYTES_MAX, PONG, SEND};
use crate::session::Session;
use crate::shard::Listener;

pub use close::CloseReason;
pub use table::Connections;

/// A transport: the slot of its socket, and which occupant of the slot is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// Slot of the socket, dense from 0.
    pub index: u32,
    /// Counts the occupants of the slot.
    pub generation: u32,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The TLS handshake is under way.
    Handshake {
        /// It has to be over by then.
        until: Instant,
    },
    /// May sign up, sign in and refresh.
    Open {
        /// Closed then, unless it has signed in.
        until: Instant,
    },
    /// Waits for its sends to end, then goes to this shard.
    Moving {
        /// The shard of the user that the waiting request names.
        to: ShardId,
    },
    /// Signed in: everything is allowed.
    SignedIn,
    /// Only what is queued still goes out.
    Closing {
        /// Closed then at the latest.
        until: Instant,
        /// Closed as soon as everything is out.
        when_sent: bool,
        /// Why.
        reason: CloseReason,
    },
}

/// What the peer announced in its CSM (RFC 8323 §5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerCapabilities {
    /// Max-Message-Size in bytes; none without a CSM that said so.
    pub max_message_size: Option<u32>,
    /// Block-Wise-Transfer.
    pub block_wise_transfer: bool,
    /// It has sent a CSM, whatever that said: most devices never do.
    pub has_said_csm: bool,
}

impl PeerCapabilities {
    /// The largest message that the peer takes, in bytes. One without a CSM is assumed to be the most
    /// frequent device stack, not RFC 8323's base value of 1152 (device reference 16, point 4).
    pub fn message_bytes_max(self, payload_bytes_assumed: u32) -> usize {
        self.max_message_size.unwrap_or(payload_bytes_assumed) as usize
    }

    /// The largest size exponent of blocks that the peer takes: BERT when it announces blocks and
    /// more than the base value (RFC 8323 §6).
    pub fn szx_max(self) -> u8 {
        let takes_bert = self.block_wise_transfer && self.max_message_size > Some(1152);
        if takes_bert { BERT } else { 6 }
    }
}

/// Bytes that were received and cannot be processed yet.
#[derive(Default)]
pub struct Unprocessed {
    /// The beginning of a TLS record.
    pub records: Vec<u8>,
    /// Text: the beginning of a frame, or frames that wait for a staged change or a move.
    pub text: Vec<u8>,
}

/// A connection.
pub struct Connection {
    /// Which occupant of its slot.
    pub generation: u32,
    /// How far it is.
    pub phase: Phase,
    /// Who is signed in on it.
    pub session: Session,
    /// TLS.
    pub transport: tls::Transport,
    /// Who the peer has proved to be, and by what; known once the handshake is over.
    pub identity: Option<Box<Verified>>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Where it was accepted.
    pub listener: Listener,
    /// What the peer takes.
    pub capabilities: PeerCapabilities,
    /// What waits for the peer to read it.
    pub output: send_buffer::Outgoing,
    /// What was received and waits.
    pub input: Option<Box<Unprocessed>>,
    /// Waits for a staged change: nothing of it is processed before that ends.
    pub parked: bool,
    /// Receives in many buffers at a time: it has been signed in, so it never moves again.
    pub settled: bool,
    /// How often it has moved.
    pub moves: u8,
    /// When bytes last came in.
    pub heard: Instant,
    /// A Ping of ours is unanswered since then.
    pub pinged: Option<Instant>,
    /// Requests of this peer that are under way: towards devices or the store.
    pub requests: u16,
    /// First observation that this peer has made.
    pub observations: Option<crate::observe::ObserverKey>,
    /// How many they are.
    pub observation_count: u16,
    /// First exchange of ours with this peer.
    pub exchanges: Option<exchanges::ExchangeKey>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn accepted(
        id: ConnectionId,
        peer: SocketAddr,
        listener: Listener,
        handshake: tls::Handshake,
        now: Instant,
        timers: &Timers,
    ) -> Self {
        Self {
            generation: id.generation,
            phase: Phase::Handshake { until: now + timers.handshake },
            session: Session::SignedOut,
            transport: tls::Transport::Handshake(Box::new(handshake)),
            identity: None,
            peer,
            listener,
            capabilities: PeerCapabilities::default(),
            output: send_buffer::Outgoing::default(),
            input: None,
            parked: false,
            settled: false,
            moves: 0,
            heard: now,
            pinged: None,
            requests: 0,
            observations: None,
            observation_count: 0,
            exchanges: None,
        }
    }

    /// The device id that the peer's certificate proves, if it proves one.
    pub fn bound_device(&self) -> Option<DeviceId> {
        self.identity.as_ref().and_then(|identity| identity.peer.bound_device())
    }

    /// Largest frame that is received on it now, in bytes.
    pub fn message_bytes_max(&self, limits: &Limits) -> usize {
        match self.session {
            Session::SignedOut => OPEN_FRAME_BYTES_MAX,
            Session::SignedIn(_) => limits.frame_bytes_max as usize,
        }
    }

    /// Whether it has been taken apart to move.
    pub fn is_gone(&self) -> bool {
        matches!(self.transport, tls::Transport::Gone)
    }

    /// Whether requests of the peer are still served.
    pub fn is_served(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::SignedIn) && !self.parked
    }

    /// Whether everything has been said to the peer, the TLS goodbye last.
    pub fn has_said_goodbye(&self) -> bool {
        matches!(self.phase, Phase::Closing { when_sent: true, .. })
    }

    /// Whether the peer has said Release, and may still be owed answers.
    pub fn is_released(&self) -> bool {
        let released = CloseReason::PeerReleased;
        matches!(self.phase, Phase::Closing { reason, when_sent: false, .. } if reason == released)
    }

    /// When something has to be done about it if nothing happens before.
    pub fn due(&self, timers: &Timers) -> Instant {
        let phase = match self.phase {
            Phase::Handshake { until } | Phase::Open { until } | Phase::Closing { until, .. } => {
                until
            }
            Phase::Moving { .. } => self.heard + timers.idle,
            Phase::SignedIn => match self.pinged {
                Some(pinged) => (pinged + PONG).min(self.heard + timers.idle),
                None => self.heard + timers.ping_after.min(timers.idle),
            },
        };
        match self.output.sending_since() {
            Some(since) => phase.min(since + SEND),
            None => phase,
        }
    }
}

#[cfg(all(test, not(feature = "whole-tls")))]
mod tests {
    use super::*;

    /// An idle connection is nothing but this, and some bytes that say who its peer is.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 300, "{}", size_of::<Connection>());
    }
}
