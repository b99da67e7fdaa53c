//! `ocf-api`: arguments, configuration, runtime, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use api::config::{Config, DEFAULT_TEXT};
use api::operators::command::{self, Operation};
use api::webhooks::verify::VerifyEvent;
use clap::{Parser, Subcommand};

/// Requests are short and come on many threads: the system's allocator is slower at both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The cloud-to-cloud side of an OCF Cloud: an HTTPS API to the devices of its users.
#[derive(Parser)]
#[command(name = "ocf-api", version, after_help = EXAMPLES)]
struct Arguments {
    /// Read the configuration from this file.
    #[arg(long, value_name = "FILE", default_value = "/etc/ocf-cloud/api.toml")]
    config: PathBuf,
    /// Print the default configuration with a comment for every key, and exit.
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    #[command(flatten)]
    Operate(Operation),
    /// Check the signature of an event
    VerifyEvent(VerifyEvent),
}

const EXAMPLES: &str = "\
Examples:
  ocf-api --print-config > api.toml     begin with a configuration
  ocf-api --config api.toml             serve
  ocf-api --config api.toml clients add --name Partner --redirect-uri https://partner.example/cb
  ocf-api --config api.toml users add anna@example.org
  ocf-api verify-event --help           check the signature of an event
  kill -HUP <pid>                       read certificate and credentials again
  kill <pid>                            finish what is under way, then stop";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_config {
        print!("{DEFAULT_TEXT}");
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocf-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Task::VerifyEvent(event)) = &arguments.task {
        event.run()?;
        println!("valid");
        return Ok(());
    }
    let config: Config = shared::config::load(&arguments.config)?;
    if let Some(Task::Operate(operation)) = arguments.task {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        return Ok(runtime.block_on(command::run(config, operation))?);
    }
    let _logging = api::log::install(&config.log).context("cannot log")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.workers > 0 {
        runtime.worker_threads(config.workers);
    }
    let runtime = runtime.enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(api::run(config))?)
}
