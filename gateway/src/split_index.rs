//! Finds things by a hash without ever stopping to grow: many hash tables, of which one grows at a time.
//!
//! One large hash table copies all of itself when it is full. With half a million devices that is a pause
//! of tens of milliseconds, and for its length the memory of both copies.

use hashbrown::HashTable;
use shared::channel::figures::TableMemory;

use crate::memory::{allocated, table};

/// Hash tables of an index. A shard with half a million entries has two thousand in each, which move
/// in a fraction of a millisecond.
const PARTS: usize = 256;

/// Where an index finds in a hash which part it belongs to. The tables themselves use the lowest bits
/// and the seven highest.
const PART_SHIFT: u32 = 40;

/// An index by hash. It keeps what it is given, usually a key of a table that has the rest.
pub struct SplitIndex<T> {
    parts: Box<[HashTable<T>]>,
    len: usize,
}

impl<T> Default for SplitIndex<T> {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect(), len: 0 }
    }
}

impl<T> SplitIndex<T> {
    /// What has this hash and is the one.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts[part(hash)].find(hash, is_it)
    }

    /// Adds what is not there yet. `hash_of` gives the hash of those that have to move.
    pub fn insert(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) {
        self.parts[part(hash)].insert_unique(hash, value, hash_of);
        self.len += 1;
    }

    /// Takes out what has this hash and is the one.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let entry = self.parts[part(hash)].find_entry(hash, is_it).ok()?;
        self.len -= 1;
        Some(entry.remove().0)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it occupies.
    pub fn memory(&self, name: &str) -> TableMemory {
        let tables = self.parts.iter().map(|part| allocated(part.allocation_size()));
        let reserved = tables.sum::<usize>() + allocated(size_of_val(&*self.parts));
        table(name, self.len, self.len * size_of::<T>(), reserved)
    }
}

fn part(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use hashbrown::DefaultHashBuilder;
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    #[test]
    fn no_part_has_more_than_its_share() {
        let hasher = DefaultHashBuilder::default();
        let mut index = SplitIndex::default();
        const EACH: usize = 200;
        for number in 0..PARTS * EACH {
            index.insert(hasher.hash_one(number), number, |n| hasher.hash_one(n));
        }
        assert!(index.parts.iter().all(|part| (EACH / 2..EACH * 2).contains(&part.len())));
        let memory = index.memory("an index");
        assert_eq!(memory.entries as usize, PARTS * EACH);
        let used = memory.used_bytes;
        assert!((used..used * 4).contains(&memory.reserved_bytes), "{memory:?}");
    }

    proptest::proptest! {
        #[test]
        fn it_has_what_a_set_has(steps in proptest::collection::vec((0u16..500, proptest::bool::ANY), 0..2000)) {
            let hasher = DefaultHashBuilder::default();
            let mut index = SplitIndex::default();
            let mut model = BTreeSet::new();
            for (number, goes) in steps {
                let hash = hasher.hash_one(number);
                if goes {
                    let taken = index.remove(hash, |&n| n == number);
                    proptest::prop_assert_eq!(taken.is_some(), model.remove(&number));
                } else if model.insert(number) {
                    index.insert(hash, number, |n| hasher.hash_one(n));
                }
                proptest::prop_assert_eq!(index.len(), model.len());
            }
            for number in 0..500 {
                let found = index.find(hasher.hash_one(number), |&n| n == number);
                proptest::prop_assert_eq!(found.is_some(), model.contains(&number));
            }
        }
    }
}
