//! The embedded store: a log for durability in front of an LSM tree for everything else.
//!
//! ```text
//! commit ─► log: one write, one fdatasync ─► Done
//!             │ segment full: sealed, the next one begins
//!             ▼
//!           applier (a thread): segments sorted by key ─► one table of the base
//! ```
//!
//! What is in the base is read; what is only in the log is brought there first. Opening applies what
//! the log still has, so a store that is open and has not been written to reads from the base alone.
//! `docs/STORE.md` has the reasons and the figures.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::CloudId;
use shared::placement::PartitionId;

use super::applier::Applier;
use super::base::{Base, BaseError};
use super::format::{self, FormatError};
use super::frame;
use super::log::{self, Log, Slot};
use super::state_dir::{StateDirError, take_dir};
use crate::io::heap;
use crate::store::{BATCH_BYTES_MAX, Batch, CommitOutcome, RecordSink, Store, StoreError};

/// Bytes of a segment. More makes larger and fewer tables of the base, and a start after a crash
/// longer.
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

const BASE: &str = "base";

/// Where the store is and what it must be.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its directory; created if it is missing.
    pub dir: PathBuf,
    /// The cloud that it must belong to.
    pub cloud: CloudId,
    /// Space on the file system below which commits are refused, in bytes.
    pub free_bytes_min: u64,
}

/// A store in a directory of the local file system.
pub struct EmbeddedStore {
    place: Place,
    segment_bytes: u64,
    /// None while it is broken, until it is opened again.
    open: Option<Open>,
    space_was_short: bool,
    /// The directory may be elsewhere than the state directory, so it has a lock of its own.
    _lock: File,
}

/// The parts of a store that works.
struct Open {
    log: Log,
    free: Vec<Slot>,
    applier: Applier,
    base: Arc<Base>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created, or another gateway uses it.
    #[error(transparent)]
    Dir(#[from] StateDirError),
    /// The system refuses something.
    #[error("{path}: cannot {doing}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The base cannot be opened or written.
    #[error("{path}: {cause}")]
    Base {
        /// The file.
        path: PathBuf,
        /// What the database said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is not a store that this gateway may use.
    #[error("{path}: {cause}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// What it is.
        cause: FormatError,
    },
    /// Acknowledged changes are missing.
    #[error(
        "{path} is damaged: changes that were acknowledged are missing. Check the disk and restore the whole directory from one backup"
    )]
    Damaged {
        /// The file or directory.
        path: PathBuf,
    },
}

impl EmbeddedStore {
    /// Whether there is a store in this directory.
    pub fn exists(dir: &Path) -> bool {
        dir.join(BASE).exists()
    }

    /// Opens the store, creating it if there is none, and applies what the log still has.
    pub fn open(place: Place) -> Result<Self, OpenError> {
        Self::open_with_segments(place, SEGMENT_BYTES)
    }

    pub(super) fn open_with_segments(place: Place, segment_bytes: u64) -> Result<Self, OpenError> {
        let lock = take_dir(&place.dir)?;
        let open = Some(Open::new(&place, segment_bytes)?);
        Ok(Self { place, segment_bytes, open, space_was_short: false, _lock: lock })
    }

    /// Reads while the store starts: several threads side by side, before anything is committed.
    /// All loaders must be gone before the store can be opened again.
    pub fn loader(&self) -> Option<Loader> {
        self.open.as_ref().map(|open| Loader { base: Arc::clone(&open.base) })
    }

    /// Waits until nothing writes to the files any more, so that a test may copy them.
    #[cfg(test)]
    pub(super) fn quiesce(&mut self) {
        let open = self.open.as_mut().expect("the store works");
        open.free.extend(open.applier.quiesce().expect("the applier works"));
    }

    /// Whether there is too little space left, said once in the log when it begins and ends.
    fn space_is_short(&mut self) -> bool {
        let short = match rustix::fs::statvfs(&self.place.dir) {
            Ok(space) => space.f_bavail * space.f_frsize < self.place.free_bytes_min,
            // A file system that does not tell its space does not restrict us either.
            Err(_) => false,
        };
        if short != self.space_was_short {
            let dir = self.place.dir.display();
            let bytes = self.place.free_bytes_min;
            match short {
                true => tracing::error!("{dir}: less than {bytes} bytes left, changes are refused"),
                false => tracing::info!("{dir}: there is space again, changes are accepted"),
            }
            self.space_was_short = short;
        }
        short
    }
}

impl Store for EmbeddedStore {
    fn load_range(
        &mut self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        // Taken out while it is used: whatever interrupts us leaves a store that must be reopened.
        let mut open = self.open.take().ok_or_else(not_open)?;
        open.settle().map_err(|cause| StoreError::Unreadable(cause.into()))?;
        open.base.load_range(partitions, record)?;
        self.open = Some(open);
        Ok(())
    }

