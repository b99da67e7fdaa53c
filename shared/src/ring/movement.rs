//! The address of a reserved slot, by which another ring sends a descriptor there.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::SocketId;
use super::ops::{Kind, Operation, Tag};

/// Names a slot that one ring has reserved for a descriptor from another, in any thread.
///
/// There is one address per reservation and no copy of it: sending uses it up, releasing the
/// reservation asks for it back. So a slot that was released, and maybe taken again, can never be
/// the target of a descriptor. An address that is dropped leaves its slot reserved.
///
/// It keeps the kernel's ring in existence. A ring that was dropped has no table any more, so that
/// sending to it fails.
#[derive(Debug)]
pub struct RingAddress {
    ring: Arc<OwnedFd>,
    slot: u32,
    socket: SocketId,
}

impl RingAddress {
    pub(super) fn new(ring: Arc<OwnedFd>, slot: u32, socket: SocketId) -> Self {
        Self { ring, slot, socket }
    }

    /// The id that the socket will have in the ring that reserved the slot. With the ring it names
    /// the move: no other reservation has it.
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    pub(super) fn is_in(&self, ring: &Arc<OwnedFd>) -> bool {
        Arc::ptr_eq(&self.ring, ring)
    }

    pub(super) fn operation(&self) -> Operation {
        use std::os::fd::AsRawFd;
        let arrival = Tag { kind: Kind::Arrival, socket: self.socket }.encode();
        Operation::SendDescriptor { ring: self.ring.as_raw_fd(), slot: self.slot, arrival }
    }
}
