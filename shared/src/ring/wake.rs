//! Sleeping and being woken: one eventfd for all completions and for other threads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

#[derive(Debug)]
struct Bell {
    signal: OwnedFd,
    /// Rung since the owner was last awake; ringing again would tell nothing new.
    rung: AtomicBool,
}

/// Wakes the thread that owns a ring; any thread may ring it.
///
/// What the ring's owner should see is published before ringing; it looks after every
/// [`awake`](super::DeviceRing::awake). While it is awake, ringing costs no system call but the first.
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
        // Blocking, because runtimes that wait for it by reading need that.
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

    /// Sleeps until signalled, or for this long; then takes the signal.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut signals = [PollFd::new(&self.0.signal, PollFlags::IN)];
        match poll(&mut signals, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            // It has been written and only this thread reads it, so this does not block.
            Ok(_) => match rustix::io::read(&self.0.signal, &mut [0; 8]) {
                Ok(_) | Err(Errno::INTR) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
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
