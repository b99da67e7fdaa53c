//! `ocf-gateway`: arguments, configuration, then [`gateway::io::run`].

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use gateway::certs::Certs;
use gateway::config::{Config, DEFAULT_TEXT};
use gateway::io;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The device side of the OCF Cloud: devices keep one CoAP-over-TLS connection each to it.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  ocf-gateway --print-config > gateway.toml      a commented configuration to begin with
  ocf-gateway certs init --help                  certificates for a development installation
  ocf-gateway --config gateway.toml              run
  kill <pid>                                     tell the devices, then stop
  kill -HUP <pid>                                read certificates and revocation lists again
  kill -USR1 <pid>                               write what was counted to the log")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Run with this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the default configuration with comments, and exit.
    #[arg(long)]
    print_config: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make certificates for development and small installations.
    Certs(Certs),
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocf-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Certs(certs)) = arguments.command {
        let now = io::clock::Clock::start().now().unix;
        return Ok(certs.run(now, &mut std::io::stdout())?);
    }
    if arguments.print_config {
        print!("{DEFAULT_TEXT}");
        return Ok(());
    }
    let path = arguments.config.context("--config FILE is needed; see --help")?;
    let config = Config::load(&path)?;
    io::log::start(&config.log);
    io::machine::end_on_panic();
    let machine = io::machine::survey()?;
    let requests = io::machine::watch_signals().context("cannot watch for signals")?;
    io::run(config, &machine, ready, requests)?;
    tracing::info!("stopped");
    Ok(())
}

fn ready() {
    tracing::info!("ready");
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = io::notify::ready(&socket)
    {
        tracing::warn!(%error, "NOTIFY_SOCKET does not hear that we are ready");
    }
}
