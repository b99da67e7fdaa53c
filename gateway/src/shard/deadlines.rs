//! Deadlines: one timer wheel per kind of thing that has them.
//!
//! A wheel knows entries by their index in a table and holds at most one deadline for each, in 12
//! bytes. Deadlines are rounded up to a tick; those beyond the horizon of the wheel fire at the
//! horizon, so whoever is called compares with the real deadline and sets the rest of it.

use shared::channel::figures::TableMemory;
use shared::time::Instant;

use crate::memory::{allocated, table};

/// Length of a tick.
const TICK_NANOS: u64 = 1 << 27; // 134 ms
/// Ticks of a round: nine minutes.
const SLOTS: usize = 4096;
/// Nodes that are allocated at a time.
const CHUNK: usize = 256;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    previous: u32,
    /// The slot it is in, or `NONE`.
    slot: u32,
}

const UNUSED: Node = Node { next: NONE, previous: NONE, slot: NONE };

/// Deadlines of the entries of one table, by index.
pub struct Deadlines {
    heads: Box<[u32; SLOTS]>,
    used: [u64; SLOTS / 64],
    nodes: Vec<Box<[Node]>>,
    /// The tick up to which everything has fired.
    done: u64,
    armed: usize,
}

impl Deadlines {
    /// No deadlines, at this time.
    pub fn new(now: Instant) -> Self {
        Self {
            heads: Box::new([NONE; SLOTS]),
            used: [0; SLOTS / 64],
            nodes: Vec::new(),
            done: now.as_nanos() / TICK_NANOS,
            armed: 0,
        }
    }

    /// Number of deadlines that are set.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// No deadline is set.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// What the wheel occupies.
    pub fn memory(&self, name: &str) -> TableMemory {
        let nodes = self.nodes.len() * allocated(CHUNK * size_of::<Node>());
        let used = self.armed * size_of::<Node>();
        table(name, self.armed, used, nodes + size_of_val(&*self.heads))
    }

    /// Sets the deadline of an entry, replacing an older one. It fires at most a tick late.
    pub fn set(&mut self, index: u32, at: Instant) {
        let tick = at.as_nanos().div_ceil(TICK_NANOS);
        let tick = tick.clamp(self.done + 1, self.done + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as u32;
        self.node_mut(index);
        if self.node(index).slot == slot {
            return;
        }
        self.clear(index);
        let head = self.heads[slot as usize];
        *self.node_mut(index) = Node { next: head, previous: NONE, slot };
        if head != NONE {
            self.node_mut(head).previous = index;
        }
        self.heads[slot as usize] = index;
        self.used[slot as usize / 64] |= 1 << (slot % 64);
        self.armed += 1;
    }

    /// Takes the deadline of an entry back, if it has one.
    pub fn clear(&mut self, index: u32) {
        let node = self.node(index);
        if node.slot == NONE {
            return;
        }
        if node.next != NONE {
            self.node_mut(node.next).previous = node.previous;
        }
        if node.previous == NONE {
            self.heads[node.slot as usize] = node.next;
            if node.next == NONE {
                self.used[node.slot as usize / 64] &= !(1 << (node.slot % 64));
            }
        } else {
            self.node_mut(node.previous).next = node.next;
        }
        *self.node_mut(index) = UNUSED;
        self.armed -= 1;
    }

    /// Takes out one entry whose deadline has passed.
    pub fn next_due(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() / TICK_NANOS;
        match self.next_tick() {
            Some(next) if next <= now => {
                self.done = next - 1;
                let index = self.heads[(next % SLOTS as u64) as usize];
                self.clear(index);
                Some(index)
            }
            _ => {
                self.done = self.done.max(now);
                None
            }
        }
    }

    /// When [`next_due`](Self::next_due) is worth asking again.
    pub fn next(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_nanos(tick * TICK_NANOS))
    }

    /// The next tick with a deadline. Every deadline lies within one round after `done`.
    fn next_tick(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let from = self.done + 1;
        let start = (from % SLOTS as u64) as usize;
        // The rest of the first word, then whole words all the way round to it again.
        for step in 0..=SLOTS / 64 {
            let word = (start / 64 + step) % (SLOTS / 64);
            let mut bits = self.used[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(from + ahead as u64);
            }
        }
        None
    }

    fn node(&self, index: u32) -> Node {
        let chunk = self.nodes.get(index as usize / CHUNK);
        chunk.map_or(UNUSED, |chunk| chunk[index as usize % CHUNK])
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        let chunk = index as usize / CHUNK;
        while self.nodes.len() <= chunk {
            self.nodes.push(vec![UNUSED; CHUNK].into_boxed_slice());
        }
        &mut self.nodes[chunk][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_deadline_fires_once_and_not_before_its_time() {
        let mut deadlines = Deadlines::new(at(0));
        deadlines.set(7, at(1000));
        assert_eq!(deadlines.next_due(at(999)), None);
        assert_eq!(deadlines.next_due(at(1000) + Duration::from_nanos(TICK_NANOS)), Some(7));
        assert_eq!(deadlines.next_due(at(100_000)), None);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_deadline_can_be_moved_and_taken_back() {
        let mut deadlines = Deadlines::new(at(0));
        deadlines.set(1, at(1000));
        deadlines.set(2, at(1000));
        deadlines.set(1, at(9000));
        deadlines.clear(2);
        deadlines.clear(2);
        assert_eq!(deadlines.len(), 1);
        assert_eq!(deadlines.next_due(at(5000)), None);
        assert_eq!(deadlines.next_due(at(9200)), Some(1));
    }

    #[test]
    fn a_deadline_beyond_the_horizon_fires_at_the_horizon() {
        let mut deadlines = Deadlines::new(at(0));
        deadlines.set(1, at(3_600_000));
        let fires = deadlines.next().unwrap();
        assert!(fires < at(600_000), "{fires:?}");
        assert_eq!(deadlines.next_due(fires), Some(1));
    }

    proptest::proptest! {
        /// Against an ordered map: same entries, in order of time, none early, none more than a
        /// tick late.
        #[test]
        fn fires_like_an_ordered_map(
            steps in proptest::collection::vec((0u32..40, 0u64..400_000, 0u64..3000), 1..200)
        ) {
            let mut deadlines = Deadlines::new(at(0));
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            let mut clock = 0;
            for (index, ahead, pass) in steps {
                deadlines.set(index, at(clock + ahead));
                model.insert(index, at(clock + ahead));
                clock += pass;
                let mut fired = Vec::new();
                while let Some(index) = deadlines.next_due(at(clock)) {
                    fired.push(index);
                }
                for &index in &fired {
                    proptest::prop_assert!(model.remove(&index).is_some_and(|due| due <= at(clock)));
                }
                let tick = Duration::from_nanos(TICK_NANOS);
                proptest::prop_assert!(model.values().all(|&due| due + tick > at(clock)));
                proptest::prop_assert_eq!(deadlines.len(), model.len());
            }
        }
    }
}
