//! What it costs to tell many: one device notifies, and everybody who observes it is told.
//!
//! `cargo bench -p benches --bench fan_out -- --help`
//!
//! One user has a device and clients that all observe its light, each over a connection of its own.
//! The device tells a change, and the next one when everybody has been told: nothing is left out because
//! something newer has come. Counted is the processor time of the server for each notification that has
//! arrived; latencies are from the device's notification to that of a client.
//!
//! Floor: a bare loop over epoll that opens the device's notification, and seals and sends the same bytes
//! for each client with its token.

use anyhow::Result;
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, add_micros, rounds};
use benches::load::{Command, Setup, Wire};
use benches::messages::Asked;
use benches::population::Population;
use benches::results::{Measure, Results};
use benches::servers::Server;
use clap::Parser;

const MEASURE: Measure = Measure { name: "us of the server a notification", more_is_better: false };

/// Floors that a notification may cost.
const MOST: f64 = 1.3;

/// What it costs to tell one change to many.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// How many observe.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    observers: Vec<u32>,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("fan_out")?;
    for &wire in &arguments.wire {
        for &observers in &arguments.observers {
            measure(&arguments, &gateway, wire, observers, &mut results)?;
        }
    }
    results.finish(&arguments.common)
}

fn measure(
    arguments: &Arguments,
    gateway: &std::path::Path,
    wire: Wire,
    observers: u32,
    results: &mut Results,
) -> Result<()> {
    let common = &arguments.common;
    let connections = observers + 1;
    let population = Population::of(connections, connections);
    let cloud = Cloud::new(&Shape::with(connections + 1000, population))?;
    let setup = Setup { asked: Asked::Observed, ..Setup::new(wire, connections, 0) };
    let servers = [Server::Gateway, Server::FanOut];
    let mut contenders = Contender::enter_all(&servers, common, gateway, &cloud, &setup)?;
    let command = Command::Request { millis: common.millis(), window: observers, per_second: None };
    let samples = rounds(&mut contenders, common.rounds, command)?;
    let case = format!("{}, {observers} observers", wire.name());
    add_micros(results, &case, MEASURE, &contenders, &samples, MOST);
    Ok(())
}
