//! What it costs to let a device in: TCP, TLS, CSM, sign-in, and its going.
//!
//! `cargo bench -p benches --bench handshake -- --help`
//!
//! Full with a certificate that the server has seen before, full with certificates that it has not,
//! and resumed. Counted is the processor time of the server. Rival: `tokio`, which stores nothing.
//! Floor: `rustls` alone in memory, plus a `bare` loop that accepts, has as many bytes go to and fro,
//! and closes; neither knows of users, devices or a store. Beside it stands what is left of the floor when
//! the chain of certificates is not judged: the least that a known certificate can cost.

use std::path::PathBuf;
use std::process::Command as Process;

use anyhow::{Context, Result, bail};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, Sample, rounds, values};
use benches::load::{Command, Generator, Setup, Wire};
use benches::process::{Program, of_this_package};
use benches::results::{Measure, Results};
use benches::servers::Server;
use benches::statistics::ratio;
use clap::{Parser, ValueEnum};

/// Devices that sign in by turns: nobody so often that the gateway makes it wait.
const DEVICES: u32 = 20_000;

/// More than the chains whose judgement a shard remembers.
const STRANGERS: u32 = 5000;

const MEASURE: Measure = Measure { name: "us of the server a device", more_is_better: false };

/// What it costs to let a device in.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Handshakes under way at a time.
    #[arg(long, default_value_t = 16)]
    in_flight: u32,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
}

/// How devices come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    FullKnown,
    FullUnknown,
    Resumed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::FullKnown => "full, certificate seen before",
            Self::FullUnknown => "full, certificate not seen before",
            Self::Resumed => "resumed",
        }
    }

    /// What it is compared with.
    fn floor(self) -> &'static str {
        match self {
            Self::FullKnown => "floor of a full one",
            Self::FullUnknown | Self::Resumed => "floor",
        }
    }

    /// How many times the floor it may cost.
    fn target(self) -> f64 {
        match self {
            Self::FullKnown => 0.7,
            Self::FullUnknown => 1.2,
            Self::Resumed => 1.5,
        }
    }

    /// How often the device speaks and is answered, the sign-in included. It says its part of a
    /// sign-in together with the last flight of the handshake where that needs no answer.
    fn flights(self, wire: Wire) -> u32 {
        match (self, wire) {
            (Self::Resumed, _) | (_, Wire::Tls13) => 2,
            (_, Wire::Tls12) => 3,
        }
    }

    /// How `bench-rustls` is told.
    fn option(self) -> Option<&'static str> {
        (self == Self::Resumed).then_some("--resume")
    }

    fn chains(self) -> u32 {
        if self == Self::FullUnknown { STRANGERS } else { 1 }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bench = Bench { gateway: arguments.common.gateway_binary()?, arguments };
    let mut results = Results::begin("handshake")?;
    for &wire in &bench.arguments.wire {
        // The floor of a full handshake is that of a known certificate too.
        let mut full = None;
        for kind in [Kind::FullUnknown, Kind::FullKnown, Kind::Resumed] {
            let floor = bench.measure(wire, kind, full.as_deref(), &mut results)?;
            if kind == Kind::FullUnknown {
                full = Some(floor);
            }
        }
    }
    results.finish(&bench.arguments.common)
}

struct Bench {
    gateway: PathBuf,
    arguments: Arguments,
}

impl Bench {
    /// Returns the floor in microseconds, round by round: the one that is given, or a fresh one.
    fn measure(
        &self,
        wire: Wire,
        kind: Kind,
        floor: Option<&[f64]>,
        results: &mut Results,
    ) -> Result<Vec<f64>> {
        let cloud = Cloud::new(&Shape::one_shard(2000, DEVICES))?;
        let case = format!("{}, {}", wire.name(), kind.name());
        let samples = self.contest(&cloud, wire, kind, &case, results)?;
        let floor = match floor.filter(|_| kind == Kind::FullKnown) {
            Some(full) => full.to_vec(),
            None => {
                let bare = self.bare(&samples, wire, kind)?;
                let alone = self.alone(&cloud, wire, kind.option())?;
                if kind == Kind::FullUnknown {
                    self.add_known(&cloud, wire, &bare, results)?;
                }
                results.add(&case, "bare", MEASURE, bare.clone(), []);
                results.add(&case, "rustls", MEASURE, alone.clone(), []);
                sums(&bare, &alone)
            }
        };
        results.add(&case, kind.floor(), MEASURE, floor.clone(), []);
        let gateway = values(&samples, Sample::micros_each);
        let times = ratio(&gateway, &floor);
        let target = kind.target();
        let verdict = if times <= target { "met" } else { "missed" };
        results.note(format!("{case}: {times:.2} times the floor, target {target}: {verdict}"));
        Ok(floor)
    }

    /// The least that a known certificate can cost: the floor of a full handshake less what it takes to
    /// judge the chain. No target is held against it.
    fn add_known(
        &self,
        cloud: &Cloud,
        wire: Wire,
        bare: &[f64],
        results: &mut Results,
    ) -> Result<()> {
        let case = format!("{}, {}", wire.name(), Kind::FullKnown.name());
        let least = sums(bare, &self.alone(cloud, wire, Some("--known"))?);
        results.add(&case, "floor that judges no chain", MEASURE, least, []);
        Ok(())
    }

