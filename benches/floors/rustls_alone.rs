//! rustls alone in memory, without sockets: what a handshake costs a server (the floor of `handshake`),
//! and what established connections occupy (a rival of `memory`).
//!
//! Client and server are in one thread; the thread's clock is read around every step of the server,
//! its beginning and its end included, and what reading it costs is subtracted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::cpu::of_this_thread;
use benches::identities::Identities;
use benches::load::Wire;
use benches::server_tls::{server_config, unjudging_server_config};
use clap::Parser;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Handshakes before measuring.
const WARM_UP: usize = 50;

/// Steps of a handshake after which something is wrong.
const STEPS_MAX: usize = 10;

/// What a handshake costs rustls; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Directory with the certificates.
    #[arg(long)]
    certificates: PathBuf,
    /// Which TLS.
    #[arg(long, value_enum)]
    wire: Wire,
    /// The session of the handshake before is resumed.
    #[arg(long)]
    resume: bool,
    /// The client's chain is not judged: it has been before.
    #[arg(long)]
    known: bool,
    /// For how long, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Only keeps so many established connections, and says what the process occupies with them.
    #[arg(long)]
    keep: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let config = if arguments.known { unjudging_server_config } else { server_config };
    let server = Arc::new(config(&arguments.certificates, usize::from(arguments.resume))?);
    let mut identities = Identities::make(&arguments.certificates, arguments.wire, 1)?;
    let client = if arguments.resume { identities.resuming(0) } else { identities.full(0) };
    if let Some(connections) = arguments.keep {
        let kept = (0..connections).map(|_| Ok(shake_hands(&client, &server)?.server));
        let kept: Vec<ServerConnection> = kept.collect::<Result<_>>()?;
        let bytes = benches::memory::of_process(std::process::id())?.anonymous;
        println!("{{\"connections\":{},\"bytes\":{bytes}}}", kept.len());
        return Ok(());
    }
    for _ in 0..WARM_UP {
        shake_hands(&client, &server)?.end()?;
    }
    let wanted = if arguments.resume { HandshakeKind::Resumed } else { HandshakeKind::Full };
    let until = Instant::now() + Duration::from_millis(arguments.millis);
    let (mut count, mut cost) = (0u32, Duration::ZERO);
    while Instant::now() < until {
        let (took, kind) = shake_hands(&client, &server)?.end()?;
        if kind != wanted {
            bail!("a handshake was {kind:?}");
        }
        count += 1;
        cost += took;
    }
    let each = cost.as_nanos() as f64 / f64::from(count);
    println!("{{\"handshakes\":{count},\"nanos_each\":{each:.0}}}");
    Ok(())
}

/// A server whose time is counted.
struct Counted {
    server: ServerConnection,
    spent: Duration,
    steps: u32,
}

impl Counted {
    /// Takes the client's bytes, gives the server's.
    fn step(&mut self, from_client: &mut Vec<u8>, to_client: &mut Vec<u8>) -> Result<()> {
        let begun = of_this_thread();
        let mut rest = from_client.as_slice();
        while !rest.is_empty() {
            self.server.read_tls(&mut rest)?;
            self.server.process_new_packets()?;
        }
        while self.server.wants_write() {
            self.server.write_tls(to_client)?;
        }
        self.spent += of_this_thread() - begun;
        self.steps += 1;
        from_client.clear();
        Ok(())
    }

    /// The end of the connection. Returns what all of it took, and which kind of handshake it was.
    fn end(self) -> Result<(Duration, HandshakeKind)> {
        let kind = self.server.handshake_kind().context("the handshake does not end")?;
        let begun = of_this_thread();
        drop(self.server);
        let spent = self.spent + (of_this_thread() - begun);
        Ok((spent.saturating_sub(clock_cost() * (self.steps + 1)), kind))
    }
}

/// One handshake, from the first byte until the client has the tickets, if there are any.
fn shake_hands(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Counted> {
    let no_name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
    let mut client = ClientConnection::new(Arc::clone(client), no_name)?;
    let begun = of_this_thread();
    let server = ServerConnection::new(Arc::clone(server))?;
    let mut counted = Counted { server, spent: of_this_thread() - begun, steps: 1 };
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        while client.wants_write() {
            client.write_tls(&mut up)?;
        }
        if up.is_empty() && !client.is_handshaking() && !counted.server.is_handshaking() {
            break;
        }
        counted.step(&mut up, &mut down)?;
        let mut rest = down.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest)?;
            client.process_new_packets()?;
        }
        down.clear();
    }
    Ok(counted)
}

/// What two readings of the clock count between them.
fn clock_cost() -> Duration {
    static COST: std::sync::OnceLock<Duration> = std::sync::OnceLock::new();
    *COST.get_or_init(|| {
        const READINGS: u32 = 10_000;
        let sum: Duration = (0..READINGS)
            .map(|_| {
                let begun = of_this_thread();
                of_this_thread() - begun
            })
            .sum();
        sum / READINGS
    })
}
