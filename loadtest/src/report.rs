//! What a run has come to: a table for people, JSON for comparison.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stats::{Stats, StepStats};
use crate::swarm::Outcome;

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
        }
    }

    /// Why the run was not a success; none if it was one. Every device that was switched on has to
    /// be signed in with its links published, and no rule may be broken.
    pub fn failure(&self) -> Option<String> {
        let mut problems = Vec::new();
        let missing = self.arrived.saturating_sub(self.ready).max(self.failed);
        if missing > 0 {
            problems.push(format!("{missing} devices are not online with their links published"));
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

fn times(stats: &StepStats) -> Option<Times> {
    let at = |quantile| stats.times.value_at_quantile(quantile) as f64 / 1e3;
    (!stats.times.is_empty()).then(|| Times {
        mean: stats.times.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: stats.times.max() as f64 / 1e3,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Failure, Step};
    use crate::swarm::Snapshot;

    fn outcome(arrived: u64, ready: u64) -> Outcome {
        let mut stats = Stats::default();
        stats.step(Step::Connect, Duration::from_millis(2), Ok(()));
        stats.step(Step::SignUp, Duration::from_millis(2), Err(Failure::Answered(0xa3)));
        let end = Snapshot { arrived, online: ready, ready, ..Snapshot::default() };
        Outcome { stats, end, duration: Duration::from_secs(2), users: Vec::new() }
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
