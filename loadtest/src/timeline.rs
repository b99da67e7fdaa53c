//! How a run went over time: for every interval how many devices were online, and of each step how many
//! ended and how long they took. Pure.
//!
//! Intervals are numbered from the beginning of the run, so those of several cores fit each other. A run
//! that has very many of them goes on with intervals twice as long: what is kept is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::device::Step;

/// Most intervals that are kept.
const INTERVALS_MAX: u32 = 2400;

/// Two significant digits of a time in microseconds: enough for a plot, few enough to be kept.
fn rounded(micros: u64) -> u32 {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    let scale = 10u32.pow(micros.max(1).ilog10().saturating_sub(1));
    micros / scale * scale
}

/// Devices at the end of an interval.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Gauges {
    /// Have been switched on.
    pub arrived: u64,
    /// Are signed in.
    pub online: u64,
    /// Were dropped and are not back.
    pub out: u64,
}

/// The steps of one kind within an interval.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Bucket {
    /// How many took how long, in microseconds to two digits.
    times: BTreeMap<u32, u32>,
    /// How many failed.
    pub failed: u64,
}

impl Bucket {
    /// How many succeeded.
    pub fn succeeded(&self) -> u64 {
        self.times.values().map(|&count| u64::from(count)).sum()
    }

    /// The time that this share of those who succeeded took at most, if any did.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = ((self.succeeded() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        self.times.iter().find_map(|(&micros, &count)| {
            seen += u64::from(count);
            (seen >= rank).then(|| Duration::from_micros(micros.into()))
        })
    }

    fn add(&mut self, other: &Self) {
        for (&micros, &count) in &other.times {
            *self.times.entry(micros).or_insert(0) += count;
        }
        self.failed += other.failed;
    }
}

/// One interval.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Interval {
    /// How things were at its end; none when nobody looked, and it was as before.
    gauges: Option<Gauges>,
    /// What ended within it.
    steps: BTreeMap<Step, Bucket>,
}

/// The intervals of a run, as far as anything happened in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timeline {
    every: Duration,
    intervals: BTreeMap<u32, Interval>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl Timeline {
    /// Nothing yet; intervals of this length, which is not zero.
    pub fn new(every: Duration) -> Self {
        Self { every, intervals: BTreeMap::new() }
    }

    /// Length of an interval.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// The intervals: the end of each, counted from the beginning of the run, how things were then, and
    /// what ended within it.
    pub fn intervals(&self) -> impl Iterator<Item = (Duration, Gauges, &BTreeMap<Step, Bucket>)> {
        self.intervals.iter().scan(Gauges::default(), |last, (number, interval)| {
            *last = interval.gauges.unwrap_or(*last);
            Some((self.every * (number + 1), *last, &interval.steps))
        })
    }

    /// Counts a step that has ended so long after the beginning.
    pub fn step(&mut self, at: Duration, step: Step, took: Duration, succeeded: bool) {
        let bucket = self.interval(at).steps.entry(step).or_default();
        if succeeded {
            *bucket.times.entry(rounded(took.as_micros() as u64)).or_insert(0) += 1;
        } else {
            bucket.failed += 1;
        }
    }

    /// Notes how things are so long after the beginning.
    pub fn gauge(&mut self, at: Duration, gauges: Gauges) {
        self.interval(at).gauges = Some(gauges);
    }

    /// The 99th percentile of a step in the last interval before this time.
    pub fn last_p99(&self, at: Duration, step: Step) -> Option<Duration> {
        let number = self.number(at).checked_sub(1)?;
        self.intervals.get(&number)?.steps.get(&step)?.quantile(0.99)
    }

    fn number(&self, at: Duration) -> u32 {
        u32::try_from(at.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    fn interval(&mut self, at: Duration) -> &mut Interval {
        while self.number(at) >= INTERVALS_MAX {
            self.coarsen();
        }
        let number = self.number(at);
        self.intervals.entry(number).or_default()
    }

    /// Makes one of every two intervals.
    fn coarsen(&mut self) {
        self.every *= 2;
        for (number, interval) in std::mem::take(&mut self.intervals) {
            let whole = self.intervals.entry(number / 2).or_default();
            whole.gauges = interval.gauges.or(whole.gauges);
            whole.add_steps(&interval);
        }
    }

    /// Adds what another core has seen.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.every < other.every {
            self.coarsen();
        }
        while other.every < self.every {
            other.coarsen();
        }
        let numbers = self.intervals.keys().chain(other.intervals.keys()).copied();
        let last = numbers.max().map_or(0, |last| last + 1);
        let (mut ours, mut theirs) = (Gauges::default(), Gauges::default());
        let mut sum = BTreeMap::new();
        for number in 0..last {
            let (own, others) = (self.intervals.get(&number), other.intervals.get(&number));
            if own.is_none() && others.is_none() {
                continue;
            }
            // A core that did not look was as it had been.
            ours = own.and_then(|interval| interval.gauges).unwrap_or(ours);
            theirs = others.and_then(|interval| interval.gauges).unwrap_or(theirs);
            let gauges = Some(ours.plus(theirs));
            let mut interval = Interval { gauges, steps: BTreeMap::new() };
            own.into_iter().chain(others).for_each(|part| interval.add_steps(part));
            sum.insert(number, interval);
        }
        self.intervals = sum;
    }
}

