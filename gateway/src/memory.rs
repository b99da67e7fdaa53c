//! What tables occupy: for operators, and for the benchmark that compares it with the process.
//!
//! Tables know their own bytes. What hangs on their entries, on the heap, is found by looking at some of
//! them, evenly spread, and taking the others to be like these: however large a table is, counting it
//! holds up nobody.

use shared::channel::figures::TableMemory;

/// Entries of one table whose heap is looked at.
pub const LOOKED_AT_MAX: usize = 4096;

/// Entries in a leaf of an ordered map of the standard library: 11 fit, and between half and all of
/// them are there.
const LEAF_ENTRIES: usize = 11;
const LEAF_ENTRIES_FILLED: usize = 8;

/// What a leaf has beside its entries: a pointer and two numbers.
const LEAF_HEADER_BYTES: usize = 16;

/// Bytes that the gateway's allocator takes for an allocation of so many: multiples of 16 up to 64,
/// then four sizes to a doubling.
pub const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=64 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 2 / 4),
    }
}

/// Bytes on the heap: what is in use there, and what was taken for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heap {
    /// Allocations with something in them.
    pub entries: usize,
    /// Bytes in use.
    pub used: usize,
    /// Bytes taken from the allocator.
    pub reserved: usize,
}

impl Heap {
    /// Adds an allocation of which so much is in use.
    pub fn add(&mut self, used: usize, capacity: usize) {
        self.entries += usize::from(capacity > 0);
        self.used += used;
        self.reserved += allocated(capacity);
    }

    /// Adds a box, if there is one.
    pub fn add_box<T>(&mut self, boxed: Option<&T>) {
        if boxed.is_some() {
            self.add(size_of::<T>(), size_of::<T>());
        }
    }

    /// Adds others to them.
    pub fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            used: self.used + other.used,
            reserved: self.reserved + other.reserved,
        }
    }

    /// As much of `all` as these bytes are of `looked_at` entries.
    pub fn extrapolated(self, looked_at: usize, all: usize) -> Self {
        let scale =
            |bytes: usize| (bytes as u128 * all as u128 / looked_at.max(1) as u128) as usize;
        Self {
            entries: scale(self.entries),
            used: scale(self.used),
            reserved: scale(self.reserved),
        }
    }

    /// As the table with this name.
    pub fn table(self, name: &str) -> TableMemory {
        table(name, self.entries, self.used, self.reserved)
    }
}

/// A table with this name.
pub fn table(name: &str, entries: usize, used: usize, reserved: usize) -> TableMemory {
    TableMemory {
        name: name.into(),
        entries: entries as u64,
        used_bytes: used as u64,
        reserved_bytes: reserved as u64,
    }
}

/// An ordered map of the standard library with so many entries of `T`, as such maps are on average.
pub fn ordered<T>(name: &str, entries: usize) -> TableMemory {
    let leaf = allocated(LEAF_ENTRIES * size_of::<T>() + LEAF_HEADER_BYTES);
    let leaves = entries.div_ceil(LEAF_ENTRIES_FILLED);
    let inner =
        allocated(LEAF_ENTRIES * size_of::<T>() + LEAF_HEADER_BYTES + 12 * size_of::<usize>());
    let inners = leaves / LEAF_ENTRIES_FILLED;
    table(name, entries, entries * size_of::<T>(), leaves * leaf + inners * inner)
}

/// Which of `all` places are looked at: all of few, some of many. The step is odd, so that it does not
/// keep time with whatever recurs in the table.
pub fn spread(all: usize) -> impl Iterator<Item = usize> {
    (0..all).step_by(all.div_ceil(LOOKED_AT_MAX) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_up_to_the_sizes_of_the_allocator() {
        let rounded = |bytes| allocated(bytes);
        assert_eq!([0, 1, 16, 17, 64].map(rounded), [0, 16, 16, 32, 64]);
        assert_eq!([65, 81, 128, 129, 161].map(rounded), [80, 96, 128, 160, 192]);
        assert_eq!([500, 513, 16 * 1024].map(rounded), [512, 640, 16 * 1024]);
    }

    #[test]
    fn few_places_are_all_looked_at_and_many_evenly() {
        assert_eq!(spread(0).count(), 0);
        assert_eq!(spread(LOOKED_AT_MAX).count(), LOOKED_AT_MAX);
        let many: Vec<_> = spread(1_000_000).collect();
        assert!((LOOKED_AT_MAX / 2..=LOOKED_AT_MAX).contains(&many.len()));
        assert!(many.last().is_some_and(|&last| last > 999_000));
    }

    #[test]
    fn what_was_seen_of_some_is_taken_for_all() {
        let mut heap = Heap::default();
        heap.add(100, 100);
        heap.add(0, 0);
        let all = heap.extrapolated(2, 1000);
        assert_eq!(all, Heap { entries: 500, used: 50_000, reserved: 56_000 });
    }
}
