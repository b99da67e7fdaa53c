//! The command line of `ocf-swarm`: what was typed becomes a [`Swarm`].

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use serde::Deserialize;

use crate::credentials::{Credentials, DeviceCertificate, TlsVersion, trust_anchors};
use crate::device::{Kind, Pace, Settings, Stack};
use crate::http::Https;
use crate::mediator::Access;
use crate::profile::Profile;
use crate::scenario::{End, Scenario};
use crate::swarm::Swarm;

const EXAMPLES: &str = "\
Profiles (each chooses what is not typed; the numbers are the defaults):
  plain   devices arrive, publish, and are there
  steady  Pings every 20 s, a state change of each device in 1000 s, 10 clients that read each device
          once in 2000 s and change it once in 10 000 s, as many reads over the API as a partner
  ramp    arrivals faster and faster up to --rate, over --ramp seconds (devices / rate)
  storm   when all are online, and --calm seconds later, every device but the first --stay loses its
          connection at once; 1 to 2 s later it tries again, then with limits of 2, 4, 8 ... 64 s
  churn   --drops devices a second (each one once in 10 minutes) lose their connections and come back
  probe   2 clients read 100 times a second from devices that stay; beside another swarm

Examples:
  A thousand devices of one user, 100 arriving per second, until interrupted:
    ocf-swarm --devices 1000 --rate 100 --tokens tokens.txt --trust-anchor ca.pem \\
              --cert device.pem --key device.key

  How long until 50 000 devices are online, in JSON and as a page:
    ocf-swarm --devices 50000 --rate 2000 --until-online --json result.json --html result.html ...

  A million devices of a cloud that `ocf-demo --devices 0 --users 100000 --state-dir cloud` runs, each
  with a Ping in two minutes, for half an hour; the second time without signing up:
    ocf-swarm --profile steady --cloud cloud --devices 1000000 --rate 1500 --ping 120 --for 1800 \\
              --state cloud/swarm.state --html million.html

  How many devices can be in, with a Ping every 20 s, until one Pong in a hundred takes over 0.3 s?
    ocf-swarm --cloud cloud --devices 1000000 --rate 1000 --pause-above 300 --for 1800 --html most.html

  At which rate of arrivals does the cloud fall behind?
    ocf-swarm --profile ramp --cloud cloud --devices 60000 --rate 3000 --until-online --html ramp.html

  A storm, and what 20 devices that stay notice of it (two processes):
    ocf-swarm --profile probe --cloud cloud --devices 20 --nice -10 --for 120 --json probe.json &
    ocf-swarm --profile storm --cloud cloud --devices 19000 --rate 1500 --html storm.html

  Half a percent of the devices coming and going every second:
    ocf-swarm --profile churn --cloud cloud --devices 10000 --drops 50 --for 300 --html churn.html

  Fragile devices that name every rule the cloud breaks, with state over restarts:
    ocf-swarm --devices 100 --fussy --state swarm.state --for 60 ...

The tokens file has one bearer token with the mediator right per line, one line per user; devices are
spread over the users in turn. The exit code is 0 when every device was online with its links
published at the end (in a storm: was back by its third try), 1 when not, 2 when the run could not
begin.";

