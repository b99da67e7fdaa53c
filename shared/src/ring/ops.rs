//! What is asked of the kernel, and the 64 bits of user data by which a completion finds back.
//!
//! [`Kernel`] is the border between the bookkeeping, which is pure, and the rings: the tests of the
//! bookkeeping put a model in its place.

use std::os::fd::RawFd;

use super::SocketId;
use super::address::{RawAddress, Route};

/// Generations count modulo this, because user data has 24 bits for them.
pub(super) const GENERATIONS: u32 = 1 << 24;

/// What kind of request a completion belongs to.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Its completion says nothing that anybody needs.
    Cancel,
    Accept,
    Receive,
    Send,
    ShutdownWrite,
    /// Shutdown or reset: the connection ends, before its slot is closed.
    End,
    Close,
    /// At the source of a move.
    SendDescriptor,
    /// At the target of a move; not a request of that ring.
    Arrival,
    Connect,
    Option,
    AcceptDelay,
    /// The eventfd was written.
    Signal,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Cancel,
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::ShutdownWrite,
        Self::End,
        Self::Close,
        Self::SendDescriptor,
        Self::Arrival,
        Self::Connect,
        Self::Option,
        Self::AcceptDelay,
        Self::Signal,
    ];
}

/// Kind and socket of a request, as they travel in the user data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) socket: SocketId,
}

impl Tag {
    /// Kind in the top 8 bits, generation in the next 24, index below.
    pub(super) fn encode(self) -> u64 {
        debug_assert!(self.socket.generation < GENERATIONS);
        u64::from(self.kind as u8) << 56
            | u64::from(self.socket.generation) << 32
            | u64::from(self.socket.index)
    }

    /// Nothing for user data that was never encoded here.
    pub(super) fn decode(user_data: u64) -> Option<Self> {
        let kind = *Kind::ALL.get((user_data >> 56) as usize)?;
        let generation = (user_data >> 32) as u32 % GENERATIONS;
        Some(Self { kind, socket: SocketId { index: user_data as u32, generation } })
    }
}

/// A request, with the memory it names. That memory stays valid until the request's last completion;
/// the bookkeeping owns it and lets go of it only then.
pub(super) enum Operation {
    /// Accept into the socket's slot.
    Accept { listener: RawFd, peer: *mut RawAddress },
    /// One receive into a buffer the kernel chooses.
    ReceiveOnce,
    /// Receives until told otherwise, each into a buffer the kernel chooses.
    ReceiveMany,
    /// Send these bytes.
    Send { bytes: *const u8, len: u32 },
    /// No more will be sent.
    ShutdownWrite,
    /// Both directions end in order; whatever is in flight completes.
    Shutdown,
    /// Both directions end with a reset; whatever is in flight completes.
    Reset,
    /// Empty the slot.
    Close,
    /// Copy the descriptor into that slot of that ring, which gets a completion with this user data.
    SendDescriptor { ring: RawFd, slot: u32, arrival: u64 },
    /// Make a socket in the slot, set its options if the kernel can, bind and connect it: one
    /// completion for all.
    Connect { route: *mut Route, options: bool },
    /// Acknowledge at once what was received.
    QuickAck,
    /// Cancel the request with this user data.
    Cancel { request: u64 },
    /// Complete when accepting may be tried again.
    AcceptDelay,
    /// Complete when this eventfd is written.
    Signal { eventfd: RawFd },
}

impl Operation {
    /// The kind its completion has.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Accept { .. } => Kind::Accept,
            Self::ReceiveOnce | Self::ReceiveMany => Kind::Receive,
            Self::Send { .. } => Kind::Send,
            Self::ShutdownWrite => Kind::ShutdownWrite,
            Self::Shutdown | Self::Reset => Kind::End,
            Self::Close => Kind::Close,
            Self::SendDescriptor { .. } => Kind::SendDescriptor,
            Self::Connect { .. } => Kind::Connect,
            Self::QuickAck => Kind::Option,
            Self::Cancel { .. } => Kind::Cancel,
            Self::AcceptDelay => Kind::AcceptDelay,
            Self::Signal { .. } => Kind::Signal,
        }
    }
}

/// What the kernel said about a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// Which of the kernel rings says so.
    pub(super) ring: u32,
    pub(super) tag: Tag,
    /// What the system call would have returned, or a negated error number.
    pub(super) result: i32,
    /// More completions of the same request will come.
    pub(super) more: bool,
    /// The buffer that the kernel took for it.
    pub(super) buffer: Option<u16>,
}

/// What the bookkeeping asks of the kernel rings.
pub(super) trait Kernel {
    /// Queues a request for this socket; it enters the kernel with the next submission. A request
    /// without a socket names [`SocketId::NONE`].
    fn push(&mut self, socket: SocketId, operation: Operation);

    /// Gives a buffer back to the kernel ring it came from.
    fn give_back(&mut self, ring: u32, buffer: u16);

    /// How many buffers that ring can still take for receives.
    fn buffers_free(&self, ring: u32) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tag_reads_back_as_it_was_written(
            nth in 0..Kind::ALL.len(), index: u32, generation in 0..GENERATIONS,
        ) {
            let tag = Tag { kind: Kind::ALL[nth], socket: SocketId { index, generation } };
            prop_assert_eq!(Tag::decode(tag.encode()), Some(tag));
        }

        #[test]
        fn any_user_data_is_a_tag_or_none(user_data: u64) {
            if let Some(tag) = Tag::decode(user_data) {
                prop_assert_eq!(tag.encode(), user_data);
            }
        }
    }

    #[test]
    fn kinds_are_numbered_in_order() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
