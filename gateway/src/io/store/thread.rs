//! The store thread: commits of all shards, as many as are waiting, in one durable group.
//!
//! ```text
//! shard ─ ShardPort::try_submit(id, batch) ─►┐
//! shard ─ ...                                ├─► group ─► Store::commit ─► Answer to each, one wake per shard
//! shard ─ ShardPort::try_load(partition) ───►┘
//! ```
//!
//! While one group is on its way to the disk the next one gathers, so the slower the disk, the larger
//! the groups. Answers of one shard come in the order of its submissions. Every submission gets one,
//! whatever the store does: when it panics the outcome is unknown, when it can't be opened again
//! changes are refused until it can. Nothing here waits for a shard, and no shard for the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shared::ids::ShardId;
use shared::placement::PartitionId;

use crate::config;
use crate::store::{BATCH_BYTES_MAX, Batch, CommitOutcome, Key, Store, StoreError};

/// Time between two attempts to open a broken store again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// The records of a partition, or why they could not be read.
pub type LoadResult = Result<Vec<(Key, Vec<u8>)>, StoreError>;

/// What the thread tells a shard.
#[derive(Debug)]
pub enum Answer {
    /// A commit ended.
    Committed {
        /// The shard's number of it.
        commit_id: u64,
        /// How.
        outcome: CommitOutcome,
    },
    /// A partition as it is after everything that this shard submitted before.
    Loaded {
        /// Which.
        partition: PartitionId,
        /// Its records in ascending order of keys.
        records: LoadResult,
    },
}

/// Why something is not accepted. The shard answers 5.03.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The shard has as much waiting as it may have.
    #[error("too many changes are waiting for the store")]
    Full,
    /// The batch alone is more than the store takes.
    #[error("a batch has more than {BATCH_BYTES_MAX} bytes")]
    TooLarge,
    /// The thread has stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// Rings a shard's doorbell. Called on the store thread, at most once per group: it must not wait.
pub type Wake = Box<dyn Fn() + Send>;

/// The thread that owns the store.
pub struct StoreThread {
    thread: JoinHandle<()>,
    work: Sender<Work>,
    figures: Arc<Figures>,
}

/// A shard's way to the store thread.
pub struct ShardPort {
    shard: ShardId,
    work: Sender<Work>,
    answers: Receiver<Answered>,
    waiting: usize,
    waiting_bytes: usize,
    waiting_max: usize,
    waiting_bytes_max: usize,
}

struct Work {
    shard: ShardId,
    task: Task,
}

enum Task {
    Commit { commit_id: u64, batch: Batch },
    Load { partition: PartitionId },
    Stop,
}

/// An answer, and how many bytes no longer wait.
struct Answered {
    answer: Answer,
    bytes: usize,
}

/// What the store has done since the start; counters for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Groups committed: one `fdatasync` each.
    pub groups: AtomicU64,
    /// Batches in them.
    pub batches: AtomicU64,
    /// Bytes of keys and values in them.
    pub bytes: AtomicU64,
    /// Batches refused.
    pub refused: AtomicU64,
    /// Batches whose outcome is unknown.
    pub unknown: AtomicU64,
    /// Nanoseconds spent committing.
    pub commit_nanos: AtomicU64,
    /// Nanoseconds that the slowest group took.
    pub slowest_nanos: AtomicU64,
}

