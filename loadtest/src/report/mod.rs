//! What a run has come to: a table for people, JSON for comparison, a page with plots (`html`).

mod html;
mod svg;

use std::fmt::{self, Write};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, MemorySample, slope};
use crate::stats::{Comebacks, Stats, StepStats};
use crate::swarm::Outcome;
use crate::timeline::Timeline;

/// Nobody may need more tries than this to come back.
const TRIES_MAX: usize = 3;

/// The result of a run, as `--json` writes it. Durations are in seconds, times of steps in
/// milliseconds from when each step was due.
#[derive(Serialize)]
pub struct Report {
    /// Devices that were asked for.
    pub devices: u32,
    /// Devices that were switched on.
    pub arrived: u64,
    /// Devices that were signed in when the run was over.
    pub online: u64,
    /// Devices that were signed in and had published when the run was over.
    pub ready: u64,
    /// Devices that had given up, or had never got a configuration.
    pub failed: u64,
    /// Clients that were asked for.
    pub clients: u32,
    /// Length of the run.
    pub duration_secs: f64,
    /// Connections that were lost after TLS was up.
    pub disconnects: u64,
    /// Devices that have erased their cloud configuration.
    pub erased: u64,
    /// Times that a device has gone silent for good.
    pub given_up: u64,
    /// Changes that devices have made by themselves.
    pub changes: u64,
    /// Notifications that clients have received.
    pub notifications: u64,
    /// Rules that the cloud has broken, and how often (only fussy devices notice).
    pub breaches: Vec<Counted>,
    /// The steps that occurred, in the order of a device's life.
    pub steps: Vec<StepReport>,
    /// Devices that were cut off, if any were.
    pub comebacks: Option<ComebackReport>,
    /// Devices that kept a TLS session to resume.
    pub sessions: usize,
    /// How the run went over time.
    pub timeline: Vec<Point>,
    /// Where and how it was run, if that was told.
    #[serde(flatten)]
    pub setting: Option<Setting>,
}

/// Where and how a run was made.
#[derive(Serialize)]
pub struct Setting {
    /// The command line.
    pub command: String,
    /// The name of the profile.
    pub profile: String,
    /// The beginning, in seconds since 1970: to lay reports of several processes over each other.
    pub began_unix_secs: f64,
    /// The machine.
    pub machine: Machine,
    /// The processes whose memory was looked at.
    pub processes: Vec<String>,
    /// Bytes for each further device that is online, of each process.
    pub bytes_per_device: Vec<Option<u64>>,
    /// The same of the kernel, for whatever was going on.
    pub slab_bytes_per_device: Option<u64>,
    /// What was seen of their memory.
    pub memory: Vec<MemorySample>,
}

impl Setting {
    /// Of a run with this command line on this machine.
    pub fn new(
        profile: String,
        began_unix_secs: f64,
        processes: Vec<String>,
        memory: Vec<MemorySample>,
    ) -> Self {
        let of = |nth: usize| slope(&memory, |sample| sample.resident_bytes[nth]);
        Self {
            command: command_line(),
            profile,
            began_unix_secs,
            machine: Machine::this(),
            bytes_per_device: (0..processes.len()).map(of).collect(),
            slab_bytes_per_device: slope(&memory, |sample| sample.slab_bytes),
            processes,
            memory,
        }
    }
}

/// As it would be typed: where the program lies is nobody's business.
fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        let name = Path::new(&*program).file_name().map(|name| name.to_string_lossy().into_owned());
        *program = name.unwrap_or_default();
    }
    words.join(" ")
}

/// Devices that lost their connection, and how they came back.
#[derive(Serialize)]
pub struct ComebackReport {
    /// When everybody was cut off at once, if that was, in seconds from the beginning.
    pub storm_at_secs: Option<f64>,
    /// Devices that were cut off.
    pub dropped: u64,
    /// Devices that were signed in again.
    pub returned: u64,
    /// Devices that were not when the run was over.
    pub stranded: u64,
    /// How many got in with their first try, their second ...; the last counts all beyond, too.
    pub by_try: Vec<u64>,
    /// From being cut off to being signed in; none if none was.
    pub times_ms: Option<Times>,
}

/// An interval of the run.
#[derive(Serialize)]
pub struct Point {
    /// Its end, in seconds from the beginning.
    pub at_secs: f64,
    /// Devices that had been switched on.
    pub arrived: u64,
    /// Devices that were signed in.
    pub online: u64,
    /// Devices that were cut off and not back.
    pub out: u64,
    /// Steps that ended in it.
    pub steps: Vec<StepPoint>,
}

/// One kind of step in an interval.
#[derive(Serialize)]
pub struct StepPoint {
    /// Its name.
    pub step: &'static str,
    /// Successes per second.
    pub per_sec: f64,
    /// How many failed.
    pub failed: u64,
    /// The median, to two digits; none if none succeeded.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<f64>,
}

