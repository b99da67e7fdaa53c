//! What a process asks of the system (I/O): limits, signals, and dying with its parent.

use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Raises the limit of open files as far as it may be raised: sockets count against it.
///
/// # Errors
/// If the system refuses.
pub fn prepare() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")
}

/// Ctrl-C and SIGTERM, each a message.
///
/// # Errors
/// If they cannot be watched for.
pub fn interrupts() -> Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
