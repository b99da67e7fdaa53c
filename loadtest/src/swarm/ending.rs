//! When a run is over, and when a storm breaks: decided by the numbers that the cores publish. Pure.

use std::time::Duration;

use super::live::Snapshot;
use crate::scenario::End;

/// What follows from a look at the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    GoOn,
    /// Everybody is to be cut off, now.
    Storm,
    Over,
}

/// How far the run is from its end.
pub(super) struct Ending {
    end: End,
    devices: u64,
    cores: u64,
    /// When every device had come online or failed.
    settled_at: Option<Duration>,
    storm_at: Option<Duration>,
}

impl Ending {
    pub(super) fn new(end: End, devices: u64, cores: u64) -> Self {
        Self { end, devices, cores, settled_at: None, storm_at: None }
    }

    /// When the storm broke, counted from the beginning of the run.
    pub(super) fn storm_at(&self) -> Option<Duration> {
        self.storm_at
    }

    pub(super) fn look(&mut self, snapshot: &Snapshot, elapsed: Duration) -> Next {
        if self.settled_at.is_none() && snapshot.settled() >= self.devices {
            self.settled_at = Some(elapsed);
        }
        let over = match self.end {
            End::Interrupted => false,
            End::After(limit) => elapsed >= limit,
            End::Online(limit) => {
                self.settled_at.is_some() || limit.is_some_and(|limit| elapsed >= limit)
            }
            End::Recovered { calm, limit } => {
                return self.look_at_storm(snapshot, elapsed, calm, limit);
            }
        };
        if over { Next::Over } else { Next::GoOn }
    }

    fn look_at_storm(
        &mut self,
        snapshot: &Snapshot,
        elapsed: Duration,
        calm: Duration,
        limit: Duration,
    ) -> Next {
        match (self.settled_at, self.storm_at) {
            (Some(settled), None) if elapsed >= settled + calm => {
                self.storm_at = Some(elapsed);
                Next::Storm
            }
            // Before all cores have heard of it there may seem to be nobody out.
            (_, Some(_)) if snapshot.storms == self.cores && snapshot.out() == 0 => Next::Over,
            (_, Some(storm)) if elapsed >= storm + limit => Next::Over,
            _ => Next::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_run_until_everybody_is_online_ends_then_or_at_its_limit() {
        let mut ending = Ending::new(End::Online(Some(SECOND * 9)), 3, 1);
        let some = Snapshot { ready: 2, ..Snapshot::default() };
        assert_eq!(ending.look(&some, SECOND), Next::GoOn);
        assert_eq!(ending.look(&some, SECOND * 9), Next::Over);
        assert_eq!(ending.look(&Snapshot { failed: 1, ..some }, SECOND * 2), Next::Over);
    }

    #[test]
    fn a_storm_breaks_after_the_calm_and_is_over_when_everybody_is_back() {
        let end = End::Recovered { calm: SECOND * 5, limit: SECOND * 60 };
        let mut ending = Ending::new(end, 3, 2);
        let online = Snapshot { ready: 3, ..Snapshot::default() };
        assert_eq!(ending.look(&online, SECOND), Next::GoOn);
        assert_eq!(ending.look(&online, SECOND * 6), Next::Storm);
        assert_eq!(ending.storm_at(), Some(SECOND * 6));
        let half = Snapshot { storms: 1, ..online };
        assert_eq!(ending.look(&half, SECOND * 7), Next::GoOn, "a core has not heard of it");
        let out = Snapshot { storms: 2, dropped: 3, back: 2, ..online };
        assert_eq!(ending.look(&out, SECOND * 8), Next::GoOn);
        assert_eq!(ending.look(&Snapshot { back: 3, ..out }, SECOND * 9), Next::Over);
    }

    #[test]
    fn a_storm_from_which_somebody_does_not_return_ends_at_its_limit() {
        let end = End::Recovered { calm: Duration::ZERO, limit: SECOND * 60 };
        let mut ending = Ending::new(end, 1, 1);
        let online = Snapshot { ready: 1, ..Snapshot::default() };
        assert_eq!(ending.look(&online, SECOND), Next::Storm);
        let out = Snapshot { storms: 1, dropped: 1, ..Snapshot::default() };
        assert_eq!(ending.look(&out, SECOND * 60), Next::GoOn);
        assert_eq!(ending.look(&out, SECOND * 61), Next::Over);
    }
}
