//! The generator of load: thousands of connections on one thread and one device ring, carrying out
//! commands from standard input (`benches::load`), each answered by a line of JSON.
//!
//! ```text
//! stdin ─► engine: commands, sockets, timers ─► jobs: who connects, who asks, when a job is over
//!                     ├─► peer: one connection ─► benches::client: its TLS
//!                     ├─► changes: devices that tell changes, and wait for them at a receiver of events
//!                     └─► observing: one device that tells changes to all the others
//! ```
//!
//! It has to be cheaper than what it measures: after the handshake a connection is keys and counters,
//! requests are sealed into buffers that come back, and answers are opened where they were received.

mod changes;
mod engine;
mod jobs;
mod observing;
mod peer;

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use anyhow::Result;
use benches::load::{Command, Wire};
use benches::messages::Asked;
use benches::receiver;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Generates load; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Where the server is.
    #[arg(long)]
    server: SocketAddr,
    /// What is spoken.
    #[arg(long, value_enum)]
    wire: Wire,
    /// What is requested.
    #[arg(long, value_enum, default_value = "directory")]
    asked: Asked,
    /// Most connections.
    #[arg(long, default_value_t = 1000)]
    connections: u32,
    /// Certificates presented in turn.
    #[arg(long, default_value_t = 1)]
    chains: u32,
    /// Number of the first device.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Number of this generator: decides the addresses that it connects from.
    #[arg(long, default_value_t = 0)]
    number: u8,
    /// Directory with `server-ca.pem`, `manufacturer-ca.pem` and `.key`, `device.pem` and `.key`.
    #[arg(long)]
    certificates: PathBuf,
    /// The key that tokens are derived from.
    #[arg(long)]
    store_key: PathBuf,
    /// Devices in the server's store.
    #[arg(long, default_value_t = 0)]
    devices: u32,
    /// How many of them one user has.
    #[arg(long, default_value_t = 10)]
    devices_per_user: u32,
    /// Where the receiver of events is to listen: devices tell changes instead of asking.
    #[arg(long)]
    receiver: Option<SocketAddr>,
    /// The receiver speaks TLS.
    #[arg(long)]
    receiver_tls: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut engine = engine::Engine::new(arguments)?;
    let doorbell = engine.doorbell();
    if let Some(address) = arguments.receiver {
        let tls = arguments.receiver_tls.then(|| receiver::tls(&arguments.certificates));
        engine.receive_events(address, tls.transpose()?)?;
    }
    let (sender, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let command: Result<Command, _> = serde_json::from_str(&line);
            if sender.send(command).is_err() {
                return;
            }
            doorbell.ring();
        }
        // The harness has gone: so do we, even from the middle of a job.
        std::process::exit(0);
    });
    engine.run(&commands)
}
