//! What handshakes leave behind goes back to the system.
//!
//! A handshake takes tens of kilobytes for a moment; a storm of them leaves pages that allocators keep
//! for the next one, many times what the connections need that came of it. There are two: mimalloc for
//! what is written in Rust, and the C library's for the cryptography.
#![expect(unsafe_code, reason = "the allocators' own functions have no safe wrappers")]

use std::ptr::null_mut;
use std::time::Duration;

use shared::time::Instant;

/// The heap of the thread is looked through when so long no handshake came: in a storm what is free is
/// needed again at once.
const CALM: Duration = Duration::from_secs(2);

/// So long after the first handshake it is looked through even if they never end.
const AT_LATEST: Duration = Duration::from_secs(30);

/// When the heap of this thread has something to give back.
#[derive(Default)]
pub struct Heap {
    /// The first and the last step of a handshake since it last gave something back.
    used: Option<(Instant, Instant)>,
}

impl Heap {
    /// A step of a handshake was taken.
    pub fn used(&mut self, now: Instant) {
        self.used.get_or_insert((now, now)).1 = now;
    }

    /// When to tidy up.
    pub fn due(&self) -> Option<Instant> {
        self.used.map(|(first, last)| (last + CALM).min(first + AT_LATEST))
    }

    /// Gives back what is free, if it is time.
    pub fn tidy(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.used = None;
            give_back();
            #[cfg(target_env = "gnu")]
            // SAFETY: it frees no memory that is in use, and may be called at any time by any thread; it
            // locks the heap of one thread after the other for itself.
            unsafe {
                libc::malloc_trim(0);
            }
        }
    }
}

/// Gives back to the system what is free in the heap of this thread: for those that have taken much and
/// sleep now.
pub fn give_back() {
    // SAFETY: it frees no memory that is in use, and may be called at any time by any thread; `main`
    // makes mimalloc the allocator of this process, and where it is not, its heap is empty.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Bytes that the allocators have taken from the system: the one of what is written in Rust, and the C
/// library's.
pub fn taken() -> (u64, u64) {
    let mut committed = 0;
    let unwanted = null_mut();
    // SAFETY: it writes one number to each place that is not null, and the only one that is not is ours.
    unsafe {
        libmimalloc_sys::mi_process_info(
            unwanted,
            unwanted,
            unwanted,
            unwanted,
            unwanted,
            &raw mut committed,
            unwanted,
            unwanted,
        );
    }
    (committed as u64, of_c_library())
}

#[cfg(target_env = "gnu")]
fn of_c_library() -> u64 {
    // SAFETY: it takes nothing and returns numbers; it locks the heap of one thread after the other for
    // itself.
    let info = unsafe { libc::mallinfo2() };
    (info.arena + info.hblkhd) as u64
}

#[cfg(not(target_env = "gnu"))]
fn of_c_library() -> u64 {
    0
}
