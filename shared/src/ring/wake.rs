//! Being woken: one eventfd for the completions of all kernel rings but the first, and for others.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

#[derive(Debug)]
struct Bell {
    signal: OwnedFd,
    /// Rung since the owner was last awake; ringing again would tell nothing new.
    rung: AtomicBool,
}

/// Wakes the thread that owns a ring; any thread may ring it.
///
/// What the ring's owner should see is published before ringing; it looks after every
/// [`wait`](super::DeviceRing::wait). While it is awake, ringing costs no system call but the first.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Bell>);

impl Doorbell {
    /// Wakes the owner, or makes its next sleep end at once.
    pub fn ring(&self) {
        // Paired with the swap in `silence`: whoever finds the bell rung already knows that the
        // owner will silence it later, and then sees what was published before this swap.
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            let written = rustix::io::write(&self.0.signal, &1u64.to_ne_bytes());
            debug_assert!(written.is_ok(), "a counter of 64 bits does not fill up");
        }
    }
}

/// The sleeper's side.
pub(super) struct Signal(Arc<Bell>);

impl Signal {
    pub(super) fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Bell { signal, rung: AtomicBool::new(false) })))
    }

    pub(super) fn doorbell(&self) -> Doorbell {
        Doorbell(self.0.clone())
    }

    /// From now on, ringing is heard again.
    pub(super) fn silence(&self) {
        self.0.rung.swap(false, Ordering::AcqRel);
    }

    /// Takes the signal, if nobody has done so already.
    pub(super) fn take(&self) {
        let mut counter = [0; 8];
        let mut buffers = [IoSliceMut::new(&mut counter)];
        // The descriptor blocks, this read does not. An offset of -1 is none.
        let taken = preadv2(&self.0.signal, &mut buffers, u64::MAX, ReadWriteFlags::NOWAIT);
        debug_assert!(matches!(taken, Ok(8) | Err(Errno::AGAIN)), "{taken:?}");
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.signal.as_fd()
    }
}

impl AsRawFd for Signal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.signal.as_raw_fd()
    }
}