impl StoreThread {
    /// Starts the thread, and returns a port for each shard, in the order of the doorbells.
    pub fn start(
        store: Box<dyn Store>,
        config: &config::Store,
        doorbells: Vec<Wake>,
    ) -> std::io::Result<(Self, Vec<ShardPort>)> {
        let (work, queue) = channel();
        let (shards, ports) = doorbells
            .into_iter()
            .zip(0..)
            .map(|(wake, number)| {
                let (answers, receiver) = channel();
                let port = ShardPort {
                    shard: ShardId(number),
                    work: work.clone(),
                    answers: receiver,
                    waiting: 0,
                    waiting_bytes: 0,
                    waiting_max: config.queue_batches_max,
                    waiting_bytes_max: config.queue_bytes_max,
                };
                (Shard { answers, wake, rung: false }, port)
            })
            .unzip();
        let figures = Arc::new(Figures::default());
        let worker = Worker {
            store,
            queue,
            shards,
            figures: Arc::clone(&figures),
            group_batches_max: config.group_batches_max,
            group_bytes_max: config.group_bytes_max,
            broken: false,
        };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || worker.run())?;
        Ok((Self { thread, work, figures }, ports))
    }

    /// What it has done.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Whether the thread has ended, which it does only when all ports are gone.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until everything submitted so far is done and the store is closed. What is submitted
    /// later is refused.
    pub fn stop(self) {
        // A thread that has ended already needs no word.
        let _ = self.work.send(Work { shard: ShardId(0), task: Task::Stop });
        if self.thread.join().is_err() {
            tracing::error!("the store thread panicked");
        }
    }
}

impl ShardPort {
    /// Hands a batch over. Its answer carries `commit_id` back. After an error nothing has happened
    /// and nothing will.
    pub fn try_submit(&mut self, commit_id: u64, batch: Batch) -> Result<(), SubmitError> {
        let bytes = batch.bytes();
        if bytes > BATCH_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        // A single batch is always let in: it may be larger than what may wait in all.
        if self.waiting > 0 && self.waiting_bytes + bytes > self.waiting_bytes_max {
            return Err(SubmitError::Full);
        }
        self.send(Task::Commit { commit_id, batch })?;
        self.waiting_bytes += bytes;
        Ok(())
    }

    /// Asks for a partition as it is after everything that was submitted before.
    pub fn try_load(&mut self, partition: PartitionId) -> Result<(), SubmitError> {
        self.send(Task::Load { partition })
    }

    /// The next answer, if there is one. Take all of them when the doorbell rang.
    pub fn next_answer(&mut self) -> Option<Answer> {
        let Answered { answer, bytes } = self.answers.try_recv().ok()?;
        self.waiting -= 1;
        self.waiting_bytes -= bytes;
        Some(answer)
    }

    /// Submissions without an answer yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes of the submissions without an answer.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    fn send(&mut self, task: Task) -> Result<(), SubmitError> {
        if self.waiting >= self.waiting_max {
            return Err(SubmitError::Full);
        }
        let work = Work { shard: self.shard, task };
        self.work.send(work).map_err(|_| SubmitError::Stopped)?;
        self.waiting += 1;
        Ok(())
    }
}

/// A shard, seen from the thread.
struct Shard {
    answers: Sender<Answered>,
    wake: Wake,
    /// Whether it has answers that its doorbell has not been rung for.
    rung: bool,
}

struct Worker {
    store: Box<dyn Store>,
    queue: Receiver<Work>,
    shards: Vec<Shard>,
    figures: Arc<Figures>,
    group_batches_max: usize,
    group_bytes_max: usize,
    /// The store has to be opened again before it is used.
    broken: bool,
}

/// The batches that are committed together, and whose they are.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    owners: Vec<(ShardId, u64)>,
    bytes: usize,
}

/// What is to be done behind a group.
enum After {
    More,
    Load(ShardId, PartitionId),
    Stop,
}

impl Worker {
    fn run(mut self) {
        let mut group = Group::default();
        while let Some(first) = self.next() {
            let after = self.gather(first, &mut group);
            self.commit(&mut group);
            if let After::Load(shard, partition) = after {
                self.load(shard, partition);
            }
            self.ring();
            if matches!(after, After::Stop) {
                return;
            }
            if self.broken {
                self.reopen();
            }
        }
    }

