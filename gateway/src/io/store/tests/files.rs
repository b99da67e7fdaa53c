//! One store and its files: it reads back what was committed, and notices what is not its own.

use std::fs;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::io::store::State;
use crate::io::store::base::{Base, BaseError};
use crate::io::store::frame::Segment;
use crate::store::memory::MemoryStore;

/// The files of a store as they would be found had its process been killed just now. (The process
/// that really is killed, at any moment, is in `crash.rs`.)
fn as_if_killed(store: &mut EmbeddedStore, dir: &Path) -> tempfile::TempDir {
    store.quiesce();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&dir.join("store"), &copy.path().join("store"));
    copy
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Changes bytes of the segment in use, which is the last file after opening.
fn overwrite_log(dir: &Path, offset: u64, bytes: &[u8]) {
    let log = dir.join("store/log-3");
    fs::OpenOptions::new().write(true).open(log).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn what_was_committed_is_read_back_after_the_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (0..100).for_each(|number| commit(&mut store, batch(number, 300)));
    let killed = as_if_killed(&mut store, dir.path());
    let mut after = open(killed.path());
    assert_eq!(records(&mut after).len(), 100);
    assert_eq!(records(&mut after), records(&mut store));
}

#[test]
fn a_partition_is_loaded_without_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    [0, 1, 2, 4095, 4097].into_iter().for_each(|number| commit(&mut store, batch(number, 1)));
    let mut load = |number| {
        let mut found = Vec::new();
        store
            .load(PartitionId::new(number).unwrap(), &mut |table, rest, _| {
                found.push((table, u32::from_be_bytes(rest.try_into().unwrap_or_default())));
            })
            .unwrap();
        found
    };
    assert_eq!(load(1), [(Table::Device, 1), (Table::Device, 4097)]);
    assert_eq!(load(4095), [(Table::Device, 4095)]);
    assert_eq!(load(3), []);
}

#[test]
fn a_last_commit_that_was_torn_by_a_power_failure_is_gone_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, batch(1, 300));
    let mut second = batch(2, 2000);
    second.put(key(3), vec![3; 100]);
    commit(&mut store, second);
    // The first commit is one sector; the second begins at 512 and has five.
    for sector in 1..=5 {
        let torn = as_if_killed(&mut store, dir.path());
        overwrite_log(torn.path(), sector * 512, &[0; 512]);
        let found: Vec<Key> = records(&mut open(torn.path())).iter().map(|(key, _)| *key).collect();
        assert_eq!(found, [key(1)], "sector {sector}");
    }
}

#[test]
fn a_commit_that_was_acknowledged_and_is_damaged_is_reported_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (0..3).for_each(|number| commit(&mut store, batch(number, 100)));
    let damaged = as_if_killed(&mut store, dir.path());
    overwrite_log(damaged.path(), 512 + 40, &[0xff]);
    let error = try_open(damaged.path()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("restore"), "{error}");
}

#[test]
fn a_base_and_a_log_of_different_backups_are_not_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let older = as_if_killed(&mut store, dir.path());
    (0..600).for_each(|number| commit(&mut store, batch(number, 200)));
    records(&mut store);
    commit(&mut store, batch(0, 1));
    let newer = as_if_killed(&mut store, dir.path());
    fs::remove_dir_all(newer.path().join("store/base")).unwrap();
    copy_dir(&older.path().join("store/base"), &newer.path().join("store/base"));
    let error = try_open(newer.path()).err().unwrap();
    // Their salts are the same, but the segments between are gone.
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_store_of_another_cloud_is_refused_and_both_are_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let other = Place { cloud: CloudId::from_bytes([8; 16]), ..place(dir.path()) };
    let error = EmbeddedStore::open(other).err().unwrap().to_string();
    for expected in ["07070707-0707", "08080808-0808", "cloud.id"] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_store_that_is_open_is_not_opened_again_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = try_open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("in use by process"), "{error}");
    drop(store);
    open(dir.path());
}

/// Someone who removes the base does not get an empty store, in which no device is known.
#[test]
fn a_log_without_its_base_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::remove_dir_all(dir.path().join("store/base")).unwrap();
    let error = try_open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("restore both"), "{error}");
}

#[test]
fn a_file_of_the_base_that_is_damaged_is_reported_and_never_read_as_if_it_were_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (0..200).for_each(|number| commit(&mut store, batch(number, 500)));
    let whole = records(&mut store);
    let killed = as_if_killed(&mut store, dir.path());
    let mut reported = 0;
    for table in fs::read_dir(killed.path().join("store/base/tables")).unwrap() {
        let table = table.unwrap();
        let good = fs::read(table.path()).unwrap();
        for at in (0..good.len()).step_by(good.len() / 16 + 1) {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(&killed.path().join("store"), &copy.path().join("store"));
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let path = copy.path().join("store/base/tables").join(table.file_name());
            fs::write(&path, bad).unwrap();
            let found = try_open(copy.path()).ok().and_then(|mut store| try_records(&mut store));
            match found {
                None => reported += 1,
                Some(found) => assert_eq!(found, whole, "{path:?} byte {at}"),
            }
        }
    }
    assert!(reported > 0);
}

