//! Files that appear whole or not at all (I/O).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Whoever the process' umask allows.
    Anybody,
}

/// Puts a file with these bytes in its place, in one step: who looks sees the old one or the new one.
///
/// # Errors
/// If the directory cannot be written; the text names the file.
pub fn write_atomically(path: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
    let write = || -> Result<()> {
        let mut beside = OsString::from(path);
        beside.push(".new");
        // One that a crash has left could have any mode.
        if fs::exists(&beside)? {
            fs::remove_file(&beside)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if readers == Readers::Owner {
            options.mode(0o600);
        }
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_secrets_stay_with_their_owner() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        fs::write(directory.path().join("file.new"), "left behind").unwrap();
        for text in ["one", "two"] {
            write_atomically(&path, text.as_bytes(), Readers::Owner).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let nowhere = directory.path().join("no/where");
        let error = write_atomically(&nowhere, b"", Readers::Anybody).unwrap_err();
        assert!(format!("{error:#}").contains("no/where"));
    }
}
