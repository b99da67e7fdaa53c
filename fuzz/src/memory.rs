//! Memory that a decoder takes, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with the bytes of this thread counted.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn grow(bytes: usize) {
    LIVE.set(LIVE.get().wrapping_add(bytes));
    PEAK.set(PEAK.get().max(LIVE.get()));
}

fn shrink(bytes: usize) {
    LIVE.set(LIVE.get().wrapping_sub(bytes));
}

#[expect(unsafe_code, reason = "an allocator is one")]
// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        shrink(layout.size());
        grow(size);
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Bytes that a decoder may take whatever its input is: first capacities of vectors, error texts.
const ALWAYS_ALLOWED: usize = 4096;

/// Runs a decoder on an input of so many bytes.
///
/// # Panics
/// When it takes more than four times the bytes of its input, beside a small constant.
pub fn bounded<T>(input_len: usize, decode: impl FnOnce() -> T) -> T {
    bounded_with(4 * input_len, decode)
}

/// Runs a decoder that may take so many bytes of memory: for those whose target says why four times
/// the input cannot be.
///
/// # Panics
/// When it takes more, beside a small constant.
pub fn bounded_with<T>(allowed: usize, decode: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let decoded = decode();
    let taken = PEAK.get().wrapping_sub(before);
    assert!(
        taken <= allowed + ALWAYS_ALLOWED,
        "{taken} bytes of memory where {allowed} are allowed"
    );
    decoded
}
