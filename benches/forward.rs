//! What it costs to pass a request on: client, cloud, device, cloud, client, over TLS.
//!
//! `cargo bench -p benches --bench forward -- --help`
//!
//! Every connection is signed in. Half of the devices ask, each for the light of its neighbour, which
//! is of the same user and answers at once; at any time `--window` such requests are under way, drawn at
//! random from all, while the rest is idle. Counted is the processor time of the server for a round
//! trip: two messages received, two sent.
//!
//! Floor: the same bytes through a bare loop over epoll with the gateway's record layer. It knows from
//! the sign-in who belongs together, and only opens, copies, seals and sends, twice.

use anyhow::Result;
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, add_micros, rounds};
use benches::load::{Command, Setup, Wire};
use benches::messages::Asked;
use benches::results::{Measure, Results};
use benches::servers::Server;
use clap::Parser;

const MEASURE: Measure = Measure { name: "us of the server a round trip", more_is_better: false };

/// Floors that a round trip may cost.
const MOST: f64 = 1.3;

/// What it costs to pass a request on to a device, and its answer back.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// How many connections: pairs of a client and a device.
    #[arg(long, value_delimiter = ',', default_value = "128,5000")]
    connections: Vec<u32>,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("forward")?;
    for &wire in &arguments.wire {
        for &connections in &arguments.connections {
            measure(&arguments, &gateway, wire, connections, &mut results)?;
        }
    }
    results.finish(&arguments.common)
}

fn measure(
    arguments: &Arguments,
    gateway: &std::path::Path,
    wire: Wire,
    connections: u32,
    results: &mut Results,
) -> Result<()> {
    let common = &arguments.common;
    let cloud = Cloud::new(&Shape::one_shard(connections + 1000, connections))?;
    let setup = Setup { asked: Asked::Neighbour, ..Setup::new(wire, connections, 0) };
    let servers = [Server::Gateway, Server::Forward];
    let mut contenders = Contender::enter_all(&servers, common, gateway, &cloud, &setup)?;
    let window = arguments.window.min(connections / 2);
    let command = Command::Request { millis: common.millis(), window, per_second: None };
    let samples = rounds(&mut contenders, common.rounds, command)?;
    let case = format!("{}, {connections} connections, {window} under way", wire.name());
    add_micros(results, &case, MEASURE, &contenders, &samples, MOST);
    Ok(())
}
