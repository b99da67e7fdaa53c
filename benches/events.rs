//! What an event costs, and how long it takes: from the notification of a device to the request at the
//! partner cloud's receiver.
//!
//! `cargo bench -p benches --bench events -- --help`
//!
//! Gateway and api run on one core; devices, each with one resource to which somebody is subscribed,
//! and the receiver on the other. A change is under way until its request is at the receiver, and no
//! device has two under way, so that none is skipped because a newer one has come: every change is an
//! event, written to the store, delivered, and its number written again.
//!
//! Floor: the same signed requests from a bare loop over hyper to a receiver of the same kind, on as
//! many connections as a shard uses for one receiver. Its delay is that of the whole exchange.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use benches::api::Api;
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::settled;
use benches::load::{Command, Generator, Receiver, Report, Setup, Wire};
use benches::process::{self, Program, Running, of_this_package};
use benches::results::{Measure, Results};
use benches::statistics::median;
use clap::{Parser, ValueEnum};

/// Deliveries of a shard to one receiver at a time (`gateway::events::couriers`).
const FLOOR_CONNECTIONS: u32 = 32;

/// How long it may take until all resources are observed.
const OBSERVED: Duration = Duration::from_secs(60);

/// Between two looks at how many are.
const LOOK: Duration = Duration::from_millis(50);

const EVENTS: Measure = Measure { name: "events per core-second", more_is_better: true };
const P50: Measure =
    Measure { name: "us from notification to receiver, p50", more_is_better: false };
const P99: Measure =
    Measure { name: "us from notification to receiver, p99", more_is_better: false };

/// What an event costs, and how long it takes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Subscriptions, each to a resource of a device of its own.
    #[arg(long, default_value_t = 1000)]
    subscriptions: u32,
    /// Changes under way at a time, where the cost is measured.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// Changes per second on schedule, where the delay is measured.
    #[arg(long, default_value_t = 500)]
    per_second: u32,
    /// What the receiver speaks.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "https,http")]
    receiver: Vec<Scheme>,
    /// What devices speak.
    #[arg(long, value_enum, default_value = "tls12")]
    wire: Wire,
}

/// What the receiver speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scheme {
    /// As partner clouds do.
    Https,
    /// To see what TLS is of it.
    Http,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (gateway, api) = (arguments.common.gateway_binary()?, process::api()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut results = Results::begin("events")?;
    results.note("gateway and api share a core, devices and receiver the other");
    for &scheme in &arguments.receiver {
        let open = Arena::open(&arguments, &gateway, &api, scheme);
        let mut arena = runtime.block_on(open)?;
        arena.cost(&arguments, &mut results)?;
        arena.delay(&arguments, &mut results)?;
    }
    results.finish(&arguments.common)
}

/// A cloud with devices, subscriptions and a receiver; and the floor with its own.
struct Arena {
    case: String,
    gateway: Running,
    api: Api,
    devices: Generator,
    floor: Option<Floor>,
    _cloud: Cloud,
}

/// The bare loop, and a generator of which only the receiver does something.
struct Floor {
    poster: Generator,
    _receiver: Generator,
}

/// Processor time of each part.
#[derive(Clone, Copy, Default)]
struct Clocks {
    gateway: Duration,
    /// Of the gateway's.
    shards: Duration,
    api: Duration,
}

/// One measurement.
struct Sample {
    report: Report,
    clocks: Clocks,
}

impl Sample {
    /// Microseconds of an event on these threads.
    fn micros(&self, of: impl Fn(&Clocks) -> Duration) -> f64 {
        of(&self.clocks).as_secs_f64() * 1e6 / self.report.done.max(1) as f64
    }

    fn percentile(&self, at: usize) -> f64 {
        self.report.latency_nanos[at] as f64 / 1e3
    }

    fn per_second(&self) -> f64 {
        self.report.done as f64 * 1e9 / self.report.nanos.max(1) as f64
    }
}

impl Arena {
    async fn open(
        arguments: &Arguments,
        gateway: &Path,
        api: &Path,
        scheme: Scheme,
    ) -> Result<Self> {
        let (common, devices) = (&arguments.common, arguments.subscriptions);
        let server = [common.server_cpu];
        let cloud = Cloud::new(&Shape::one_shard(devices + 1000, devices))?;
        let gateway = cloud.start(gateway, &server)?;
        let api = Api::start(&cloud, api, &server).await?;
        let receiver = Receiver::on_free_port(scheme == Scheme::Https)?;
        let setup = Setup { receiver: Some(receiver), ..Setup::new(arguments.wire, devices, 0) };
        let mut generator = Generator::start(&setup, cloud.address(), &cloud, common.load_cpu)?;
        generator.connect(devices, true)?;
        api.subscribe(&cloud, devices, &receiver).await?;
        wait_until_observed(&mut generator, devices)?;
        let floor = match common.wants("floor") {
            true => Some(Floor::open(arguments, &cloud, scheme)?),
            false => None,
        };
        let case = format!("{devices} subscriptions, {}", scheme.name());
        Ok(Self { case, gateway, api, devices: generator, floor, _cloud: cloud })
    }

    fn clocks(&self) -> Result<Clocks> {
        settled(|| Ok(self.gateway.cpu()? + self.api.running.cpu()?))?;
        Ok(Clocks {
            gateway: self.gateway.cpu()?,
            shards: self.gateway.cpu_of_threads("shard-")?,
            api: self.api.running.cpu()?,
        })
    }

