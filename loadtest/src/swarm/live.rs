//! What can be seen of a swarm while it runs: a few numbers per core, written by the core, read by
//! whoever shows them. They may be some milliseconds old, and need not fit each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one core.
#[derive(Default)]
pub(super) struct Live([AtomicU64; FIELDS]);

const FIELDS: usize = 8;

/// The numbers of a core, or of all cores.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Devices that have been switched on.
    pub arrived: u64,
    /// Devices that are signed in.
    pub online: u64,
    /// Devices that are signed in and have published.
    pub ready: u64,
    /// Devices that have given up, or never got a configuration.
    pub failed: u64,
    /// Steps that have failed, of devices and clients.
    pub failures: u64,
    /// Answers to clients.
    pub answers: u64,
    /// Connections that were lost after TLS was up.
    pub disconnects: u64,
    /// Rules broken by the cloud.
    pub breaches: u64,
}

impl Snapshot {
    fn fields(self) -> [u64; FIELDS] {
        let Self { arrived, online, ready, failed, failures, answers, disconnects, breaches } =
            self;
        [arrived, online, ready, failed, failures, answers, disconnects, breaches]
    }

    /// Devices about which nothing more will change by itself.
    pub fn settled(&self) -> u64 {
        self.ready + self.failed
    }
}

impl Live {
    pub(super) fn publish(&self, snapshot: Snapshot) {
        for (field, value) in self.0.iter().zip(snapshot.fields()) {
            field.store(value, Ordering::Relaxed);
        }
    }

    /// Adds the numbers of several cores.
    pub(super) fn sum<'l>(cores: impl Iterator<Item = &'l Self>) -> Snapshot {
        let mut sums = [0; FIELDS];
        for live in cores {
            for (sum, field) in sums.iter_mut().zip(&live.0) {
                *sum += field.load(Ordering::Relaxed);
            }
        }
        let [arrived, online, ready, failed, failures, answers, disconnects, breaches] = sums;
        Snapshot { arrived, online, ready, failed, failures, answers, disconnects, breaches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cores_publish_adds_up() {
        let cores = [Live::default(), Live::default()];
        let one = Snapshot { arrived: 3, online: 2, ready: 1, failed: 1, ..Snapshot::default() };
        cores[0].publish(one);
        cores[1].publish(Snapshot { breaches: 9, ..one });
        let sum = Live::sum(cores.iter());
        assert_eq!((sum.arrived, sum.online, sum.breaches, sum.settled()), (6, 4, 9, 4));
    }
}