/// Simulated OCF devices and clients by the thousand, against a real cloud.
#[derive(Parser, Clone, Debug)]
#[command(name = "ocf-swarm", version, after_help = EXAMPLES, args_override_self = true)]
pub struct Arguments {
    /// What the swarm does.
    #[arg(long, value_enum, default_value_t = Profile::Plain)]
    pub profile: Profile,
    /// State directory of an ocf-demo that runs: it says what --api, --tokens, --trust-anchor, --cert,
    /// --key, --connect and --watch would.
    #[arg(long, value_name = "DIR")]
    pub cloud: Option<PathBuf>,
    /// The cloud's API, where device tokens come from: https://host:port (https://localhost:8443 if
    /// not given).
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// File with a bearer token per line, one for each user.
    #[arg(long, value_name = "FILE", required_unless_present = "cloud")]
    pub tokens: Option<PathBuf>,
    /// Certificates (PEM) that the API's and the gateway's certificates are checked against.
    #[arg(long, value_name = "FILE", required_unless_present = "cloud")]
    pub trust_anchor: Option<PathBuf>,
    /// Certificate chain (PEM) that all devices present, as their manufacturer's.
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        required_unless_present_any = ["identity_ca", "cloud"]
    )]
    pub cert: Option<PathBuf>,
    /// Private key (PEM) to --cert.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Certificate and key (PEM) of a CA: every device gets an identity certificate of its own.
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"], conflicts_with = "cert")]
    pub identity_ca: Option<Vec<PathBuf>>,

    /// How many devices.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub devices: u32,
    /// Their kinds, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "light,switch,sensor")]
    pub kinds: Vec<KindName>,
    /// How many devices arrive per second.
    #[arg(long, value_name = "PER_SEC", default_value_t = 50.0, value_parser = above_zero)]
    pub rate: f64,
    /// Arrivals pause while one answer in a hundred takes longer than this, so that what is found is how many
    /// can be in. They come whatever happens if not given.
    #[arg(long, value_name = "MILLISECONDS", value_parser = above_zero)]
    pub pause_above: Option<f64>,
    /// How fast devices live: their own waits take this times their real length.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = pace)]
    pub pace: f64,
    /// Seconds from each Pong to the next Ping; what real stacks do if not given.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = above_zero)]
    pub ping: f64,
    /// Seconds until devices arrive at --rate, beginning with none.
    #[arg(long, value_name = "SECONDS", value_parser = not_negative)]
    pub ramp: Option<f64>,
    /// Devices as fragile as real ones, which say what the cloud does wrong.
    #[arg(long)]
    pub fussy: bool,
    /// The TLS version that devices speak.
    #[arg(long, value_enum, default_value_t = TlsName::V1_2)]
    pub tls: TlsName,
    /// Devices resume the TLS session of their last connection, which real stacks do not; each then
    /// keeps its session, some 2 KiB. TLS 1.2 only.
    #[arg(long, conflicts_with = "identity_ca")]
    pub resume: bool,
    /// All that is random about devices; the same for the same devices. Random if not given.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// State changes that devices make by themselves, per second over all devices.
    #[arg(long, value_name = "PER_SEC", value_parser = not_negative)]
    pub changes: Option<f64>,
    /// How many clients, spread over the users.
    #[arg(long, value_name = "N")]
    pub clients: Option<u32>,
    /// Resources that clients read, per second over all clients.
    #[arg(long, value_name = "PER_SEC", value_parser = not_negative)]
    pub retrieves: Option<f64>,
    /// Resources that clients change, per second over all clients.
    #[arg(long, value_name = "PER_SEC", value_parser = not_negative)]
    pub updates: Option<f64>,
    /// Resources that a partner reads over the API, per second; needs tokens with the right `r:*`.
    #[arg(long, value_name = "PER_SEC", value_parser = not_negative)]
    pub reads: Option<f64>,
    /// Devices that lose their connection and come back, per second.
    #[arg(long, value_name = "PER_SEC", value_parser = not_negative)]
    pub drops: Option<f64>,
    /// So many devices never lose their connection.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub stay: u32,
    /// Seconds from all devices being online to the storm.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = not_negative)]
    pub calm: f64,
    /// How many resources each client observes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub observe: u32,

    /// End after so many seconds; a storm, so many seconds after it broke (180).
    #[arg(long = "for", value_name = "SECONDS", value_parser = above_zero)]
    pub duration: Option<f64>,
    /// End as soon as all devices are online with their links published, or have failed.
    #[arg(long)]
    pub until_online: bool,
    /// Devices leave the cloud for good at the end.
    #[arg(long, conflicts_with = "state")]
    pub sign_off: bool,
    /// Keep the devices' identities and tokens in this file, and go on with those in it.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Threads that drive devices; one per core if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Connect here, whatever address devices were told.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub connect: Option<SocketAddr>,
    /// Local address to connect from; several are taken in turn, 12 000 connections each. On loopback
    /// all of 127.0.0.0/8 is used if not given.
    #[arg(long, value_name = "ADDRESS")]
    pub source: Vec<IpAddr>,
    /// Priority of the process: -20 is the highest, which needs a right.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: Option<i32>,
    /// Memory of this process is reported too; may be given several times, as NAME=PID.
    #[arg(long, value_name = "NAME=PID", value_parser = watched)]
    pub watch: Vec<(String, u32)>,
    /// Seconds that a point in the report's plots stands for; 1, in a storm a quarter.
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    pub interval: Option<f64>,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result as a page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Make this file when all devices are online with their links published, or have failed; it
    /// says how many: {"ready": n, "failed": n}.
    #[arg(long, value_name = "FILE")]
    pub online_file: Option<PathBuf>,
    /// Plain lines instead of a progress bar.
    #[arg(long)]
    pub headless: bool,
}

