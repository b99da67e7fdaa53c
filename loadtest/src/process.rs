//! What a process asks of the system (I/O): limits, signals, and dying with its parent.

use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Raises the limit of open files as far as it may be raised, since sockets count against it, and takes
/// this priority if one is given.
///
/// # Errors
/// If the system refuses; a higher priority needs CAP_SYS_NICE.
pub fn prepare(nice: Option<i32>) -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("cannot raise the limit of open files")?;
    if let Some(nice) = nice {
        setpriority_process(None, nice).with_context(|| {
            format!("cannot take the priority {nice}: below 0 it needs CAP_SYS_NICE")
        })?;
    }
    Ok(())
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
