//! `ocf-swarm`: arguments, run, report, exit code.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use loadtest::config::Arguments;
use loadtest::progress::Progress;
use loadtest::report::Report;

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
    loadtest::process::prepare()?;
    let interrupts = loadtest::process::interrupts()?;
    let swarm = arguments.into_swarm()?;
    let mut progress = Progress::new(devices, headless);
    let outcome = swarm.run(&interrupts, |snapshot, elapsed| progress.show(snapshot, elapsed))?;
    progress.finish();
    let report = Report::new(&outcome, devices, clients);
    println!("{report}");
    if let Some(path) = json {
        let text = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, text)
            .with_context(|| format!("cannot write the result to {}", path.display()))?;
    }
    Ok(report.failure())
}
