//! What a partner's request for a light costs, and how much longer it takes than a bare server's answer:
//! HTTPS, `api`, ring, shard, device, and back.
//!
//! `cargo bench -p benches --bench rest -- --help`
//!
//! Gateway and api run on one core; devices, which answer at once, and the partner, who keeps his
//! connections, on the other.
//!
//! - *Cost*: `--window` requests under way; the processor time of api, of the gateway's shard and of the
//!   whole gateway for each.
//! - *Delay*: on schedule at half the rate that was reached, from when a request was due to its whole
//!   answer.
//!
//! Floor of api: a bare HTTPS server over hyper that answers the same bytes at once, asked by the same
//! partner. What the shard does is what it does for any forwarded request, and has its floor in `forward`:
//! of a round trip there the half towards the device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use benches::api::Api;
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::contest::settled;
use benches::load::{Command, Generator, Report, Setup, Wire};
use benches::process::{self, Program, Running, of_this_package};
use benches::results::{Measure, Results};
use benches::statistics::{median, ratio};
use clap::Parser;

const COST: Measure = Measure { name: "us of a request", more_is_better: false };
const P50: Measure = Measure { name: "us from request to answer, p50", more_is_better: false };
const P99: Measure = Measure { name: "us from request to answer, p99", more_is_better: false };

/// What a partner's request costs, and how long it takes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Devices whose lights are read in turn.
    #[arg(long, default_value_t = 256)]
    devices: u32,
    /// The partner's connections: so many requests are under way at a time.
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// What devices speak.
    #[arg(long, value_enum, default_value = "tls12")]
    wire: Wire,
    /// This binary instead of the api of the workspace.
    #[arg(long, value_name = "FILE")]
    api: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gateway = arguments.common.gateway_binary()?;
    let api = arguments.api.clone().map_or_else(process::api, |api| Ok(api.canonicalize()?))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut results = Results::begin("rest")?;
    results.note("gateway, api and floor share a core, devices and partner the other");
    let mut arena = runtime.block_on(Arena::open(&arguments, &gateway, &api))?;
    let rate = arena.cost(&arguments, &mut results)?;
    arena.delay(&arguments, rate / 2.0, &mut results)?;
    // What still runs would count as the work of others.
    drop(arena);
    results.finish(&arguments.common)
}

/// A cloud with devices and a partner; the floor with its own.
struct Arena {
    gateway: Running,
    api: Api,
    floor: Running,
    partner: Generator,
    of_floor: Generator,
    _devices: Generator,
    _cloud: Cloud,
}

/// One measurement of cloud and floor.
struct Sample {
    cloud: Report,
    floor: Report,
    api: Duration,
    gateway: Duration,
    /// Of the gateway's.
    shard: Duration,
    bare: Duration,
}

impl Arena {
    async fn open(arguments: &Arguments, gateway: &Path, api: &Path) -> Result<Self> {
        let (common, devices) = (&arguments.common, arguments.devices);
        let server = [common.server_cpu];
        let cloud = Cloud::new(&Shape::one_shard(devices + 1000, devices))?;
        let gateway = cloud.start(gateway, &server)?;
        let api = Api::start(&cloud, api, &server).await?;
        let setup = Setup::new(arguments.wire, devices, 0);
        let mut generator = Generator::start(&setup, cloud.address(), &cloud, common.load_cpu)?;
        generator.connect(devices, true)?;
        let answer = cloud.path("light.json");
        std::fs::write(&answer, api.read_light(&cloud).await?)?;
        let (floor, address) = Program::new(&of_this_package("bench-https")?, &server)?
            .option("--certificates", cloud.path(""))
            .option("--answer", answer)
            .serve()?;
        let partner = |address: std::net::SocketAddr| {
            let program = Program::new(&of_this_package("bench-poster")?, &[common.load_cpu])?
                .option("--receiver", address.to_string())
                .option("--certificates", cloud.path(""))
                .option("--connections", arguments.window.to_string())
                .option("--lights", devices.to_string());
            Generator::converse(program.args(["--receiver-tls"]))
        };
        let (partner, of_floor) = (partner(api.address)?, partner(address)?);
        Ok(Self { gateway, api, floor, partner, of_floor, _devices: generator, _cloud: cloud })
    }

