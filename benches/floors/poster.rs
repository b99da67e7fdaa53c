//! A floor: the requests that `api` makes for events, signed in the same way, from a bare loop over
//! hyper. What lies between it and the cloud is devices, their TLS, subscriptions, the store, and the
//! way from shard to `api` and back.
//!
//! Takes commands as `bench-load` does (`benches::load`): a request is a POST, its answer the 200. With
//! `--lights` it is a partner who reads devices instead: a GET of a light, at `api` or at its floor.

use std::cell::{Cell, RefCell};
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use api::webhooks::signature::Signed;
use benches::api::{SIGNING_SECRET, token};
use benches::cpu;
use benches::load::{Command, Report};
use benches::population::Population;
use benches::receiver;
use bytes::Bytes;
use clap::Parser;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use loadtest::credentials::trust_anchors;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest latency that is told from longer ones.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// Of a representation that a device tells.
const EVENT_TYPE: &str = "resource_contentchanged";
const CONTENT_TYPE: &str = "application/json";
const ID: &str = "0b2d1a6e-3f7c-4c58-9a41-6de5b0f1c2d3";

/// Sends signed requests; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Where the receiver is.
    #[arg(long)]
    receiver: SocketAddr,
    /// The receiver speaks TLS.
    #[arg(long)]
    receiver_tls: bool,
    /// Directory with `server-ca.pem`.
    #[arg(long)]
    certificates: PathBuf,
    /// Connections to it.
    #[arg(long)]
    connections: u32,
    /// Reads the lights of so many devices in turn, instead of telling events.
    #[arg(long, default_value_t = 0)]
    lights: u32,
}

/// What is requested.
#[derive(Clone, Copy)]
enum What {
    /// That an event is taken.
    Event,
    /// The lights of these.
    Light(Population),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-poster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut connections = Vec::new();
        for _ in 0..arguments.connections {
            connections.push(connect(arguments).await?);
        }
        for line in std::io::stdin().lock().lines() {
            let command: Command = serde_json::from_str(&line?)?;
            let Command::Request { millis, per_second, .. } = command else {
                bail!("a poster only makes requests");
            };
            let round = Round::new(Duration::from_millis(millis), per_second);
            let what = match arguments.lights {
                0 => What::Event,
                devices => What::Light(Population::new(devices)),
            };
            let report = post_all(&mut connections, arguments.receiver, round, what).await?;
            println!("{}", serde_json::to_string(&report)?);
        }
        Ok(())
    })
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(arguments: &Arguments) -> Result<Sender> {
    let socket = TcpStream::connect(arguments.receiver).await?;
    socket.set_nodelay(true)?;
    if !arguments.receiver_tls {
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::task::spawn_local(connection);
        return Ok(sender);
    }
    let roots = trust_anchors(&arguments.certificates.join("server-ca.pem"))?;
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::from(arguments.receiver.ip());
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, socket).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// What is to be done, and how far it is.
struct Round {
    begun: Instant,
    until: Instant,
    /// On schedule, whatever the answers do; as soon as a connection has nothing to do when none.
    interval: Option<Duration>,
    next: Cell<u32>,
    latencies: RefCell<Histogram<u64>>,
}

impl Round {
    fn new(length: Duration, per_second: Option<u32>) -> Self {
        let begun = Instant::now();
        let latencies = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3);
        Self {
            begun,
            until: begun + length,
            interval: per_second.map(|rate| Duration::from_secs(1) / rate.max(1)),
            next: Cell::new(0),
            latencies: RefCell::new(latencies.expect("the bounds are in order")),
        }
    }

    /// The number of the next request and when it is due; none when the time is over.
    fn next(&self) -> Option<(u32, Instant)> {
        let number = self.next.get();
        let due =
            self.interval.map_or_else(Instant::now, |interval| self.begun + interval * number);
        self.next.set(number + 1);
        (due < self.until).then_some((number, due))
    }

    fn done(&self, due: Instant) {
        let nanos = due.elapsed().as_nanos().clamp(1, u128::from(LATENCY_NANOS_MAX));
        // Within the bounds of the histogram, so it is always taken.
        let _ = self.latencies.borrow_mut().record(nanos as u64);
    }
}

async fn post_all(
    connections: &mut Vec<Sender>,
    receiver: SocketAddr,
    round: Round,
    what: What,
) -> Result<Report> {
    let (round, cpu) = (Rc::new(round), cpu::of_this_process());
    let tasks: Vec<_> = connections
        .drain(..)
        .map(|sender| tokio::task::spawn_local(keep_posting(sender, receiver, round.clone(), what)))
        .collect();
    for task in tasks {
        connections.push(task.await??);
    }
    let latencies = round.latencies.borrow();
    Ok(Report {
        connections: connections.len() as u32,
        done: latencies.len(),
        nanos: round.begun.elapsed().as_nanos() as u64,
        cpu_nanos: (cpu::of_this_process() - cpu).as_nanos() as u64,
        latency_nanos: [50.0, 90.0, 99.0, 99.9, 100.0].map(|p| latencies.value_at_percentile(p)),
        ..Report::default()
    })
}

async fn keep_posting(
    mut sender: Sender,
    receiver: SocketAddr,
    round: Rc<Round>,
    what: What,
) -> Result<Sender> {
    while let Some((number, due)) = round.next() {
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        sender.ready().await?;
        let request = match what {
            What::Event => event(receiver, number)?,
            What::Light(of) => light(receiver, of, number % of.devices)?,
        };
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        if status != StatusCode::OK {
            bail!("the receiver answers {status}");
        }
        round.done(due);
    }
    Ok(sender)
}

/// A partner's request for the light of a device.
fn light(api: SocketAddr, of: Population, device: u32) -> Result<Request<Full<Bytes>>> {
    Request::get(benches::api::light(of, device))
        .header("host", api.to_string())
        .header("accept", "application/json")
        .header("authorization", format!("Bearer {}", token(device / of.devices_per_user)))
        .body(Full::default())
        .context("a request cannot be written")
}

/// A notification as `api` makes it (cloud reference 5.6).
fn event(receiver: SocketAddr, number: u32) -> Result<Request<Full<Bytes>>> {
    let body = format!(
        r#"{{"rt":["oic.r.switch.binary"],"if":["oic.if.a","oic.if.baseline"],"value":1,"change":{number}}}"#
    );
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
    let number = number.to_string();
    let signed = Signed {
        content_type: CONTENT_TYPE,
        event_type: EVENT_TYPE,
        subscription_id: ID,
        sequence_number: &number,
        timestamp: &timestamp,
        body: body.as_bytes(),
    };
    let signature = signed.signature(SIGNING_SECRET);
    Request::post(receiver::path(0))
        .header("host", receiver.to_string())
        .header("event-type", EVENT_TYPE)
        .header("subscription-id", ID)
        .header("sequence-number", &number)
        .header("event-timestamp", &timestamp)
        .header("event-signature", signature)
        .header("correlation-id", ID)
        .header("user-agent", "ocf-cloud")
        .header("content-type", CONTENT_TYPE)
        .body(Full::new(body.into()))
        .context("a request cannot be written")
}
