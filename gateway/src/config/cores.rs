//! `[cores]`: how many shards there are and what each carries, and how that follows from the machine.

use serde::{Deserialize, Serialize};
use shared::config::{Invalid, Validate};
use shared::placement::PARTITIONS;

use super::at_least_1;

/// What one connection is counted with when memory decides how many there may be: 5 KiB of the kernel
/// for its socket, and 2 for our state with the device's account and links, measured; the rest is for
/// what is under way.
const BYTES_PER_CONNECTION: u64 = 8 * 1024;

/// Connections of a shard, where memory would allow more: what one core can bring back after a
/// restart within minutes.
const CONNECTIONS_MAX: u64 = 1 << 20;

/// Slots of a shard beyond its connections: accepts under way, and arrivals from other shards.
const SPARE_SLOTS: u32 = 1024;

/// What io_uring allows in one table of direct descriptors.
const SOCKETS_PER_RING_MAX: u64 = 1 << 20;

/// Cores, and what each of them carries. One shard runs on one core; what is said "per shard" counts
/// for each. What is not given follows from the machine ([`Cores::plan`]).
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cores {
    /// Number of shards; by default one for each core in `cpus`. Fewer leaves cores to others, more
    /// than there are cores only helps tests.
    pub shards: Option<u16>,
    /// Numbers of the cores to run on, in this order; by default all that the process may use.
    pub cpus: Option<Vec<usize>>,
    /// Memory for connections and all that belongs to them; by default half of the machine's.
    pub memory_bytes: Option<u64>,
    /// Connections per shard; by default what the memory allows. Beyond it new ones are reset.
    pub connections_max: Option<u32>,
    /// Connections per shard that are not signed in; by default an eighth of `connections_max`. More
    /// lets a larger crowd in at once, less gives strangers less room.
    pub not_signed_in_max: Option<u32>,
    /// The device ring.
    pub ring: Ring,
    /// How a core's time is divided when there is not enough of it.
    pub shares: Shares,
    /// How fast new connections are let in.
    pub handshakes: Handshakes,
}

/// The io_uring instances under the device sockets, per shard.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ring {
    /// Entries of the submission queues of the shard, a power of two. More joins more operations in one
    /// system call.
    pub entries: u32,
    /// Sockets in one ring's table; by default what `RLIMIT_NOFILE` allows.
    pub sockets_per_ring: Option<u32>,
    /// Rings; by default as many as `connections_max` and 1024 slots in reserve need. One is fastest:
    /// raise `RLIMIT_NOFILE`.
    pub rings: Option<u32>,
    /// Receive buffers that all connections of the shard share, a power of two. More takes larger
    /// bursts in one turn.
    pub receive_buffers: u16,
    /// Bytes of one of them. Most messages of devices are a few hundred bytes long.
    pub receive_buffer_bytes: u32,
    /// Bytes of all answers and notifications of the shard that wait to be sent. More bears more slow
    /// peers at a time; when it is full the slowest are closed.
    pub send_bytes_max: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            entries: 4096,
            sockets_per_ring: None,
            rings: None,
            receive_buffers: 2048,
            receive_buffer_bytes: 4096,
            send_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// How a core's time is divided when there is not enough of it: each gets its share of the sum.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// Connections that are signed in.
    pub traffic: u16,
    /// TLS handshakes of new connections.
    pub handshakes: u16,
}

impl Default for Shares {
    fn default() -> Self {
        Self { traffic: 800, handshakes: 200 }
    }
}

/// How fast new connections are let in, per shard.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handshakes {
    /// TLS handshakes under way. More accepts a larger burst, at 10 KB each; one that can't finish
    /// within the two seconds that devices wait is wasted. When it is reached, the one that has waited
    /// longest makes room.
    pub in_flight_max: u32,
    /// TLS handshakes begun per second; the others wait. A full one costs a core about 300 µs, a
    /// resumed one 30 to 100. Less leaves more to others.
    pub per_sec_max: u32,
    /// Sign-ups and sign-ins answered per second. The others wait, up to a second; those beyond are told
    /// 5.03 and come again.
    pub sign_ins_per_sec_max: u32,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { in_flight_max: 8000, per_sec_max: 10_000, sign_ins_per_sec_max: 10_000 }
    }
}

/// What the machine has; read by the shell.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// Numbers of the cores that this process may run on.
    pub cpus: Vec<usize>,
    /// Memory of the machine, or of the control group where that is less.
    pub memory_bytes: u64,
    /// `RLIMIT_NOFILE`, as far as it could be raised.
    pub open_files_max: u64,
}

/// What the configuration means on this machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// For each shard the core that it runs on.
    pub cpus: Vec<usize>,
    /// Connections of each shard.
    pub connections_max: u32,
    /// Connections of each shard that are not signed in.
    pub not_signed_in_max: u32,
    /// Sockets of each shard: its connections, and what is in reserve for those that come and go.
    pub sockets: u32,
    /// Rings of each shard.
    pub rings: u32,
    /// Sockets in the table of each ring.
    pub sockets_per_ring: u32,
}

