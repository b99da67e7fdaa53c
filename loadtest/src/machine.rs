//! What is known of the machine (I/O): what it is, what processes take of its memory, and the limits that
//! stand in the way of very many devices.

use std::time::Duration;

use serde::Serialize;

/// The machine that a report was made on.
#[derive(Clone, Serialize)]
pub struct Machine {
    /// The processor.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Version of Linux.
    pub linux: String,
}

impl Machine {
    /// This one. What cannot be found out is empty.
    pub fn this() -> Self {
        let processors = read("/proc/cpuinfo");
        let model =
            processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib_of(&read("/proc/meminfo"), "MemTotal") / 1024,
            linux: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}

/// Memory at one time.
#[derive(Clone, Serialize)]
pub struct MemorySample {
    /// Since the beginning of the run.
    pub at_secs: f64,
    /// Devices that were signed in.
    pub online: u64,
    /// Resident bytes of each process, in the order of [`Sampler::names`].
    pub resident_bytes: Vec<u64>,
    /// What the kernel has for sockets, files and the like, in bytes.
    pub slab_bytes: u64,
}

/// Looks at the memory of this process and of others now and then.
pub struct Sampler {
    processes: Vec<(String, u32)>,
    every: Duration,
    next: Duration,
    samples: Vec<MemorySample>,
}

/// Most samples that are kept; a longer run is looked at half as often.
const SAMPLES_MAX: usize = 2400;

impl Sampler {
    /// Of this process, called "swarm", and these.
    pub fn new(watched: Vec<(String, u32)>) -> Self {
        let mut processes = vec![("swarm".to_owned(), std::process::id())];
        processes.extend(watched);
        let every = Duration::from_secs(1);
        Self { processes, every, next: Duration::ZERO, samples: Vec::new() }
    }

