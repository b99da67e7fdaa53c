//! What an idle connection occupies, and an idle device that is signed in and has three links.
//!
//! `cargo bench -p benches --bench memory -- --help`
//!
//! The slope between two numbers of connections, each in a server of its own, so that what a server
//! has anyway falls out. User space is what a process has alone (`Anonymous` of its pages); the
//! kernel's part are the used objects of its slabs, those of both ends, because both are here.
//!
//! Rivals: `tokio`, and `rustls` alone in memory: a `ServerConnection` each and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::arguments::Common;
use benches::cloud::{Cloud, Shape};
use benches::figures::{of_gateway, reserved};
use benches::load::{Generator, Setup, Wire};
use benches::memory::{Kernel, of_kernel};
use benches::process::{Running, of_this_package};
use benches::results::{Measure, Results};
use benches::servers::Server;
use benches::statistics::median;
use clap::{Parser, ValueEnum};

/// How long freed memory may take to go back to the system.
const SETTLE: Duration = Duration::from_secs(15);

/// Between two looks: longer than a server waits before it gives memory back.
const LOOK: Duration = Duration::from_secs(3);

/// Caches whose objects live on after their connection, and those of files: the store's, and whatever
/// others do on the machine.
const NOT_OURS: [&str; 11] = [
    "tw_sock_TCP",
    "request_sock_TCP",
    "buffer_head",
    "radix_tree_node",
    "ext4_inode_cache",
    "ext4_extent_status",
    "jbd2_journal_head",
    "inode_cache",
    "proc_inode_cache",
    "vm_area_struct",
    "maple_node",
];

const USER: Measure = Measure { name: "bytes of user space each", more_is_better: false };
const KERNEL: Measure =
    Measure { name: "bytes of the kernel each, both ends", more_is_better: false };

/// What an idle connection occupies.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The numbers of connections.
    #[arg(long, value_delimiter = ',', default_value = "2000,19000")]
    connections: Vec<u32>,
    /// Which TLS.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tls12,tls13")]
    wire: Vec<Wire>,
}

/// What the gateway's account of its memory has to explain of what the process takes, in per cent.
const EXPLAINED_MIN: f64 = 90.0;

const EXPLAINED: Measure =
    Measure { name: "per cent of user space that the gateway accounts for", more_is_better: true };

/// What is idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Idle {
    Connection,
    Device,
}

/// What a server and the kernel occupy.
#[derive(Clone)]
struct Occupied {
    user: f64,
    kernel: f64,
    /// What the gateway says that its tables occupy.
    tables: BTreeMap<String, u64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let [few, many] = arguments.connections[..] else { bail!("two numbers of connections") };
    if few >= many {
        bail!("the second number of connections is the larger one");
    }
    let gateway = arguments.common.gateway_binary()?;
    let mut results = Results::begin("memory")?;
    for &wire in &arguments.wire {
        for idle in [Idle::Connection, Idle::Device] {
            let what = match idle {
                Idle::Connection => "an idle connection",
                Idle::Device => "an idle device, signed in, 3 links",
            };
            let case = format!("{}, {what}, {few} to {many}", wire.name());
            for server in [Server::Gateway, Server::Tokio { tickets: 0 }] {
                if !arguments.common.wants(server.name()) {
                    continue;
                }
                let (mut user, mut kernel) = (Vec::new(), Vec::new());
                let mut accounts = Vec::new();
                for _ in 0..arguments.common.rounds {
                    let [less, more] = [few, many].map(|connections| {
                        occupied(&server, &arguments.common, &gateway, wire, connections, idle)
                    });
                    let (less, more) = (less?, more?);
                    let between = f64::from(many - few);
                    user.push((more.user - less.user) / between);
                    kernel.push((more.kernel - less.kernel) / between);
                    accounts.push(growth(&less.tables, &more.tables, between));
                }
                results.add(&case, server.name(), USER, user.clone(), []);
                results.add(&case, server.name(), KERNEL, kernel, []);
                if server == Server::Gateway {
                    explain(&case, &user, &accounts, &mut results);
                }
            }
            if idle == Idle::Connection && arguments.common.wants("rustls") {
                let [less, more] = [few, many].map(|connections| rustls_alone(wire, connections));
                let each = (more? - less?) / f64::from(many - few);
                results.add(&case, "rustls", USER, vec![each], []);
            }
        }
    }
    results.finish(&arguments.common)
}

