//! When each device or client is to be woken: a hashed timer wheel whose lists run through a table by
//! owner. Arming, disarming and firing cost the same however many there are, every owner has one timer,
//! and there is nothing out of date to be passed over.

use std::time::Duration;

use shared::time::Instant;

/// A tick is 2^17 ns, an eighth of a millisecond: what pings are late by at most.
const TICK_BITS: u32 = 17;
/// Buckets of a turn of the wheel, 34 s. Timers further ahead stay in their bucket for more turns.
const BUCKETS: usize = 1 << 18;

/// Nobody, at the end of a list.
const NOBODY: u32 = 0;

/// An owner's place in the list of a bucket. Owners count from 1 here, so that a table of zeros is one
/// of empty lists and takes no memory before it is used.
#[derive(Clone, Copy, Default)]
struct Link {
    previous: u32,
    next: u32,
    /// The tick at which it fires, plus one; 0 when it is not armed.
    at: u32,
}

/// Timers of all owners of a core.
pub(super) struct Wheel {
    heads: Box<[u32]>,
    /// A bit for every bucket that is not empty.
    occupied: Box<[u64]>,
    links: Vec<Link>,
    /// All ticks before this one have fired.
    now: u32,
}

const _: () = assert!(size_of::<Link>() == 12, "each device has one");

/// The first tick that is not before this time.
fn tick(at: Instant) -> u32 {
    let ticks = at.as_nanos().div_ceil(1 << TICK_BITS);
    // Six days from the start; no run is as long.
    u32::try_from(ticks).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
}

fn bucket(tick: u32) -> usize {
    tick as usize % BUCKETS
}

impl Wheel {
    /// For so many owners; more are possible.
    pub(super) fn new(owners: usize) -> Self {
        Self {
            heads: vec![NOBODY; BUCKETS].into(),
            occupied: vec![0; BUCKETS / 64].into(),
            links: Vec::with_capacity(owners),
            now: 0,
        }
    }

    /// Wakes this owner at this time and at no other, or not at all.
    pub(super) fn arm(&mut self, owner: u32, at: Option<Instant>) {
        let at = at.map_or(0, |at| tick(at).max(self.now) + 1);
        if self.links.get(owner as usize).is_some_and(|link| link.at == at) {
            return;
        }
        self.disarm(owner);
        if at != 0 {
            self.enter(owner, at);
        }
    }

    fn enter(&mut self, owner: u32, at: u32) {
        if self.links.len() <= owner as usize {
            self.links.resize(owner as usize + 1, Link::default());
        }
        let bucket = bucket(at - 1);
        let next = std::mem::replace(&mut self.heads[bucket], owner + 1);
        self.links[owner as usize] = Link { previous: NOBODY, next, at };
        if next != NOBODY {
            self.links[next as usize - 1].previous = owner + 1;
        }
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    fn disarm(&mut self, owner: u32) {
        let Some(link) = self.links.get_mut(owner as usize) else { return };
        let Link { previous, next, at } = std::mem::take(link);
        if at == 0 {
            return;
        }
        let bucket = bucket(at - 1);
        match previous {
            NOBODY => self.heads[bucket] = next,
            previous => self.links[previous as usize - 1].next = next,
        }
        if next != NOBODY {
            self.links[next as usize - 1].previous = previous;
        }
        if self.heads[bucket] == NOBODY {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// Somebody whose time has come, no longer armed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        // A tick is over when its last moment is.
        let until = u32::try_from(now.as_nanos() >> TICK_BITS).unwrap_or(u32::MAX);
        while let Some(tick) = self.next_occupied(until) {
            self.now = tick;
            let mut owner = self.heads[bucket(tick)];
            while owner != NOBODY {
                let link = self.links[owner as usize - 1];
                if link.at <= tick + 1 {
                    self.disarm(owner - 1);
                    return Some(owner - 1);
                }
                owner = link.next;
            }
            if tick == until {
                return None;
            }
            self.now = tick + 1;
        }
        self.now = self.now.max(until);
        None
    }

    /// When to look again; never later than the next timer. At most one turn of the wheel ahead.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let tick = self.next_occupied(self.now.saturating_add(BUCKETS as u32 - 1))?;
        Some(Instant::START + Duration::from_nanos(u64::from(tick) << TICK_BITS))
    }

    /// The first tick from now to `until` in whose bucket there is anybody.
    fn next_occupied(&self, until: u32) -> Option<u32> {
        let last = until.min(self.now.saturating_add(BUCKETS as u32 - 1));
        let mut tick = self.now;
        while tick <= last {
            let rest = self.occupied[bucket(tick) / 64] >> (bucket(tick) % 64);
            if rest != 0 {
                let found = tick + rest.trailing_zeros();
                return (found <= last).then_some(found);
            }
            tick = (tick | 63) + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    #[test]
    fn the_last_time_that_was_armed_counts() {
        let mut wheel = Wheel::new(2);
        wheel.arm(1, Some(at(50)));
        wheel.arm(0, Some(at(10)));
        wheel.arm(1, Some(at(20)));
        wheel.arm(2, Some(at(5)));
        wheel.arm(2, None);
        assert_eq!(wheel.pop(at(9)), None);
        assert_eq!(wheel.pop(at(30)), Some(0));
        assert_eq!(wheel.pop(at(30)), Some(1));
        assert_eq!(wheel.pop(at(1000)), None);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn a_timer_many_turns_ahead_fires_once_and_in_its_time() {
        let mut wheel = Wheel::new(1);
        wheel.arm(0, Some(at(120_000)));
        let mut now = 0;
        while let Some(due) = wheel.next_due() {
            now = due.as_millis().max(now + 1);
            if wheel.pop(at(now)).is_some() {
                break;
            }
        }
        assert!((120_000..=120_001).contains(&now), "{now}");
    }

    proptest! {
        /// Against a table that is searched: whoever is due fires, nobody else, nobody twice.
        #[test]
        fn it_does_what_a_search_would(
            steps in prop::collection::vec((0u32..20, 0u64..90_000, 0u64..4_000), 0..80),
        ) {
            let mut wheel = Wheel::new(4);
            let mut model = HashMap::new();
            let mut now = 0;
            for (owner, ahead, passes) in steps {
                wheel.arm(owner, Some(at(now + ahead)));
                model.insert(owner, now + ahead);
                now += passes;
                let mut fired = Vec::new();
                // What fires within the last tick may come a tick late.
                while let Some(owner) = wheel.pop(at(now)) {
                    prop_assert!(model.remove(&owner).is_some_and(|due| due <= now));
                    fired.push(owner);
                }
                prop_assert!(model.values().all(|&due| due + 1 > now), "{model:?} {now}");
                let earliest = model.values().min();
                let due = wheel.next_due().map(Instant::as_millis);
                prop_assert_eq!(earliest.is_some(), due.is_some());
                if let (Some(&earliest), Some(due)) = (earliest, due) {
                    prop_assert!(due <= earliest + 1);
                }
            }
        }
    }
}
