//! What survives: keys, atomic batches, and the trait behind which a database stands.
//!
//! ```text
//! shard ─ Batch ─► StoreThread (io::store) ─ &[Batch] ─► Store::commit ─ one fsync for all of them
//! shard ◄──────────── CommitOutcome ─────────────────────────────┘
//! ```
//!
//! Everything that a shard owns is in its memory; the store is read at start, and after a commit
//! whose outcome is unknown, and otherwise only written. What the records contain is decided by the
//! areas that own them. The embedded database is in `io::store`; [`memory`] is the same contract
//! without a disk, for simulations and as the model that the database is compared with.

mod key;
pub mod memory;
mod secret;

pub use key::{KEY_BYTES_MAX, KEY_REST_BYTES_MAX, Key, Table};
pub use secret::{NotOurs, SEAL_NONCE_BYTES, STORE_KEY_BYTES, StoreKey};

use std::fmt;
use std::ops::RangeInclusive;

use shared::placement::{PARTITIONS, PartitionId};

/// Most bytes of keys and values in one batch; a store refuses a larger one.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One change of one record.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// Which record.
    pub key: Key,
    /// Its new value; none deletes it.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for Write {
    /// Without the value, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.value.is_some() { "put" } else { "delete" };
        write!(f, "{change} {:?}", self.key)
    }
}

/// Changes that become durable together or not at all; of two changes of one record the later holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a record.
    pub fn put(&mut self, key: Key, value: impl Into<Vec<u8>>) {
        self.push(Write { key, value: Some(value.into()) });
    }

    /// Removes a record, whether it exists or not.
    pub fn delete(&mut self, key: Key) {
        self.push(Write { key, value: None });
    }

    /// Adds a change.
    pub fn push(&mut self, write: Write) {
        let value_len = write.value.as_ref().map_or(0, Vec::len);
        self.bytes += write.key.as_bytes().len() + value_len;
        self.writes.push(write);
    }

    /// The changes in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl FromIterator<Write> for Batch {
    fn from_iter<I: IntoIterator<Item = Write>>(writes: I) -> Self {
        let mut batch = Self::new();
        writes.into_iter().for_each(|write| batch.push(write));
        batch
    }
}

/// How a commit ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommitOutcome {
    /// Durable: it survives the loss of power.
    Done,
    /// It did not happen and never will; what was there before is untouched.
    Refused,
    /// It may or may not have happened. The partitions concerned are loaded again before they are
    /// served.
    Unknown,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database reports an error, of the disk or of itself.
    #[error("the store cannot be read: {0}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A key that no version ever wrote.
    #[error(
        "the store contains a key that is not one of ours ({begins:02x?}...): restore a backup"
    )]
    UnreadableKey {
        /// The first bytes of the key, as it stands in the database.
        begins: Box<[u8]>,
    },
    /// A record of a table that this version does not know.
    #[error(
        "the store contains records of table {number:#04x}, which a newer version of ocf-gateway wrote: run that version"
    )]
    UnknownTable {
        /// The table's number.
        number: u8,
    },
}

/// Receives one record: key and value.
pub type RecordSink<'a> = dyn FnMut(&Key, &[u8]) + 'a;

/// Receives one record of a known partition: table, own part of the key, value.
pub type PartitionSink<'a> = dyn FnMut(Table, &[u8], &[u8]) + 'a;

/// Receives one record: partition, table, own part of the key, value.
pub type StoreSink<'a> = dyn FnMut(PartitionId, Table, &[u8], &[u8]) + 'a;

/// A durable map from keys to values, changed by atomic batches.
pub trait Store: Send {
    /// Hands out every record of these partitions, in ascending order of keys.
    fn load_range(
        &mut self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError>;

    /// Makes all batches durable, as one group: after [`CommitOutcome::Done`] all of them are.
    /// Each batch alone is atomic whatever happens; the order of the batches is kept.
    fn commit(&mut self, batches: &[Batch]) -> CommitOutcome;

    /// Makes the store usable again after anything but success; does nothing to one that is. What is
    /// read afterwards is what has become of a commit whose outcome was unknown.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Hands out every record of one partition, in ascending order of keys.
    fn load(
        &mut self,
        partition: PartitionId,
        record: &mut PartitionSink<'_>,
    ) -> Result<(), StoreError> {
        self.load_range(partition..=partition, &mut |key, value| {
            record(key.table(), key.rest(), value);
        })
    }

    /// Hands out every record of the store in one pass, ordered by partition.
    fn load_all(&mut self, record: &mut StoreSink<'_>) -> Result<(), StoreError> {
        let [first, last] = [0, PARTITIONS - 1]
            .map(|number| PartitionId::new(number).expect("the first and the last one exist"));
        self.load_range(first..=last, &mut |key, value| {
            record(key.partition(), key.table(), key.rest(), value);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u16) -> PartitionId {
        PartitionId::new(number).unwrap()
    }

    #[test]
    fn neither_a_key_nor_a_write_prints_what_may_be_secret() {
        let key = Key::new(partition(1), Table::DeviceToken, b"digest");
        let mut batch = Batch::new();
        batch.put(key, *b"secret");
        let printed = format!("{batch:?}");
        assert!(!printed.contains("digest") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn a_batch_counts_the_bytes_of_its_keys_and_values() {
        let key = Key::new(partition(1), Table::User, b"0123");
        let batch: Batch = [Write { key, value: Some(vec![0; 10]) }, Write { key, value: None }]
            .into_iter()
            .collect();
        assert_eq!((batch.bytes(), batch.writes().len()), (7 + 10 + 7, 2));
    }
}