/// By how many bytes each table has grown for each of what there is more of.
fn growth(
    less: &BTreeMap<String, u64>,
    more: &BTreeMap<String, u64>,
    between: f64,
) -> BTreeMap<String, f64> {
    let before = |name: &String| less.get(name).copied().unwrap_or(0) as f64;
    more.iter().map(|(name, &now)| (name.clone(), (now as f64 - before(name)) / between)).collect()
}

/// Compares what the gateway accounts for with what its process has taken.
fn explain(case: &str, user: &[f64], accounts: &[BTreeMap<String, f64>], results: &mut Results) {
    let sums = accounts.iter().map(|account| account.values().sum::<f64>());
    let explained: Vec<f64> = sums.zip(user).map(|(told, &taken)| told / taken * 100.0).collect();
    let middle = median(&explained);
    results.add(case, "gateway", EXPLAINED, explained, []);
    let Some(last) = accounts.last() else { return };
    let tables: Vec<String> = last
        .iter()
        .filter(|(_, bytes)| bytes.abs() >= 0.5)
        .map(|(name, bytes)| format!("{name} {bytes:.0}"))
        .collect();
    let verdict = if middle >= EXPLAINED_MIN { "enough" } else { "too little" };
    results.note(format!("{case}: {middle:.0} % explained, {verdict}: {}", tables.join(", ")));
}

/// A new server with so many connections.
fn occupied(
    server: &Server,
    common: &Common,
    gateway: &Path,
    wire: Wire,
    connections: u32,
    idle: Idle,
) -> Result<Occupied> {
    let devices = if idle == Idle::Device { connections } else { 0 };
    let cloud = Cloud::new(&Shape::one_shard(connections + 1000, devices))?;
    let (running, address) = server.start(&cloud, gateway, &[common.server_cpu])?;
    let setup = Setup::new(wire, connections, 0);
    let mut generator = Generator::start(&setup, address, &cloud, common.load_cpu)?;
    let before = of_kernel()?;
    generator.connect(connections, idle == Idle::Device)?;
    let user = settled(&running)?;
    let kernel = objects(&of_kernel()?) - objects(&before);
    let tables = match server {
        Server::Gateway => reserved(&of_gateway(&cloud)?),
        _ => BTreeMap::new(),
    };
    Ok(Occupied { user, kernel, tables })
}

/// What a server occupies when that stays the same.
fn settled(server: &Running) -> Result<f64> {
    let until = Instant::now() + SETTLE;
    let mut last = server.memory()?.anonymous;
    loop {
        std::thread::sleep(LOOK);
        let next = server.memory()?.anonymous;
        if next == last || Instant::now() > until {
            return Ok(next as f64);
        }
        last = next;
    }
}

fn objects(kernel: &Kernel) -> f64 {
    let not_ours = NOT_OURS.iter().filter_map(|name| kernel.objects.get(*name)).sum::<u64>();
    kernel.used().saturating_sub(not_ours) as f64
}

/// What rustls occupies with so many connections.
fn rustls_alone(wire: Wire, connections: u32) -> Result<f64> {
    #[derive(serde::Deserialize)]
    struct Said {
        bytes: f64,
    }
    let cloud = Cloud::new(&Shape::one_shard(1000, 0))?;
    let wire = wire.to_possible_value().context("every wire has a name")?;
    let output = Process::new(of_this_package("bench-rustls")?)
        .arg("--certificates")
        .arg(cloud.path(""))
        .args(["--wire", wire.get_name(), "--keep", &connections.to_string()])
        .output()?;
    if !output.status.success() {
        bail!("bench-rustls: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice::<Said>(&output.stdout)?.bytes)
}