#[test]
fn a_batch_that_is_too_large_is_refused_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    // Larger than a segment here.
    assert_eq!(store.commit(&[batch(1, 2 * SMALL_SEGMENTS as usize)]), CommitOutcome::Refused);
    commit(&mut store, batch(2, 10));
    assert_eq!(records(&mut store).len(), 1);
}

#[test]
fn when_space_is_short_changes_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { free_bytes_min: u64::MAX, ..place(dir.path()) };
    let mut store = EmbeddedStore::open(place).unwrap();
    assert_eq!(store.commit(&[batch(1, 10)]), CommitOutcome::Refused);
    assert_eq!(records(&mut store), []);
}

#[test]
fn several_threads_may_load_while_the_store_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    (0..64).for_each(|number| commit(&mut store, batch(number, 10)));
    drop(store);
    let store = open(dir.path());
    let loader = store.loader().unwrap();
    let counts = std::thread::scope(|scope| {
        let handles = [0..=31, 32..=63].map(|range: std::ops::RangeInclusive<u16>| {
            let loader = loader.clone();
            scope.spawn(move || {
                let [first, last] =
                    [range.start(), range.end()].map(|n| PartitionId::new(*n).unwrap());
                let mut count = 0;
                loader.load_range(first..=last, &mut |_, _| count += 1).unwrap();
                count
            })
        });
        handles.map(|handle| handle.join().unwrap())
    });
    // The first partition has the store's own record.
    assert_eq!(counts, [33, 32]);
}

/// After a segment that could not be applied, a later one must not be: it would count as if both were.
#[test]
fn segments_are_applied_in_order_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let record = || crate::io::store::format::record(CloudId::from_bytes([7; 16]));
    let base = Base::open(&dir.path().join("base"), record(), true).unwrap();
    let segment = |number| (Segment { number, groups: Vec::new(), sealed: true }, Vec::new());
    base.apply(&[segment(1)]).unwrap();
    for gap in [&[segment(3)][..], &[segment(1)], &[segment(2), segment(4)]] {
        assert!(matches!(base.apply(gap), Err(BaseError::Damaged)));
        assert_eq!(base.applied().unwrap(), 1);
    }
    base.apply(&[segment(2), segment(3)]).unwrap();
    assert_eq!(base.applied().unwrap(), 3);
}

#[test]
fn the_state_of_a_cloud_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::config::Config::default();
    config.cloud.id = CloudId::from_bytes([7; 16]);
    config.cloud.state_dir = dir.path().join("state");
    config.store.free_bytes_min = 0;
    let mut state = State::open(&config).unwrap();
    commit(&mut state.store, batch(1, 10));
    let key = state.key.clone();
    let in_use = State::open(&config).err().unwrap().to_string();
    assert!(in_use.contains("in use by process"), "{in_use}");
    drop(state);

    let mut state = State::open(&config).unwrap();
    assert!(state.key == key, "the key is made once");
    assert_eq!(records(&mut state.store).len(), 1);
    drop(state);

    fs::remove_file(dir.path().join("state/store.key")).unwrap();
    let lost = State::open(&config).err().unwrap().to_string();
    assert!(lost.contains("restore it from a backup"), "{lost}");
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Vec<(u32, Option<usize>)>>),
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..20u32, proptest::option::weighted(0.7, 0..2000usize));
    let batches = proptest::collection::vec(proptest::collection::vec(write, 0..5), 1..5);
    prop_oneof![8 => batches.prop_map(Step::Commit), 1 => Just(Step::Restart), 1 => Just(Step::Kill)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is committed, and however often the store is closed or killed in between.
    #[test]
    fn the_store_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = Some(open(dir.path()));
        let mut model = MemoryStore::new();
        for step in steps {
            match step {
                Step::Commit(batches) => {
                    let batches: Vec<Batch> = batches
                        .into_iter()
                        .map(|writes| {
                            let write = |(number, len): (u32, Option<usize>)| crate::store::Write {
                                key: key(number),
                                value: len.map(|len| vec![len as u8; len]),
                            };
                            writes.into_iter().map(write).collect()
                        })
                        .collect();
                    model.commit(&batches);
                    prop_assert_eq!(store.as_mut().unwrap().commit(&batches), CommitOutcome::Done);
                }
                Step::Restart => {
                    store = None;
                    store.replace(open(dir.path()));
                }
                Step::Kill => {
                    let copy = as_if_killed(store.as_mut().unwrap(), dir.path());
                    store = None;
                    dir = copy;
                    store.replace(open(dir.path()));
                }
            }
        }
        prop_assert_eq!(records(store.as_mut().unwrap()), records(&mut model));
    }
}
