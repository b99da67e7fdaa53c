//! `kill -9` while committing: what was acknowledged is there, nothing is there by halves.
//!
//! The process that is killed is this test binary itself, started again for one test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use super::*;
use crate::config;
use crate::io::store::{Answer, StoreThread};

const DIR: &str = "OCF_TEST_STORE_DIR";
const ROUND: &str = "OCF_TEST_STORE_ROUND";

/// Records of each commit; all of them or none must be found.
const RECORDS: u32 = 4;

/// The process ends by itself after so many, should nobody kill it.
const COMMITS_MAX: u32 = 1_000_000;

fn record_key(round: u32, commit: u32, record: u32) -> Key {
    let partition = PartitionId::new(((commit * RECORDS + record) % 4096) as u16).unwrap();
    let parts = [round, commit, record].map(u32::to_be_bytes);
    Key::of_parts(partition, Table::Device, &[&parts[0], &parts[1], &parts[2]])
}

fn record_value(commit: u32, record: u32) -> Vec<u8> {
    vec![(commit ^ record) as u8; 50 + (commit % 200) as usize]
}

fn record_batch(round: u32, commit: u32) -> Batch {
    let mut batch = Batch::new();
    for record in 0..RECORDS {
        batch.put(record_key(round, commit, record), record_value(commit, record));
    }
    batch
}

/// Not a test of its own: what the killed process does. It commits through two ports, always some at
/// a time, and prints the number of each commit that was acknowledged.
#[test]
fn the_process_that_is_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else {
        return;
    };
    let round = round.parse().unwrap();
    let (ring, bell) = channel();
    let doorbells = [ring.clone(), ring].map(doorbell);
    let store = Box::new(open(Path::new(&dir)));
    let config = config::Store::default();
    let (_thread, mut ports) = StoreThread::start(store, &config, doorbells.into()).unwrap();
    let mut next = 0;
    while next < COMMITS_MAX {
        for port in &mut ports {
            while port.waiting() < 8 {
                port.try_submit(u64::from(next), record_batch(round, next)).unwrap();
                next += 1;
            }
        }
        bell.recv().unwrap();
        let mut out = std::io::stdout().lock();
        for port in &mut ports {
            while let Some(answer) = port.next_answer() {
                match answer {
                    Answer::Committed { commit_id, outcome: CommitOutcome::Done } => {
                        writeln!(out, "\ndone {commit_id}").unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        out.flush().unwrap();
    }
}

/// Runs the process until it has acknowledged so many commits, kills it, and returns all that it
/// acknowledged before it died.
fn commit_until_killed(dir: &Path, round: u32, acknowledged_min: usize) -> Vec<u32> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "io::store::tests::crash::the_process_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let commit = |line: String| line.strip_prefix("done ").and_then(|id| id.parse::<u32>().ok());
    while acknowledged.len() < acknowledged_min {
        acknowledged.extend(commit(lines.next().expect("it goes on until killed").unwrap()));
    }
    process.kill().unwrap();
    // What it had printed before it died counts as well; a last line may be cut short.
    let mut rest: Vec<String> = lines.map_while(Result::ok).collect();
    rest.pop();
    acknowledged.extend(rest.into_iter().filter_map(commit));
    process.wait().unwrap();
    acknowledged
}

#[test]
fn after_kill_minus_9_everything_acknowledged_is_there_and_nothing_by_halves() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u32, Vec<u32>> = HashMap::new();
    for (round, acknowledged_min) in [1, 20, 300, 2000, 37].into_iter().enumerate() {
        let round = round as u32;
        acknowledged.insert(round, commit_until_killed(dir.path(), round, acknowledged_min));

        let mut found: HashMap<(u32, u32), u32> = HashMap::new();
        for (key, value) in records(&mut open(dir.path())) {
            let [round, commit, record] =
                [0, 4, 8].map(|at| u32::from_be_bytes(key.rest()[at..at + 4].try_into().unwrap()));
            assert_eq!(key, record_key(round, commit, record));
            assert_eq!(value, record_value(commit, record));
            *found.entry((round, commit)).or_default() += 1;
        }
        for (commit, records) in &found {
            assert_eq!(*records, RECORDS, "commit {commit:?} is there by halves");
        }
        for (round, commits) in &acknowledged {
            for commit in commits {
                assert!(found.contains_key(&(*round, *commit)), "{round}: {commit} is lost");
            }
        }
    }
}
