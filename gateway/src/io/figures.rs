//! What the shell adds to the figures of its shard: the ring, the store's queue, the process, turns.

use shared::channel::figures::{ProcessMemory, ShardFigures};

use super::driver::Driver;
use super::heap;
use crate::memory::table;

impl Driver {
    /// Adds what the core does not know.
    pub(super) fn complete(&self, figures: &mut ShardFigures) {
        let ring = self.ring.memory();
        let waiting = self.store.waiting_bytes();
        figures.tables.extend([
            table("ring.sockets", ring.sockets, ring.socket_bytes, ring.table_bytes),
            table("ring.buffers", ring.buffers, ring.touched_bytes, ring.touched_bytes),
            table("store.queue", self.store.waiting(), waiting, waiting),
        ]);
        figures.process = of_process();
        figures.read_to_send = self.turns.read_to_send();
        figures.unread = self.turns.unread();
    }
}

/// What this process occupies; zeros where the system does not tell.
fn of_process() -> ProcessMemory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (allocator_bytes, c_allocator_bytes) = heap::taken();
    ProcessMemory {
        resident_bytes: kib(&status, "VmRSS:") * 1024,
        anonymous_bytes: kib(&status, "RssAnon:") * 1024,
        allocator_bytes,
        c_allocator_bytes,
    }
}

fn kib(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_occupies_something() {
        let memory = of_process();
        assert!(memory.anonymous_bytes > 0);
        assert!(memory.resident_bytes >= memory.anonymous_bytes);
    }

    #[test]
    fn what_is_not_told_is_none() {
        assert_eq!(kib("VmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(kib("VmRSS:\t  1234 kB\n", "RssAnon:"), 0);
    }
}
