//! Messages to archives and back: the only bytes that ever stand in a ring.

use rkyv::rancor::Failure;
use rkyv::ser::{Positional, Writer};

use super::message::{CommandEnvelope, MESSAGE_BYTES_MAX, ReplyEnvelope};

/// The archive would have more than [`MESSAGE_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLarge;

/// What can be sent through a ring.
pub(super) trait Message: Sized {
    /// Leaves the archive in `buffer`, and nothing else. Allocates nothing once the buffer, and
    /// rkyv's scratch space of this thread, are large enough.
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<(), TooLarge>;

    /// Validates the bytes, then makes a value of them; none when they are no archive of this type.
    ///
    /// What it allocates is bounded by a small multiple of the bytes: every part of a valid archive
    /// has bytes of its own.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! message {
    ($type:ty) => {
        impl Message for $type {
            fn encode(&self, buffer: &mut Vec<u8>) -> Result<(), TooLarge> {
                buffer.clear();
                let written = rkyv::api::high::to_bytes_in(self, Bounded(buffer));
                written.map(drop).map_err(|Failure| TooLarge)
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                rkyv::from_bytes::<Self, Failure>(bytes).ok()
            }
        }
    };
}

message!(CommandEnvelope);
message!(ReplyEnvelope);

/// Stops at the largest message, instead of growing with whatever it is given.
struct Bounded<'b>(&'b mut Vec<u8>);

impl Positional for Bounded<'_> {
    fn pos(&self) -> usize {
        self.0.len()
    }
}

impl Writer<Failure> for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > MESSAGE_BYTES_MAX - self.0.len() {
            return Err(Failure);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
