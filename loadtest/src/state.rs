//! The state file of a swarm (I/O): what its devices would keep in flash, so that a next run goes on
//! where this one ended.
//!
//! One JSON object per line, appended when a device's memory changes; the last line of a device
//! counts. A line that a crash has cut short is the last one, and is ignored. When it is opened, the
//! file is written anew with one line per device, beside the old one, and takes its place when it is
//! on disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use shared::ids::DeviceId;

use crate::device::{Kind, Memory};

/// How long what was written may be lost with the machine: flash is no faster, and a sync for every few
/// devices would take the processor from what is measured.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What is known of one device or client.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// Its place among the devices, or among the clients.
    pub number: u32,
    /// Its kind; none for a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What it keeps.
    #[serde(flatten)]
    pub memory: Memory,
}

/// What a state file held when it was opened.
#[derive(Default)]
pub struct Remembered {
    /// By their numbers.
    pub devices: HashMap<u32, Box<Entry>>,
    /// By their numbers.
    pub clients: HashMap<u32, Box<Entry>>,
}

impl Remembered {
    /// Deals it out: part n has what has number n, n + `parts`, and so on.
    pub(crate) fn deal(self, parts: usize) -> Vec<Self> {
        let mut dealt: Vec<Self> = (0..parts).map(|_| Self::default()).collect();
        for (number, entry) in self.devices {
            dealt[number as usize % parts].devices.insert(number, entry);
        }
        for (number, entry) in self.clients {
            dealt[number as usize % parts].clients.insert(number, entry);
        }
        dealt
    }

    /// Hands out what is known of a device; the memory of the last one is let go of with it.
    pub(crate) fn take_device(&mut self, number: u32) -> Option<Box<Entry>> {
        take(&mut self.devices, number)
    }

    /// Hands out what is known of a client.
    pub(crate) fn take_client(&mut self, number: u32) -> Option<Box<Entry>> {
        take(&mut self.clients, number)
    }
}

fn take(entries: &mut HashMap<u32, Box<Entry>>, number: u32) -> Option<Box<Entry>> {
    let entry = entries.remove(&number)?;
    if entries.is_empty() {
        entries.shrink_to_fit();
    }
    Some(entry)
}

/// An open state file. Changes are written behind the devices' backs and are on disk when
/// [`close`](Self::close) returns, and otherwise a second after they were made.
pub struct StateFile {
    entries: Option<Sender<Entry>>,
    writer: JoinHandle<Result<()>>,
}

impl StateFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If it cannot be read or written, or is no state file.
    pub fn open(path: &Path) -> Result<(Self, Remembered)> {
        let remembered = read(path)?;
        let file = rewrite(path, &remembered)
            .with_context(|| format!("cannot write the state file {}", path.display()))?;
        let (entries, inbox) = channel();
        let writer = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || write(BufWriter::new(file), &inbox))?;
        Ok((Self { entries: Some(entries), writer }, remembered))
    }

    /// Where changes go.
    pub(crate) fn sender(&self) -> Option<Sender<Entry>> {
        self.entries.clone()
    }

    /// Waits until everything is on disk. All other senders must be gone.
    ///
    /// # Errors
    /// If something could not be written.
    pub fn close(mut self) -> Result<()> {
        self.entries = None;
        match self.writer.join() {
            Ok(result) => result.context("the state file is not complete"),
            Err(_) => bail!("the writer of the state file has panicked"),
        }
    }
}

/// What a state file holds; nothing if there is none.
///
/// # Errors
/// If it cannot be read, or is no state file.
pub fn read(path: &Path) -> Result<Remembered> {
    parse(path).with_context(|| format!("state file {}", path.display()))
}

