//! The store on real files: what it promises, and what becomes of it when something goes wrong.

mod crash;
mod disk_full;
mod files;
mod groups;

use std::path::Path;
use std::sync::mpsc::Sender;

use shared::ids::CloudId;
use shared::placement::PartitionId;

use super::{EmbeddedStore, OpenError, Place, Wake};
use crate::store::{Batch, CommitOutcome, Key, Store, Table};

/// Small, so that segments fill up and are applied all the time.
const SMALL_SEGMENTS: u64 = 32 * 1024;

fn place(dir: &Path) -> Place {
    Place { dir: dir.join("store"), cloud: CloudId::from_bytes([7; 16]), free_bytes_min: 0 }
}

fn open(dir: &Path) -> EmbeddedStore {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open_with_segments(place(dir), SMALL_SEGMENTS)
}

fn key(number: u32) -> Key {
    let partition = PartitionId::new((number % 4096) as u16).unwrap();
    Key::new(partition, Table::Device, &number.to_be_bytes())
}

/// One record with a value of this length.
fn batch(number: u32, value_len: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(key(number), vec![number as u8; value_len]);
    batch
}

/// All records but the store's own, in the order of keys.
fn records(store: &mut dyn Store) -> Vec<(Key, Vec<u8>)> {
    try_records(store).unwrap()
}

/// As `records`; none if the store reports an error.
fn try_records(store: &mut dyn Store) -> Option<Vec<(Key, Vec<u8>)>> {
    let mut found = Vec::new();
    let all = PartitionId::new(0).unwrap()..=PartitionId::new(4095).unwrap();
    let load = store.load_range(all, &mut |key, value| {
        if key.table() != Table::Meta {
            found.push((*key, value.to_vec()));
        }
    });
    load.ok().map(|()| found)
}

fn commit(store: &mut dyn Store, batch: Batch) {
    assert_eq!(store.commit(&[batch]), CommitOutcome::Done);
}

/// A doorbell that a test can wait for.
fn doorbell(ring: Sender<()>) -> Wake {
    Box::new(move || {
        // A shard that is gone hears nothing.
        ring.send(()).ok();
    })
}
