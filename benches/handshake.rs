//! What it costs to let a device in: TCP, TLS, CSM, sign-in, and its going.
//!
//! `cargo bench -p benches --bench handshake -- --help`
//!
//! Full with a certificate that the server has seen before, full with certificates that it has not,
//! and resumed. Counted is the processor time of the server. Rival: `tokio`, which stores nothing.
//! Floor: `rustls` alone in memory, without sockets and without a sign-in.

use std::path::Path;
use std::process::Command as Process;

use anyhow::{Context, Result, bail};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, Sample, rounds, values};
use benches::load::{Command, Generator, Setup, Wire};
use benches::process::of_this_package;
use benches::results::{Measure, Results};
use benches::servers::Server;
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

    fn chains(self) -> u32 {
        if self == Self::FullUnknown { STRANGERS } else { 1 }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("handshake")?;
    for &wire in &arguments.wire {
        for kind in [Kind::FullKnown, Kind::FullUnknown, Kind::Resumed] {
            measure(&arguments, &gateway, wire, kind, &mut results)?;
        }
    }
    results.finish(&arguments.common)
}

fn measure(
    arguments: &Arguments,
    gateway: &Path,
    wire: Wire,
    kind: Kind,
    results: &mut Results,
) -> Result<()> {
    let common = &arguments.common;
    let resume = kind == Kind::Resumed;
    let cloud = Cloud::new(&Shape::one_shard(2000, DEVICES))?;
    let mut contenders = Vec::new();
    for server in [Server::Gateway, Server::Tokio { tickets: usize::from(resume) }] {
        if !common.wants(server.name()) {
            continue;
        }
        let mut setup = Setup::new(wire, arguments.in_flight, contenders.len() as u8);
        setup.chains = kind.chains();
        let (running, address) = server.start(&cloud, gateway, &[common.server_cpu])?;
        let generator = Generator::start(&setup, address, &cloud, common.load_cpu)?;
        contenders.push(Contender { name: server.name().into(), server: running, generator });
    }
    let (millis, in_flight) = (common.millis(), arguments.in_flight);
    let command = Command::Handshake { millis, in_flight, resume, sign_in: true };
    let samples = rounds(&mut contenders, common.rounds, command)?;
    let case = format!("{}, {}", wire.name(), kind.name());
    for (contender, samples) in contenders.iter().zip(&samples) {
        check_resumed(samples, resume).with_context(|| format!("{case}: {}", contender.name))?;
        results.add(&case, &contender.name, MEASURE, values(samples, Sample::micros_each), []);
    }
    if common.wants("rustls") && kind != Kind::FullUnknown {
        let micros: Vec<f64> = (0..common.rounds)
            .map(|_| rustls_alone(&cloud, common, wire, resume))
            .collect::<Result<_>>()?;
        results.add(&case, "rustls", MEASURE, micros, []);
    }
    Ok(())
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

/// Microseconds of a handshake in memory.
fn rustls_alone(cloud: &Cloud, common: &Common, wire: Wire, resume: bool) -> Result<f64> {
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
        .args(resume.then_some("--resume"))
        .output()?;
    if !output.status.success() {
        bail!("bench-rustls: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice::<Said>(&output.stdout)?.nanos_each / 1e3)
}
