//! The real gateway, api and swarm on loopback, with free ports and logs that are shown when a test
//! fails (I/O). What is started is killed with the test, its files are removed.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use loadtest::credentials::{Credentials, DeviceCertificate, TlsVersion};
use loadtest::demo::{
    API, Binaries, Cloud, GATEWAY, Installation, Partner, Patience, SWARM, Settings, SwarmSettings,
};
use loadtest::report::Arrived;
use loadtest::state;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use shared::ids::DeviceId;
use tempfile::TempDir;

use crate::rest::Rest;

/// Longer than anything takes, on however slow a machine: it only ends what would hang.
pub const LONG: Duration = Duration::from_secs(180);

/// Between two looks at something that tells nobody when it changes.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Lines of each log that are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// The programs, in the profile of the test. The first test of a process builds them; the tests of
/// other processes wait for it.
pub fn binaries() -> &'static Binaries {
    static BINARIES: LazyLock<Binaries> = LazyLock::new(build);
    &BINARIES
}

fn build() -> Binaries {
    let this = env::current_exe().unwrap();
    // target/PROFILE/deps/test, or target/PROFILE/program
    let directory = this.parent().unwrap();
    let directory = match directory.ends_with("deps") {
        true => directory.parent().unwrap(),
        false => directory,
    };
    // Without cargo there is nothing to build with: what is there has to do.
    if let Some(cargo) = env::var_os("CARGO") {
        let target = directory.parent().unwrap();
        let lock = File::create(target.join("programs.lock")).unwrap();
        lock.lock().unwrap();
        let profile = match directory.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            name => name,
        };
        let built = Command::new(cargo)
            .args(["build", "--bins", "-p", "gateway", "-p", "api", "-p", "loadtest"])
            .args(cfg!(feature = "whole-tls").then_some("--features=gateway/whole-tls"))
            .args(["--profile", profile, "--target-dir"])
            .arg(target)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    Binaries::in_directory(directory)
}

/// What a cloud is to be like.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Shards of the gateway.
    pub shards: u16,
    /// Users who own devices.
    pub users: u32,
    /// Devices that the limits allow for.
    pub devices: u32,
    /// What the gateway's configuration has otherwise.
    pub gateway: fn(&mut toml::Table),
    /// What the configuration of the api has otherwise.
    pub api: fn(&mut toml::Table),
}

impl Default for Setup {
    fn default() -> Self {
        Self { shards: 2, users: 1, devices: 100, gateway: |_| {}, api: |_| {} }
    }
}

/// A cloud that runs, with a state directory of its own.
pub struct TestCloud {
    /// It.
    pub cloud: Cloud,
    interrupts: Receiver<()>,
    _interrupter: Sender<()>,
    _logs: Logs,
    directory: TempDir,
}

impl TestCloud {
    /// Gateway and api, ready.
    pub fn start(setup: Setup) -> Self {
        let directory = TempDir::with_prefix("ocf-").unwrap();
        Self::start_in(directory, setup)
    }

    /// The same on a state directory that was used before.
    pub fn start_in(directory: TempDir, setup: Setup) -> Self {
        let binaries = binaries().clone();
        let installation = install(directory.path(), setup);
        let (_interrupter, interrupts) = channel();
        let _logs = Logs(installation.path("logs"));
        let cloud = Cloud::start(installation, binaries, patience(&interrupts)).unwrap();
        Self { cloud, interrupts, _interrupter, _logs, directory }
    }

    /// Fussy devices, all online. They live twenty times as fast as real ones.
    pub fn start_swarm(&mut self, devices: u32) {
        self.start_devices(devices, 0.0, true);
    }

    /// The same with so many state changes per second, and without complaints: a power cut breaks
    /// connections at any moment, and is no mistake of the cloud.
    pub fn start_changing_swarm(&mut self, devices: u32, changes_per_sec: f64) {
        self.start_devices(devices, changes_per_sec, false);
    }

