//! What can be seen of a swarm while it runs: a few numbers per core, written by the core, read by
//! whoever shows them. They may be some milliseconds old, and need not fit each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one core.
#[derive(Default)]
pub(super) struct Live {
    sums: [AtomicU64; FIELDS],
    p99_micros: AtomicU64,
}

const FIELDS: usize = 11;

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
    /// Times that a device was cut off.
    pub dropped: u64,
    /// Times that one of them was signed in again.
    pub back: u64,
    /// Cores that have cut off everybody at once.
    pub storms: u64,
    /// 99 of 100 requests were answered within so many microseconds lately, on the slowest core.
    pub p99_micros: u64,
}

impl Snapshot {
    /// All that add up over cores.
    fn sums(&mut self) -> [&mut u64; FIELDS] {
        [
            &mut self.arrived,
            &mut self.online,
            &mut self.ready,
            &mut self.failed,
            &mut self.failures,
            &mut self.answers,
            &mut self.disconnects,
            &mut self.breaches,
            &mut self.dropped,
            &mut self.back,
            &mut self.storms,
        ]
    }

    /// Devices that were cut off and are not back.
    pub fn out(&self) -> u64 {
        self.dropped.saturating_sub(self.back)
    }

    /// Devices about which nothing more will change by itself.
    pub fn settled(&self) -> u64 {
        self.ready + self.failed
    }
}

impl Live {
    pub(super) fn publish(&self, mut snapshot: Snapshot) {
        self.p99_micros.store(snapshot.p99_micros, Ordering::Relaxed);
        for (field, value) in self.sums.iter().zip(snapshot.sums()) {
            field.store(*value, Ordering::Relaxed);
        }
    }

    /// Adds the numbers of several cores.
    pub(super) fn sum<'l>(cores: impl Iterator<Item = &'l Self>) -> Snapshot {
        let mut sum = Snapshot::default();
        for live in cores {
            sum.p99_micros = live.p99_micros.load(Ordering::Relaxed).max(sum.p99_micros);
            for (sum, field) in sum.sums().into_iter().zip(&live.sums) {
                *sum += field.load(Ordering::Relaxed);
            }
        }
        sum
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
