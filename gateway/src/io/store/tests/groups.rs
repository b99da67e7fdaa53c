//! The store thread: what waits together is committed together, and every submission gets its answer.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::config;
use crate::io::store::{Answer, ShardPort, StoreThread, SubmitError};
use crate::store::memory::MemoryStore;
use crate::store::{BATCH_BYTES_MAX, RecordSink, StoreError};

/// What the store does with a group, or when it is opened again.
enum Act {
    Commit,
    CommitButSayUnknown,
    LoseAndSayUnknown,
    Panic,
    ReopenFails,
}

/// A store that waits for the test at every commit, and tells how many batches came.
struct Directed {
    records: MemoryStore,
    acts: Receiver<Act>,
    groups: Sender<usize>,
    reopenings: VecDeque<bool>,
}

impl Store for Directed {
    fn load_range(
        &mut self,
        partitions: RangeInclusive<PartitionId>,
        record: &mut RecordSink<'_>,
    ) -> Result<(), StoreError> {
        self.records.load_range(partitions, record)
    }

    fn commit(&mut self, batches: &[Batch]) -> CommitOutcome {
        self.groups.send(batches.len()).ok();
        match self.acts.recv() {
            Ok(Act::Commit) => self.records.commit(batches),
            Ok(Act::CommitButSayUnknown) => {
                self.records.commit(batches);
                CommitOutcome::Unknown
            }
            Ok(Act::LoseAndSayUnknown) => CommitOutcome::Unknown,
            Ok(Act::Panic) => panic!("the test asked for it"),
            Ok(Act::ReopenFails) => {
                self.reopenings.push_back(false);
                CommitOutcome::Unknown
            }
            // The test is over.
            Err(_) => CommitOutcome::Refused,
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        match self.reopenings.pop_front() {
            Some(false) => Err(StoreError::Unreadable("the test asked for it".into())),
            Some(true) | None => Ok(()),
        }
    }
}

/// A thread over a directed store, with doorbells that can be waited for.
struct Stage {
    thread: StoreThread,
    ports: Vec<ShardPort>,
    bells: Vec<Receiver<()>>,
    acts: Sender<Act>,
    groups: Receiver<usize>,
}

fn stage(shards: usize, config: &config::Store) -> Stage {
    let (acts, act_queue) = channel();
    let (group_sizes, groups) = channel();
    let store = Directed {
        records: MemoryStore::new(),
        acts: act_queue,
        groups: group_sizes,
        reopenings: VecDeque::new(),
    };
    let (doorbells, bells) = (0..shards)
        .map(|_| {
            let (ring, bell) = channel();
            (doorbell(ring), bell)
        })
        .unzip();
    let (thread, ports) = StoreThread::start(Box::new(store), config, doorbells).unwrap();
    Stage { thread, ports, bells, acts, groups }
}

impl Stage {
    fn submit(&mut self, shard: usize, commit_id: u64) {
        self.ports[shard].try_submit(commit_id, batch(commit_id as u32, 10)).unwrap();
    }

    /// Waits until the store begins its next group, and returns how many batches it has.
    fn begun(&self) -> usize {
        self.groups.recv().unwrap()
    }

    /// The outcomes that a shard finds behind one ring of its doorbell.
    fn outcomes(&mut self, shard: usize) -> Vec<(u64, CommitOutcome)> {
        self.bells[shard].recv().unwrap();
        std::iter::from_fn(|| self.ports[shard].next_answer())
            .map(|answer| match answer {
                Answer::Committed { commit_id, outcome } => (commit_id, outcome),
                Answer::Loaded { .. } => panic!("nothing was loaded"),
            })
            .collect()
    }

