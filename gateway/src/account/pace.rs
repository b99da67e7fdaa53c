//! How often somebody may: a number at once, then one in every so long (GCRA). In bounded memory.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use shared::time::Instant;

use crate::memory::Heap;

/// Entries of one generation. Two are kept.
const ENTRIES_MAX: usize = 16 * 1024;

/// A rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// From one to the next.
    pub every: Duration,
    /// At once after a pause.
    pub burst: u32,
    /// Nobody is made to wait longer.
    pub wait_max: Duration,
}

impl Rate {
    /// What may be ahead of its time without having to wait.
    fn tolerance(self) -> Duration {
        self.every * self.burst.saturating_sub(1)
    }
}

/// One would have to wait longer than anybody is made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooOften;

/// The paces of many, by key. Who has kept to the rate for a while is forgotten: two generations of
/// entries, of which the older is dropped in turn. When too many are new at once, some are forgotten
/// early: memory is bounded, the rate of those few is not.
pub struct Paces<K> {
    rate: Rate,
    /// When each will have kept to the rate again.
    young: HashMap<K, Instant>,
    old: HashMap<K, Instant>,
    turned: Instant,
}

impl<K: Copy + Eq + Hash> Paces<K> {
    /// Nobody yet.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, young: HashMap::new(), old: HashMap::new(), turned: now }
    }

    /// Somebody does it once more, after waiting for as long as is said here.
    pub fn take(&mut self, key: K, now: Instant) -> Result<Duration, TooOften> {
        self.turn(now);
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        let regular = known.map_or(now, |&regular| regular.max(now));
        let wait = regular.since(now).saturating_sub(self.rate.tolerance());
        if wait > self.rate.wait_max {
            return Err(TooOften);
        }
        self.young.insert(key, regular + self.rate.every);
        Ok(wait)
    }

    fn turn(&mut self, now: Instant) {
        // Longer than any entry is ahead of the present.
        let lifetime = self.rate.tolerance() + self.rate.wait_max + self.rate.every * 2;
        if now.since(self.turned) > lifetime || self.young.len() >= ENTRIES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
    }

    /// What they occupy.
    pub fn memory(&self) -> Heap {
        let generations = [&self.young, &self.old];
        Heap {
            entries: self.len(),
            used: self.len() * size_of::<(K, Instant)>(),
            reserved: generations.map(HashMap::allocation_size).iter().sum(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate =
        Rate { every: Duration::from_secs(1), burst: 5, wait_max: Duration::from_secs(3) };

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_a_second() {
        let mut paces = Paces::new(RATE, at(0));
        let waits = |paces: &mut Paces<char>, key, millis, count| -> Vec<_> {
            let take = |_| paces.take(key, at(millis)).map(|wait| wait.as_millis());
            (0..count).map(take).collect()
        };
        let first = waits(&mut paces, 'a', 0, 9);
        let expected = [0, 0, 0, 0, 0, 1000, 2000, 3000].map(Ok);
        assert_eq!(first[..8], expected);
        assert_eq!(first[8], Err(TooOften));
        assert_eq!(waits(&mut paces, 'b', 0, 1), [Ok(0)]);
        assert_eq!(waits(&mut paces, 'a', 1500, 2), [Ok(2500), Err(TooOften)]);
        assert_eq!(waits(&mut paces, 'a', 60_000, 5), [Ok(0); 5]);
    }

    #[test]
    fn memory_is_bounded_and_the_lately_busy_are_remembered() {
        let mut paces = Paces::new(RATE, at(0));
        for key in 0..10 * ENTRIES_MAX {
            paces.take(key, at(1)).unwrap();
        }
        assert!(paces.len() <= 2 * ENTRIES_MAX);
        for _ in 0..5 {
            paces.take(0, at(2)).unwrap();
        }
        for key in 0..ENTRIES_MAX / 2 {
            paces.take(key + 1, at(3)).unwrap();
        }
        assert_ne!(paces.take(0, at(4)), Ok(Duration::ZERO));
    }
}