/// How many devices came online, as `--online-file` says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Arrived {
    /// Devices that are signed in with their links published.
    pub ready: u64,
    /// Devices that have given up, or never got a configuration.
    pub failed: u64,
}

/// Something that was counted.
#[derive(Serialize)]
pub struct Counted {
    /// What.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// One kind of step.
#[derive(Serialize)]
pub struct StepReport {
    /// Its name: connect, handshake, sign-up ...
    pub step: &'static str,
    /// How many succeeded.
    pub succeeded: u64,
    /// How many succeeded per second of the run.
    pub per_sec: f64,
    /// How many failed.
    pub failed: u64,
    /// Why, and how often.
    pub failures: Vec<Counted>,
    /// Times of those that succeeded; none if none did.
    pub times_ms: Option<Times>,
}

/// A distribution of times in milliseconds.
#[derive(Serialize)]
pub struct Times {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    /// Of a run in which so many devices and clients were asked for.
    pub fn new(outcome: &Outcome, devices: u32, clients: u32) -> Self {
        let Outcome { stats, end, duration, .. } = outcome;
        Self {
            devices,
            arrived: end.arrived,
            online: end.online,
            ready: end.ready,
            failed: end.failed,
            clients,
            duration_secs: duration.as_secs_f64(),
            disconnects: stats.disconnects,
            erased: stats.erased,
            given_up: stats.given_up,
            changes: stats.changes,
            notifications: stats.notifications,
            breaches: counted(&stats.breaches),
            steps: steps(stats, *duration),
            comebacks: comebacks(&stats.comebacks, outcome.storm),
            sessions: outcome.sessions,
            timeline: points(&stats.timeline),
            setting: None,
        }
    }