    fn start_devices(&mut self, devices: u32, changes_per_sec: f64, fussy: bool) {
        let settings = SwarmSettings {
            devices,
            per_sec: 100.0,
            pace: 0.05,
            changes_per_sec,
            fussy,
            on_terminal: false,
        };
        let arrived = self.cloud.start_swarm(&settings, patience(&self.interrupts)).unwrap();
        assert_eq!(arrived, Arrived { ready: devices.into(), failed: 0 });
    }

    /// Stops swarm, api and gateway in order. Each has to end well: the swarm with all its devices
    /// online, and no rule broken.
    pub fn stop(self) -> TempDir {
        self.cloud.stop().unwrap();
        self.directory
    }

    /// A power cut for the gateway alone.
    pub fn kill_gateway(&mut self) {
        self.cloud.processes.kill(GATEWAY).unwrap();
    }

    /// Starts it again.
    pub fn start_gateway(&mut self) {
        self.cloud.start_gateway(patience(&self.interrupts)).unwrap();
    }

    /// A power cut for the api alone.
    pub fn kill_api(&mut self) {
        self.cloud.processes.kill(API).unwrap();
    }

    /// Starts it again.
    pub fn start_api(&mut self) {
        self.cloud.start_api(patience(&self.interrupts)).unwrap();
    }

    /// Starts the api again with another configuration.
    pub fn restart_api(&mut self, change: impl FnOnce(&mut toml::Table)) {
        self.kill_api();
        reconfigure(&self.cloud.installation.path("api.toml"), change);
        self.start_api();
    }

    /// Makes a token of this user known to the api, with these scopes, and starts the api again.
    pub fn admit(&mut self, token: &str, user: &str, scopes: &[&str]) {
        let digest: String =
            Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.cloud.installation.path("credentials.json");
        let mut known: Vec<serde_json::Value> = serde_json::from_str(&read(&path)).unwrap();
        known.push(serde_json::json!({
            "token_sha256": digest, "user": user, "client": "test", "scopes": scopes,
        }));
        fs::write(&path, serde_json::to_vec(&known).unwrap()).unwrap();
        self.restart_api(|_| {});
    }

    /// Stops the swarm: all its devices have to be online, and no rule may have been broken.
    pub fn stop_swarm(&mut self) {
        let status = self.cloud.processes.stop(SWARM).unwrap();
        assert!(status.success(), "the swarm ended with {status}");
    }

    /// The API, as partners use it.
    pub fn rest(&self) -> Rest {
        let facts = self.cloud.facts();
        Rest::new(&facts.api, facts.trust_anchor)
    }

    /// The first user's token.
    pub fn token(&self) -> String {
        self.cloud.facts().access_token.to_owned()
    }

    /// The partner cloud and the login that are registered.
    pub fn partner(&self) -> Partner {
        self.cloud.installation.partner().unwrap().clone()
    }

    /// A token with the operator's right.
    pub fn operator_token(&self) -> String {
        self.cloud.facts().operator_token.to_owned()
    }

    /// The token of a user who owns nothing.
    pub fn other_token(&self) -> String {
        self.cloud.facts().other_access_token.to_owned()
    }

    /// What devices of the manufacturer need for TLS.
    pub fn manufacturer(&self, version: TlsVersion) -> Credentials {
        let facts = self.cloud.facts();
        let certificate = DeviceCertificate::Manufacturer {
            chain: facts.device_cert.to_owned(),
            key: facts.device_key.to_owned(),
        };
        Credentials::load(facts.trust_anchor, &certificate, version).unwrap()
    }

    /// What devices with identity certificates need for TLS.
    pub fn identity(&self, version: TlsVersion) -> Credentials {
        let facts = self.cloud.facts();
        let certificate = DeviceCertificate::Identity {
            ca: facts.identity_trust_anchor.to_owned(),
            key: facts.identity_trust_anchor_key.to_owned(),
        };
        Credentials::load(facts.trust_anchor, &certificate, version).unwrap()
    }

