//! Floors: the least that a server on one core can do for the same requests over TLS. Hand-written
//! loops without a runtime, over epoll and over io_uring, that know nothing of users, devices or
//! limits.
//!
//! ```text
//! epoll │ uring    sockets and bytes             the two loops
//!         ├─► answers ─┐                         one answer for all
//!         └─► relay ───┴─► talk: shared::record  what is for others; the gateway's record layer
//! ```

mod answers;
mod epoll;
mod relay;
mod talk;
mod uring;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use benches::messages;
use benches::population::Population;
use clap::{Parser, ValueEnum};

use answers::Answers;
use epoll::{Answering, Sends};
use relay::{Relay, Relayed};
use talk::Tls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// How sockets are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Io {
    /// Readiness.
    Epoll,
    /// Completions.
    Uring,
    /// Readiness; requests and responses are passed on between neighbours.
    Forward,
    /// Readiness; notifications of the first device are passed on to all observers.
    FanOut,
}

/// A server that does as little as possible; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How sockets are served.
    #[arg(long, value_enum)]
    io: Io,
    /// Directory with `cloud.pem`, `cloud.key`, `manufacturer-ca.pem` and `identity-ca.pem`.
    #[arg(long)]
    certificates: PathBuf,
    /// Most connections.
    #[arg(long, default_value_t = 20_000)]
    connections: u32,
    /// The body of all answers; that of GET `/oic/rd` by default.
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// Over epoll: every TLS record is sent by itself.
    #[arg(long)]
    by_records: bool,
    /// Devices that may sign in, all of one user.
    #[arg(long, default_value_t = 0)]
    devices: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let listener = shared::ring::listen(arguments.listen, BACKLOG)?;
    println!("ready {}", listener.local_addr()?);
    let relay = |relayed| {
        let population = Population::of(arguments.devices, arguments.devices.max(1));
        Relay::new(&arguments.certificates, relayed, population)
    };
    match arguments.io {
        Io::Epoll => {
            let sends = if arguments.by_records { Sends::Records { left: 0 } } else { Sends::All };
            epoll::serve(&listener, &mut Answering::new(answers(arguments)?, sends))
        }
        Io::Uring => uring::serve(&listener, arguments.connections, answers(arguments)?),
        Io::Forward => epoll::serve(&listener, &mut relay(Relayed::ToNeighbours)?),
        Io::FanOut => epoll::serve(&listener, &mut relay(Relayed::ToObservers)?),
    }
}

fn answers(arguments: &Arguments) -> Result<Answers> {
    let body = match &arguments.answer {
        Some(file) => std::fs::read(file).context("the answer")?,
        None => messages::directory_selection(),
    };
    Answers::new(Tls::new(&arguments.certificates)?, &body)
}
