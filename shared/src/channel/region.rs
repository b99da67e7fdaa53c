//! The shared memory of one pair of rings: made, sealed, verified, mapped.
//!
//! ```text
//! 0      control of the ring of commands         page of its own
//! 512    control of the ring of replies
//! 4096   data of the ring of commands            RingBytes
//! …      data of the ring of replies             RingBytes
//! ```
//!
//! A memfd that may still shrink lets whoever holds it kill everybody who has it mapped: touching a
//! page that is gone is SIGBUS. So the gateway seals its size before it passes it on, and the
//! receiving side refuses what is not sealed, has another size, or is no ordinary memory.
#![expect(unsafe_code, reason = "maps memory that is shared with another process")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::message::MESSAGE_BYTES_MAX;
use super::ring::{Control, Memory, WORD_BYTES, Word};

/// Where the data of the first ring begins: control blocks and data share no page.
const DATA_AT: usize = 4096;

/// Distance of the two control blocks.
const CONTROL_STRIDE: usize = 512;

const _: () = assert!(size_of::<Control>() <= CONTROL_STRIDE && 2 * CONTROL_STRIDE <= DATA_AT);
const _: () = assert!(CONTROL_STRIDE.is_multiple_of(align_of::<Control>()));
const _: () = assert!(DATA_AT.is_multiple_of(align_of::<Word>()));

/// The seals without which memory is not mapped.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// `f_type` of memory that a memfd consists of (TMPFS_MAGIC of linux/magic.h). Huge pages have
/// another: there may be none left when one is touched, and that is SIGBUS again.
const ORDINARY_MEMORY: u64 = 0x0102_1994;

/// Size of one ring in bytes: a power of two between [`Self::MIN`] and [`Self::MAX`].
///
/// A larger ring holds longer bursts before callers are turned away; both rings of each (`api`
/// process, shard) stay in memory once they have been gone round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct RingBytes(u32);

/// A number of bytes that no ring may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is no size for a ring: a power of two from {min} to {max} bytes is", min = RingBytes::MIN, max = RingBytes::MAX)]
pub struct NotARingSize(pub u32);

impl RingBytes {
    /// Two messages of the largest size.
    pub const MIN: u32 = 2 * MESSAGE_BYTES_MAX as u32;

    /// 256 MiB.
    pub const MAX: u32 = 1 << 28;

    /// [`Self::MIN`] bytes.
    pub const SMALLEST: Self = Self(Self::MIN);

    /// This many bytes.
    pub const fn new(bytes: u32) -> Result<Self, NotARingSize> {
        if bytes.is_power_of_two() && bytes >= Self::MIN && bytes <= Self::MAX {
            Ok(Self(bytes))
        } else {
            Err(NotARingSize(bytes))
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Bytes of the memory that holds both rings.
    const fn of_region(self) -> usize {
        DATA_AT + 2 * self.bytes()
    }
}

impl Default for RingBytes {
    /// Four messages of the largest size, or some ten thousand usual ones.
    fn default() -> Self {
        const { Self(2 * Self::MIN) }
    }
}

impl TryFrom<u32> for RingBytes {
    type Error = NotARingSize;

    fn try_from(bytes: u32) -> Result<Self, NotARingSize> {
        Self::new(bytes)
    }
}

impl From<RingBytes> for u32 {
    fn from(size: RingBytes) -> Self {
        size.0
    }
}

/// Why memory from the other side is not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegionError {
    /// Its size could still change.
    #[error("the shared memory is not sealed against shrinking and growing")]
    Unsealed,
    /// It has another size than agreed.
    #[error("the shared memory has {found} bytes instead of {expected}")]
    WrongSize {
        /// As the introduction says.
        expected: usize,
        /// As the descriptor says.
        found: u64,
    },
    /// A descriptor of something else, or of huge pages.
    #[error("the descriptor is not ordinary memory (a memfd without huge pages)")]
    NotMemory,
    /// The system refuses.
    #[error("cannot {doing} shared memory: {cause}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: Errno,
    },
}

impl RegionError {
    fn when(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |cause| Self::System { doing, cause }
    }
}

/// Which of the two rings of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// From `api` to the shard.
    Commands,
    /// From the shard to `api`.
    Replies,
}

/// The mapping of a region, undone when the last ring of it is dropped.
struct Region {
    base: NonNull<u8>,
    ring: RingBytes,
}

