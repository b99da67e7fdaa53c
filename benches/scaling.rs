//! What a message costs when there is more of everything: idle connections, kernel rings, shards.
//!
//! `cargo bench -p benches --bench scaling -- --help`
//!
//! - `idle`: 64 connections speak while very many others are idle, in one process, which may have
//!   fewer descriptors than it has connections. In the end every connection asks once.
//! - `rings`: requests on connections drawn at random, with all sockets of a shard on one kernel ring
//!   and spread over many.
//! - `shards`: the same work for one shard and for two, a core each, of which the generator of load
//!   takes its part: compared is processor time, not throughput.

use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::{Contender, Sample, rounds, values};
use benches::load::{Command, Generator, Setup, Wire};
use benches::results::{Measure, Results};
use clap::{Parser, ValueEnum};

/// Connections of one generator: as many as its descriptors and its source address allow.
const CONNECTIONS_PER_GENERATOR: u32 = 15_000;

/// Connections that speak.
const ACTIVE: u32 = 64;

const MEASURE: Measure = Measure { name: "us of the server a request", more_is_better: false };

/// What a message costs when there is more of everything.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Which questions.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "idle,rings,shards")]
    questions: Vec<Question>,
    /// Numbers of idle connections.
    #[arg(long, value_delimiter = ',', default_value = "1000,60000")]
    idle: Vec<u32>,
    /// Connections of the other questions.
    #[arg(long, default_value_t = 9900)]
    connections: u32,
    /// Which TLS.
    #[arg(long, value_enum, default_value = "tls12")]
    wire: Wire,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Question {
    Idle,
    Rings,
    Shards,
}

/// Those who are connected to a gateway and idle; all are signed in.
struct Crowd {
    idle: Vec<Generator>,
    _cloud: Cloud,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bench = Bench { gateway: arguments.common.gateway_binary()?, arguments };
    let mut results = Results::begin("scaling")?;
    for question in &bench.arguments.questions {
        match question {
            Question::Idle => bench.idle(&mut results)?,
            Question::Rings => bench.rings(&mut results)?,
            Question::Shards => bench.shards(&mut results)?,
        }
    }
    results.finish(&bench.arguments.common)
}

struct Bench {
    gateway: PathBuf,
    arguments: Arguments,
}

impl Bench {
    fn idle(&self, results: &mut Results) -> Result<()> {
        let (mut contenders, mut crowds, mut number) = (Vec::new(), Vec::new(), 0);
        for &idle in &self.arguments.idle {
            let shape = Shape::one_shard(idle + ACTIVE + 1000, idle + ACTIVE);
            let name = format!("{idle} idle");
            let (contender, crowd) = self.enter(&name, &shape, ACTIVE, idle, &mut number)?;
            contenders.push(contender);
            crowds.push(crowd);
        }
        let case = format!("{ACTIVE} connections that speak beside idle ones");
        self.compare(&case, &mut contenders, results)?;
        for (contender, crowd) in contenders.iter_mut().zip(&mut crowds) {
            let mut answered = 0;
            for generator in crowd.idle.iter_mut().chain([&mut contender.generator]) {
                let report = generator.carry_out(Command::Visit)?.check();
                answered += report.context("every connection answers in the end")?.done;
            }
            results.note(format!("{}: all {answered} connections answered", contender.name));
        }
        Ok(())
    }

    fn rings(&self, results: &mut Results) -> Result<()> {
        const MANY: u32 = 25;
        let connections = self.arguments.connections;
        let one = Shape::one_shard(connections + 1000, connections);
        let room = connections + 1000 + 1024;
        let many = Shape { sockets_per_ring: Some(room.div_ceil(MANY)), ..one.clone() };
        let (mut contenders, mut crowds, mut number) = (Vec::new(), Vec::new(), 0);
        for (name, shape) in [("1 ring", one), ("25 rings", many)] {
            let (contender, crowd) = self.enter(name, &shape, connections, 0, &mut number)?;
            contenders.push(contender);
            crowds.push(crowd);
        }
        let case = format!("{connections} connections, {ACTIVE} requests under way");
        self.compare(&case, &mut contenders, results)
    }

    fn shards(&self, results: &mut Results) -> Result<()> {
        let connections = self.arguments.connections;
        let one = Shape::one_shard(connections + 1000, connections);
        let two = Shape { cpus: vec![0, 1], ..one.clone() };
        let (mut contenders, mut crowds, mut number) = (Vec::new(), Vec::new(), 0);
        for (name, shape) in [("1 shard", one), ("2 shards", two)] {
            let (contender, crowd) = self.enter(name, &shape, connections, 0, &mut number)?;
            contenders.push(contender);
            crowds.push(crowd);
        }
        let case = format!("{connections} connections over shards");
        self.compare(&case, &mut contenders, results)
    }

    /// Starts a gateway with `speaking` devices and `idle` ones. `number` counts generators.
    fn enter(
        &self,
        name: &str,
        shape: &Shape,
        speaking: u32,
        idle: u32,
        number: &mut u8,
    ) -> Result<(Contender, Crowd)> {
        let Common { load_cpu, .. } = self.arguments.common;
        let cloud = Cloud::new(shape)?;
        let server = cloud.start(&self.gateway, &shape.cpus)?;
        let mut first = 0;
        let mut start = |connections| {
            let setup = Setup { first, ..Setup::new(self.arguments.wire, connections, *number) };
            (*number, first) = (*number + 1, first + connections);
            let mut generator = Generator::start(&setup, cloud.address(), &cloud, load_cpu)?;
            generator.connect(connections, true)?;
            anyhow::Ok(generator)
        };
        let generator = start(speaking)?;
        let mut others = Vec::new();
        let mut left = idle;
        while left > 0 {
            let connections = left.min(CONNECTIONS_PER_GENERATOR);
            others.push(start(connections)?);
            left -= connections;
        }
        let contender = Contender { name: name.into(), server, generator };
        Ok((contender, Crowd { idle: others, _cloud: cloud }))
    }

    fn compare(
        &self,
        case: &str,
        contenders: &mut [Contender],
        results: &mut Results,
    ) -> Result<()> {
        let common = &self.arguments.common;
        let command =
            Command::Request { millis: common.millis(), window: ACTIVE, per_second: None };
        let samples = rounds(contenders, common.rounds, command)?;
        for (contender, samples) in contenders.iter().zip(&samples) {
            let micros = values(samples, Sample::micros_each);
            results.add(case, &contender.name, MEASURE, micros, []);
        }
        Ok(())
    }
}
