//! What a request costs the core: nanoseconds, instructions, allocations. No sockets, one thread.
//!
//! `cargo bench -p benches --bench frame -- --help`
//!
//! Counted is what a shard does with a received record: opened, understood, carried out, the answer
//! sealed and handed over. A request to a device is two of them, the request and its response.
//! Allocations are those of Rust's allocator; that none is left after a warm-up is checked, not only
//! told. Instructions are counted by callgrind, on a processor without AVX-512 as far as it knows.

use std::alloc::System;
use std::process::Command;

use anyhow::{Context, Result, bail};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::core::{Core, Device, Used};
use benches::identities::Identities;
use benches::load::Wire;
use benches::messages::{self, Asked};
use benches::population::Population;
use benches::results::{Measure, Results};
use clap::{Parser, ValueEnum};
use gateway::store::StoreKey;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Devices, all of one user.
const DEVICES: u32 = 10;

/// Requests before counting.
const WARM_UP: u32 = 2000;

const NANOS: Measure = Measure { name: "ns a request", more_is_better: false };
const INSTRUCTIONS: Measure = Measure { name: "instructions a request", more_is_better: false };
const ALLOCATIONS: Measure = Measure { name: "allocations after warm-up", more_is_better: false };

/// What a request costs the core.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
    /// What is asked.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "directory,discovery,neighbour,update"
    )]
    asked: Vec<Asked>,
    /// Requests of a round.
    #[arg(long, default_value_t = 50_000)]
    requests: u32,
    /// Only asks: for callgrind, which counts.
    #[arg(long)]
    only_ask: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.only_ask {
        let mut talk = Talk::begin(arguments.wire[0])?;
        return talk.ask(arguments.asked[0], arguments.requests);
    }
    let mut results = Results::begin("frame")?;
    let mut allocated = 0.0;
    for &wire in &arguments.wire {
        let mut talk = Talk::begin(wire)?;
        for &asked in &arguments.asked {
            allocated += measure(&arguments, wire, asked, &mut talk, &mut results)?;
        }
    }
    results.finish(&arguments.common)?;
    if allocated > 0.0 {
        bail!("{allocated} allocations after warm-up");
    }
    Ok(())
}

/// Returns how many allocations there were after the warm-up.
fn measure(
    arguments: &Arguments,
    wire: Wire,
    asked: Asked,
    talk: &mut Talk,
    results: &mut Results,
) -> Result<f64> {
    let case = format!("{}, {}", wire.name(), word(&asked)?);
    talk.ask(asked, WARM_UP)?;
    let (mut nanos, mut allocations) = (Vec::new(), Vec::new());
    for _ in 0..arguments.common.rounds {
        talk.core.used = Used::default();
        talk.ask(asked, arguments.requests)?;
        let Used { time, allocations: allocated, .. } = talk.core.used;
        nanos.push(time.as_nanos() as f64 / f64::from(arguments.requests));
        allocations.push(allocated as f64);
    }
    let allocated = allocations.iter().sum::<f64>();
    results.add(&case, "core", NANOS, nanos, []);
    results.add(&case, "core", ALLOCATIONS, allocations, []);
    match instructions(wire, asked) {
        Ok(each) => results.add(&case, "core", INSTRUCTIONS, vec![each], []),
        Err(error) => results.note(format!("{case}: no instructions: {error:#}")),
    }
    Ok(allocated)
}

/// A shard and its devices.
struct Talk {
    core: Core,
    devices: Vec<Device>,
    population: Population,
    request: Vec<u8>,
}

impl Talk {
    fn begin(wire: Wire) -> Result<Self> {
        let cloud = Cloud::new(&Shape::one_shard(100, 0))?;
        let population = Population::new(DEVICES);
        let key = StoreKey::from_bytes([7; 32]);
        let allocations =
            || ALLOCATOR.stats().allocations as u64 + ALLOCATOR.stats().reallocations as u64;
        let mut core =
            Core::new(&cloud.path(""), population, StoreKey::from_bytes([7; 32]), allocations)?;
        let identities = Identities::make(&cloud.path(""), wire, 1)?;
        let devices = (0..DEVICES)
            .map(|number| core.sign_in(population, number, &key, &identities, wire))
            .collect::<Result<_>>()?;
        Ok(Self { core, devices, population, request: Vec::new() })
    }

    /// Devices ask in turn, so many times altogether. Every answer has to come.
    fn ask(&mut self, asked: Asked, requests: u32) -> Result<()> {
        for number in (0..DEVICES).cycle().take(requests as usize) {
            self.request.clear();
            messages::request(&mut self.request, asked, self.population, number);
            let [client, neighbour] = [number, number ^ 1].map(|number| number as usize);
            self.core.say(&mut self.devices[client], &self.request)?;
            if matches!(asked, Asked::Neighbour | Asked::Update) {
                self.core.answer(&mut self.devices[neighbour])?;
            }
            if self.core.answer(&mut self.devices[client])? != 1 {
                bail!("a request is not answered");
            }
        }
        Ok(())
    }
}

/// Instructions of a request in the core, by callgrind: the difference between two numbers of
/// requests, so that what comes before them falls out.
fn instructions(wire: Wire, asked: Asked) -> Result<f64> {
    const FEW: u32 = 200;
    const MANY: u32 = 1200;
    let [few, many] = [FEW, MANY].map(|requests| collected(wire, asked, requests));
    Ok((many? - few?) / f64::from(MANY - FEW))
}

fn collected(wire: Wire, asked: Asked, requests: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(
            ["gateway::shard::Shard::handle", "gateway::shard::Shard::poll_output"]
                .map(|function| format!("--toggle-collect={function}*")),
        )
        .arg(std::env::current_exe()?)
        .args(["--only-ask", "--wire", &word(&wire)?, "--asked", &word(&asked)?])
        .args(["--requests", &requests.to_string()])
        .output()
        .context("valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.with_context(|| format!("callgrind collected nothing: {said}"))
}

fn word(value: &impl ValueEnum) -> Result<String> {
    let value = value.to_possible_value().context("every value has a name")?;
    Ok(value.get_name().to_owned())
}
