//! What a durable commit costs: our store against fjall, redb and a bare log, on this disk.
//!
//! `cargo bench -p benches --bench store -- [--dir DIR] [--seconds N] [--records N]`
//!
//! For each rival, in a process of its own: all devices stored once, everything read back, then groups
//! of 1, 8, 64 and 256 batches of some 300 bytes (two records of a random device), each group with
//! one synchronisation. The bare log is the floor: the same bytes appended to a file and
//! `fdatasync`, nothing that could be read back. The store has to come near it; `docs/STORE.md` says
//! what was found.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use benches::population::{Numbers, id};
use clap::Parser;
use gateway::io::store::{EmbeddedStore, Place};
use gateway::store::{Batch, CommitOutcome, Key, Store as _, Table};
use shared::ids::{CloudId, DeviceId, UserId};
use shared::placement::PartitionId;

const RIVALS: [&str; 4] = ["bare log", "store", "redb", "fjall"];
const GROUPS: [usize; 4] = [1, 8, 64, 256];
const VALUE_BYTES: usize = 115;
const DEVICES_PER_USER: u64 = 10;

#[derive(Parser)]
struct Arguments {
    /// A directory on the disk in question.
    #[arg(long, default_value = "target/bench-store")]
    dir: PathBuf,
    /// For how long each size of groups is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many devices there are.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Measure one rival in this process.
    #[arg(long, hide = true)]
    rival: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured of each rival.
trait Rival {
    fn commit(&mut self, group: &[Batch]) -> Result<()>;
    /// Number of records.
    fn load(&mut self) -> Result<u64>;
}

struct Ours(EmbeddedStore);

impl Rival for Ours {
    fn commit(&mut self, group: &[Batch]) -> Result<()> {
        match self.0.commit(group) {
            CommitOutcome::Done => Ok(()),
            other => bail!("a commit ended as {other:?}"),
        }
    }

    fn load(&mut self) -> Result<u64> {
        let mut count = 0;
        self.0.load_all(&mut |_, _, _, value| count += u64::from(!value.is_empty()))?;
        Ok(count)
    }
}

struct Redb(redb::Database);

const RECORDS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("records");

impl Rival for Redb {
    fn commit(&mut self, group: &[Batch]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for write in group.iter().flat_map(Batch::writes) {
                match &write.value {
                    Some(value) => records.insert(write.key.as_bytes(), value.as_slice())?,
                    None => records.remove(write.key.as_bytes())?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    fn load(&mut self) -> Result<u64> {
        use redb::ReadableDatabase as _;
        let records = self.0.begin_read()?.open_table(RECORDS)?;
        let mut count = 0;
        for entry in records.range::<&[u8]>(..)? {
            count += u64::from(!entry?.1.value().is_empty());
        }
        Ok(count)
    }
}

struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
}

impl Rival for Fjall {
    fn commit(&mut self, group: &[Batch]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for write in group.iter().flat_map(Batch::writes) {
            match &write.value {
                Some(value) => batch.insert(&self.records, write.key.as_bytes(), value.as_slice()),
                None => batch.remove(&self.records, write.key.as_bytes()),
            }
        }
        Ok(batch.commit()?)
    }

    fn load(&mut self) -> Result<u64> {
        let mut count = 0;
        for entry in self.records.iter() {
            count += u64::from(!entry.into_inner()?.1.is_empty());
        }
        Ok(count)
    }
}

struct BareLog(File);

impl Rival for BareLog {
    fn commit(&mut self, group: &[Batch]) -> Result<()> {
        let mut bytes = Vec::with_capacity(group.iter().map(Batch::bytes).sum());
        for write in group.iter().flat_map(Batch::writes) {
            bytes.extend_from_slice(write.key.as_bytes());
            bytes.extend_from_slice(write.value.as_deref().unwrap_or_default());
        }
        self.0.write_all(&bytes)?;
        Ok(self.0.sync_data()?)
    }

    fn load(&mut self) -> Result<u64> {
        Ok(0)
    }
}

fn open(rival: &str, dir: &Path) -> Result<Box<dyn Rival>> {
    fs::create_dir_all(dir)?;
    Ok(match rival {
        "bare log" => {
            Box::new(BareLog(File::options().create(true).append(true).open(dir.join("log"))?))
        }
        "store" => Box::new(Ours(EmbeddedStore::open(Place {
            dir: dir.into(),
            cloud: CloudId::from_bytes([1; 16]),
            free_bytes_min: 0,
        })?)),
        "redb" => Box::new(Redb(
            redb::Database::builder().set_cache_size(256 << 20).create(dir.join("redb"))?,
        )),
        "fjall" => {
            let database = fjall::Database::builder(dir)
                .manual_journal_persist(true)
                .worker_threads(2)
                .open()?;
            let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(32 << 20);
            let records = database.keyspace("records", options)?;
            Box::new(Fjall { database, records })
        }
        other => bail!("no rival is called {other}"),
    })
}

fn value(numbers: &mut Numbers) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_BYTES + 8);
    while value.len() < VALUE_BYTES {
        value.extend_from_slice(&numbers.next().to_be_bytes());
    }
    value.truncate(VALUE_BYTES);
    value
}

fn key(device: u64, table: Table) -> Key {
    let user = UserId::from_bytes(id(1, device / DEVICES_PER_USER));
    let device = DeviceId::from_bytes(id(2, device));
    Key::of_parts(PartitionId::of_user(user), table, &[user.as_bytes(), device.as_bytes()])
}

/// Time on the processor of this process, all threads.
fn cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // Linux counts in hundredths of a second for every architecture we run on.
    Ok(Duration::from_millis(ticks * 10))
}

