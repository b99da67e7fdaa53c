//! Messages to archives and back: the only bytes that ever stand in a ring.

use rkyv::rancor::Failure;
use rkyv::ser::{Positional, Writer};

use super::message::{CommandEnvelope, ReplyEnvelope};
use super::ring::{Memory, Refused, Slot};

/// What can be sent through a ring.
pub(super) trait Message: Sized {
    /// Writes the archive. Allocates nothing once the thread's scratch space is large enough.
    fn encode(&self, writer: impl Writer<Failure>) -> Result<(), Failure>;

    /// Validates the bytes, then makes a value of them; none when they are no archive of this type.
    ///
    /// What it allocates is bounded by a small multiple of the bytes: every part of a valid archive
    /// has bytes of its own.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! message {
    ($type:ty) => {
        impl Message for $type {
            fn encode(&self, writer: impl Writer<Failure>) -> Result<(), Failure> {
                rkyv::api::high::to_bytes_in(self, writer).map(drop)
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                rkyv::from_bytes::<Self, Failure>(bytes).ok()
            }
        }
    };
}

message!(CommandEnvelope);
message!(ReplyEnvelope);

/// Puts what rkyv writes into a slot, and remembers why it could not.
pub(super) struct SlotWriter<'s, 'p, M: Memory> {
    slot: &'s mut Slot<'p, M>,
    refused: Option<Refused>,
}

impl<'s, 'p, M: Memory> SlotWriter<'s, 'p, M> {
    /// Writes the archive of a message.
    pub(super) fn write(slot: &'s mut Slot<'p, M>, message: &impl Message) -> Result<(), Refused> {
        let mut writer = Self { slot, refused: None };
        let encoded = message.encode(&mut writer);
        // By itself rkyv fails only where a message outgrows its 31-bit offsets.
        encoded.map_err(|Failure| writer.refused.unwrap_or(Refused::TooLarge))
    }
}

impl<M: Memory> Positional for SlotWriter<'_, '_, M> {
    fn pos(&self) -> usize {
        self.slot.len()
    }
}

impl<M: Memory> Writer<Failure> for SlotWriter<'_, '_, M> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.slot.write(bytes).map_err(|refused| {
            self.refused = Some(refused);
            Failure
        })
    }
}
