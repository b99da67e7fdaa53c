//! What it costs to tell a client all links of a user who has many devices.
//!
//! `cargo bench -p benches --bench discovery -- --help`
//!
//! GET `/oic/res` of a user with 100 devices of 5 links each. The client says that it takes the answer in
//! one message; the answer goes in as many TLS records as it needs. Clients that take blocks ask for
//! parts of it, which this does not measure. Counted is the processor time of the server.
//!
//! Floor: a bare loop over epoll that copies the same bytes, seals them in records as full as they can be,
//! and sends all of them at once. Beside it stands what that loop takes when it sends every record by
//! itself, which the devices' rules ask of the gateway (device reference 1.3, rule 15). That all have sent
//! as many bytes is checked.

use anyhow::{Result, bail};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, Sample, add_micros, rounds, times_floor, values};
use benches::load::{Command, Setup, Wire};
use benches::messages::Asked;
use benches::population::Population;
use benches::results::{Measure, Results};
use benches::servers::Server;
use benches::statistics::median;
use clap::Parser;

const MEASURE: Measure = Measure { name: "us of the server an answer", more_is_better: false };

/// Floors that an answer may cost: half the speed.
const MOST: f64 = 2.0;

/// How far the bytes of an answer may lie apart: options that the floor does not have.
const BYTES_APART_MAX: f64 = 0.01;

/// What it costs to tell a client all links of a user.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// How many devices the user has, each connected.
    #[arg(long, default_value_t = 100)]
    devices: u32,
    /// How many links each has published, up to 5.
    #[arg(long, default_value_t = 5)]
    links: usize,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 16)]
    window: u32,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("discovery")?;
    for &wire in &arguments.wire {
        measure(&arguments, &gateway, wire, &mut results)?;
    }
    results.finish(&arguments.common)
}

fn measure(
    arguments: &Arguments,
    gateway: &std::path::Path,
    wire: Wire,
    results: &mut Results,
) -> Result<()> {
    let Arguments { common, devices, links, .. } = arguments;
    let population = Population { links: *links, ..Population::of(*devices, *devices) };
    let cloud = Cloud::new(&Shape::with(devices + 1000, population))?;
    let (answer, body) = (cloud.path("answer.cbor"), cloud.discovered()?);
    std::fs::write(&answer, &body)?;
    let setup = Setup { asked: Asked::Discovery, ..Setup::new(wire, *devices, 0) };
    let copy = |by_records| Server::Copy { answer: answer.clone(), by_records };
    let servers = [Server::Gateway, copy(false), copy(true)];
    let mut contenders = Contender::enter_all(&servers, common, gateway, &cloud, &setup)?;
    let window = arguments.window.min(*devices);
    let command = Command::Request { millis: common.millis(), window, per_second: None };
    let samples = rounds(&mut contenders, common.rounds, command)?;
    check_bytes(&samples)?;
    let bytes = body.len();
    let case = format!("{}, {devices} devices of {links} links, {bytes} bytes", wire.name());
    add_micros(results, &case, MEASURE, &contenders, &samples, MOST);
    if let Some(times) = times_floor(&samples, Sample::user_micros_each) {
        results.note(format!("{case}: without the system calls {times:.2} times its floor"));
    }
    Ok(())
}

/// All contenders have sent answers of the same length.
fn check_bytes(samples: &[Vec<Sample>]) -> Result<()> {
    let each =
        |sample: &Sample| sample.report.bytes_received as f64 / sample.report.done.max(1) as f64;
    let bytes: Vec<f64> = samples.iter().map(|samples| median(&values(samples, each))).collect();
    let (most, least) = (bytes.iter().copied().fold(0.0, f64::max), bytes.iter().copied());
    if least.fold(f64::INFINITY, f64::min) < most * (1.0 - BYTES_APART_MAX) {
        bail!("answers are not of the same length: {bytes:?} bytes");
    }
    Ok(())
}
