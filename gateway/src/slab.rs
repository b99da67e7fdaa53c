//! A table that hands out small keys: entries live in chunks, so that growth never copies them and
//! memory follows use.

use std::marker::PhantomData;

use shared::channel::figures::TableMemory;

use crate::memory::{allocated, spread, table};

/// Bytes of a chunk: a size for which allocators have a class, so that nothing is rounded up.
const CHUNK_BYTES: usize = 16 * 1024;

/// A key of a [`Slab`] of `T`: four bytes, with room for `Option`.
pub struct Key<T>(std::num::NonZeroU32, PhantomData<fn() -> T>);

impl<T> Key<T> {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(std::num::NonZeroU32::new);
        Self(number.expect("tables are bounded far below 2^32 entries"), PhantomData)
    }

    /// The key with this index, which must have come from [`Key::index`].
    pub fn from_index(index: u32) -> Self {
        Self::new(index as usize)
    }

    /// Position in the table, dense from 0.
    pub fn index(self) -> u32 {
        self.0.get() - 1
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Key<T> {}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.index())
    }
}

enum Slot<T> {
    Free { next: Option<Key<T>> },
    Used(T),
}

/// A table of `T` with stable keys. A key is used again after its entry was removed.
pub struct Slab<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    first_free: Option<Key<T>>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), first_free: None, len: 0 }
    }
}

impl<T> Slab<T> {
    /// Entries per chunk.
    const CHUNK: usize = {
        let fit = CHUNK_BYTES / size_of::<Slot<T>>();
        if fit == 0 { 1 } else { fit }
    };

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry.
    pub fn insert(&mut self, value: T) -> Key<T> {
        let key = match self.first_free {
            Some(key) => key,
            None => self.grow(),
        };
        let slot = self.slot_mut(key);
        let Slot::Free { next } = std::mem::replace(slot, Slot::Used(value)) else {
            unreachable!("the free list names free slots only")
        };
        self.first_free = next;
        self.len += 1;
        key
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let next = self.first_free;
        let slot = self.checked_slot_mut(key)?;
        if matches!(slot, Slot::Free { .. }) {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(slot, Slot::Free { next }) else { return None };
        self.first_free = Some(key);
        self.len -= 1;
        Some(value)
    }

    /// The entry, if the key has one.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let index = key.index() as usize;
        match self.chunks.get(index / Self::CHUNK)?.get(index % Self::CHUNK)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The entry, to be changed.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        match self.checked_slot_mut(key)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Some entries, evenly spread over the table; all of them when they are few.
    pub fn some(&self) -> impl Iterator<Item = &T> {
        let places = spread(self.chunks.len() * Self::CHUNK);
        places.filter_map(|index| self.get(Key::new(index)))
    }

    /// What the table occupies, without what hangs on its entries.
    pub fn memory(&self, name: &str) -> TableMemory {
        let used = self.len * size_of::<Slot<T>>();
        let chunk = allocated(Self::CHUNK * size_of::<Slot<T>>());
        table(name, self.len, used, self.chunks.len() * chunk)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used(value) => Some((Key::new(index), value)),
            Slot::Free { .. } => None,
        })
    }

    fn grow(&mut self) -> Key<T> {
        let first = self.chunks.len() * Self::CHUNK;
        let chunk = (first..first + Self::CHUNK).map(|index| {
            let next = (index + 1 < first + Self::CHUNK).then(|| Key::new(index + 1));
            Slot::Free { next }
        });
        self.chunks.push(chunk.collect());
        Key::new(first)
    }

    fn checked_slot_mut(&mut self, key: Key<T>) -> Option<&mut Slot<T>> {
        let index = key.index() as usize;
        self.chunks.get_mut(index / Self::CHUNK)?.get_mut(index % Self::CHUNK)
    }

    fn slot_mut(&mut self, key: Key<T>) -> &mut Slot<T> {
        self.checked_slot_mut(key).expect("keys come from this table")
    }
}

impl<T> std::ops::Index<Key<T>> for Slab<T> {
    type Output = T;

    fn index(&self, key: Key<T>) -> &T {
        self.get(key).expect("the key names an entry")
    }
}

impl<T> std::ops::IndexMut<Key<T>> for Slab<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        self.get_mut(key).expect("the key names an entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_valid_while_the_table_grows_and_are_used_again_after_removal() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0..1000).map(|n| slab.insert(n)).collect();
        assert_eq!(
            keys.iter().map(|&key| slab[key]).collect::<Vec<_>>(),
            (0..1000).collect::<Vec<_>>()
        );
        assert_eq!(slab.remove(keys[500]), Some(500));
        assert_eq!(slab.remove(keys[500]), None);
        assert_eq!(slab.get(keys[500]), None);
        assert_eq!(slab.insert(7).index(), 500);
        assert_eq!(slab.len(), 1000);
        assert_eq!(slab.iter().count(), 1000);
    }

    #[test]
    fn an_optional_key_takes_four_bytes() {
        assert_eq!(size_of::<Option<Key<u64>>>(), 4);
    }
}
