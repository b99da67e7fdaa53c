//! What handshakes leave behind goes back to the system.
//!
//! A handshake takes tens of kilobytes for a moment; a storm of them leaves pages that the allocator
//! keeps for the next one, many times what the connections need that came of it.
#![expect(unsafe_code, reason = "the allocator's own function has no safe wrapper")]

use std::time::Duration;

use shared::time::Instant;

/// How long after a handshake the heap of the thread is looked through: not so often that it costs
/// anything while devices come all the time.
const AFTER: Duration = Duration::from_secs(2);

/// When the heap of this thread has something to give back.
#[derive(Default)]
pub struct Heap {
    due: Option<Instant>,
}

impl Heap {
    /// A step of a handshake was taken.
    pub fn used(&mut self, now: Instant) {
        self.due.get_or_insert(now + AFTER);
    }

    /// When to tidy up.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives back what is free, if it is time.
    pub fn tidy(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            // SAFETY: it frees no memory that is in use, and may be called at any time by any thread;
            // `main` makes mimalloc the allocator of this process, and where it is not, its heap is empty.
            unsafe { libmimalloc_sys::mi_collect(true) };
        }
    }
}
