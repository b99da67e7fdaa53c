//! Counts what a thread allocates, so that tests can say how little it is.
#![expect(unsafe_code, reason = "an allocator can't be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Calls, and bytes asked for, since the thread began.
    static ASKED: Cell<Allocated> = const { Cell::new(Allocated { calls: 0, bytes: 0 }) };
}

/// What was allocated, whether or not it was freed since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allocated {
    pub(super) calls: usize,
    pub(super) bytes: usize,
}

/// What this thread allocates while it does something.
pub(super) fn allocated_by<T>(something: impl FnOnce() -> T) -> (T, Allocated) {
    let before = ASKED.get();
    let result = something();
    let after = ASKED.get();
    (result, Allocated { calls: after.calls - before.calls, bytes: after.bytes - before.bytes })
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: usize) {
    let asked = ASKED.get();
    ASKED.set(Allocated { calls: asked.calls + 1, bytes: asked.bytes + bytes });
}

// SAFETY: everything is passed on to the system's allocator as it came; counting allocates nothing,
// its cell being initialised by the compiler and without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the same rules.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same rules.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: the caller keeps the same rules.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}
