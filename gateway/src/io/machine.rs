//! What the machine has, and what it tells the process.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::config::Machine;

/// Looks at the machine. The limit of descriptors is raised as far as it may be.
pub fn survey() -> io::Result<Machine> {
    Ok(Machine {
        cpus: usable_cpus()?,
        memory_bytes: memory_bytes(),
        open_files_max: raise_open_files(),
    })
}

fn usable_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Memory of the machine, or of the control group where that is less.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    let group = group.ok().and_then(|text| text.trim().parse().ok());
    machine.min(group.unwrap_or(u64::MAX))
}

fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What cannot be raised is worked with: more rings then.
    let _ = setrlimit(Resource::Nofile, wanted);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A shard that panics takes its users' state along: the process ends, and the next one begins with
/// what is stored.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!("a thread panicked: the process ends; what was acknowledged is stored");
        std::process::abort();
    }));
}

/// What the running gateway is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// By SIGTERM or SIGINT: an orderly end. By a thread that has ended too early: the same.
    Stop,
    /// By SIGUSR1: what was counted, in the log.
    Counters,
    /// By SIGHUP: certificates, anchors and revocation lists are read again.
    Reload,
}

/// Who asks, and where it is heard.
pub struct Requests {
    /// For threads that cannot go on.
    pub asker: Sender<Asked>,
    /// What was asked for.
    pub asked: Receiver<Asked>,
}

/// From now on the signals of [`Asked`] no longer end the process; each of them is a request. The
/// second one that asks for the end ends the process at once.
pub fn watch_signals() -> io::Result<Requests> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    let (asker, asked) = channel();
    let sender = asker.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let asks_for = match signal {
                SIGUSR1 => Asked::Counters,
                SIGHUP => Asked::Reload,
                _ if stopping => {
                    tracing::warn!(signal, "stopped by a second signal");
                    std::process::exit(1);
                }
                _ => {
                    tracing::info!(signal, "asked to stop");
                    stopping = true;
                    Asked::Stop
                }
            };
            // A gateway that is stopping listens no more.
            let _ = sender.send(asks_for);
        }
    })?;
    Ok(Requests { asker, asked })
}