    /// As a page with plots, which needs no other file.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Why the run was not a success; none if it was one. Every device that was switched on has to
    /// be signed in with its links published, and no rule may be broken.
    pub fn failure(&self) -> Option<String> {
        let mut problems = Vec::new();
        let missing = self.arrived.saturating_sub(self.ready).max(self.failed);
        if missing > 0 {
            problems.push(format!("{missing} devices are not online with their links published"));
        }
        if let Some(ComebackReport { stranded, by_try, .. }) = &self.comebacks {
            let late: u64 = by_try.iter().skip(TRIES_MAX).sum();
            if self.comebacks.as_ref().is_some_and(|all| all.storm_at_secs.is_some()) {
                if *stranded > 0 {
                    problems.push(format!("{stranded} devices have not come back"));
                }
                if late > 0 {
                    problems.push(format!("{late} devices needed more than {TRIES_MAX} tries"));
                }
            }
        }
        if !self.breaches.is_empty() {
            let broken: u64 = self.breaches.iter().map(|breach| breach.count).sum();
            problems.push(format!("the cloud broke rules for devices {broken} times"));
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

fn counted<K: fmt::Display>(counts: &std::collections::BTreeMap<K, u64>) -> Vec<Counted> {
    let counts = counts.iter().map(|(what, &count)| Counted { what: what.to_string(), count });
    counts.collect()
}

fn steps(stats: &Stats, duration: Duration) -> Vec<StepReport> {
    let steps = stats.steps().map(|(step, stats)| StepReport {
        step: step.name(),
        succeeded: stats.times.len(),
        per_sec: stats.times.len() as f64 / duration.as_secs_f64().max(1e-3),
        failed: stats.failed(),
        failures: counted(&stats.failures),
        times_ms: times(stats),
    });
    steps.collect()
}

fn comebacks(comebacks: &Comebacks, storm: Option<Duration>) -> Option<ComebackReport> {
    (comebacks.dropped > 0).then(|| ComebackReport {
        storm_at_secs: storm.map(|at| at.as_secs_f64()),
        dropped: comebacks.dropped,
        returned: comebacks.returned(),
        stranded: comebacks.dropped.saturating_sub(comebacks.returned()),
        by_try: comebacks.tries.to_vec(),
        times_ms: distribution(&comebacks.times),
    })
}

fn points(timeline: &Timeline) -> Vec<Point> {
    let seconds = timeline.every().as_secs_f64();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let points = timeline.intervals().map(|(at, gauges, steps)| Point {
        at_secs: at.as_secs_f64(),
        arrived: gauges.arrived,
        online: gauges.online,
        out: gauges.out,
        steps: steps
            .iter()
            .map(|(step, bucket)| StepPoint {
                step: step.name(),
                per_sec: bucket.succeeded() as f64 / seconds,
                failed: bucket.failed,
                p50_ms: bucket.quantile(0.5).map(millis),
                p99_ms: bucket.quantile(0.99).map(millis),
            })
            .collect(),
    });
    points.collect()
}

fn times(stats: &StepStats) -> Option<Times> {
    distribution(&stats.times)
}

/// Of times in microseconds.
fn distribution(times: &Histogram<u64>) -> Option<Times> {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    (!times.is_empty()).then(|| Times {
        mean: times.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: times.max() as f64 / 1e3,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, arrived, online, ready, failed, .. } = self;
        writeln!(
            f,
            "{arrived} of {devices} devices arrived; {online} online, {ready} with their links \
             published, {failed} failed; {:.1} s",
            self.duration_secs
        )?;
        writeln!(
            f,
            "\n{:<10} {:>9} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "step", "ok", "per s", "failed", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        )?;
        for step in &self.steps {
            let mut line = format!(
                "{:<10} {:>9} {:>9.1} {:>8}",
                step.step, step.succeeded, step.per_sec, step.failed
            );
            if let Some(times) = &step.times_ms {
                for time in [times.p50, times.p90, times.p99, times.p999, times.max] {
                    write!(line, " {time:>9.2}")?;
                }
            }
            writeln!(f, "{line}")?;
        }
        for step in &self.steps {
            for failure in &step.failures {
                writeln!(f, "{} failed {} times: {}", step.step, failure.count, failure.what)?;
            }
        }
        if let Some(all) = &self.comebacks {
            writeln!(f, "{}", all)?;
        }
        for (what, count) in [
            ("connections lost", self.disconnects),
            ("configurations erased", self.erased),
            ("devices gone silent", self.given_up),
            ("notifications received", self.notifications),
        ] {
            if count > 0 {
                writeln!(f, "{what}: {count}")?;
            }
        }
        for breach in &self.breaches {
            writeln!(f, "{} ({} times)", breach.what, breach.count)?;
        }
        Ok(())
    }
}

impl fmt::Display for ComebackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dropped, returned, stranded, .. } = self;
        write!(f, "{dropped} devices cut off; {returned} signed in again, {stranded} stranded")?;
        if let Some(times) = &self.times_ms {
            let Times { p50, p99, max, .. } = times;
            write!(
                f,
                "; half within {:.1} s, 99 of 100 within {:.1} s, all within {:.1} s",
                p50 / 1e3,
                p99 / 1e3,
                max / 1e3
            )?;
        }
        f.write_str("\nin with try")?;
        let last = self.by_try.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        for (count, nth) in self.by_try[..last].iter().zip(1..) {
            write!(f, "  {nth}: {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Failure, Step};
    use crate::swarm::Snapshot;

    pub(super) fn outcome(arrived: u64, ready: u64) -> Outcome {
        let mut stats = Stats::default();
        stats.step(Step::Connect, Duration::from_millis(2), Ok(()));
        stats.step(Step::SignUp, Duration::from_millis(2), Err(Failure::Answered(0xa3)));
        let end = Snapshot { arrived, online: ready, ready, ..Snapshot::default() };
        Outcome {
            stats,
            end,
            duration: Duration::from_secs(2),
            users: Vec::new(),
            sessions: 0,
            storm: None,
        }
    }

    #[test]
    fn a_run_fails_when_a_device_is_missing_or_a_rule_was_broken() {
        assert_eq!(Report::new(&outcome(3, 3), 3, 0).failure(), None);
        let failure = Report::new(&outcome(3, 2), 3, 0).failure().unwrap();
        assert_eq!(failure, "1 devices are not online with their links published");
        let mut broken = outcome(3, 3);
        broken.stats.breaches.insert("rule 3 broken".into(), 2);
        let failure = Report::new(&broken, 3, 0).failure().unwrap();
        assert_eq!(failure, "the cloud broke rules for devices 2 times");
    }

    #[test]
    fn a_storm_fails_when_somebody_is_stranded_or_comes_late() {
        let mut run = outcome(4, 4);
        run.storm = Some(Duration::from_secs(1));
        run.stats.comebacks.dropped = 4;
        for tries in [1, 3, 4] {
            run.stats.comebacks.back(Duration::from_secs(3), tries);
        }
        let report = Report::new(&run, 4, 0);
        let failure = report.failure().unwrap();
        assert_eq!(failure, "1 devices have not come back; 1 devices needed more than 3 tries");
        let text = report.to_string();
        assert!(text.contains("4 devices cut off; 3 signed in again, 1 stranded"), "{text}");
        assert!(text.contains("in with try  1: 1  2: 0  3: 1  4: 1"), "{text}");
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let report = Report::new(&outcome(3, 3), 4, 0);
        let table = report.to_string();
        assert!(table.contains("3 of 4 devices arrived"), "{table}");
        assert!(table.contains("sign-up failed 1 times: answered 5.03"), "{table}");
        let json: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(json["steps"][0]["step"], "connect");
        assert_eq!(json["steps"][0]["per_sec"], 0.5);
        assert_eq!(json["steps"][1]["failures"][0]["what"], "answered 5.03");
    }
}