    /// What rustls takes in memory, round by round.
    fn alone(&self, cloud: &Cloud, wire: Wire, option: Option<&'static str>) -> Result<Vec<f64>> {
        let common = &self.arguments.common;
        (0..common.rounds).map(|_| rustls_alone(cloud, common, wire, option)).collect()
    }

    /// Gateway and rival in turn; returns the gateway's rounds.
    fn contest(
        &self,
        cloud: &Cloud,
        wire: Wire,
        kind: Kind,
        case: &str,
        results: &mut Results,
    ) -> Result<Vec<Sample>> {
        let common = &self.arguments.common;
        let resume = kind == Kind::Resumed;
        let mut contenders = Vec::new();
        for server in [Server::Gateway, Server::Tokio { tickets: usize::from(resume) }] {
            if server != Server::Gateway && !common.wants(server.name()) {
                continue;
            }
            let number = contenders.len() as u8;
            let mut setup = Setup::new(wire, self.arguments.in_flight, number);
            setup.chains = kind.chains();
            let (running, address) = server.start(cloud, &self.gateway, &[common.server_cpu])?;
            let generator = Generator::start(&setup, address, cloud, common.load_cpu)?;
            contenders.push(Contender { name: server.name().into(), server: running, generator });
        }
        let mut samples = rounds(&mut contenders, common.rounds, self.command(resume))?;
        for (contender, samples) in contenders.iter().zip(&samples) {
            check_resumed(samples, resume)
                .with_context(|| format!("{case}: {}", contender.name))?;
            let micros = values(samples, Sample::micros_each);
            results.add(case, &contender.name, MEASURE, micros, []);
        }
        Ok(samples.swap_remove(0))
    }

    fn command(&self, resume: bool) -> Command {
        let (millis, in_flight) = (self.arguments.common.millis(), self.arguments.in_flight);
        Command::Handshake { millis, in_flight, resume, sign_in: true }
    }

    /// What accept, bytes and close cost a server that does nothing else: as many bytes as the gateway
    /// had, in as few flights as the protocol allows.
    fn bare(&self, gateway: &[Sample], wire: Wire, kind: Kind) -> Result<Vec<f64>> {
        let common = &self.arguments.common;
        let visits: u64 = gateway.iter().map(|sample| sample.report.done).sum();
        let flights = kind.flights(wire);
        let each = |bytes: fn(&Sample) -> u64| {
            let all: u64 = gateway.iter().map(bytes).sum();
            (all / visits.max(1) / u64::from(flights)).to_string()
        };
        let (asked, answered) =
            (each(|sample| sample.report.bytes_sent), each(|sample| sample.report.bytes_received));
        let program = |cpu: usize| {
            let program = Program::new(&of_this_package("bench-visits")?, &[cpu])?
                .option("--flights", flights.to_string())
                .option("--asked", &asked)
                .option("--answered", &answered);
            anyhow::Ok(program)
        };
        let (server, address) = program(common.server_cpu)?.args(["--serve"]).serve()?;
        let visitors = program(common.load_cpu)?.option("--server", address.to_string());
        let generator = Generator::converse(visitors)?;
        let mut bare = [Contender { name: "bare".into(), server, generator }];
        let samples = rounds(&mut bare, common.rounds, self.command(false))?;
        Ok(values(&samples[0], Sample::micros_each))
    }
}

/// All handshakes were of the kind that was asked for; the first of each place cannot be resumed, but
/// that was in the round before the first that counts.
fn check_resumed(samples: &[Sample], resume: bool) -> Result<()> {
    for Sample { report, .. } in samples {
        let wanted = if resume { report.done } else { 0 };
        if report.resumed != wanted {
            bail!("{} of {} were resumed", report.resumed, report.done);
        }
    }
    Ok(())
}

fn sums(bare: &[f64], alone: &[f64]) -> Vec<f64> {
    bare.iter().zip(alone).map(|(bare, alone)| bare + alone).collect()
}

/// Microseconds of a handshake in memory.
fn rustls_alone(
    cloud: &Cloud,
    common: &Common,
    wire: Wire,
    option: Option<&'static str>,
) -> Result<f64> {
    #[derive(serde::Deserialize)]
    struct Said {
        nanos_each: f64,
    }
    let wire = wire.to_possible_value().context("every wire has a name")?;
    let output = Process::new(of_this_package("bench-pinned")?)
        .args([std::process::id().to_string(), common.server_cpu.to_string()])
        .arg(of_this_package("bench-rustls")?)
        .arg("--certificates")
        .arg(cloud.path(""))
        .args(["--wire", wire.get_name(), "--millis", &common.millis().to_string()])
        .args(option)
        .output()?;
    if !output.status.success() {
        bail!("bench-rustls: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice::<Said>(&output.stdout)?.nanos_each / 1e3)
}
