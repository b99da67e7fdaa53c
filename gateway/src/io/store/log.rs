//! The log: what makes a commit durable is one write and one `fdatasync` here.
//!
//! A few files of fixed size ([`SLOTS`]) are written in turn, each time as a segment with the next
//! number. They are filled with zeros when they are created and used again and again, so a commit
//! changes no metadata of the file system, and a full disk can't stop it. A segment that is full is
//! sealed, applied to the base by another thread, and then its file is free.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Position, SEAL_BYTES, Salt};
use crate::store::Batch;

/// Files in turn: one in use, the others waiting or being applied. More rides out a longer burst.
pub(super) const SLOTS: usize = 4;

/// One of the files.
#[derive(Clone)]
pub(super) struct Slot {
    file: Arc<File>,
    path: PathBuf,
}

/// A segment that is complete, to be applied to the base.
pub(super) struct Sealed {
    /// Its number.
    pub(super) number: u64,
    /// Where it stands.
    pub(super) slot: Slot,
}

/// The segment in use.
pub(super) struct Log {
    salt: Salt,
    slot: Slot,
    capacity: u64,
    at: Position,
    offset: u64,
    frame: Vec<u8>,
}

impl Slot {
    /// The whole file.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Makes durable what an earlier process wrote but did not live to synchronise.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// For messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether there is a log in this directory, or a part of one.
pub(super) fn exists(dir: &Path) -> bool {
    (0..SLOTS).any(|number| slot_path(dir, number).exists())
}

fn slot_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("log-{number}"))
}

/// Opens the files of the log, creating those that are missing.
pub(super) fn open_slots(dir: &Path, segment_bytes: u64) -> io::Result<Vec<Slot>> {
    (0..SLOTS).map(|number| open_slot(&slot_path(dir, number), segment_bytes)).collect()
}

fn open_slot(path: &Path, segment_bytes: u64) -> io::Result<Slot> {
    if !path.try_exists()? {
        create_zeroed(path, segment_bytes)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(Slot { file: Arc::new(file), path: path.into() })
}

/// Creates a file of zeros under its name only when it is complete.
fn create_zeroed(path: &Path, bytes: u64) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let zeros = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(&zeros[..part])?;
        left -= part as u64;
    }
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}

/// Makes the name of a file durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl Log {
    /// Begins the segment with this number in this file, whatever that contains.
    pub(super) fn begin(salt: Salt, number: u64, slot: Slot) -> io::Result<Self> {
        let capacity = slot.file.metadata()?.len();
        let at = Position { segment: number, index: 0 };
        Ok(Self { salt, slot, capacity, at, offset: 0, frame: Vec::new() })
    }

    /// Whether nothing has been appended yet.
    pub(super) fn is_empty(&self) -> bool {
        self.at.index == 0
    }

    /// Whether this group fits behind what is there, and the seal behind it.
    pub(super) fn fits(&self, batches: &[Batch]) -> bool {
        let needed = (frame::group_bytes(batches) + SEAL_BYTES) as u64;
        self.offset + needed <= self.capacity
    }

    /// Makes a group durable. After an error it is unknown whether it is.
    pub(super) fn append(&mut self, batches: &[Batch]) -> io::Result<()> {
        frame::encode_group(&mut self.frame, self.salt, self.at, batches);
        self.write()
    }

    /// Ends the segment and begins the next one in another file.
    pub(super) fn rotate(&mut self, next: Slot) -> io::Result<Sealed> {
        frame::encode_seal(&mut self.frame, self.salt, self.at);
        self.write()?;
        let number = self.at.segment;
        let begun = Self::begin(self.salt, number + 1, next)?;
        let full = std::mem::replace(self, begun);
        Ok(Sealed { number, slot: full.slot })
    }

    fn write(&mut self) -> io::Result<()> {
        debug_assert!(self.offset + self.frame.len() as u64 <= self.capacity, "checked by fits");
        self.slot.file.write_all_at(&self.frame, self.offset)?;
        self.slot.file.sync_data()?;
        self.offset += self.frame.len() as u64;
        self.at.index += 1;
        Ok(())
    }
}
