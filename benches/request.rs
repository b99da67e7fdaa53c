//! How many small requests a core answers over TLS, with 64, 5 000 and 19 000 connections.
//!
//! `cargo bench -p benches --bench request -- --help`
//!
//! Every connection is open, established and (where the server has accounts) signed in; at any time
//! `--window` requests are under way, each on a connection drawn at random from all. A request is GET
//! `/oic/rd`, which the server answers by itself. Counted is the processor time of the server.
//!
//! Rivals: `tokio`, `libcoap` (only as far as its session table goes). Floors: bare loops over epoll and
//! io_uring with the gateway's record layer and one answer for all.

use anyhow::Result;
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, Sample, rounds, values};
use benches::load::{Command, Setup, Wire};
use benches::results::{Measure, Results};
use benches::servers::Server;
use benches::statistics::median;
use clap::Parser;

/// Beyond this libcoap takes longer to find a session than to answer.
const LIBCOAP_CONNECTIONS_MAX: u32 = 64;

const MEASURE: Measure = Measure { name: "requests per core-second", more_is_better: true };

/// How many small requests a core answers.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// How many connections.
    #[arg(long, value_delimiter = ',', default_value = "64,5000,19000")]
    connections: Vec<u32>,
    /// Requests under way at a time.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    window: Vec<u32>,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
    /// A fixed rate instead of one request behind the other: per second, on schedule.
    #[arg(long)]
    per_second: Option<u32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("request")?;
    for &wire in &arguments.wire {
        for &connections in &arguments.connections {
            let mut arena =
                Arena::open(&arguments.common, &gateway, wire, connections, &mut results)?;
            for &window in &arguments.window {
                arena.measure(&arguments, window.min(connections), &mut results)?;
            }
        }
    }
    results.finish(&arguments.common)
}

/// All contenders with all their connections.
struct Arena {
    case: String,
    contenders: Vec<Contender>,
    _cloud: Cloud,
}

impl Arena {
    fn open(
        common: &Common,
        gateway: &std::path::Path,
        wire: Wire,
        connections: u32,
        results: &mut Results,
    ) -> Result<Self> {
        let cloud = Cloud::new(&Shape::one_shard(connections + 1000, connections))?;
        let mut setup = Setup::new(wire, connections, 0);
        let mut contenders: Vec<Contender> = Vec::new();
        for server in [
            Server::Gateway,
            Server::Tokio { tickets: 0 },
            Server::Libcoap,
            Server::Epoll,
            Server::Uring,
        ] {
            let too_many = server == Server::Libcoap && connections > LIBCOAP_CONNECTIONS_MAX;
            if too_many || !common.wants(server.name()) {
                continue;
            }
            match Contender::enter(&server, common, gateway, &cloud, &setup) {
                Ok(contender) => contenders.push(contender),
                Err(error) if server == Server::Libcoap => {
                    results.note(format!("libcoap does not take part: {error:#}"));
                }
                Err(error) => return Err(error.context(server.name())),
            }
            setup.number += 1;
        }
        let case = format!("{}, {connections} connections", wire.name());
        Ok(Self { case, contenders, _cloud: cloud })
    }

    fn measure(&mut self, arguments: &Arguments, window: u32, results: &mut Results) -> Result<()> {
        let millis = arguments.common.millis();
        let command = Command::Request { millis, window, per_second: arguments.per_second };
        let samples = rounds(&mut self.contenders, arguments.common.rounds, command)?;
        let mut case = format!("{}, {window} under way", self.case);
        if let Some(rate) = arguments.per_second {
            case = format!("{}, {rate} requests/s", self.case);
        }
        for (contender, samples) in self.contenders.iter().zip(&samples) {
            let of = |value: fn(&Sample) -> f64| median(&values(samples, value));
            results.add(
                &case,
                &contender.name,
                MEASURE,
                values(samples, Sample::per_core_second),
                [
                    ("us", of(Sample::micros_each)),
                    ("core busy", of(Sample::load)),
                    ("generator us", of(Sample::generator_micros_each)),
                    ("p50 us", of(|sample| sample.report.latency_nanos[0] as f64 / 1e3)),
                    ("p99 us", of(|sample| sample.report.latency_nanos[2] as f64 / 1e3)),
                ],
            );
        }
        Ok(())
    }
}
