//! The base: all records in an LSM tree (`lsm-tree`, the one inside fjall), which the log's segments
//! are applied to.
//!
//! Segments become one sorted table of the tree, registered in one step together with the number of
//! the last of them. So after a crash it is known exactly which segments are still to be applied, and
//! applying is never done by halves. The tree starts no threads and keeps no journal of its own; every
//! block it reads is checked against its checksum.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::config::FilterPolicy;
use lsm_tree::{AbstractTree, AnyTree, Cache, Guard, SeqNo, SequenceNumberCounter};
use shared::placement::{PARTITIONS, PartitionId};

use super::frame::{self, Damaged, Salt, Segment};
use crate::store::{Key, RecordSink, StoreError, Table};

/// Number of the last segment that was applied. Partitions are below it, so it is behind all records.
const APPLIED: &[u8] = b"\xffapplied";
/// The [`Salt`] of the log.
const SALT: &[u8] = b"\xffsalt";

/// Memory for blocks. The base is read once, in the order of keys, so more would not help.
const CACHE_BYTES: u64 = 1024 * 1024;

/// New tables that there may be: the tree counts them in a byte.
const NEW_TABLES_MAX: usize = 200;

/// The tree, open.
pub(super) struct Base {
    tree: AnyTree,
    sequence: SequenceNumberCounter,
    salt: Salt,
}

/// Why the base failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaseError {
    /// The tree reports an error, of the disk or of itself.
    #[error("{0}")]
    Tree(#[from] lsm_tree::Error),
    /// The tree found what it thinks cannot be.
    #[error("the database is damaged: check the disk and restore it from a backup")]
    Panicked,
    /// Merging has failed for so long that nothing can be added any more.
    #[error(
        "the tables of the database could not be merged for too long: see the warnings in the log"
    )]
    Crowded,
    /// The system has no random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// A segment, or a record of the base about itself, is not what was written.
    #[error("the database and its log do not belong together: restore both from one backup")]
    Damaged,
}

impl From<Damaged> for BaseError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<BaseError> for StoreError {
    fn from(error: BaseError) -> Self {
        Self::Unreadable(Box::new(error))
    }
}

/// Errors instead of panics: damaged files must not end the process.
fn guarded<T>(read: impl FnOnce() -> Result<T, BaseError>) -> Result<T, BaseError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(BaseError::Panicked))
}

impl Base {
    /// Opens the tree in this directory. A new one gets the record, if there may be a new one.
    pub(super) fn open(
        path: &Path,
        record: (Key, impl AsRef<[u8]>),
        may_be_new: bool,
    ) -> Result<Self, BaseError> {
        guarded(|| {
            let [sequence, visible] = [SequenceNumberCounter::default(), Default::default()];
            let tree = lsm_tree::Config::new(path, sequence.clone(), visible.clone())
                .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
                // We never ask for single keys but a few at start.
                .filter_policy(FilterPolicy::disabled())
                .open()?;
            let next = tree.get_highest_seqno().map_or(0, |highest| highest + 1);
            sequence.fetch_max(next);
            visible.fetch_max(next);
            let salt = match tree.get(SALT, SeqNo::MAX)? {
                Some(salt) => u64::from_be_bytes(number(&salt)?),
                None if may_be_new && tree.table_count() == 0 => create(&tree, record)?,
                None => return Err(BaseError::Damaged),
            };
            Ok(Self { tree, sequence, salt: Salt(salt) })
        })
    }

    /// The salt of the log.
    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    /// The value of one record.
    pub(super) fn value(&self, key: &Key) -> Result<Option<Vec<u8>>, BaseError> {
        guarded(|| Ok(self.tree.get(key.as_bytes(), SeqNo::MAX)?.map(|value| value.to_vec())))
    }

    /// Number of the last segment that was applied; 0 when there was none.
    pub(super) fn applied(&self) -> Result<u64, BaseError> {
        guarded(|| match self.tree.get(APPLIED, SeqNo::MAX)? {
            Some(applied) => Ok(u64::from_be_bytes(number(&applied)?)),
            None => Ok(0),
        })
    }

    /// Applies segments with their bytes, the next ones in order. Durable when it returns.
    pub(super) fn apply(&self, segments: &[(Segment, Vec<u8>)]) -> Result<(), BaseError> {
        let Some((last, _)) = segments.last() else {
            return Ok(());
        };
        let expected = self.applied()? + 1..;
        if segments.iter().zip(expected).any(|((segment, _), expected)| segment.number != expected)
        {
            return Err(BaseError::Damaged);
        }
        if self.tree.l0_run_count() >= NEW_TABLES_MAX && !self.merge()? {
            return Err(BaseError::Crowded);
        }
        let groups = segments
            .iter()
            .flat_map(|(segment, bytes)| segment.groups.iter().map(|group| &bytes[group.clone()]));
        let mut writes = groups.flat_map(frame::writes).collect::<Result<Vec<_>, _>>()?;
        // A stable sort: of several writes of a key the last one holds.
        writes.sort_by_key(|&(key, _)| key);
        guarded(|| {
            let mut table = self.tree.ingestion()?;
            let same_key = writes.chunk_by(|(a, _), (b, _)| a == b);
            for &(key, value) in same_key.filter_map(<[_]>::last) {
                match value {
                    Some(value) => table.write(key, value)?,
                    None => table.write_tombstone(key)?,
                }
            }
            table.write(APPLIED, last.number.to_be_bytes().as_slice())?;
            Ok(table.finish()?)
        })
    }

    /// Merges some tables if there are too many, so that reading stays fast and what was deleted goes.
    /// False when there was nothing to do.
    pub(super) fn merge(&self) -> Result<bool, BaseError> {
        guarded(|| {
            let before = self.tree.current_version().id();
            self.tree.compact(Arc::new(Leveled::default()), self.sequence.get())?;
            Ok(self.tree.current_version().id() != before)
        })
    }

    /// Hands out the records of these partitions, in ascending order of keys.
    pub(super) fn load_range(
        &self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        let first = Key::new(*partitions.start(), Table::Meta, &[]);
        // As many bytes as a partition has, so that it is before all keys of the next one.
        let behind = (partitions.end().number() + 1).to_be_bytes();
        debug_assert!(behind <= PARTITIONS.to_be_bytes());
        let mut entries = self.tree.range(first.as_bytes()..&behind[..], SeqNo::MAX, None);
        while let Some((key, value)) =
            guarded(|| entries.next().map(Guard::into_inner).transpose().map_err(Into::into))?
        {
            record(&Key::parse(&key)?, &value);
        }
        Ok(())
    }
}

/// Writes the first records of a new tree.
fn create(tree: &AnyTree, (key, value): (Key, impl AsRef<[u8]>)) -> Result<u64, BaseError> {
    let salt = getrandom::u64()?;
    let mut table = tree.ingestion()?;
    table.write(key.as_bytes(), value.as_ref())?;
    table.write(SALT, salt.to_be_bytes().as_slice())?;
    table.finish()?;
    Ok(salt)
}

fn number(value: &[u8]) -> Result<[u8; 8], BaseError> {
    value.try_into().map_err(|_| BaseError::Damaged)
}
