//! `ocf-swarm`: arguments, run, report, exit code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use loadtest::config::Arguments;
use loadtest::files::{Readers, write_atomically};
use loadtest::progress::Progress;
use loadtest::report::{Arrived, Report};
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
    let (devices, clients) = (arguments.devices, arguments.clients);
    let (json, headless) = (arguments.json.clone(), arguments.headless);
    let mut online_file = arguments.online_file.clone();
    loadtest::process::prepare()?;
    let interrupts = loadtest::process::interrupts()?;
    let swarm = arguments.into_swarm()?;
    let mut progress = Progress::new(devices, headless);
    let mut told = Ok(());
    let outcome = swarm.run(&interrupts, |snapshot, elapsed| {
        progress.show(snapshot, elapsed);
        if snapshot.settled() >= devices.into()
            && let Some(path) = online_file.take()
        {
            told = tell_arrived(&path, snapshot);
        }
    })?;
    told?;
    progress.finish();
    let report = Report::new(&outcome, devices, clients);
    println!("{report}");
    if let Some(path) = json {
        let text = serde_json::to_vec_pretty(&report)?;
        write_atomically(&path, &text, Readers::Anybody)?;
    }
    Ok(report.failure())
}

/// Writes the file that others wait for.
fn tell_arrived(path: &Path, snapshot: &Snapshot) -> Result<()> {
    let arrived = Arrived { ready: snapshot.ready, failed: snapshot.failed };
    write_atomically(path, &serde_json::to_vec(&arrived)?, Readers::Anybody)
}
