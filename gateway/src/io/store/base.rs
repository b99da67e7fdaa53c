//! The base: all records in one B-tree file (redb), which the log's segments are applied to.
//!
//! A segment is applied in one transaction together with its number, so that after a crash it is
//! known exactly which segments are still to be applied, and applying is never done by halves.

use std::ops::{Bound, RangeInclusive};
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};
use shared::placement::PartitionId;

use super::frame::{self, Damaged, Salt, Segment};
use crate::store::{Key, RecordSink, StoreError, Table};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");

/// Number of the last segment that was applied.
const APPLIED: &str = "applied";
/// The [`Salt`] of the log.
const SALT: &str = "salt";

/// Memory for pages. The base is read once at start and otherwise only written in the order of keys.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The file, open.
pub(super) struct Base {
    database: Database,
    salt: Salt,
}

/// Why the base failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaseError {
    /// The database reports an error, of the disk or of itself.
    #[error(transparent)]
    Database(#[from] redb::Error),
    /// The system has no random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// A payload that is not a sequence of writes.
    #[error("a segment of the log is damaged")]
    Damaged,
}

impl From<Damaged> for BaseError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for BaseError {
            fn from(error: $error) -> Self {
                Self::Database(error.into())
            }
        })*
    };
}

from_redb!(
    DatabaseError,
    TableError,
    redb::TransactionError,
    redb::StorageError,
    redb::CommitError
);

impl From<BaseError> for StoreError {
    fn from(error: BaseError) -> Self {
        Self::Unreadable(Box::new(error))
    }
}

impl Base {
    /// Opens the file, or creates it with this record in it.
    pub(super) fn open(
        path: &Path,
        (key, value): (Key, impl AsRef<[u8]>),
    ) -> Result<Self, BaseError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let salt = match read_state(&database, SALT)? {
            Some(salt) => salt,
            None => {
                let salt = getrandom::u64()?;
                let transaction = database.begin_write()?;
                transaction.open_table(RECORDS)?.insert(key.as_bytes(), value.as_ref())?;
                transaction.open_table(STATE)?.insert(SALT, salt)?;
                transaction.commit()?;
                salt
            }
        };
        Ok(Self { database, salt: Salt(salt) })
    }

    /// The value of one record.
    pub(super) fn value(&self, key: &Key) -> Result<Option<Vec<u8>>, BaseError> {
        let transaction = self.database.begin_read()?;
        let records = transaction.open_table(RECORDS)?;
        Ok(records.get(key.as_bytes())?.map(|value| value.value().to_vec()))
    }

    /// The salt of the log.
    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    /// Number of the last segment that was applied; 0 when there was none.
    pub(super) fn applied(&self) -> Result<u64, BaseError> {
        Ok(read_state(&self.database, APPLIED)?.unwrap_or(0))
    }

    /// Applies segments with their bytes, in order. Durable when it returns.
    pub(super) fn apply(&self, segments: &[(Segment, Vec<u8>)]) -> Result<(), BaseError> {
        let Some((last, _)) = segments.last() else {
            return Ok(());
        };
        let groups = segments
            .iter()
            .flat_map(|(segment, bytes)| segment.groups.iter().map(|group| &bytes[group.clone()]));
        // In the order of keys each page is touched once; of several writes of a key the last holds.
        let mut writes = groups.flat_map(frame::writes).collect::<Result<Vec<_>, _>>()?;
        writes.sort_by_key(|&(key, _)| key);
        let mut transaction = self.database.begin_write()?;
        // Opening after a crash must not take a walk through the whole file.
        transaction.set_quick_repair(true);
        {
            let mut records = transaction.open_table(RECORDS)?;
            let same_key = writes.chunk_by(|(a, _), (b, _)| a == b);
            for &(key, value) in same_key.filter_map(<[_]>::last) {
                match value {
                    Some(value) => records.insert(key, value)?,
                    None => records.remove(key)?,
                };
            }
            transaction.open_table(STATE)?.insert(APPLIED, last.number)?;
        }
        Ok(transaction.commit()?)
    }

    /// Hands out the records of these partitions, in ascending order of keys.
    pub(super) fn load_range(
        &self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(BaseError::from)?;
        let records = transaction.open_table(RECORDS).map_err(BaseError::from)?;
        let first = Key::new(*partitions.start(), Table::Meta, &[]);
        let behind = PartitionId::new(partitions.end().number() + 1)
            .map(|partition| Key::new(partition, Table::Meta, &[]));
        let end = match &behind {
            Some(key) => Bound::Excluded(key.as_bytes()),
            None => Bound::Unbounded,
        };
        let range = (Bound::Included(first.as_bytes()), end);
        for entry in records.range::<&[u8]>(range).map_err(BaseError::from)? {
            let (key, value) = entry.map_err(BaseError::from)?;
            record(&Key::parse(key.value())?, value.value());
        }
        Ok(())
    }
}

fn read_state(database: &Database, name: &str) -> Result<Option<u64>, BaseError> {
    let transaction = database.begin_read()?;
    match transaction.open_table(STATE) {
        Ok(state) => Ok(state.get(name)?.map(|value| value.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