impl Cores {
    /// What this configuration means on this machine.
    pub fn plan(&self, machine: &Machine) -> Result<Plan, Invalid> {
        let cpus = self.cpus.as_deref().unwrap_or(&machine.cpus);
        if let Some(missing) = cpus.iter().find(|cpu| !machine.cpus.contains(cpu)) {
            let usable = &machine.cpus;
            return Err(Invalid::new(
                "cores.cpus",
                format!("this process may not run on core {missing}, only on {usable:?}"),
            ));
        }
        let shards = match self.shards {
            Some(shards) => usize::from(shards),
            None => cpus.len().min(usize::from(PARTITIONS)),
        };
        Invalid::unless(shards > 0 && !cpus.is_empty(), "cores.cpus", || "name a core".into())?;

        let memory_bytes = self.memory_bytes.unwrap_or(machine.memory_bytes / 2);
        let connections_max = self.connections_max.unwrap_or_else(|| {
            let fit = memory_bytes / BYTES_PER_CONNECTION / shards as u64;
            fit.clamp(1, CONNECTIONS_MAX) as u32
        });
        let sockets = connections_max.saturating_add(SPARE_SLOTS);
        let (rings, sockets_per_ring) = self.ring.tables(sockets, machine.open_files_max)?;
        Ok(Plan {
            cpus: (0..shards).map(|shard| cpus[shard % cpus.len()]).collect(),
            connections_max,
            not_signed_in_max: self
                .not_signed_in_max
                .unwrap_or((connections_max / 8).max(1024))
                .min(connections_max),
            sockets,
            rings,
            sockets_per_ring,
        })
    }
}

/// A ring has at least so many entries and buffers, however many rings a shard has.
const LEAST_OF_EACH: u32 = 128;

impl Ring {
    /// What each of so many rings gets of something that the shard has, a power of two: rings have
    /// their bursts one at a time, and a shard with many is not to need more memory for it.
    pub fn of_each(of_all: u32, rings: u32) -> u32 {
        (of_all / rings.next_power_of_two()).max(LEAST_OF_EACH.min(of_all))
    }

    /// Number of rings, and sockets in each, for so many of them.
    fn tables(&self, sockets: u32, open_files_max: u64) -> Result<(u32, u32), Invalid> {
        let allowed = open_files_max.clamp(1, SOCKETS_PER_RING_MAX) as u32;
        let in_each = match (self.sockets_per_ring, self.rings) {
            (Some(in_each), _) => in_each,
            (None, Some(rings)) => sockets.div_ceil(rings),
            (None, None) => sockets.min(allowed),
        };
        Invalid::unless(in_each <= allowed, "cores.ring.sockets_per_ring", || {
            format!("{in_each} sockets in one ring, but RLIMIT_NOFILE allows {allowed}: raise it")
        })?;
        let rings = self.rings.unwrap_or_else(|| sockets.div_ceil(in_each));
        let room = u64::from(rings) * u64::from(in_each);
        Invalid::unless(room >= u64::from(sockets), "cores.ring.rings", || {
            format!(
                "{rings} rings of {in_each} sockets are not enough for {sockets}: \
                 connections_max, and {SPARE_SLOTS} in reserve"
            )
        })?;
        Ok((rings, in_each))
    }
}

impl Validate for Cores {
    fn validate(&self) -> Result<(), Invalid> {
        let shards_fit = self.shards.is_none_or(|shards| (1..=PARTITIONS).contains(&shards));
        Invalid::unless(shards_fit, "cores.shards", || format!("between 1 and {PARTITIONS}"))?;
        let has_cpus = self.cpus.as_ref().is_none_or(|cpus| !cpus.is_empty());
        Invalid::unless(has_cpus, "cores.cpus", || "name a core, or leave it out for all".into())?;
        for (key, value) in [
            ("cores.connections_max", self.connections_max),
            ("cores.not_signed_in_max", self.not_signed_in_max),
            ("cores.ring.sockets_per_ring", self.ring.sockets_per_ring),
            ("cores.ring.rings", self.ring.rings),
            ("cores.handshakes.in_flight_max", Some(self.handshakes.in_flight_max)),
            ("cores.handshakes.per_sec_max", Some(self.handshakes.per_sec_max)),
            ("cores.handshakes.sign_ins_per_sec_max", Some(self.handshakes.sign_ins_per_sec_max)),
        ] {
            Invalid::unless(value != Some(0), key, at_least_1)?;
        }
        for (key, shares) in [
            ("cores.shares.traffic", self.shares.traffic),
            ("cores.shares.handshakes", self.shares.handshakes),
        ] {
            let fits = (1..=1000).contains(&shares);
            Invalid::unless(fits, key, || "between 1 and 1000".into())?;
        }
        self.ring.validate()
    }
}

impl Validate for Ring {
    fn validate(&self) -> Result<(), Invalid> {
        let entries_fit = self.entries.is_power_of_two() && (64..=32_768).contains(&self.entries);
        Invalid::unless(entries_fit, "cores.ring.entries", || {
            "a power of two between 64 and 32768".into()
        })?;
        let buffers = self.receive_buffers;
        let buffers_fit = buffers.is_power_of_two() && (16..=32_768).contains(&buffers);
        Invalid::unless(buffers_fit, "cores.ring.receive_buffers", || {
            "a power of two between 16 and 32768".into()
        })?;
        let bytes_fit = (512..=65_536).contains(&self.receive_buffer_bytes);
        Invalid::unless(bytes_fit, "cores.ring.receive_buffer_bytes", || {
            "between 512 and 65536".into()
        })?;
        Invalid::unless(self.send_bytes_max >= 1 << 20, "cores.ring.send_bytes_max", || {
            "at least 1048576, one MiB".into()
        })
    }
}