fn resident_mib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Bytes written to the disk that has this directory, by everybody.
fn written_bytes(dir: &Path) -> Result<u64> {
    let device = fs::metadata(dir)?.dev();
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))
        .context("the directory is not on a disk")?;
    let sectors: u64 = stat.split_whitespace().nth(6).context("sectors written")?.parse()?;
    Ok(sectors * 512)
}

fn disk_mib(path: &Path) -> Result<u64> {
    fn blocks(path: &Path) -> Result<u64> {
        let mut sum = 0;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            sum += if metadata.is_dir() { blocks(&entry.path())? } else { metadata.blocks() };
        }
        Ok(sum)
    }
    Ok((blocks(path)? * 512) >> 20)
}

fn fill(rival: &mut dyn Rival, records: u64, numbers: &mut Numbers) -> Result<()> {
    let mut device = 0;
    while device < records {
        let group = (device..records.min(device + 2000)).map(|device| {
            let mut batch = Batch::new();
            batch.put(key(device, Table::Device), value(numbers));
            batch
        });
        let group: Vec<Batch> = group.collect();
        device += group.len() as u64;
        rival.commit(&group)?;
    }
    Ok(())
}

fn measure(name: &str, arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.join(name.replace(' ', "-"));
    let mut numbers = Numbers::new(1);
    if name != "bare log" {
        let begun = Instant::now();
        let mut rival = open(name, &dir)?;
        fill(&mut *rival, arguments.records, &mut numbers)?;
        drop(rival);
        println!("{name}: {} records stored in {:.1?}", arguments.records, begun.elapsed());
        let begun = Instant::now();
        let mut rival = open(name, &dir)?;
        let opened = begun.elapsed();
        let count = rival.load()?;
        println!(
            "{name}: opened in {opened:.1?}, {count} records loaded in {:.1?}, {} MiB resident, {} MiB on disk",
            begun.elapsed() - opened,
            resident_mib()?,
            disk_mib(&dir)?,
        );
    }
    let mut rival = open(name, &dir)?;
    for size in GROUPS {
        measure_groups(name, &mut *rival, size, arguments, &mut numbers)?;
    }
    println!("{name}: {} MiB resident, {} MiB on disk", resident_mib()?, disk_mib(&dir)?);
    // Killed here, so that opening has to recover: nothing is closed in order.
    std::mem::forget(rival);
    Ok(())
}

fn measure_groups(
    name: &str,
    rival: &mut dyn Rival,
    size: usize,
    arguments: &Arguments,
    numbers: &mut Numbers,
) -> Result<()> {
    let mut latencies = Vec::new();
    let (cpu_before, written_before, begun) =
        (cpu()?, written_bytes(&arguments.dir)?, Instant::now());
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        let group = (0..size).map(|_| {
            let device = numbers.next() % arguments.records;
            let mut batch = Batch::new();
            batch.put(key(device, Table::Device), value(numbers));
            batch.put(key(device, Table::Directory), value(numbers));
            batch
        });
        let group: Vec<Batch> = group.collect();
        let submitted = Instant::now();
        rival.commit(&group)?;
        latencies.push(submitted.elapsed());
    }
    let took = begun.elapsed().as_secs_f64();
    let batches = (latencies.len() * size) as f64;
    let cpu_micros = (cpu()? - cpu_before).as_secs_f64() * 1e6 / batches;
    let written = (written_bytes(&arguments.dir)? - written_before) as f64 / batches;
    latencies.sort();
    let at = |permille: usize| latencies[(latencies.len() - 1) * permille / 1000];
    println!(
        "{name}: groups of {size:3}: {:7.0} batches/s, p50 {:8.2?} p99 {:8.2?} max {:8.2?}, \
         {cpu_micros:5.1} us CPU and {written:6.0} bytes written per batch",
        batches / took,
        at(500),
        at(990),
        at(1000),
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(rival) = &arguments.rival {
        return measure(rival, &arguments);
    }
    fs::create_dir_all(&arguments.dir)?;
    let dir = tempfile::tempdir_in(&arguments.dir)?;
    for rival in RIVALS {
        let status = Command::new(std::env::current_exe()?)
            .arg("--dir")
            .arg(dir.path())
            .args(["--seconds", &arguments.seconds.to_string()])
            .args(["--records", &arguments.records.to_string()])
            .args(["--rival", rival])
            .status()?;
        if !status.success() {
            bail!("{rival} failed");
        }
        recover(rival, dir.path())?;
    }
    Ok(())
}

/// How long it takes to open what the killed process left, and to read everything.
fn recover(rival: &str, dir: &Path) -> Result<()> {
    if rival == "bare log" {
        return Ok(());
    }
    let begun = Instant::now();
    let mut opened = open(rival, &dir.join(rival.replace(' ', "-")))?;
    let took = begun.elapsed();
    let count = opened.load()?;
    println!(
        "{rival}: after a crash opened in {took:.1?}, {count} records loaded in {:.1?}\n",
        begun.elapsed() - took,
    );
    Ok(())
}
