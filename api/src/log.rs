//! Structured logs: one line per event on standard error, as JSON or as text.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Logs as configured from now on. Counts once per process.
pub fn install(log: &Log) {
    // The configuration was validated, so the fallback is for callers that made one by hand.
    let filter = log.level.parse().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs.try_init(),
    };
    // Whoever was first, as in tests, logs for all.
    drop(installed);
}