    /// Names of the processes.
    pub fn names(&self) -> Vec<String> {
        self.processes.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Looks, if it is time.
    pub fn look(&mut self, elapsed: Duration, online: u64) {
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + self.every;
        self.samples.push(MemorySample {
            at_secs: elapsed.as_secs_f64(),
            online,
            resident_bytes: self.processes.iter().map(|(_, pid)| resident_bytes(*pid)).collect(),
            slab_bytes: kib_of(&read("/proc/meminfo"), "Slab") * 1024,
        });
        if self.samples.len() > SAMPLES_MAX {
            let mut stays = false;
            self.samples.retain(|_| {
                stays = !stays;
                stays
            });
            self.every *= 2;
        }
    }

    /// What this process has taken for each device that is online, once there are some.
    pub fn bytes_per_device(&self) -> Option<u64> {
        slope(&self.samples, |sample| sample.resident_bytes[0])
    }

    /// All that was seen.
    pub fn into_samples(self) -> Vec<MemorySample> {
        self.samples
    }
}

/// Bytes for each further device: from the sample with the fewest online, before most came, to the one
/// with the most. None while they are too close to say, or where other memory was let go of meanwhile.
pub(crate) fn slope(samples: &[MemorySample], bytes: impl Fn(&MemorySample) -> u64) -> Option<u64> {
    // The last with the most: what arriving took is given back by then.
    let most = samples.iter().max_by_key(|sample| sample.online)?.online;
    let last = samples.iter().rfind(|sample| sample.online == most)?;
    let first = samples.iter().find(|sample| sample.online * 10 >= most)?;
    let devices = last.online.checked_sub(first.online).filter(|&devices| devices >= 1000)?;
    let grown = bytes(last).checked_sub(bytes(first)).filter(|&grown| grown > 0)?;
    Some(grown / devices)
}

fn resident_bytes(process: u32) -> u64 {
    kib_of(&read(&format!("/proc/{process}/status")), "VmRSS") * 1024
}

fn kib_of(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A file of the kernel's; empty if it is not there.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What the system allows, as far as it bounds the number of devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// Files of the whole system that may still be opened: `fs.file-max` less those that are open.
    pub files: u64,
    /// Ports that connections of ours can have: the width of `net.ipv4.ip_local_port_range`.
    pub ports: u64,
    /// Bytes of memory that are free, or could be.
    pub memory_bytes: u64,
}

impl Allowed {
    /// What this system says; what it does not say is taken for unlimited.
    pub fn here() -> Self {
        let numbers = |path: &str| -> Vec<u64> {
            read(path).split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let files = match numbers("/proc/sys/fs/file-nr")[..] {
            [open, _, max] => max.saturating_sub(open),
            _ => u64::MAX,
        };
        let ports = match numbers("/proc/sys/net/ipv4/ip_local_port_range")[..] {
            [first, last] => (last + 1).saturating_sub(first),
            _ => u64::MAX,
        };
        let memory_bytes = match kib_of(&read("/proc/meminfo"), "MemAvailable") {
            0 => u64::MAX,
            kib => kib * 1024,
        };
        Self { files, ports, memory_bytes }
    }

    /// What stands in the way of so many connections to a cloud, which is on this machine too or not:
    /// each is the limit, what it is, and what would be right. `per_source` leave each address.
    pub fn problems(&self, connections: u64, is_local: bool, per_source: u64) -> Vec<String> {
        let ends = if is_local { 2 } else { 1 };
        let mut problems = Vec::new();
        let files = connections * ends;
        if self.files < files {
            problems.push(format!(
                "{connections} connections take {files} files, and the system allows {} more: \
                 sysctl -w fs.file-max={}",
                self.files,
                files * 5 / 4
            ));
        }
        let ports = per_source.min(connections);
        if self.ports < ports {
            problems.push(format!(
                "{ports} connections leave each local address, and it has {} ports: sysctl -w \
                 net.ipv4.ip_local_port_range=\"10240 65535\", or more addresses (--source)",
                self.ports
            ));
        }
        let memory = connections * (USER_BYTES + KERNEL_BYTES * ends);
        if self.memory_bytes < memory {
            problems.push(format!(
                "{connections} connections take some {} MiB of memory, the kernel's included, and {} \
                 MiB are available: fewer --devices, or another machine for the cloud",
                memory >> 20,
                self.memory_bytes >> 20
            ));
        }
        problems
    }
}

/// What a device takes of this process, and each end of its connection of the kernel.
const USER_BYTES: u64 = 600;
const KERNEL_BYTES: u64 = 4700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_in_the_way_is_named_with_what_would_be_right() {
        let plenty = Allowed { files: u64::MAX, ports: 28_232, memory_bytes: u64::MAX };
        assert!(plenty.problems(1_000_000, true, 12_000).is_empty());
        let files = Allowed { files: 1_500_000, ..plenty };
        assert!(files.problems(1_000_000, false, 12_000).is_empty());
        let problems = files.problems(1_000_000, true, 12_000);
        assert!(problems[0].contains("fs.file-max=2500000"), "{problems:?}");
        let ports = Allowed { ports: 5000, ..plenty };
        assert!(ports.problems(4000, true, 12_000).is_empty());
        assert!(ports.problems(9000, true, 12_000)[0].contains("ip_local_port_range"));
        let memory = Allowed { memory_bytes: 8 << 30, ..plenty };
        assert!(memory.problems(1_000_000, true, 12_000)[0].contains("9536 MiB"));
    }

    #[test]
    fn this_system_says_what_it_allows() {
        let here = Allowed::here();
        assert!(here.files > 0 && here.ports > 1000 && here.memory_bytes > 1 << 20);
        assert!(resident_bytes(std::process::id()) > 1 << 20);
        assert!(Machine::this().memory_mib > 100);
    }

    #[test]
    fn a_slope_needs_some_devices_between_its_ends() {
        let sample = |online, bytes| MemorySample {
            at_secs: 0.0,
            online,
            resident_bytes: vec![bytes],
            slab_bytes: 0,
        };
        let samples = [sample(0, 1), sample(2000, 1_000_000), sample(18_000, 9_000_000)];
        assert_eq!(slope(&samples, |sample| sample.resident_bytes[0]), Some(500));
        assert_eq!(slope(&samples[..2], |sample| sample.resident_bytes[0]), None);
        let shrinking = [sample(2000, 9), sample(18_000, 1)];
        assert_eq!(slope(&shrinking, |sample| sample.resident_bytes[0]), None);
    }
}