/// What `demo.json` says that a swarm needs.
#[derive(Deserialize)]
struct DemoFacts {
    api: String,
    trust_anchor: PathBuf,
    device_cert: PathBuf,
    device_key: PathBuf,
    gateway_pid: u32,
    api_pid: u32,
}

/// A kind of device on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum KindName {
    /// oic.r.switch.binary and oic.r.light.dimming.
    Light,
    /// oic.r.switch.binary.
    Switch,
    /// oic.r.temperature.
    Sensor,
}

/// A TLS version on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TlsName {
    /// As real stacks.
    #[value(name = "1.2")]
    V1_2,
    /// As newer ones may.
    #[value(name = "1.3")]
    V1_3,
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..1e9).contains(&number) => Ok(number),
        _ => Err("expected a number, 0 or above".into()),
    }
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0.01 or above".into()),
    }
}

fn watched(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=').and_then(|(name, pid)| Some((name.into(), pid.parse().ok()?)));
    parts.ok_or_else(|| "expected NAME=PID".into())
}

fn pace(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|&factor| Pace::scaled(factor).is_some());
    factor.ok_or_else(|| "expected a factor from 0.001 to 1000".into())
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Light => Self::Light,
            KindName::Switch => Self::Switch,
            KindName::Sensor => Self::Sensor,
        }
    }
}

impl Arguments {
    /// Loads what the arguments name.
    ///
    /// # Errors
    /// Name the argument or file that is wrong, and what would be right.
    pub fn into_swarm(self) -> Result<Swarm> {
        let arguments = self.with_cloud()?;
        let certificate = match (&arguments.cert, &arguments.key, arguments.identity_ca.as_deref())
        {
            (_, _, Some([ca, key])) => {
                DeviceCertificate::Identity { ca: ca.clone(), key: key.clone() }
            }
            (Some(chain), Some(key), _) => {
                DeviceCertificate::Manufacturer { chain: chain.clone(), key: key.clone() }
            }
            _ => bail!("devices need --cert and --key, or --identity-ca"),
        };
        arguments.load(&certificate)
    }

