//! The store: commits that wait, and what has become of those that do not.
//!
//! Two views of the records are kept: what is *durable*, and what has been *acknowledged* to the shards.
//! A crash lets some of the commits that wait become durable, in their order, and loses the rest.

use std::collections::VecDeque;

use gateway::shard::CommitId;
use gateway::store::Batch;
use gateway::store::memory::MemoryStore;
use shared::ids::ShardId;

/// A commit on its way.
pub(super) struct Waiting {
    pub(super) shard: ShardId,
    pub(super) commit: CommitId,
    pub(super) batch: Batch,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) durable: MemoryStore,
    waiting: VecDeque<Waiting>,
}

impl Disk {
    pub(super) fn submit(&mut self, shard: ShardId, commit: CommitId, batch: Batch) {
        self.waiting.push_back(Waiting { shard, commit, batch });
    }

    /// The commit that waits for the longest time.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Those that wait.
    pub(super) fn on_their_way(&self) -> impl Iterator<Item = &Batch> {
        self.waiting.iter().map(|waiting| &waiting.batch)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
