//! Floors: the least that a server on one core can do for the same requests over TLS. Hand-written
//! loops without a runtime, over epoll and over io_uring, that know nothing of users, devices or
//! limits.
//!
//! ```text
//! epoll │ uring    sockets and bytes             the two loops
//!         └─► answers ─► shared::record          the gateway's record layer, one answer for all
//! ```

mod answers;
mod epoll;
mod uring;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use answers::Answers;

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
    let answers = Answers::new(&arguments.certificates)?;
    let listener = shared::ring::listen(arguments.listen, BACKLOG)?;
    println!("ready {}", listener.local_addr()?);
    match arguments.io {
        Io::Epoll => epoll::serve(&listener, &answers),
        Io::Uring => uring::serve(&listener, arguments.connections, answers),
    }
}
