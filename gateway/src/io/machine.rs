//! What the machine has, and what it tells the process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

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

/// The signals that the process acts on.
pub struct Signals(signal_hook::iterator::Signals);

impl Signals {
    /// From now on they no longer end the process.
    pub fn watch() -> io::Result<Self> {
        Ok(Self(signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?))
    }

    /// Waits for the first one. The second ends the process at once.
    pub fn wait_for_stop(mut self) -> io::Result<()> {
        let first = self.0.forever().next();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if self.0.forever().next().is_some() {
                tracing::warn!("stopped by a second signal");
                std::process::exit(1);
            }
        })?;
        match first {
            Some(signal) => tracing::info!(signal, "asked to stop"),
            None => return Err(io::Error::other("signals are no longer delivered")),
        }
        Ok(())
    }
}
