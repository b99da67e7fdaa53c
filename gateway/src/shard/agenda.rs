//! Deadlines of few things: ordered, in memory that follows use. What nearly every connection has is
//! in [`super::deadlines`].

use std::collections::{BTreeMap, BTreeSet};

use shared::time::Instant;

/// At most one deadline for each key.
pub struct Agenda<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Agenda<K> {
    /// Sets the deadline of a key, replacing an older one.
    pub fn set(&mut self, key: K, at: Instant) {
        self.clear(key);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    /// Sets the deadline of a key unless it has an earlier one.
    pub fn set_no_later(&mut self, key: K, at: Instant) {
        if self.by_key.get(&key).is_none_or(|&earlier| at < earlier) {
            self.set(key, at);
        }
    }

    /// Takes the deadline of a key back, if it has one.
    pub fn clear(&mut self, key: K) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// Takes out one key whose deadline has passed, the earliest first.
    pub fn next_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }

    /// When [`next_due`](Self::next_due) is worth asking again.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Number of deadlines.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// No deadlines.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn keys_come_in_the_order_of_their_newest_deadlines() {
        let mut agenda = Agenda::default();
        agenda.set('a', at(10));
        agenda.set('b', at(20));
        agenda.set('a', at(30));
        agenda.set_no_later('b', at(25));
        agenda.set_no_later('c', at(5));
        agenda.set('d', at(1));
        agenda.clear('d');
        assert_eq!((agenda.len(), agenda.next()), (3, Some(at(5))));
        assert_eq!(agenda.next_due(at(4)), None);
        let due = std::iter::from_fn(|| agenda.next_due(at(29)));
        assert_eq!(due.collect::<Vec<_>>(), ['c', 'b']);
        assert_eq!(agenda.next(), Some(at(30)));
    }
}
