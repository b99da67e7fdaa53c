//! Memory that the kernel reads or writes while a request is in flight.
#![expect(
    unsafe_code,
    reason = "the kernel writes behind the compiler's back, so only raw pointers may name it"
)]

use std::ptr::NonNull;

/// A value at an address of its own that stays where it is, however its owner moves.
///
/// Rust never holds a reference into it, so a write by the kernel contradicts no borrow. The owner
/// keeps it until the last completion of the request that names it.
pub(super) struct KernelCell<T: Copy>(NonNull<T>);

impl<T: Copy> KernelCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// Where the kernel finds it.
    pub(super) fn address(&self) -> *mut T {
        self.0.as_ptr()
    }

    pub(super) fn read(&self) -> T {
        // SAFETY: the pointer comes from a box that only `drop` frees, so it is valid and aligned,
        // and the value was initialised in `new`. `T` is used with plain data only, for which any
        // bytes the kernel wrote are a value. Volatile, because the compiler saw no write.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    pub(super) fn write(&mut self, value: T) {
        // SAFETY: valid and aligned as in `read`; `&mut self` excludes every other access from here.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }
}

impl<T: Copy> Drop for KernelCell<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer was leaked from a box in `new` and is freed nowhere else. No request
        // that names it is in flight any more: the owner's promise, see the type.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
