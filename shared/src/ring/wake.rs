//! Being woken: one eventfd for the completions of all kernel rings but the first, and for others.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::bell::{Bell, Signal};

/// Wakes the thread that owns a ring; any thread may ring it.
///
/// What the ring's owner should see is published before ringing; it looks every time that it has
/// taken the ring's events. While it is awake, ringing costs no system call but the first.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Bell<Eventfd>>);

impl Doorbell {
    /// Wakes the owner, or makes its next sleep end at once.
    pub fn ring(&self) {
        self.0.ring();
    }
}

/// The sleeper's side.
pub(super) struct Wake(Arc<Bell<Eventfd>>);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Bell::new(Eventfd(eventfd)))))
    }

    pub(super) fn doorbell(&self) -> Doorbell {
        Doorbell(self.0.clone())
    }

    /// The owner looks at everything after this.
    pub(super) fn answer(&self) {
        self.0.answer();
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.signal().0.as_fd()
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.signal().0.as_raw_fd()
    }
}

#[derive(Debug)]
struct Eventfd(OwnedFd);

impl Signal for Eventfd {
    fn raise(&self) {
        let written = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "a counter of 64 bits does not fill up");
    }

    fn lower(&self) {
        let mut counter = [0; 8];
        let mut buffers = [IoSliceMut::new(&mut counter)];
        // The descriptor blocks, this read does not. An offset of -1 is none. Another process that
        // shares the descriptor may have taken it already.
        let taken = preadv2(&self.0, &mut buffers, u64::MAX, ReadWriteFlags::NOWAIT);
        debug_assert!(matches!(taken, Ok(8) | Err(Errno::AGAIN)), "{taken:?}");
    }
}
