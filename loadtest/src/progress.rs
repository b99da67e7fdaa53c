//! How a run is shown while it goes on: two bars on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::swarm::Snapshot;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the numbers of a run on standard error.
pub struct Progress {
    devices: u64,
    shown: Shown,
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
        Self { devices: devices.into(), shown }
    }

    /// Shows how things are so long after the beginning.
    pub fn show(&mut self, snapshot: &Snapshot, elapsed: Duration) {
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

    /// Leaves the terminal as it was.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn details(snapshot: &Snapshot, elapsed: Duration) -> String {
    let Snapshot { arrived, ready, failed, failures, answers, disconnects, breaches, .. } =
        *snapshot;
    let mut text = format!("{:.0} s, {arrived} arrived, {ready} published", elapsed.as_secs_f64());
    for (count, what) in [
        (answers, "answers"),
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
        let text = details(&snapshot, Duration::from_secs(3));
        assert_eq!(text, "3 s, 5 arrived, 4 published, 2 failed steps");
    }
}
