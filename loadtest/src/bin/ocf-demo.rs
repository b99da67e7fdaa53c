//! `ocf-demo`: builds the cloud, starts it with devices in it, says how to use it, and takes it down.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use loadtest::demo::processes::{CHILD, become_child};
use loadtest::demo::{
    Binaries, Cloud, Installation, Interrupted, Patience, Settings, SwarmSettings,
};
use loadtest::process::interrupts;
use tempfile::TempDir;

const EXAMPLES: &str = "\
Examples:
  cargo demo                                    a cloud with 100 devices, gone at the end
  cargo demo -- --devices 1000 --users 10       more devices, of ten users
  cargo demo -- --state-dir my-cloud            one that continues where it stopped
  cargo demo -- --fussy                         devices that notice what the cloud does wrong
  cargo demo -- --headless --for 60             for scripts: one minute

DIR/demo.json appears when everything is ready and names addresses, tokens and
certificates; the logs are in DIR/logs. Ctrl-C stops everything.";

/// A whole OCF Cloud on this machine, with simulated devices.
#[derive(Parser, Debug)]
#[command(name = "ocf-demo", version, after_help = EXAMPLES)]
struct Arguments {
    /// How many devices; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    devices: u32,
    /// Keep everything here, and continue with what is here. A temporary directory if not given.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Port for devices; 0 for any free one.
    #[arg(long, value_name = "PORT", default_value_t = 5684)]
    coap_port: u16,
    /// Port of the API; 0 for any free one.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    api_port: u16,
    /// Cores that the gateway uses; all if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    shards: Option<u16>,
    /// How many users own the devices, in turn.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Seconds between the Pings of each device, for a swarm that is started by hand with the same.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=3600))]
    ping: u32,
    /// Plain lines instead of a progress bar.
    #[arg(long)]
    headless: bool,
    /// Devices as fragile as real ones; what the cloud does wrong makes the demo fail.
    #[arg(long)]
    fussy: bool,
    /// Run for so many seconds, once everything is built.
    #[arg(long = "for", value_name = "SECONDS")]
    duration: Option<u64>,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == CHILD) {
        let error = become_child(&arguments.collect::<Vec<OsString>>());
        eprintln!("ocf-demo: {error:#}");
        return ExitCode::FAILURE;
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocf-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let interrupts = interrupts()?;
    let binaries = build()?;
    let until = arguments.duration.map(|secs| Instant::now() + Duration::from_secs(secs));
    let patience = Patience { interrupts: &interrupts, until };
    let temporary = match &arguments.state_dir {
        Some(_) => None,
        None => Some(TempDir::with_prefix("ocf-demo-").context("no temporary directory")?),
    };
    let directory = arguments.state_dir.as_deref().or(temporary.as_ref().map(TempDir::path));
    let installation = Installation::open(
        &Settings {
            directory: directory.context("there is one of the two")?.to_owned(),
            coap_port: arguments.coap_port,
            api_port: arguments.api_port,
            shards: arguments.shards,
            users: arguments.users,
            devices: arguments.devices,
            ping_secs: arguments.ping,
        },
        &binaries.gateway,
    )?;
    println!("Starting the cloud in {}", installation.path("").display());
    let mut cloud = Cloud::start(installation, binaries, patience)?;
    println!("Gateway and API are ready: {} and {}", cloud.facts().coap, cloud.facts().api);
    let result = play(&mut cloud, arguments, patience);
    println!("Stopping");
    let stopped = cloud.stop();
    // What went wrong first explains the rest.
    result.and(stopped)
}

/// Everything between the start and the end of the cloud.
fn play(cloud: &mut Cloud, arguments: &Arguments, patience: Patience<'_>) -> Result<()> {
    if arguments.devices > 0 {
        let arrived = cloud.start_swarm(
            &SwarmSettings {
                devices: arguments.devices,
                per_sec: f64::from(arguments.devices).clamp(50.0, 500.0),
                pace: 1.0,
                changes_per_sec: f64::from(arguments.devices) / 60.0,
                fussy: arguments.fussy,
                on_terminal: !arguments.headless && std::io::stderr().is_terminal(),
            },
            patience,
        )?;
        println!("{} devices are online", arrived.ready);
        if arrived.failed > 0 {
            let log = cloud.installation.path("logs");
            println!("{} devices have failed; see {}", arrived.failed, log.display());
        }
    }
    cloud.write_facts()?;
    explain(cloud)?;
    let Patience { interrupts, until } = patience;
    while until.is_none_or(|until| Instant::now() < until) && interrupts.try_recv().is_err() {
        if let Some(death) = cloud.processes.wait(Duration::from_millis(100))? {
            bail!("{death}");
        }
    }
    Ok(())
}

/// Lines to paste.
fn explain(cloud: &Cloud) -> Result<()> {
    let facts = cloud.facts();
    let curl = format!(
        "curl --cacert {} -H 'Authorization: Bearer {}'",
        quoted(facts.trust_anchor),
        facts.access_token
    );
    let devices = format!("{}/api/v1/devices", facts.api);
    println!("\nList the devices, read a light, switch it on:\n");
    println!("{curl} {devices}\n");
    if let Some(light) = cloud.light()? {
        println!("{curl} {devices}/{light}/light/1\n");
        println!(
            "{curl} -H 'Content-Type: application/json' -d '{{\"value\":true}}' \
             {devices}/{light}/light/1\n"
        );
    }
    println!("More is in {}; Ctrl-C ends it.", cloud.installation.path("demo.json").display());
    Ok(())
}

/// For a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Builds the programs, in the profile that this one was built in. Outside of cargo they have to be
/// there already.
fn build() -> Result<Binaries> {
    let this = env::current_exe().context("cannot find this program")?;
    let directory = this.parent().context("this program is in no directory")?;
    if let Some(cargo) = env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "-p", "gateway", "-p", "api", "-p", "loadtest"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let status = command.status().context("cannot run cargo")?;
        if !status.success() {
            bail!("the programs cannot be built");
        }
    }
    Ok(Binaries::in_directory(directory))
}
