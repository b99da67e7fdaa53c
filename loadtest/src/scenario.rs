//! What the devices of a swarm are and do, and when: pure plans, without a clock.
//!
//! Everything is open-loop: what is due comes when it is due, however slow the cloud answers, and is
//! measured from that time. A slow cloud cannot make a swarm ask less of it. The one exception has to be
//! asked for: arrivals that pause while answers are late, where the question is how many can be in.

use std::time::Duration;

use shared::time::Instant;

use crate::device::{Kind, Settings};

/// What a swarm does.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// How many devices.
    pub devices: u32,
    /// Their kinds, in turn.
    pub kinds: Vec<Kind>,
    /// How many of them arrive per second.
    pub arrivals_per_sec: f64,
    /// They pause while one answer in a hundred takes longer.
    pub pause_above: Option<Duration>,
    /// How long it takes until they arrive at that rate, beginning with none; zero for at once.
    pub ramp: Duration,
    /// How many clients, spread over the users.
    pub clients: u32,
    /// How devices and clients behave.
    pub settings: Settings,
    /// State changes that devices make by themselves, over all devices.
    pub changes_per_sec: f64,
    /// Reads of resources by clients, over all clients.
    pub retrieves_per_sec: f64,
    /// Changes of resources by clients, over all clients.
    pub updates_per_sec: f64,
    /// Reads of resources by a partner over the API.
    pub reads_per_sec: f64,
    /// Devices that are cut off and come back, over all devices.
    pub drops_per_sec: f64,
    /// Devices with numbers below this are never cut off.
    pub stay: u32,
    /// Length of the intervals in which the report says how the run went.
    pub interval: Duration,
    /// How many resources each client observes.
    pub observations_per_client: u32,
    /// All that is random comes from it.
    pub seed: u64,
    /// When the run is over.
    pub end: End,
    /// Devices leave the cloud at the end.
    pub sign_off: bool,
}

/// When a run is over. An interrupt ends it in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Only then.
    Interrupted,
    /// This long after it began.
    After(Duration),
    /// When every device is signed in and has published, or has given up; at the latest this long
    /// after it began.
    Online(Option<Duration>),
    /// When all devices are back after all of them were cut off at once.
    Recovered {
        /// From the time when every device was signed in and had published, to the storm.
        calm: Duration,
        /// From the storm to the end at the latest.
        limit: Duration,
    },
}

impl Scenario {
    /// The kind of a device.
    pub fn kind(&self, device: u32) -> Kind {
        self.kinds[device as usize % self.kinds.len()]
    }

    /// The seed of a device or client; clients count on behind the devices.
    pub fn seed_of(&self, number: u32) -> u64 {
        // Neighbouring seeds would give neighbouring generators.
        crate::device::Rng::new(self.seed ^ u64::from(number) << 32).next_u64()
    }
}

/// Points in time at a constant rate, those of one core among several.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    nanos_between: f64,
    /// The number of the next point.
    next: u64,
    /// Every how many-th point is this core's.
    stride: u64,
    /// The number behind the last point.
    end: u64,
    /// How long the rate takes to rise from nothing.
    ramp: Duration,
}

impl Schedule {
    /// `per_sec` points from `start` on, `count` in all or without end. Core number `core` of
    /// `cores` gets every `cores`-th of them. A rate of zero has no points.
    pub fn new(
        start: Instant,
        per_sec: f64,
        count: Option<u64>,
        core: usize,
        cores: usize,
    ) -> Self {
        let end = if per_sec > 0.0 { count.unwrap_or(u64::MAX) } else { 0 };
        Self {
            start,
            nanos_between: 1e9 / per_sec,
            next: core as u64,
            stride: cores as u64,
            end,
            ramp: Duration::ZERO,
        }
    }

    /// As this, but the rate rises evenly from nothing for so long.
    pub fn rising_for(self, ramp: Duration) -> Self {
        Self { ramp, ..self }
    }

    /// From the start to a point. While the rate rises, the number of points grows with the square of
    /// the time.
    fn nanos_to(&self, number: u64) -> f64 {
        let (even, ramp) = (number as f64 * self.nanos_between, self.ramp.as_nanos() as f64);
        if even < ramp / 2.0 { (2.0 * ramp * even).sqrt() } else { even + ramp / 2.0 }
    }

    /// When the next point is due.
    pub fn next_due(&self) -> Option<Instant> {
        (self.next < self.end)
            .then(|| self.start + Duration::from_nanos(self.nanos_to(self.next) as u64))
    }

    /// Nothing is due before this time; what would have been, and all that follows, is as much later.
    pub fn pause_until(&mut self, time: Instant) {
        if let Some(due) = self.next_due() {
            self.start = self.start + time.since(due);
        }
    }

    /// The next point that is due by now: its number and when it was due.
    pub fn pop(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let due = self.next_due().filter(|&due| due <= now)?;
        let number = self.next;
        self.next = self.next.saturating_add(self.stride);
        Some((number, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_share_the_points_of_a_schedule_without_gap_or_overlap() {
        let start = Instant::from_nanos(5);
        let late = start + Duration::from_secs(100);
        let mut all = Vec::new();
        for core in 0..3 {
            let mut schedule = Schedule::new(start, 10.0, Some(100), core, 3);
            while let Some((number, due)) = schedule.pop(late) {
                assert_eq!(due, start + Duration::from_millis(number * 100));
                all.push(number);
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_core_that_was_late_gets_every_point_with_the_time_it_was_due() {
        let mut schedule = Schedule::new(Instant::START, 1.0, None, 0, 1);
        assert_eq!(schedule.pop(Instant::START), Some((0, Instant::START)));
        assert_eq!(schedule.pop(Instant::START), None);
        let late = Instant::START + Duration::from_secs(3);
        let due = std::iter::from_fn(|| schedule.pop(late)).map(|(_, due)| due.as_millis());
        assert_eq!(due.collect::<Vec<_>>(), [1000, 2000, 3000]);
    }

    #[test]
    fn after_a_pause_a_schedule_goes_on_at_its_rate() {
        let seconds = |count: u64| Instant::START + Duration::from_secs(count);
        let mut schedule = Schedule::new(Instant::START, 1.0, None, 0, 1);
        assert_eq!(schedule.pop(seconds(0)), Some((0, seconds(0))));
        schedule.pause_until(seconds(10));
        let due = std::iter::from_fn(|| schedule.pop(seconds(12))).map(|(_, due)| due);
        assert_eq!(due.collect::<Vec<_>>(), [seconds(10), seconds(11), seconds(12)]);
        schedule.pause_until(seconds(5));
        assert_eq!(schedule.next_due(), Some(seconds(13)), "a pause that is over changes nothing");
    }

    #[test]
    fn a_rising_rate_reaches_what_it_is_to_be() {
        let rising = Schedule::new(Instant::START, 100.0, Some(2000), 0, 1);
        let mut rising = rising.rising_for(Duration::from_secs(10));
        let mut by_second = [0; 25];
        while let Some((_, due)) = rising.pop(Instant::START + Duration::from_secs(100)) {
            by_second[due.as_millis() as usize / 1000] += 1;
        }
        assert_eq!(by_second.iter().sum::<i32>(), 2000);
        let expected = [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 100, 100];
        for (second, (count, expected)) in by_second.iter().zip(expected).enumerate() {
            assert!((count - expected).abs() <= 1, "second {second}: {by_second:?}");
        }
    }

    #[test]
    fn a_rate_of_zero_has_no_points() {
        let schedule = Schedule::new(Instant::START, 0.0, None, 0, 1);
        assert_eq!(schedule.next_due(), None);
    }
}
