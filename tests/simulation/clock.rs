//! The wall clock, which somebody sets now and then. Only lifetimes depend on it: what is due when
//! follows the clock that runs evenly.

use std::time::Duration;

use shared::time::{Instant, UnixTime};

use super::cloud::UNIX_AT_START;
use super::run::Simulation;

/// Most steps of a world. Together they stay below a day, after which deliveries are given up.
pub(super) const CLOCK_STEPS_MAX: u64 = 4;

/// How far it is set, in seconds.
const STEPS_SECS: [i64; 5] = [3, 70, 600, 3600, 5 * 3600];

/// Whatever has been decided by an earlier clock has come to its end after this time.
const REMEMBERED: Duration = Duration::from_secs(300);

/// A clock that is ahead of the one that runs evenly, or behind.
#[derive(Default)]
pub(super) struct WallClock {
    ahead: i64,
    /// How far it was ahead before it was set, and when that was.
    before: Vec<(Instant, i64)>,
}

impl WallClock {
    pub(super) fn unix(&self, now: Instant) -> UnixTime {
        at(now, self.ahead)
    }

    /// The latest that it can have shown to whatever is under way.
    pub(super) fn latest(&self, now: Instant) -> UnixTime {
        let lately = self.before.iter().filter(|(set, _)| now.since(*set) <= REMEMBERED);
        let ahead = lately.map(|(_, ahead)| *ahead).fold(self.ahead, i64::max);
        at(now, ahead)
    }
}

fn at(now: Instant, ahead: i64) -> UnixTime {
    let secs = UNIX_AT_START.0 + now.as_nanos() / 1_000_000_000;
    UnixTime(secs.saturating_add_signed(ahead))
}

impl Simulation {
    /// Somebody sets the clock.
    pub(super) fn set_clock(&mut self) {
        let step = *self.dice.pick(&STEPS_SECS);
        let step = if self.dice.below(2) == 0 { step } else { -step };
        self.tell(format_args!("the clock is set by {step} s"));
        self.clock.before.push((self.instant, self.clock.ahead));
        self.clock.ahead += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clock_has_shown_is_remembered_for_a_while() {
        let (set, later) = (Instant::START, Instant::START + REMEMBERED);
        let clock = WallClock { ahead: -70, before: vec![(set, 0)] };
        assert_eq!(clock.unix(set), UnixTime(UNIX_AT_START.0 - 70));
        assert_eq!(clock.latest(later), UnixTime(UNIX_AT_START.0 + REMEMBERED.as_secs()));
        let much_later = later + Duration::from_secs(1);
        assert_eq!(clock.latest(much_later), clock.unix(much_later));
    }
}
