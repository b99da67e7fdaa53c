//! The store's contract without a disk.
//!
//! For simulations, which decide themselves what becomes of a commit, and as the model that the
//! embedded database is compared with. Nothing here survives the process.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use shared::placement::PartitionId;

use super::{Batch, CommitOutcome, Key, RecordSink, Store, StoreError, Table};

/// Records in memory, in the order of their keys. A clone is what a disk would hold at that moment.
#[derive(Clone, Default)]
pub struct MemoryStore {
    records: BTreeMap<Key, Vec<u8>>,
}

impl MemoryStore {
    /// Without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The value of a record.
    pub fn value(&self, key: &Key) -> Option<&[u8]> {
        self.records.get(key).map(Vec::as_slice)
    }

    /// Carries one batch out.
    pub fn apply(&mut self, batch: &Batch) {
        for write in batch.writes() {
            match &write.value {
                Some(value) => self.records.insert(write.key, value.clone()),
                None => self.records.remove(&write.key),
            };
        }
    }
}

impl Store for MemoryStore {
    fn load_range(
        &mut self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        let first = Key::new(*partitions.start(), Table::Meta, &[]);
        for (key, value) in self.records.range(first..) {
            if key.partition() > *partitions.end() {
                break;
            }
            record(key, value);
        }
        Ok(())
    }

    fn commit(&mut self, batches: &[Batch]) -> CommitOutcome {
        batches.iter().for_each(|batch| self.apply(batch));
        CommitOutcome::Done
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_changes_of_a_record_holds_and_records_come_in_the_order_of_keys() {
        let key = |partition, rest: &[u8]| {
            Key::new(PartitionId::new(partition).unwrap(), Table::User, rest)
        };
        let mut store = MemoryStore::new();
        let mut batch = Batch::new();
        batch.put(key(7, b"a"), *b"first");
        batch.put(key(7, b"a"), *b"second");
        batch.put(key(3, b"b"), *b"gone");
        batch.delete(key(3, b"b"));
        batch.put(key(3, b"c"), *b"kept");
        assert_eq!(store.commit(&[batch]), CommitOutcome::Done);

        let mut seen = Vec::new();
        store
            .load_all(&mut |partition, _, rest, value| {
                seen.push((partition.number(), rest.to_vec(), value.to_vec()));
            })
            .unwrap();
        assert_eq!(
            seen,
            [(3, b"c".to_vec(), b"kept".to_vec()), (7, b"a".to_vec(), b"second".to_vec())]
        );
    }
}