    fn commit(&mut self, batches: &[Batch]) -> CommitOutcome {
        if batches.iter().all(Batch::is_empty) {
            return CommitOutcome::Done;
        }
        let too_large = batches.iter().any(|batch| batch.bytes() > BATCH_BYTES_MAX);
        if too_large || self.space_is_short() {
            return CommitOutcome::Refused;
        }
        let Some(mut open) = self.open.take() else {
            return CommitOutcome::Refused;
        };
        match open.commit(batches) {
            Ok(outcome) => {
                self.open = Some(open);
                outcome
            }
            Err(Broken { outcome, cause }) => {
                tracing::error!("{}: {cause}", self.place.dir.display());
                outcome
            }
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.open.is_none() {
            let open = Open::new(&self.place, self.segment_bytes);
            self.open = Some(open.map_err(|error| StoreError::Unreadable(Box::new(error)))?);
        }
        Ok(())
    }
}

fn not_open() -> StoreError {
    StoreError::Unreadable("it failed and has not been opened again".into())
}

/// Reads the store while it starts.
#[derive(Clone)]
pub struct Loader {
    base: Arc<Base>,
}

impl Loader {
    /// As [`Store::load_range`].
    pub fn load_range(
        &self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        self.base.load_range(partitions, record)
    }
}

/// The store can't go on before it is opened again.
struct Broken {
    outcome: CommitOutcome,
    cause: String,
}

impl Open {
    fn new(place: &Place, segment_bytes: u64) -> Result<Self, OpenError> {
        let dir = &place.dir;
        let io = |doing| move |cause| OpenError::Io { path: dir.clone(), doing, cause };
        // The base is made before its log. A log without a base is half of a store.
        let base = open_base(place, !log::exists(dir))?;
        let slots = log::open_slots(dir, segment_bytes).map_err(io("open the log"))?;
        let applied = apply_remaining(place, &base, &slots)?;
        heap::give_back();
        let base = Arc::new(base);
        let applier = Applier::start(&base).map_err(io("start the threads that apply the log"))?;
        let mut free = slots;
        let slot = free.pop().expect("there are several slots");
        let log = Log::begin(base.salt(), applied + 1, slot).map_err(io("begin the log"))?;
        Ok(Self { log, free, applier, base })
    }

    fn commit(&mut self, batches: &[Batch]) -> Result<CommitOutcome, Broken> {
        if !self.log.fits(batches) {
            let nothing_written = |cause| Broken { outcome: CommitOutcome::Refused, cause };
            if !self.rotate().map_err(nothing_written)? {
                tracing::warn!("the log is full: the disk does not keep up, changes are refused");
                return Ok(CommitOutcome::Refused);
            }
            if !self.log.fits(batches) {
                return Ok(CommitOutcome::Refused);
            }
        }
        match self.log.append(batches) {
            Ok(()) => Ok(CommitOutcome::Done),
            Err(cause) => Err(Broken {
                outcome: CommitOutcome::Unknown,
                cause: format!("cannot write the log: {cause}"),
            }),
        }
    }

    /// Seals the segment in use and begins the next; false when all files are still to be applied.
    fn rotate(&mut self) -> Result<bool, String> {
        self.free.extend(self.applier.finished()?);
        if self.free.is_empty() {
            self.free = self.applier.wait()?;
        }
        let Some(next) = self.free.pop() else {
            return Ok(false);
        };
        let sealed =
            self.log.rotate(next).map_err(|cause| format!("cannot seal the log: {cause}"))?;
        self.applier.submit(sealed)?;
        Ok(true)
    }

    /// Brings everything into the base.
    fn settle(&mut self) -> Result<(), String> {
        if !self.log.is_empty() && !self.rotate()? {
            return Err("the disk does not keep up".into());
        }
        while self.applier.is_behind() {
            let slots = self.applier.wait()?;
            if slots.is_empty() {
                return Err("the disk does not keep up".into());
            }
            self.free.extend(slots);
        }
        Ok(())
    }
}

fn open_base(place: &Place, may_be_new: bool) -> Result<Base, OpenError> {
    let path = place.dir.join(BASE);
    let failed = |cause: BaseError| OpenError::Base { path: path.clone(), cause: Box::new(cause) };
    let base = Base::open(&path, format::record(place.cloud), may_be_new).map_err(failed)?;
    log::sync_parent(&path).map_err(|cause| OpenError::Io {
        path: place.dir.clone(),
        doing: "synchronise the directory",
        cause,
    })?;
    let found = base.value(&format::key()).map_err(failed)?;
    format::check(found.as_deref(), place.cloud)
        .map_err(|cause| OpenError::Format { path: place.dir.clone(), cause })?;
    Ok(base)
}

/// Applies the segments that the base does not have yet, and returns the number of the last one.
fn apply_remaining(place: &Place, base: &Base, slots: &[Slot]) -> Result<u64, OpenError> {
    let base_failed =
        |cause: BaseError| OpenError::Base { path: place.dir.join(BASE), cause: Box::new(cause) };
    let applied = base.applied().map_err(base_failed)?;
    let mut remaining = Vec::new();
    for slot in slots {
        let damaged = || OpenError::Damaged { path: slot.path().into() };
        let failed = |doing| move |cause| OpenError::Io { path: slot.path().into(), doing, cause };
        // An earlier process may have stopped between writing and synchronising. What is used from
        // here on must not disappear again.
        slot.sync().map_err(failed("synchronise the log"))?;
        let bytes = slot.read().map_err(failed("read the log"))?;
        let segment = frame::scan(&bytes, base.salt()).map_err(|frame::Damaged| damaged())?;
        if let Some(segment) = segment.filter(|segment| segment.number > applied) {
            remaining.push((segment, bytes, damaged()));
        }
    }
    remaining.sort_by_key(|(segment, ..)| segment.number);
    let last = applied + remaining.len() as u64;
    let mut segments = Vec::with_capacity(remaining.len());
    for ((segment, bytes, damaged), expected) in remaining.into_iter().zip(applied + 1..) {
        let complete = segment.sealed || expected == last;
        if segment.number != expected || !complete {
            return Err(damaged);
        }
        segments.push((segment, bytes));
    }
    base.apply(&segments).map_err(base_failed)?;
    Ok(last)
}
