//! `ocf-swarm`: arguments, run, report, exit code.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Parser;
use loadtest::config::Arguments;
use loadtest::files::{Readers, write_atomically};
use loadtest::machine::Sampler;
use loadtest::progress::Progress;
use loadtest::report::{Arrived, Report, Setting};
use loadtest::swarm::Snapshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(failure)) => {
            eprintln!("ocf-swarm: {failure}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ocf-swarm: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Plays the scenario. Returns why it was not a success, if it was not.
fn run(arguments: Arguments) -> Result<Option<String>> {
    let arguments = arguments.with_cloud()?;
    let devices = arguments.devices;
    let (json, html, headless) =
        (arguments.json.clone(), arguments.html.clone(), arguments.headless);
    let profile = arguments.profile.name();
    let mut online_file = arguments.online_file.clone();
    loadtest::process::prepare(arguments.nice)?;
    let interrupts = loadtest::process::interrupts()?;
    let mut sampler = Sampler::new(arguments.watch.clone());
    let swarm = arguments.into_swarm()?;
    swarm.check()?;
    let clients = swarm.scenario.clients;
    let mut progress = Progress::new(devices, headless);
    let mut told = Ok(());
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let outcome = swarm.run(&interrupts, |snapshot, elapsed| {
        sampler.look(elapsed, snapshot.online);
        progress.show(snapshot, elapsed, sampler.bytes_per_device());
        if snapshot.settled() >= devices.into()
            && let Some(path) = online_file.take()
        {
            told = tell_arrived(&path, snapshot);
        }
    })?;
    told?;
    progress.finish();
    let (names, memory) = (sampler.names(), sampler.into_samples());
    let mut report = Report::new(&outcome, devices, clients);
    println!("{report}");
    report.setting = Some(Setting::new(profile, began.as_secs_f64(), names, memory));
    if let Some(path) = json {
        let text = serde_json::to_vec_pretty(&report)?;
        write_atomically(&path, &text, Readers::Anybody)?;
    }
    if let Some(path) = html {
        write_atomically(&path, report.html().as_bytes(), Readers::Anybody)?;
    }
    Ok(report.failure())
}

/// Writes the file that others wait for.
fn tell_arrived(path: &Path, snapshot: &Snapshot) -> Result<()> {
    let arrived = Arrived { ready: snapshot.ready, failed: snapshot.failed };
    write_atomically(path, &serde_json::to_vec(&arrived)?, Readers::Anybody)
}