    /// With what a running demo says about itself where nothing was typed.
    ///
    /// # Errors
    /// If there is no demo that runs.
    pub fn with_cloud(mut self) -> Result<Self> {
        let Some(directory) = &self.cloud else { return Ok(self) };
        let path = directory.join("demo.json");
        let facts: DemoFacts = std::fs::read(&path)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(serde_json::from_slice(&text)?))
            .with_context(|| format!("{} does not say that a demo is running", path.display()))?;
        self.api.get_or_insert(facts.api);
        self.tokens.get_or_insert(directory.join("tokens"));
        self.trust_anchor.get_or_insert(facts.trust_anchor);
        if self.identity_ca.is_none() {
            self.cert.get_or_insert(facts.device_cert);
            self.key.get_or_insert(facts.device_key);
        }
        if self.watch.is_empty() {
            self.watch.push(("gateway".into(), facts.gateway_pid));
            self.watch.push(("api".into(), facts.api_pid));
        }
        self.cloud = None;
        Ok(self)
    }

    fn load(self, certificate: &DeviceCertificate) -> Result<Swarm> {
        let scenario = self.scenario()?;
        let asks = scenario.retrieves_per_sec + scenario.updates_per_sec > 0.0;
        if scenario.clients == 0 && (asks || self.observe > 0) {
            bail!("--retrieves, --updates and --observe need --clients");
        }
        let trust_anchor = self.trust_anchor.context("--trust-anchor is missing")?;
        let api = self.api.unwrap_or_else(|| "https://localhost:8443".into());
        let version = match self.tls {
            TlsName::V1_2 => TlsVersion::Tls12,
            TlsName::V1_3 => TlsVersion::Tls13,
        };
        if self.resume && version != TlsVersion::Tls12 {
            bail!("--resume needs --tls 1.2");
        }
        let credentials = Credentials::load(&trust_anchor, certificate, version)?;
        let credentials = if self.resume { credentials.resuming() } else { credentials };
        let cores = match self.threads {
            Some(threads) => threads.into(),
            None => available_parallelism().map_or(1, usize::from),
        };
        Ok(Swarm {
            access: Access {
                api: Https::new(&api, trust_anchors(&trust_anchor)?).context("--api")?,
                tokens: tokens(&self.tokens.context("--tokens is missing")?)?,
            },
            credentials: Arc::new(credentials),
            scenario,
            state: self.state,
            cores,
            connect: self.connect,
            sources: self.source,
        })
    }

    /// What is to be played.
    ///
    /// # Errors
    /// If the system has no random numbers for a seed.
    pub fn scenario(&self) -> Result<Scenario> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64().context("the system has no random numbers")?,
        };
        let limit = self.duration.map(Duration::from_secs_f64);
        let end = match (self.until_online, limit) {
            (true, limit) => End::Online(limit),
            (false, Some(limit)) => End::After(limit),
            (false, None) => End::Interrupted,
        };
        let settings = Settings {
            stack: if self.fussy { Stack::Fussy } else { Stack::Tolerant },
            pace: Pace::scaled(self.pace)
                .context("--pace: expected a factor from 0.001 to 1000")?
                .with_pings_every(Duration::from_secs_f64(self.ping)),
            change_every: None,
        };
        let mut scenario = Scenario {
            devices: self.devices,
            kinds: self.kinds.iter().copied().map(Kind::from).collect(),
            arrivals_per_sec: self.rate,
            pause_above: self.pause_above.map(|millis| Duration::from_secs_f64(millis / 1e3)),
            ramp: Duration::ZERO,
            clients: 0,
            settings,
            changes_per_sec: 0.0,
            retrieves_per_sec: 0.0,
            updates_per_sec: 0.0,
            reads_per_sec: 0.0,
            drops_per_sec: 0.0,
            stay: self.stay,
            interval: Duration::from_secs(1),
            observations_per_client: self.observe,
            seed,
            end,
            sign_off: self.sign_off,
        };
        self.profile.fill(self, &mut scenario);
        Ok(scenario)
    }
}

/// The users' tokens.
fn tokens(path: &Path) -> Result<Vec<Box<str>>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the tokens from {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<Box<str>> = lines.map(Into::into).collect();
    if tokens.is_empty() {
        bail!("{} holds no token; expected one per line, one line per user", path.display());
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &str) -> Result<Arguments, String> {
        let files = "ocf-swarm --tokens t --trust-anchor a";
        let words = files.split(' ').chain(arguments.split(' ').filter(|word| !word.is_empty()));
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_typed_is_what_is_played() {
        let arguments = parse(
            "--cert c --key k --devices 7 --kinds sensor,light --rate 2.5 --pace 0.1 --fussy \
             --clients 2 --retrieves 10 --for 3 --seed 9",
        );
        let scenario = arguments.unwrap().scenario().unwrap();
        assert_eq!(scenario.devices, 7);
        assert_eq!(scenario.kind(0), Kind::Sensor);
        assert_eq!(scenario.kind(1), Kind::Light);
        assert_eq!(scenario.settings.stack, Stack::Fussy);
        assert_eq!(scenario.end, End::After(Duration::from_secs(3)));
        assert_eq!(scenario.seed, 9);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (arguments, problem) in [
            ("", "--cert"),
            ("--cert c", "--key"),
            ("--cert c --key k --rate 0", "expected a number above 0"),
            ("--cert c --key k --pace 5000", "expected a factor from 0.001 to 1000"),
            ("--cert c --key k --kinds lamp", "possible values: light, switch, sensor"),
            ("--cert c --key k --tls 1.1", "possible values: 1.2, 1.3"),
            ("--cert c --key k --sign-off --state s", "cannot be used with"),
            ("--cert c --key k --identity-ca a b", "cannot be used with"),
            ("--identity-ca a", "2 values required"),
            ("--cert c --key k --threads 0", "1..=1024"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(problem), "{arguments}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = parse("--cert c --key k").unwrap().into_swarm().err().unwrap();
        assert!(format!("{error:#}").contains('a'), "{error:#}");
        let error = parse("--cloud /nowhere").unwrap().into_swarm().err().unwrap();
        assert!(format!("{error:#}").contains("/nowhere/demo.json"), "{error:#}");
    }
}
