//! Floors: the least that a server on one core can do for the same bytes on the wire. Hand-written
//! loops without a runtime, over epoll and over io_uring, that know nothing of users, devices or
//! limits.
//!
//! ```text
//! epoll │ uring    sockets and bytes            the two loops
//!         └─► Protocol ─► plain                 as many bytes back as a message asks for
//! ```

mod epoll;
mod plain;
mod uring;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// What is done with the bytes of a connection.
trait Protocol {
    /// What is kept of one.
    type Connection;

    /// A new one.
    fn open(&mut self) -> Self::Connection;

    /// Takes bytes in, appends what goes out. False when the connection has to end.
    fn receive(
        &mut self,
        connection: &mut Self::Connection,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> bool;
}

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
    let listener = shared::ring::listen(arguments.listen, BACKLOG)?;
    println!("ready {}", listener.local_addr()?);
    match arguments.io {
        Io::Epoll => epoll::serve(&listener, plain::Plain),
        Io::Uring => uring::serve(&listener, arguments.connections, plain::Plain),
    }
}
