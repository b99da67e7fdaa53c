//! A file system without space: changes are refused, nothing acknowledged is lost, and when there is
//! space again the store goes on. Needs a small file system of its own, so it needs root.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A file system in memory, unmounted when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// None without the right to mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { dir })
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.dir.path().join("filler");
        let mut file = File::create(&path).unwrap();
        let block = [0x55; 4096];
        while file.write_all(&block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[test]
fn on_a_full_disk_changes_end_refused_or_unknown_and_go_on_when_there_is_space_again() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a file system needs root");
        return;
    };
    let mut store = open(disk.dir.path());
    let mut done = Vec::new();
    let mut commit_many = |store: &mut EmbeddedStore, numbers: std::ops::Range<u32>| {
        let mut outcomes = Vec::new();
        for number in numbers {
            let outcome = store.commit(&[batch(number, 1000)]);
            if outcome == CommitOutcome::Done {
                done.push(key(number));
            }
            outcomes.push(outcome);
        }
        outcomes
    };
    commit_many(&mut store, 0..50);
    let filler = disk.fill();
    // The log has its space already; what fails is the base, when segments are applied.
    let outcomes = commit_many(&mut store, 50..3000);
    assert!(outcomes.contains(&CommitOutcome::Refused), "the base has grown on a full disk");
    assert!(store.reopen().is_err(), "the log cannot be applied without space");
    assert_eq!(store.commit(&[batch(1, 1)]), CommitOutcome::Refused);

    std::fs::remove_file(filler).unwrap();
    store.reopen().unwrap();
    assert_eq!(commit_many(&mut store, 3000..3010), [CommitOutcome::Done; 10]);
    let found: Vec<Key> = records(&mut store).into_iter().map(|(key, _)| key).collect();
    done.sort();
    assert_eq!(found, done);
}
