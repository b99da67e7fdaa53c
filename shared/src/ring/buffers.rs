//! The provided buffers of one kernel ring: memory for receives that the kernel picks from.
//!
//! ```text
//! mapping: │ ring of entries │ buffer 0 │ buffer 1 │ ...
//! ```
//!
//! A buffer is held by the kernel, or belongs to the completion that names it and then to whoever reads
//! it, until it is given back; those that the kernel is not to hold for now are spare. Pages are touched
//! only when the kernel first uses them.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::entries::BUFFERS;
use super::window::Window;

/// The first buffer begins at a multiple of this, so that none of them straddles pages needlessly.
const ALIGNMENT: usize = 4096;

pub(super) struct Buffers {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    /// Where the first buffer begins.
    first: usize,
    count: u16,
    buffer_bytes: u32,
    /// Counts buffers ever given to the kernel, which reads it modulo `count`.
    tail: u16,
    /// Buffers that the kernel holds: given to it, and not named by a completion that was seen.
    held: u16,
    /// How many it is to hold.
    window: Window,
    /// Buffers that it is not to hold; the last one was in use last.
    spare: Vec<u16>,
    /// One bit per buffer that is out: a second return would corrupt somebody's bytes.
    out: Box<[u64]>,
}

impl Buffers {
    /// Maps this many buffers, a power of two up to 32 768, and gives the first of them to the kernel
    /// ring.
    pub(super) fn register(uring: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        debug_assert!(count.is_power_of_two() && count <= 1 << 15);
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let first = entries_bytes.next_multiple_of(ALIGNMENT);
        let mapping_bytes = first + usize::from(count) * buffer_bytes as usize;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let mapping = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapping_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let mapping = NonNull::new(mapping.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffers = Self {
            mapping,
            mapping_bytes,
            first,
            count,
            buffer_bytes,
            tail: 0,
            held: 0,
            window: Window::new(count),
            spare: (0..count).rev().collect(),
            out: vec![0; usize::from(count).div_ceil(64)].into_boxed_slice(),
        };
        // SAFETY: the mapping begins with room for `count` entries and outlives the registration:
        // `unregister` comes before `drop` unmaps it, or the mapping is leaked with the ring.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                mapping.as_ptr() as u64,
                count,
                BUFFERS,
                0,
            )?;
        }
        buffers.fill_window();
        Ok(buffers)
    }

    /// Takes the registration back; nothing is in flight that could use a buffer.
    pub(super) fn unregister(&self, uring: &IoUring) -> io::Result<()> {
        uring.submitter().unregister_buf_ring(BUFFERS)
    }

    /// Buffers that the kernel holds, as far as completions were seen.
    pub(super) fn held(&self) -> u32 {
        self.held.into()
    }

    /// How many there are, bytes of those that the kernel goes through, and of all.
    pub(super) fn memory(&self) -> (usize, usize, usize) {
        let window = usize::from(self.window.size()) * self.buffer_bytes as usize;
        (usize::from(self.count), window, self.mapping_bytes)
    }

    /// The kernel is about to be entered.
    pub(super) fn turn(&mut self) {
        self.window.turn();
        self.fill_window();
    }

    /// A receive found no buffer.
    pub(super) fn ran_out(&mut self) {
        self.window.ran_out();
    }

    /// Notes that a completion names this buffer.
    pub(super) fn took(&mut self, buffer: u16) {
        let (word, bit) = self.bit(buffer);
        debug_assert_eq!(self.out[word] & bit, 0, "the kernel uses a buffer it was given");
        self.out[word] |= bit;
        self.held -= 1;
        self.window.filled();
    }

    /// The first bytes of a buffer that a completion named.
    ///
    /// # Panics
    /// If the buffer is not out, which would mean sharing it with the kernel.
    pub(super) fn bytes(&mut self, buffer: u16, len: u32) -> &mut [u8] {
        let (word, bit) = self.bit(buffer);
        assert!(self.out[word] & bit != 0, "only a buffer that is out can be read");
        let len = len.min(self.buffer_bytes) as usize;
        let at = self.first + usize::from(buffer) * self.buffer_bytes as usize;
        // SAFETY: `bit` checked `buffer < count`, so the range lies within the mapping, which is
        // initialised (zeroed by the kernel) and lives as long as `self`. The buffer is out, so the
        // kernel does not touch it until `give_back`, which the borrow of `self` prevents.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_ptr().add(at), len) }
    }

    /// Takes back a buffer that was read.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let (word, bit) = self.bit(buffer);
        assert!(self.out[word] & bit != 0, "a buffer is given back once");
        self.out[word] &= !bit;
        if self.held < self.window.size() {
            self.hand_over(buffer);
        } else {
            self.spare.push(buffer);
        }
    }

    fn fill_window(&mut self) {
        while self.held < self.window.size()
            && let Some(buffer) = self.spare.pop()
        {
            self.hand_over(buffer);
        }
    }

    /// Gives a buffer to the kernel that is neither out nor held.
    fn hand_over(&mut self, buffer: u16) {
        self.held += 1;
        let at = self.first + usize::from(buffer) * self.buffer_bytes as usize;
        let place = usize::from(self.tail & (self.count - 1));
        let entries = self.mapping.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `place < count`, so the entry lies within the first part of the mapping, which is
        // page-aligned. The kernel holds fewer than `count` buffers, each is somewhere once, so it has
        // read what stood in this place; it does not read it again before the tail says so. The tail is the last
        // field of the first entry, which the setters below do not touch; it is accessed
        // atomically from both sides. No reference to the whole entry is formed but for the calls.
        unsafe {
            let entry = &mut *entries.add(place);
            entry.set_addr(self.mapping.as_ptr().add(at) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn bit(&self, buffer: u16) -> (usize, u64) {
        assert!(buffer < self.count, "the kernel names buffers it was given");
        (usize::from(buffer / 64), 1 << (buffer % 64))
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, nothing borrows from it, and the ring's owner unregistered
        // it after the last request. Failure could only mean that it is not mapped.
        let unmapped = unsafe { munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
