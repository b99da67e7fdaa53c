//! What a swarm counts and measures. Each core has a [`Stats`] of its own; they are added up at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::device::{Breach, Event, Failure, Step};
use crate::timeline::Timeline;

/// Longest time that a histogram tells apart: beyond it everything counts as this.
const LONGEST: Duration = Duration::from_secs(600);

/// Most different texts that are counted by themselves; what comes later counts as "other".
const REASONS_MAX: usize = 100;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3)
        .expect("three digits between a microsecond and ten minutes are a histogram")
}

fn record(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record((took.as_micros() as u64).max(1));
}

/// The steps of one kind.
#[derive(Debug)]
pub struct StepStats {
    /// Times of those that succeeded, in microseconds, from when each was due.
    pub times: Histogram<u64>,
    /// Those that failed, by reason.
    pub failures: BTreeMap<Failure, u64>,
}

impl Default for StepStats {
    fn default() -> Self {
        Self { times: histogram(), failures: BTreeMap::new() }
    }
}

impl StepStats {
    fn record(&mut self, took: Duration, result: Result<(), Failure>) {
        match result {
            Ok(()) => record(&mut self.times, took),
            Err(failure) => count(&mut self.failures, failure, Failure::Http("other".into()), 1),
        }
    }

    fn add(&mut self, other: &Self) {
        self.times.add(&other.times).expect("all histograms have the same bounds");
        for (failure, times) in &other.failures {
            count(&mut self.failures, failure.clone(), Failure::Http("other".into()), *times);
        }
    }

    /// How many failed, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Counts by reason, within bounds.
fn count<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, other: K, times: u64) {
    let known = map.len() < REASONS_MAX || map.contains_key(&key);
    *map.entry(if known { key } else { other }).or_insert(0) += times;
}

/// Most tries that are told apart; whoever needed more counts with those who needed this many.
pub const TRIES_MAX: usize = 10;

/// Devices whose connections were cut, and how they came back.
#[derive(Debug)]
pub struct Comebacks {
    /// Devices that were cut off.
    pub dropped: u64,
    /// From there to being signed in again, in microseconds.
    pub times: Histogram<u64>,
    /// How many got in with which try, the first one in front.
    pub tries: [u64; TRIES_MAX],
}

impl Default for Comebacks {
    fn default() -> Self {
        Self { dropped: 0, times: histogram(), tries: [0; TRIES_MAX] }
    }
}

impl Comebacks {
    /// A device is signed in again, so long after it was cut off, with its so-many-th try.
    pub fn back(&mut self, took: Duration, tries: u8) {
        record(&mut self.times, took);
        self.tries[usize::from(tries.max(1) - 1).min(TRIES_MAX - 1)] += 1;
    }

    /// Devices that are back.
    pub fn returned(&self) -> u64 {
        self.times.len()
    }

    fn add(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.times.add(&other.times).expect("all histograms have the same bounds");
        for (sum, count) in self.tries.iter_mut().zip(other.tries) {
            *sum += count;
        }
    }
}

/// Everything that one core has seen of its devices and clients.
#[derive(Default, Debug)]
pub struct Stats {
    steps: BTreeMap<Step, StepStats>,
    /// Rules that the cloud has broken, as text, and how often.
    pub breaches: BTreeMap<String, u64>,
    /// Connections that were lost or given up after TLS was up.
    pub disconnects: u64,
    /// Notifications that clients have received.
    pub notifications: u64,
    /// Devices that have erased their configuration without being told to.
    pub erased: u64,
    /// Devices that have gone silent for good.
    pub given_up: u64,
    /// State changes that devices have made by themselves.
    pub changes: u64,
    /// Devices that were cut off and came back.
    pub comebacks: Comebacks,
    /// How the run went over time.
    pub timeline: Timeline,
}

impl Stats {
    /// Nothing yet, with a timeline of such intervals.
    pub fn new(interval: Duration) -> Self {
        Self { timeline: Timeline::new(interval), ..Self::default() }
    }

