//! Structured logs: one line per event on standard error, as JSON or as text.

mod lines;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use lines::Lines;

/// Logs for as long as it is kept; dropping it writes what is left.
#[must_use]
pub struct Logging(Lines);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Logs as configured from now on. Counts once per process.
pub fn install(log: &Log) -> std::io::Result<Logging> {
    let lines = Lines::written_to(std::io::stderr())?;
    // The configuration was validated, so the fallback is for callers that made one by hand.
    let filter = log.level.parse().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    let installed = match log.format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs.with_ansi(false).try_init(),
    };
    installed.map_err(std::io::Error::other)?;
    Ok(Logging(lines))
}