impl Gauges {
    fn plus(self, other: Self) -> Self {
        Self {
            arrived: self.arrived + other.arrived,
            online: self.online + other.online,
            out: self.out + other.out,
        }
    }
}

impl Interval {
    fn add_steps(&mut self, other: &Self) {
        for (step, bucket) in &other.steps {
            self.steps.entry(*step).or_default().add(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn online(online: u64) -> Gauges {
        Gauges { online, ..Gauges::default() }
    }

    #[test]
    fn times_keep_two_digits() {
        for (micros, kept) in [(0, 0), (7, 7), (99, 99), (123, 120), (98_765, 98_000)] {
            assert_eq!(rounded(micros), kept);
        }
    }

    #[test]
    fn an_interval_says_how_long_steps_took() {
        let mut timeline = Timeline::new(SECOND);
        for millis in 1..=100 {
            timeline.step(SECOND / 2, Step::Ping, Duration::from_millis(millis), true);
        }
        timeline.step(SECOND / 2, Step::Ping, SECOND, false);
        let (end, _, steps) = timeline.intervals().next().unwrap();
        let pings = &steps[&Step::Ping];
        assert_eq!((end, pings.succeeded(), pings.failed), (SECOND, 100, 1));
        assert_eq!(pings.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(pings.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(timeline.last_p99(SECOND, Step::Ping), Some(Duration::from_millis(99)));
        assert_eq!(Bucket::default().quantile(0.5), None);
    }

    #[test]
    fn cores_add_up_also_where_one_of_them_slept() {
        let (mut one, mut two) = (Timeline::new(SECOND), Timeline::new(SECOND));
        one.gauge(Duration::ZERO, online(1));
        one.gauge(SECOND, online(2));
        two.gauge(Duration::ZERO, online(10));
        // Busy, without a look at its numbers.
        two.step(SECOND * 2, Step::Ping, SECOND, true);
        let alone: Vec<_> = two.intervals().map(|(_, gauges, _)| gauges.online).collect();
        assert_eq!(alone, [10, 10]);
        one.add(&two);
        let sums: Vec<_> = one.intervals().map(|(_, gauges, _)| gauges.online).collect();
        assert_eq!(sums, [11, 12, 12]);
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_intervals_and_every_step() {
        let mut long = Timeline::new(SECOND);
        for second in 0..10_000 {
            let at = SECOND * second;
            long.gauge(at, online(second.into()));
            long.step(at, Step::Ping, SECOND, true);
        }
        assert!(long.intervals().count() <= INTERVALS_MAX as usize);
        assert_eq!(long.every(), SECOND * 8);
        let pings = |timeline: &Timeline| -> u64 {
            timeline.intervals().map(|(_, _, steps)| steps[&Step::Ping].succeeded()).sum()
        };
        assert_eq!(pings(&long), 10_000);
        let mut short = Timeline::new(SECOND);
        short.step(SECOND, Step::Ping, SECOND, true);
        short.add(&long);
        assert_eq!((short.every(), pings(&short)), (SECOND * 8, 10_001));
        assert_eq!(short.intervals().last().unwrap().1.online, 9999);
    }
}
