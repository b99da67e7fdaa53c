//! Structured logs on standard error.

use tracing::Level;

use crate::config::{Log, LogFormat, LogLevel};

/// Begins to log.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // Other crates' news below warnings is theirs.
    let filter =
        tracing_subscriber::EnvFilter::new(format!("warn,gateway={level},ocf_gateway={level}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
