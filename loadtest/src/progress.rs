//! How a run is shown while it goes on: two bars on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::swarm::Snapshot;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the rate is taken over.
const RATE_OVER: Duration = Duration::from_secs(2);

/// Shows the numbers of a run on standard error.
pub struct Progress {
    devices: u64,
    shown: Shown,
    /// How many were ready at which time, and the rate until then.
    last: (u64, Duration, f64),
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Option<Duration> },
}

impl Progress {
    /// For this many devices. Without a terminal, or `headless`, in plain lines.
    pub fn new(devices: u32, headless: bool) -> Self {
        let shown = if headless || !std::io::stderr().is_terminal() {
            Shown::Lines { last: None }
        } else {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} online  {msg}")
                .expect("the template is well-formed");
            Shown::Bar(ProgressBar::new(devices.into()).with_style(style))
        };
        Self { devices: devices.into(), shown, last: (0, Duration::ZERO, 0.0) }
    }

    /// Shows how things are so long after the beginning.
    pub fn show(&mut self, snapshot: &Snapshot, elapsed: Duration, bytes_per_device: Option<u64>) {
        let rate = self.rate(snapshot.ready, elapsed);
        let details = |snapshot, elapsed| details(snapshot, elapsed, rate, bytes_per_device);
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(snapshot.online);
                bar.set_message(details(snapshot, elapsed));
            }
            Shown::Lines { last } => {
                if last.is_none_or(|last| elapsed >= last + LINE_EVERY) {
                    *last = Some(elapsed);
                    let (online, devices) = (snapshot.online, self.devices);
                    let details = details(snapshot, elapsed);
                    // Where nobody listens there is nothing to show.
                    let _ = writeln!(std::io::stderr(), "{online}/{devices} online  {details}");
                }
            }
        }
    }

    /// How many devices came ready per second, over the last few seconds.
    fn rate(&mut self, ready: u64, elapsed: Duration) -> f64 {
        let (before, at, rate) = self.last;
        let passed = elapsed.saturating_sub(at);
        if passed < RATE_OVER {
            return rate;
        }
        let rate = ready.saturating_sub(before) as f64 / passed.as_secs_f64();
        self.last = (ready, elapsed, rate);
        rate
    }

    /// Leaves the terminal as it was.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn details(
    snapshot: &Snapshot,
    elapsed: Duration,
    rate: f64,
    bytes_per_device: Option<u64>,
) -> String {
    let Snapshot { arrived, ready, failed, failures, answers, disconnects, breaches, .. } =
        *snapshot;
    let mut text = format!("{:.0} s, {arrived} arrived, {ready} published", elapsed.as_secs_f64());
    if rate >= 0.5 {
        text.push_str(&format!(" (+{rate:.0}/s)"));
    }
    if snapshot.p99_micros > 0 {
        text.push_str(&format!(", p99 {:.1} ms", snapshot.p99_micros as f64 / 1e3));
    }
    if let Some(bytes) = bytes_per_device {
        text.push_str(&format!(", {bytes} B/device"));
    }
    for (count, what) in [
        (answers, "answers"),
        (snapshot.out(), "cut off"),
        (failed, "failed"),
        (failures, "failed steps"),
        (disconnects, "disconnects"),
        (breaches, "rules broken"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_occurred_is_shown() {
        let snapshot = Snapshot { arrived: 5, ready: 4, failures: 2, ..Snapshot::default() };
        let text = details(&snapshot, Duration::from_secs(3), 0.0, None);
        assert_eq!(text, "3 s, 5 arrived, 4 published, 2 failed steps");
        let busy = Snapshot { p99_micros: 2500, dropped: 3, back: 1, ..snapshot };
        let text = details(&busy, Duration::from_secs(3), 12.3, Some(480));
        assert_eq!(
            text,
            "3 s, 5 arrived, 4 published (+12/s), p99 2.5 ms, 480 B/device, 2 cut off, 2 failed steps"
        );
    }
}