// SAFETY: a region is memory that stays mapped until it is dropped and is accessed through shared
// references to atomics only, which any thread may hold.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps a descriptor whose size is known to be that of a region and can't change any more.
    fn map(memory: BorrowedFd<'_>, ring: RingBytes) -> Result<Self, RegionError> {
        // SAFETY: no address is asked for, so the mapping replaces nothing.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                ring.of_region(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )
        }
        .map_err(RegionError::when("map"))?;
        let base = NonNull::new(base.cast()).ok_or(RegionError::NotMemory)?;
        Ok(Self { base, ring })
    }

    fn control(&self, direction: Direction) -> &Control {
        let at = match direction {
            Direction::Commands => 0,
            Direction::Replies => CONTROL_STRIDE,
        };
        // SAFETY: the offset is inside the region and, the base being a page, aligned for `Control`
        // (both asserted above). The bytes are mapped, for reading and writing, as long as `self`
        // lives, and can't be cut off because the size is sealed. Any bytes are a valid `Control`,
        // and it consists of atomics only, so that others may change it while it is borrowed.
        unsafe { self.base.add(at).cast().as_ref() }
    }

    fn words(&self, direction: Direction) -> &[Word] {
        let at = match direction {
            Direction::Commands => DATA_AT,
            Direction::Replies => DATA_AT + self.ring.bytes(),
        };
        let count = self.ring.bytes() / WORD_BYTES;
        // SAFETY: `at + count * WORD_BYTES` is at most `of_region()`, the size of the mapping, and
        // `at` is a multiple of the word's alignment. For the rest see `control`.
        unsafe { NonNull::slice_from_raw_parts(self.base.add(at).cast(), count).as_ref() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` has mapped; every borrow of it ended with `self`.
        let undone =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.ring.of_region()) };
        debug_assert_eq!(undone, Ok(()), "a mapping of ours can be undone");
    }
}

/// One ring of a region.
pub(super) struct Half {
    region: Arc<Region>,
    direction: Direction,
}

impl Memory for Half {
    fn control(&self) -> &Control {
        self.region.control(self.direction)
    }

    fn words(&self) -> &[Word] {
        self.region.words(self.direction)
    }
}

/// Both rings of a region, as one side holds them.
pub(super) struct Halves {
    pub(super) commands: Half,
    pub(super) replies: Half,
}

impl Halves {
    /// New memory: mapped here, sealed, ready to be passed on.
    pub(super) fn create(ring: RingBytes) -> Result<(OwnedFd, Self), RegionError> {
        let memory = create_memfd().map_err(RegionError::when("create"))?;
        rustix::fs::ftruncate(&memory, ring.of_region() as u64)
            .map_err(RegionError::when("size"))?;
        rustix::fs::fcntl_add_seals(&memory, SEALS).map_err(RegionError::when("seal"))?;
        let halves = Self::of(Region::map(memory.as_fd(), ring)?);
        Ok((memory, halves))
    }

    /// Memory from the other side: verified, then mapped.
    pub(super) fn adopt(memory: BorrowedFd<'_>, ring: RingBytes) -> Result<Self, RegionError> {
        let seals = match rustix::fs::fcntl_get_seals(memory) {
            Ok(seals) => seals,
            Err(Errno::INVAL) => return Err(RegionError::NotMemory),
            Err(cause) => return Err(RegionError::System { doing: "examine", cause }),
        };
        if !seals.contains(SEALS) {
            return Err(RegionError::Unsealed);
        }
        let system = rustix::fs::fstatfs(memory).map_err(RegionError::when("examine"))?;
        if system.f_type as u64 != ORDINARY_MEMORY {
            return Err(RegionError::NotMemory);
        }
        // After the seals: a size that was read before them could have changed since.
        let stat = rustix::fs::fstat(memory).map_err(RegionError::when("examine"))?;
        let (expected, found) = (ring.of_region(), stat.st_size as u64);
        if found != expected as u64 {
            return Err(RegionError::WrongSize { expected, found });
        }
        Ok(Self::of(Region::map(memory, ring)?))
    }

    fn of(region: Region) -> Self {
        let region = Arc::new(region);
        Self {
            commands: Half { region: region.clone(), direction: Direction::Commands },
            replies: Half { region, direction: Direction::Replies },
        }
    }
}

/// Without the right to be executed, which hardened systems insist on, where the kernel knows how
/// to say so (6.3).
fn create_memfd() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(c"ocf-shard-channel", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"ocf-shard-channel", flags),
        other => other,
    }
}