fn parse(path: &Path) -> Result<Remembered> {
    let mut remembered = Remembered::default();
    let mut file = match File::open(path) {
        Ok(file) => BufReader::with_capacity(1 << 20, file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(remembered),
        Err(error) => return Err(error.into()),
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        // What follows the last newline is empty, or was cut short.
        if line.last() != Some(&b'\n') {
            break;
        }
        let entry: Entry =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is no entry"))?;
        let of_its_sort =
            if entry.kind.is_some() { &mut remembered.devices } else { &mut remembered.clients };
        of_its_sort.insert(entry.number, Box::new(entry));
    }
    let ids = remembered.devices.values().chain(remembered.clients.values());
    let distinct: std::collections::HashSet<DeviceId> = ids.map(|entry| entry.memory.di).collect();
    if distinct.len() != remembered.devices.len() + remembered.clients.len() {
        bail!("two entries have the same device id");
    }
    Ok(remembered)
}

/// Writes one line per device into a new file and puts it in the place of the old one.
fn rewrite(path: &Path, remembered: &Remembered) -> Result<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut name = path.file_name().context("it needs a file name")?.to_owned();
    name.push(".new");
    let beside = directory.join(name);
    // It holds tokens.
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(options.open(&beside)?);
    let all = remembered.devices.values().chain(remembered.clients.values());
    for entry in all {
        write_line(&mut file, entry)?;
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

fn write_line(file: &mut impl Write, entry: &Entry) -> Result<()> {
    serde_json::to_writer(&mut *file, entry)?;
    Ok(file.write_all(b"\n")?)
}

/// Appends what comes, and syncs once for everything that comes within [`SYNC_EVERY`].
fn write(mut file: BufWriter<File>, inbox: &Receiver<Entry>) -> Result<()> {
    while let Ok(first) = inbox.recv() {
        write_line(&mut file, &first)?;
        let due = Instant::now() + SYNC_EVERY;
        loop {
            while let Ok(entry) = inbox.try_recv() {
                write_line(&mut file, &entry)?;
            }
            file.flush()?;
            let left = due.saturating_duration_since(Instant::now());
            let Ok(next) = inbox.recv_timeout(left) else { break };
            write_line(&mut file, &next)?;
        }
        file.get_ref().sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn entry(number: u32, di: u8, published: bool) -> Entry {
        let di = DeviceId::from_bytes([di; 16]);
        let memory = Memory { di, cloud: None, account: None, last_error: 0, published };
        Entry { number, kind: Some(Kind::Light), memory }
    }

    fn write(path: &Path, entries: &[Entry]) {
        let (file, _) = StateFile::open(path).unwrap();
        let sender = file.sender().unwrap();
        entries.iter().for_each(|entry| sender.send(entry.clone()).unwrap());
        drop(sender);
        file.close().unwrap();
    }

    #[test]
    fn the_last_line_of_a_device_counts_and_a_line_cut_short_does_not() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("state");
        write(&path, &[entry(1, 1, false), entry(2, 2, false), entry(1, 1, true)]);
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        text.push_str(r#"{"number":2,"kind":"light","di":"#);
        std::fs::write(&path, text).unwrap();

        let (file, remembered) = StateFile::open(&path).unwrap();
        file.close().unwrap();
        assert!(remembered.devices[&1].memory.published);
        assert!(!remembered.devices[&2].memory.published);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, 2, "it was written anew");
    }

    #[test]
    fn nobody_else_may_read_the_tokens() {
        use std::os::unix::fs::PermissionsExt;
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("state");
        write(&path, &[entry(1, 1, true)]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_state_file_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("letter");
        for (text, problem) in [
            ("Dear all,\n", "line 1 is no entry"),
            (
                "{\"number\":1,\"kind\":\"light\",\"di\":\"01010101-0101-0101-0101-010101010101\"}\n\
                 {\"number\":2,\"kind\":\"light\",\"di\":\"01010101-0101-0101-0101-010101010101\"}\n",
                "the same device id",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = StateFile::open(&path).err().unwrap();
            assert!(format!("{error:#}").contains(problem), "{error:#}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