    /// Waits for work; none when all ports are gone. A broken store is opened again meanwhile.
    fn next(&mut self) -> Option<Work> {
        loop {
            if !self.broken {
                return self.queue.recv().ok();
            }
            match self.queue.recv_timeout(REOPEN_AFTER) {
                Ok(work) => return Some(work),
                Err(RecvTimeoutError::Timeout) => self.reopen(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Takes the commits that are waiting, within bounds, up to the next load or the end.
    fn gather(&mut self, first: Work, group: &mut Group) -> After {
        let mut next = Some(first);
        while let Some(Work { shard, task }) = next {
            match task {
                Task::Load { partition } => return After::Load(shard, partition),
                Task::Stop => return After::Stop,
                Task::Commit { commit_id, batch } => {
                    group.bytes += batch.bytes();
                    group.batches.push(batch);
                    group.owners.push((shard, commit_id));
                }
            }
            let full = group.batches.len() >= self.group_batches_max
                || group.bytes >= self.group_bytes_max;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        After::More
    }

    fn commit(&mut self, group: &mut Group) {
        if group.batches.is_empty() {
            return;
        }
        let begun = Instant::now();
        let outcome = match self.broken {
            true => CommitOutcome::Refused,
            // A store that panics is opened again like one that fails.
            false => catch_unwind(AssertUnwindSafe(|| self.store.commit(&group.batches)))
                .unwrap_or(CommitOutcome::Unknown),
        };
        self.broken |= outcome != CommitOutcome::Done;
        self.figures.count(outcome, group, begun.elapsed());
        for (&(shard, commit_id), batch) in group.owners.iter().zip(&group.batches) {
            self.answer(shard, Answer::Committed { commit_id, outcome }, batch.bytes());
        }
        group.batches.clear();
        group.owners.clear();
        group.bytes = 0;
    }

    fn load(&mut self, shard: ShardId, partition: PartitionId) {
        if self.broken {
            self.reopen();
        }
        let mut records = Vec::new();
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            self.store.load_range(partition..=partition, &mut |key, value| {
                records.push((*key, value.to_vec()));
            })
        }));
        let loaded = loaded.unwrap_or_else(|_| {
            Err(StoreError::Unreadable("it panicked while it was read".into()))
        });
        self.broken |= loaded.is_err();
        let records = loaded.map(|()| records);
        self.answer(shard, Answer::Loaded { partition, records }, 0);
    }

    /// Opens the store again, if it needs to be. Until it works, changes are refused.
    fn reopen(&mut self) {
        let reopened = catch_unwind(AssertUnwindSafe(|| self.store.reopen()));
        match reopened {
            Ok(Ok(())) => self.broken = false,
            Ok(Err(error)) => tracing::error!("cannot open the store again: {error}"),
            Err(_) => tracing::error!("cannot open the store again: it panicked"),
        }
    }

    fn answer(&mut self, shard: ShardId, answer: Answer, bytes: usize) {
        let shard = &mut self.shards[shard.index()];
        // A shard that is gone wants no answer.
        shard.rung |= shard.answers.send(Answered { answer, bytes }).is_ok();
    }

    fn ring(&mut self) {
        for shard in &mut self.shards {
            if std::mem::take(&mut shard.rung) {
                (shard.wake)();
            }
        }
    }
}

impl Figures {
    fn count(&self, outcome: CommitOutcome, group: &Group, took: Duration) {
        let add = |counter: &AtomicU64, by: usize| {
            counter.fetch_add(by as u64, Ordering::Relaxed);
        };
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        match outcome {
            CommitOutcome::Done => {
                add(&self.groups, 1);
                add(&self.batches, group.batches.len());
                add(&self.bytes, group.bytes);
                self.commit_nanos.fetch_add(nanos, Ordering::Relaxed);
                self.slowest_nanos.fetch_max(nanos, Ordering::Relaxed);
            }
            CommitOutcome::Refused => add(&self.refused, group.batches.len()),
            CommitOutcome::Unknown => add(&self.unknown, group.batches.len()),
        }
    }
}