    fn measure(&mut self, command: Command) -> Result<Sample> {
        let before = self.clocks()?;
        let report = self.devices.carry_out(command)?.check()?;
        let after = self.clocks()?;
        let clocks = Clocks {
            gateway: after.gateway.saturating_sub(before.gateway),
            shards: after.shards.saturating_sub(before.shards),
            api: after.api.saturating_sub(before.api),
        };
        Ok(Sample { report, clocks })
    }

    /// Cloud and floor in turn, after one round to warm up.
    fn rounds(&mut self, rounds: usize, command: Command) -> Result<(Vec<Sample>, Vec<Report>)> {
        let (mut cloud, mut floor) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let sample = self.measure(command)?;
            let posted = match &mut self.floor {
                Some(floor) => Some(floor.poster.carry_out(command)?.check()?),
                None => None,
            };
            if round > 0 {
                cloud.push(sample);
                floor.extend(posted);
            }
        }
        Ok((cloud, floor))
    }

    fn cost(&mut self, arguments: &Arguments, results: &mut Results) -> Result<()> {
        let (millis, window) = (arguments.common.millis(), arguments.window);
        let command = Command::Request { millis, window, per_second: None };
        let (cloud, floor) = self.rounds(arguments.common.rounds, command)?;
        let case = format!("{}, {window} changes under way", self.case);
        let mut add = |name: &str, of: fn(&Clocks) -> Duration, beside: &[(&'static str, f64)]| {
            let micros: Vec<f64> = cloud.iter().map(|sample| sample.micros(of)).collect();
            let values = micros.iter().map(|micros| 1e6 / micros).collect();
            let us = [("us", median(&micros))];
            results.add(&case, name, EVENTS, values, us.into_iter().chain(beside.iter().copied()));
        };
        let of_all = |of: fn(&Sample) -> f64| median(&cloud.iter().map(of).collect::<Vec<_>>());
        let per_second = of_all(Sample::per_second);
        let shards = of_all(|sample| sample.micros(|clocks| clocks.shards));
        add("gateway and api", |all| all.gateway + all.api, &[("events/s", per_second)]);
        add("gateway", |all| all.gateway, &[("shard us", shards)]);
        add("api", |all| all.api, &[]);
        if !floor.is_empty() {
            let micros: Vec<f64> = floor.iter().map(micros_of).collect();
            let values = micros.iter().map(|micros| 1e6 / micros).collect();
            results.add(&case, "floor", EVENTS, values, [("us", median(&micros))]);
        }
        Ok(())
    }

    fn delay(&mut self, arguments: &Arguments, results: &mut Results) -> Result<()> {
        let (millis, window) = (arguments.common.millis(), arguments.window);
        let rate = arguments.per_second;
        let command = Command::Request { millis, window, per_second: Some(rate) };
        let (cloud, floor) = self.rounds(arguments.common.rounds, command)?;
        let case = format!("{}, {rate} changes/s", self.case);
        let busy = median(
            &cloud
                .iter()
                .map(|it| it.micros(|all| all.gateway + all.api) * it.per_second() / 1e6)
                .collect::<Vec<_>>(),
        );
        let worst = cloud.iter().map(|sample| sample.percentile(4)).fold(0.0, f64::max);
        for (measure, at) in [(P50, 0), (P99, 2)] {
            let values = cloud.iter().map(|sample| sample.percentile(at)).collect();
            let beside = [("core busy", busy), ("worst us", worst)];
            results.add(&case, "gateway and api", measure, values, beside);
            if !floor.is_empty() {
                let values = floor.iter().map(|report| report.latency_nanos[at] as f64 / 1e3);
                results.add(&case, "floor", measure, values.collect(), []);
            }
        }
        Ok(())
    }
}

/// Microseconds of the bare loop's processor for each request.
fn micros_of(report: &Report) -> f64 {
    report.cpu_nanos as f64 / 1e3 / report.done.max(1) as f64
}

impl Floor {
    fn open(arguments: &Arguments, cloud: &Cloud, scheme: Scheme) -> Result<Self> {
        let common = &arguments.common;
        let receiver = Receiver::on_free_port(scheme == Scheme::Https)?;
        let setup = Setup { receiver: Some(receiver), ..Setup::new(arguments.wire, 1, 1) };
        let mut listening = Generator::start(&setup, cloud.address(), cloud, common.load_cpu)?;
        // Whoever answers commands listens.
        listening.carry_out(Command::Visit)?;
        let program = Program::new(&of_this_package("bench-poster")?, &[common.server_cpu])?
            .option("--receiver", receiver.address.to_string())
            .option("--certificates", cloud.path(""))
            .option("--connections", FLOOR_CONNECTIONS.to_string())
            .args(receiver.tls.then_some("--receiver-tls"));
        Ok(Self { poster: Generator::converse(program)?, _receiver: listening })
    }
}

/// Until every device has told a change that has arrived.
fn wait_until_observed(generator: &mut Generator, devices: u32) -> Result<()> {
    let until = Instant::now() + OBSERVED;
    loop {
        let report = generator.carry_out(Command::Visit)?.check()?;
        if report.done == u64::from(devices) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("{} of {devices} resources are observed", report.done);
        }
        std::thread::sleep(LOOK);
    }
}
