//! The store of a test: in memory, and as slow or unwilling as the test wants it.

use std::collections::VecDeque;
use std::time::Duration;

use gateway::shard::CommitId;
use gateway::store::memory::MemoryStore;
use gateway::store::{Batch, CommitOutcome};
use shared::ids::ShardId;
use shared::time::Instant;

/// What becomes of commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// They are durable after this time.
    Takes(Duration),
    /// They wait until the disk does something else.
    Hangs,
    /// So many are durable at once, the others wait.
    TakesThenHangs(usize),
    /// They are refused.
    Refuses,
    /// So many are refused, the others are durable at once.
    RefusesThenTakes(usize),
}

/// A commit under way.
struct Waiting {
    shard: ShardId,
    commit: CommitId,
    batch: Batch,
    since: Instant,
}

/// A commit that has ended.
pub(super) struct Ended {
    pub(super) shard: ShardId,
    pub(super) commit: CommitId,
    pub(super) outcome: CommitOutcome,
}

/// Records, and the commits on their way to them.
pub(super) struct Store {
    pub(super) disk: Disk,
    pub(super) durable: MemoryStore,
    waiting: VecDeque<Waiting>,
}

impl Store {
    pub(super) fn new(durable: MemoryStore) -> Self {
        Self { disk: Disk::Takes(Duration::ZERO), durable, waiting: VecDeque::new() }
    }

    pub(super) fn submit(&mut self, shard: ShardId, commit: CommitId, batch: Batch, now: Instant) {
        self.waiting.push_back(Waiting { shard, commit, batch, since: now });
    }

    /// Commits on their way.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the next commit ends by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.disk {
            Disk::Takes(time) => Some(self.waiting.front()?.since + time),
            Disk::Hangs | Disk::TakesThenHangs(_) | Disk::Refuses | Disk::RefusesThenTakes(_) => {
                None
            }
        }
    }

    /// The next commit that has ended by now; they end in their order.
    pub(super) fn next_ended(&mut self, now: Instant) -> Option<Ended> {
        let outcome = match self.disk {
            Disk::Hangs | Disk::TakesThenHangs(0) => return None,
            Disk::TakesThenHangs(_) | Disk::RefusesThenTakes(0) => CommitOutcome::Done,
            Disk::Refuses | Disk::RefusesThenTakes(_) => CommitOutcome::Refused,
            Disk::Takes(_) if self.next_deadline()? > now => return None,
            Disk::Takes(_) => CommitOutcome::Done,
        };
        let Waiting { shard, commit, batch, .. } = self.waiting.pop_front()?;
        if let Disk::TakesThenHangs(left) | Disk::RefusesThenTakes(left) = &mut self.disk {
            *left = left.saturating_sub(1);
        }
        if outcome == CommitOutcome::Done {
            self.durable.apply(&batch);
        }
        Some(Ended { shard, commit, outcome })
    }
}
