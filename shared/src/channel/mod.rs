//! The shard channel: what an `api` process and the shards of a gateway say to each other.
//!
//! ```text
//! api ── Unix socket ──► gateway     introduction, once; then the socket only tells who is gone
//! api ══ ring ══► shard              CommandEnvelope     ┐ one pair of rings per
//! api ◄══ ring ══ shard              ReplyEnvelope       ┘ (api process, shard), in one memfd
//! api ── doorbell ──► shard          only when the shard sleeps
//! api ◄── bell ── any shard          only when the api process sleeps
//!
//! memfd   │ control of commands │ control of replies │ data of commands, 2^n B │ data of replies, 2^n B │
//! control │ published │ consumed │ asleep │        each on cache lines of its own
//! data    │ length │ archive │ length │ archive │ …  in words, going round the end
//! ```
//!
//! Reading order: [`message`], what is said, with [`authorization`], [`events`] and [`figures`]; `ring`, how bytes get across; `region`, the memory they
//! are in; `codec`, messages to bytes; `end`, the two ends as gateway and `api` use them;
//! `doorbell`; `link`, the introduction, over `socket`, by what `welcome` says; `peer`, who may.
//!
//! Who speaks when: `api` sends a [`message::Command`] in a [`message::CommandEnvelope`] with a
//! request number of its own; the shard answers every command with exactly one [`message::Reply`] of
//! the same number, in any order. To a process that said [`events::EventsCommand::Deliver`] it also
//! sends notifications to be delivered, under [`message::NO_COMMAND`]. There is one pair of rings per (api process, shard), and one thread
//! at each end of it, so neither side ever waits for a lock, or for the other: a full ring is an
//! error for whoever wants to send.
//!
//! What a lost link means: when the socket hangs up, the gateway drops the ends and forgets the
//! commands under way; `api` answers 503 to whoever waits and reconnects with back-off. Commands may
//! have been carried out without their reply having been read. A [`ChannelError`] of one end of the
//! gateway closes the socket, and with it the whole link to that `api` process, and nothing else.
//!
//! Invariants: neither side trusts the other's indices, lengths, bytes or descriptors. Whatever the
//! other process does, what it costs is an error, a late wake-up or a system call, never a panic, a
//! wait, undefined behaviour or more memory than twice [`message::MESSAGE_BYTES_MAX`] per end. Bytes are
//! copied out of shared memory before they are validated. What nobody can be protected from is whoever
//! shares his eventfd: an `api` process can read a shard's doorbell, which steals a wake-up, or fill
//! it, which holds up the others that ring until the shard wakes. A gateway that wants to contain even
//! that gives every `api` process doorbells of its own.

pub mod message;

pub mod authorization;

pub mod events;

pub mod figures;

#[cfg_attr(
    all(loom, not(test)),
    expect(dead_code, reason = "models use the ring alone, without the memory and the ends")
)]
mod ring;

#[cfg(not(loom))]
mod region;

#[cfg(not(loom))]
mod codec;

#[cfg(not(loom))]
mod doorbell;

#[cfg(not(loom))]
mod end;

#[cfg(not(loom))]
mod link;

#[cfg(not(loom))]
mod socket;

#[cfg(not(loom))]
mod welcome;

#[cfg(not(loom))]
mod peer;

#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use ring::Corruption;

#[cfg(not(loom))]
pub use self::{
    doorbell::Bell,
    end::{ApiEnd, GatewayEnd, Rest, SendError},
    link::{ApiLink, InvalidOffer, LinkError, Offer, introduce, refuse, welcome},
    peer::{Allowed, Peer},
    region::{NotARingSize, RegionError, RingBytes},
    socket::is_lost,
    welcome::Refusal,
};

/// Why a channel is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side broke the rules of the rings.
    #[error("the other side of the shard channel is corrupt: {0}")]
    Corrupt(Corruption),
    /// The other side does not exist any more.
    #[error("the other side of the shard channel is gone")]
    PeerGone,
    /// The other side can't be woken.
    #[error("the doorbell of the shard channel fails: {0}")]
    Doorbell(rustix::io::Errno),
}