    /// Counts what a device or client tells, so long after the beginning of the run.
    pub fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Step { step, took, result } => self.ended(*step, *took, result.clone(), at),
            Event::Breach(breach) => self.breach(breach),
            Event::Disconnected => self.disconnects += 1,
            Event::Erased => self.erased += 1,
            Event::GivenUp(_) => self.given_up += 1,
            Event::Notification(_) => self.notifications += 1,
            Event::Answer(answer) => {
                let result = match &answer.result {
                    Ok(response) if response.code.is_success() => Ok(()),
                    Ok(response) => Err(Failure::Answered(response.code.byte())),
                    Err(failure) => Err(failure.clone()),
                };
                self.ended(answer.step, answer.took, result, at);
            }
            Event::SignedIn | Event::MemoryChanged => {}
        }
    }

    /// Counts a step that has ended so long after the beginning of the run.
    pub fn ended(&mut self, step: Step, took: Duration, result: Result<(), Failure>, at: Duration) {
        self.timeline.step(at, step, took, result.is_ok());
        self.step(step, took, result);
    }

    /// Counts a step without saying when.
    pub fn step(&mut self, step: Step, took: Duration, result: Result<(), Failure>) {
        self.steps.entry(step).or_default().record(took, result);
    }

    fn breach(&mut self, breach: &Breach) {
        count(&mut self.breaches, breach.to_string(), "other".into(), 1);
    }

    /// The steps that occurred, in the order of a device's life.
    pub fn steps(&self) -> impl Iterator<Item = (Step, &StepStats)> {
        self.steps.iter().map(|(step, stats)| (*step, stats))
    }

    /// Successes and failures of a step so far.
    pub fn counts(&self, step: Step) -> (u64, u64) {
        self.steps.get(&step).map_or((0, 0), |stats| (stats.times.len(), stats.failed()))
    }

    /// Adds what another core has seen.
    pub fn add(&mut self, other: &Self) {
        for (step, stats) in &other.steps {
            self.steps.entry(*step).or_default().add(stats);
        }
        for (breach, times) in &other.breaches {
            count(&mut self.breaches, breach.clone(), "other".into(), *times);
        }
        self.disconnects += other.disconnects;
        self.notifications += other.notifications;
        self.erased += other.erased;
        self.given_up += other.given_up;
        self.changes += other.changes;
        self.comebacks.add(&other.comebacks);
        self.timeline.add(&other.timeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_reason_and_successes_measured() {
        let mut stats = Stats::default();
        for millis in [1, 2, 3] {
            stats.step(Step::SignIn, Duration::from_millis(millis), Ok(()));
        }
        stats.step(Step::SignIn, Duration::ZERO, Err(Failure::TimedOut));
        stats.step(Step::SignIn, Duration::ZERO, Err(Failure::TimedOut));
        stats.step(Step::SignIn, Duration::ZERO, Err(Failure::Closed));
        assert_eq!(stats.counts(Step::SignIn), (3, 3));
        let (_, sign_in) = stats.steps().next().unwrap();
        assert_eq!(sign_in.failures[&Failure::TimedOut], 2);
        let median = sign_in.times.value_at_quantile(0.5);
        assert!((1998..=2002).contains(&median), "{median}");
    }

    #[test]
    fn cores_add_up() {
        let (mut one, mut two) = (Stats::default(), Stats::default());
        one.step(Step::Ping, Duration::from_millis(1), Ok(()));
        two.step(Step::Ping, Duration::from_secs(10_000), Ok(()));
        two.step(Step::Connect, Duration::ZERO, Err(Failure::TimedOut));
        two.disconnects = 2;
        one.add(&two);
        assert_eq!(one.counts(Step::Ping), (2, 0));
        assert_eq!(one.counts(Step::Connect), (0, 1));
        assert_eq!(one.disconnects, 2);
    }

    #[test]
    fn whoever_comes_back_is_counted_by_its_try() {
        let mut comebacks = Comebacks { dropped: 4, ..Comebacks::default() };
        for tries in [1, 1, 3, 200] {
            comebacks.back(Duration::from_secs(2), tries);
        }
        assert_eq!(comebacks.returned(), 4);
        assert_eq!((comebacks.tries[0], comebacks.tries[2], comebacks.tries[9]), (2, 1, 1));
    }

    #[test]
    fn the_number_of_reasons_is_bounded() {
        let mut stats = Stats::default();
        for n in 0..1000 {
            stats.step(Step::Handshake, Duration::ZERO, Err(Failure::Tls(n.to_string())));
        }
        assert_eq!(stats.counts(Step::Handshake), (0, 1000));
        assert!(stats.steps().next().unwrap().1.failures.len() <= REASONS_MAX + 1);
    }
}
