//! The state directory: one process at a time, and the key that its contents depend on.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::log::sync_parent;
use crate::store::{STORE_KEY_BYTES, StoreKey};

/// Name of the lock file; it contains the number of the process that holds it.
const LOCK: &str = "lock";
/// Name of the store key, unless configured.
const KEY: &str = "store.key";

/// The state directory, held by this process until dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Closing it releases the lock, however the process ends.
    _lock: File,
}

/// Why the state directory or the store key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process holds it.
    #[error("{path} is in use by {}: it belongs to one gateway at a time", holder(.process))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, if it could be read.
        process: Option<u32>,
    },
    /// The system refuses something.
    #[error("{path}: cannot {doing}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// There is a store, but no key. A new one would make every device lose its account.
    #[error("{path} is missing, but there is a store that depends on it: restore it from a backup")]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error("{path} may be read by others (mode {mode:04o}): run `chmod 600 {}`, and replace the key if others had access", .path.display())]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key does not have 32 bytes.
    #[error("{path} has {bytes} bytes instead of {STORE_KEY_BYTES}: restore it from a backup")]
    KeyMalformed {
        /// The file.
        path: PathBuf,
        /// How many it has.
        bytes: u64,
    },
}

fn holder(process: &Option<u32>) -> String {
    match process {
        Some(process) => format!("process {process}"),
        None => "another process".into(),
    }
}

impl StateDir {
    /// Creates the directory if it is missing, and takes it for this process.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        Ok(Self { path: path.into(), _lock: take_dir(path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store key in this directory, made from `fresh` random bytes if there is no store yet that
    /// depends on one.
    pub fn store_key(
        &self,
        store_exists: bool,
        fresh: [u8; STORE_KEY_BYTES],
    ) -> Result<StoreKey, StateDirError> {
        let path = self.path.join(KEY);
        let exists = path.try_exists().map_err(failed(&path, "look for the store key"))?;
        if !exists {
            if store_exists {
                return Err(StateDirError::KeyMissing { path });
            }
            create_key(&path, &fresh).map_err(failed(&path, "create the store key"))?;
        }
        const GROUP_AND_OTHERS: u32 = 0o077;
        read_key(&path, GROUP_AND_OTHERS)
    }
}

/// The store key at a configured place, such as a systemd credential, where access lists show up as
/// rights of the group. It is never created there.
pub fn configured_store_key(path: &Path) -> Result<StoreKey, StateDirError> {
    const OTHERS: u32 = 0o007;
    read_key(path, OTHERS)
}

fn read_key(path: &Path, forbidden: u32) -> Result<StoreKey, StateDirError> {
    let mut file = File::open(path).map_err(failed(path, "open the store key"))?;
    let metadata = file.metadata().map_err(failed(path, "examine the store key"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(StateDirError::KeyExposed { path: path.into(), mode });
    }
    if metadata.len() != STORE_KEY_BYTES as u64 {
        return Err(StateDirError::KeyMalformed { path: path.into(), bytes: metadata.len() });
    }
    let mut bytes = [0; STORE_KEY_BYTES];
    file.read_exact(&mut bytes).map_err(failed(path, "read the store key"))?;
    Ok(StoreKey::from_bytes(bytes))
}

/// The key stands under its name only when it is complete and on the disk.
fn create_key(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}

/// Creates a directory that only its owner may enter, if it is missing, and locks it for as long as the
/// returned file is open.
pub(super) fn take_dir(path: &Path) -> Result<File, StateDirError> {
    create_private_dir(path).map_err(failed(path, "create the directory"))?;
    let lock_path = path.join(LOCK);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path);
    let mut lock = opened.map_err(failed(&lock_path, "open the lock file"))?;
    match lock.try_lock() {
        Ok(()) => {
            note_process(&mut lock).map_err(failed(&lock_path, "write the lock file"))?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let process = lock.read_to_string(&mut process).ok().and(process.trim().parse().ok());
            Err(StateDirError::Locked { path: path.into(), process })
        }
        Err(TryLockError::Error(cause)) => Err(failed(&lock_path, "lock the lock file")(cause)),
    }
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync_parent(path)?;
    }
    Ok(())
}

fn note_process(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn failed<'a>(path: &'a Path, doing: &'static str) -> impl Fn(io::Error) -> StateDirError + 'a {
    move |cause| StateDirError::Io { path: path.into(), doing, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_on_the_same_directory_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let refused = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("in use by process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let key = state.store_key(false, [1; 32]).unwrap();
        assert_eq!(key, state.store_key(true, [2; 32]).unwrap());
        let mode = |name: &str| {
            fs::metadata(state.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(KEY), mode(LOCK), mode(".")), (0o600, 0o600, 0o700));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.store_key(false, [1; 32]).unwrap();
        let path = dir.path().join(KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = state.store_key(true, [1; 32]).unwrap_err().to_string();
        assert!(refused.contains("mode 0640") && refused.contains("chmod 600"), "{refused}");
        // A systemd credential looks like this.
        assert!(configured_store_key(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(matches!(configured_store_key(&path), Err(StateDirError::KeyExposed { .. })));
    }

    #[test]
    fn a_key_that_is_missing_or_cut_short_is_never_replaced_when_a_store_depends_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let missing = state.store_key(true, [1; 32]).unwrap_err();
        assert!(matches!(missing, StateDirError::KeyMissing { .. }), "{missing}");
        state.store_key(false, [1; 32]).unwrap();
        OpenOptions::new().write(true).open(dir.path().join(KEY)).unwrap().set_len(31).unwrap();
        let short = state.store_key(true, [1; 32]).unwrap_err();
        assert!(matches!(short, StateDirError::KeyMalformed { bytes: 31, .. }), "{short}");
    }
}