    /// The swarm's devices, in the order of their numbers: lights, switches and sensors in turn.
    pub fn devices(&self) -> Vec<DeviceId> {
        let remembered = state::read(&self.cloud.installation.path("swarm.state")).unwrap();
        let mut entries: Vec<_> = remembered.devices.into_values().collect();
        entries.sort_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| entry.memory.di).collect()
    }

    /// What a program has logged.
    pub fn log(&self, name: &str) -> String {
        read(&self.cloud.installation.path("logs").join(format!("{name}.log")))
    }

    /// The gateway is asked to read its certificates and revocation lists again.
    pub fn reload_gateway(&self) {
        self.signal_gateway(Signal::HUP);
    }

    fn signal_gateway(&self, signal: Signal) {
        let pid = i32::try_from(self.cloud.facts().gateway_pid).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// What each shard has counted until now.
    pub fn counters(&mut self) -> Vec<Counts> {
        let before = self.log(GATEWAY).len();
        self.signal_gateway(Signal::USR1);
        let shards = self.shards();
        let mut counts = Vec::new();
        self.wait_until("the gateway has told its counters", |this| {
            counts = Counts::all_in(this.log(GATEWAY).get(before..).unwrap_or_default());
            counts.len() == shards
        });
        counts
    }

    /// What all shards have counted together.
    pub fn total(&mut self, name: &str) -> u64 {
        self.counters().iter().map(|counts| counts.of(name)).sum()
    }

    fn shards(&self) -> usize {
        let config = read(&self.cloud.installation.path("gateway.toml"));
        let config: toml::Table = config.parse().unwrap();
        usize::try_from(config["cores"]["shards"].as_integer().unwrap()).unwrap()
    }

    /// Looks until it is so.
    ///
    /// # Panics
    /// If it is never so, or a process has died meanwhile.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + LONG;
        while !is_so(self) {
            assert!(Instant::now() < end, "waited too long until {what}");
            if let Some(death) = self.cloud.processes.wait(LOOK_AGAIN_AFTER).unwrap() {
                panic!("{death}");
            }
        }
    }
}

/// A state directory, and a gateway configuration changed as the test wants it.
pub fn install(directory: &Path, setup: Setup) -> Installation {
    let settings = Settings {
        directory: directory.to_owned(),
        coap_port: 0,
        api_port: 0,
        shards: Some(setup.shards),
        users: setup.users,
        devices: setup.devices,
        ping_secs: 20,
    };
    let installation = Installation::open(&settings, &binaries().gateway).unwrap();
    reconfigure(&installation.path("gateway.toml"), setup.gateway);
    reconfigure(&installation.path("api.toml"), setup.api);
    installation
}

fn reconfigure(path: &Path, change: impl FnOnce(&mut toml::Table)) {
    let mut config: toml::Table = read(path).parse().unwrap();
    change(&mut config);
    fs::write(path, toml::to_string(&config).unwrap()).unwrap();
}

fn patience(interrupts: &Receiver<()>) -> Patience<'_> {
    Patience { interrupts, until: Some(Instant::now() + LONG) }
}

/// What a shard has counted.
#[derive(Clone, Debug)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// The counter of this name.
    pub fn of(&self, name: &str) -> u64 {
        let known = gateway::shard::counters::NAMES.contains(&name) || name.starts_with("closed_");
        assert!(known, "nothing is counted as {name}");
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Every line of counters in a log, the shards in order; the last line of each.
    pub fn all_in(log: &str) -> Vec<Self> {
        let mut shards = BTreeMap::new();
        // A line that is still being written has no end.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in whole.lines() {
            let Some((_, told)) = line.split_once(" counters shard=") else { continue };
            let (shard, counts) = told.split_once(" counts=").unwrap();
            let pairs = counts.split(' ').map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), value.parse().unwrap())
            });
            shards.insert(shard.parse::<u16>().unwrap(), Self(pairs.collect()));
        }
        shards.into_values().collect()
    }
}

/// A directory of logs, shown when a test fails.
struct Logs(PathBuf);

impl Drop for Logs {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for name in [GATEWAY, API, SWARM] {
            let log = fs::read(self.0.join(format!("{name}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- the end of the log of {name}\n{}", shown.join("\n"));
        }
    }
}

fn read(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    }
}