    /// Processor time of api, gateway, shard and floor.
    fn clocks(&self) -> Result<[Duration; 4]> {
        let all = || Ok(self.gateway.cpu()? + self.api.running.cpu()? + self.floor.cpu()?);
        settled(all)?;
        let (api, floor) = (self.api.running.cpu()?, self.floor.cpu()?);
        Ok([api, self.gateway.cpu()?, self.gateway.cpu_of_threads("shard-")?, floor])
    }

    fn measure(&mut self, command: Command) -> Result<Sample> {
        let before = self.clocks()?;
        let cloud = self.partner.carry_out(command)?.check()?;
        let between = self.clocks()?;
        let floor = self.of_floor.carry_out(command)?.check()?;
        let after = self.clocks()?;
        let of_cloud = |part: usize| between[part].saturating_sub(before[part]);
        let [api, gateway, shard] = [0, 1, 2].map(of_cloud);
        let bare = after[3].saturating_sub(between[3]);
        Ok(Sample { cloud, floor, api, gateway, shard, bare })
    }

    /// Cloud and floor in turn, after one round to warm up.
    fn rounds(&mut self, rounds: usize, command: Command) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for round in 0..=rounds {
            let sample = self.measure(command)?;
            if round > 0 {
                samples.push(sample);
            }
        }
        Ok(samples)
    }

    /// Returns how many requests a second were reached.
    fn cost(&mut self, arguments: &Arguments, results: &mut Results) -> Result<f64> {
        let (millis, window) = (arguments.common.millis(), arguments.window);
        let command = Command::Request { millis, window, per_second: None };
        let samples = self.rounds(arguments.common.rounds, command)?;
        let case = format!("{} devices, {window} requests under way", arguments.devices);
        let of = |micros: fn(&Sample) -> f64| samples.iter().map(micros).collect::<Vec<_>>();
        let rate = median(&of(|sample| per_second(&sample.cloud)));
        let api = of(|sample| each(sample.api, &sample.cloud));
        let floor = of(|sample| each(sample.bare, &sample.floor));
        results.note(format!("{case}: api takes {:.2} times its floor", ratio(&api, &floor)));
        results.add(&case, "api", COST, api, [("requests/s", rate)]);
        results.add(&case, "floor of api", COST, floor, []);
        results.add(&case, "shard", COST, of(|it| each(it.shard, &it.cloud)), []);
        results.add(&case, "gateway", COST, of(|it| each(it.gateway, &it.cloud)), []);
        Ok(rate)
    }

    fn delay(&mut self, arguments: &Arguments, rate: f64, results: &mut Results) -> Result<()> {
        let (millis, window) = (arguments.common.millis(), arguments.window);
        let per_second = Some((rate as u32).max(1));
        let command = Command::Request { millis, window, per_second };
        let samples = self.rounds(arguments.common.rounds, command)?;
        let case = format!("{} devices, half load: {rate:.0} requests/s", arguments.devices);
        for (measure, at) in [(P50, 0), (P99, 2)] {
            let of = |report: fn(&Sample) -> &Report| {
                let micros = |sample| report(sample).latency_nanos[at] as f64 / 1e3;
                samples.iter().map(micros).collect::<Vec<f64>>()
            };
            let (cloud, floor) = (of(|sample| &sample.cloud), of(|sample| &sample.floor));
            let added = cloud.iter().zip(&floor).map(|(cloud, floor)| cloud - floor);
            let added = median(&added.collect::<Vec<_>>());
            results.add(&case, "gateway and api", measure, cloud, [("added us", added)]);
            results.add(&case, "floor", measure, floor, []);
        }
        Ok(())
    }
}

/// Microseconds of a request.
fn each(time: Duration, report: &Report) -> f64 {
    time.as_secs_f64() * 1e6 / report.done.max(1) as f64
}

fn per_second(report: &Report) -> f64 {
    report.done as f64 * 1e9 / report.nanos.max(1) as f64
}