    fn loaded(&mut self, shard: usize, number: u32) -> usize {
        self.ports[shard].try_load(key(number).partition()).unwrap();
        self.bells[shard].recv().unwrap();
        match self.ports[shard].next_answer().unwrap() {
            Answer::Loaded { records, partition } => {
                assert_eq!(partition, key(number).partition());
                records.unwrap().len()
            }
            Answer::Committed { .. } => panic!("nothing was committed"),
        }
    }
}

#[test]
fn commits_that_wait_while_one_is_on_its_way_share_the_next_group() {
    let mut stage = stage(2, &config::Store::default());
    stage.submit(0, 1);
    assert_eq!(stage.begun(), 1);
    (2..50).for_each(|id| stage.submit(0, id));
    (50..100).for_each(|id| stage.submit(1, id));
    stage.acts.send(Act::Commit).unwrap();
    assert_eq!(stage.outcomes(0), [(1, CommitOutcome::Done)]);
    assert_eq!(stage.begun(), 98);

    stage.acts.send(Act::Commit).unwrap();
    let in_order = |ids: std::ops::Range<u64>| ids.map(|id| (id, CommitOutcome::Done)).collect();
    let expected: Vec<_> = in_order(2..50);
    assert_eq!(stage.outcomes(0), expected);
    let expected: Vec<_> = in_order(50..100);
    assert_eq!(stage.outcomes(1), expected);
    assert!(stage.bells.iter().all(|bell| bell.try_recv().is_err()), "one ring a group");
}

#[test]
fn a_group_has_no_more_batches_than_configured() {
    let config = config::Store { group_batches_max: 10, ..config::Store::default() };
    let mut stage = stage(1, &config);
    stage.submit(0, 0);
    assert_eq!(stage.begun(), 1);
    (1..26).for_each(|id| stage.submit(0, id));
    (0..4).for_each(|_| stage.acts.send(Act::Commit).unwrap());
    assert_eq!([stage.begun(), stage.begun(), stage.begun()], [10, 10, 5]);
}

#[test]
fn a_shard_has_no_more_waiting_than_configured() {
    let config =
        config::Store { queue_batches_max: 3, queue_bytes_max: 4096, ..config::Store::default() };
    let mut stage = stage(2, &config);
    (0..3).for_each(|id| stage.submit(0, id));
    assert_eq!(stage.ports[0].try_submit(3, batch(3, 10)), Err(SubmitError::Full));
    assert_eq!(stage.ports[0].try_load(key(1).partition()), Err(SubmitError::Full));
    stage.submit(1, 4);
    assert_eq!(stage.ports[1].try_submit(5, batch(5, 5000)), Err(SubmitError::Full));
    let huge = batch(6, BATCH_BYTES_MAX);
    assert_eq!(stage.ports[1].try_submit(6, huge), Err(SubmitError::TooLarge));

    // An answer makes room again.
    (0..2).for_each(|_| drop(stage.acts.send(Act::Commit)));
    while stage.ports[0].waiting() == 3 {
        stage.outcomes(0);
    }
    stage.submit(0, 7);
    (0..4).for_each(|_| drop(stage.acts.send(Act::Commit)));
}

#[test]
fn after_an_unknown_outcome_loading_shows_what_has_become_of_it() {
    for (act, records) in [(Act::CommitButSayUnknown, 1), (Act::LoseAndSayUnknown, 0)] {
        let mut stage = stage(1, &config::Store::default());
        stage.submit(0, 1);
        stage.acts.send(act).unwrap();
        assert_eq!(stage.outcomes(0), [(1, CommitOutcome::Unknown)]);
        assert_eq!(stage.loaded(0, 1), records);
    }
}

#[test]
fn a_store_that_panics_is_opened_again() {
    let mut stage = stage(1, &config::Store::default());
    stage.submit(0, 1);
    stage.acts.send(Act::Panic).unwrap();
    assert_eq!(stage.outcomes(0), [(1, CommitOutcome::Unknown)]);
    stage.submit(0, 2);
    stage.acts.send(Act::Commit).unwrap();
    assert_eq!(stage.outcomes(0), [(2, CommitOutcome::Done)]);
}

#[test]
fn while_a_store_cannot_be_opened_again_changes_are_refused() {
    let mut stage = stage(1, &config::Store::default());
    stage.submit(0, 1);
    stage.acts.send(Act::ReopenFails).unwrap();
    assert_eq!(stage.outcomes(0), [(1, CommitOutcome::Unknown)]);
    // Refused without being asked for; the attempt to open it that follows succeeds.
    let mut id = 2;
    loop {
        stage.submit(0, id);
        stage.acts.send(Act::Commit).unwrap();
        match stage.outcomes(0)[..] {
            [(answered, CommitOutcome::Refused)] => assert_eq!(answered, id),
            [(answered, CommitOutcome::Done)] => break assert_eq!(answered, id),
            ref other => panic!("{other:?}"),
        }
        id += 1;
        assert!(id < 5, "it can be opened again by now");
    }
}

#[test]
fn when_all_shards_are_gone_what_they_submitted_is_done_and_the_thread_ends() {
    let mut stage = stage(2, &config::Store::default());
    stage.submit(0, 1);
    stage.acts.send(Act::Commit).unwrap();
    drop(stage.ports);
    stage.thread.stop();
    assert_eq!(stage.groups.recv().unwrap(), 1);
}

#[test]
fn a_load_comes_after_what_was_submitted_before_it_also_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, bell) = channel();
    let config = config::Store::default();
    let store = Box::new(open(dir.path()));
    let (thread, mut ports) = StoreThread::start(store, &config, vec![doorbell(ring)]).unwrap();
    let mut port = ports.pop().unwrap();
    for id in 1..=100 {
        port.try_submit(id, batch(id as u32 * 4096, 100)).unwrap();
    }
    port.try_load(key(0).partition()).unwrap();
    let mut done = 0;
    let loaded = loop {
        bell.recv().unwrap();
        let mut loaded = None;
        while let Some(answer) = port.next_answer() {
            match answer {
                Answer::Committed { outcome: CommitOutcome::Done, .. } => done += 1,
                Answer::Committed { outcome, .. } => panic!("{outcome:?}"),
                Answer::Loaded { records, .. } => loaded = Some(records.unwrap()),
            }
        }
        if let Some(loaded) = loaded {
            break loaded;
        }
    };
    // And the store's own record.
    assert_eq!((done, loaded.len(), port.waiting()), (100, 101, 0));
    let figures = thread.figures();
    assert_eq!(figures.batches.load(std::sync::atomic::Ordering::Relaxed), 100);
    drop(port);
    thread.stop();
}
