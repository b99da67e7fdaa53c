//! The command line of `ocf-swarm`: what was typed becomes a [`Swarm`].

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use crate::credentials::{Credentials, DeviceCertificate, TlsVersion, trust_anchors};
use crate::device::{Kind, Pace, Settings, Stack};
use crate::http::Https;
use crate::mediator::Access;
use crate::scenario::{End, Scenario};
use crate::swarm::Swarm;

const EXAMPLES: &str = "\
Examples:
  A thousand devices of one user, 100 arriving per second, until interrupted:
    ocf-swarm --devices 1000 --rate 100 --tokens tokens.txt --trust-anchor ca.pem \\
              --cert device.pem --key device.key

  How long until 50 000 devices are online, in JSON:
    ocf-swarm --devices 50000 --rate 2000 --pace 0.01 --until-online --json result.json ...

  Fragile devices that name every rule the cloud breaks, with state over restarts:
    ocf-swarm --devices 100 --fussy --state swarm.state --for 60 ...

  Routed requests: 20 clients read 500 and change 50 resources a second:
    ocf-swarm --devices 1000 --clients 20 --retrieves 500 --updates 50 --for 120 ...

The tokens file has one bearer token with the mediator right per line, one line per user; devices are
spread over the users in turn. The exit code is 0 when every device was online with its links
published at the end, 1 when not, 2 when the run could not begin.";

/// Simulated OCF devices and clients by the thousand, against a real cloud.
#[derive(Parser, Clone, Debug)]
#[command(name = "ocf-swarm", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The cloud's API, where device tokens come from: https://host:port.
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443")]
    pub api: String,
    /// File with a bearer token per line, one for each user.
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
    /// Certificates (PEM) that the API's and the gateway's certificates are checked against.
    #[arg(long, value_name = "FILE")]
    pub trust_anchor: PathBuf,
    /// Certificate chain (PEM) that all devices present, as their manufacturer's.
    #[arg(long, value_name = "FILE", requires = "key", required_unless_present = "identity_ca")]
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
    /// How fast devices live: their own waits take this times their real length.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = pace)]
    pub pace: f64,
    /// Devices as fragile as real ones, which say what the cloud does wrong.
    #[arg(long)]
    pub fussy: bool,
    /// The TLS version that devices speak.
    #[arg(long, value_enum, default_value_t = TlsName::V1_2)]
    pub tls: TlsName,
    /// All that is random about devices; the same for the same devices. Random if not given.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// State changes that devices make by themselves, per second over all devices.
    #[arg(long, value_name = "PER_SEC", default_value_t = 0.0, value_parser = not_negative)]
    pub changes: f64,
    /// How many clients, spread over the users.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub clients: u32,
    /// Resources that clients read, per second over all clients.
    #[arg(long, value_name = "PER_SEC", default_value_t = 0.0, value_parser = not_negative)]
    pub retrieves: f64,
    /// Resources that clients change, per second over all clients.
    #[arg(long, value_name = "PER_SEC", default_value_t = 0.0, value_parser = not_negative)]
    pub updates: f64,
    /// How many resources each client observes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub observe: u32,

    /// End after so many seconds.
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
    /// Local address to connect from; several are taken in turn, 20 000 connections each.
    #[arg(long, value_name = "ADDRESS")]
    pub source: Vec<IpAddr>,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Make this file when all devices are online with their links published, or have failed; it
    /// says how many: {"ready": n, "failed": n}.
    #[arg(long, value_name = "FILE")]
    pub online_file: Option<PathBuf>,
    /// Plain lines instead of a progress bar.
    #[arg(long)]
    pub headless: bool,
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
        let certificate = match (&self.cert, &self.key, self.identity_ca.as_deref()) {
            (Some(chain), Some(key), _) => {
                DeviceCertificate::Manufacturer { chain: chain.clone(), key: key.clone() }
            }
            (_, _, Some([ca, key])) => {
                DeviceCertificate::Identity { ca: ca.clone(), key: key.clone() }
            }
            _ => bail!("devices need --cert and --key, or --identity-ca"),
        };
        if self.clients == 0 && (self.retrieves > 0.0 || self.updates > 0.0 || self.observe > 0) {
            bail!("--retrieves, --updates and --observe need --clients");
        }
        let version = match self.tls {
            TlsName::V1_2 => TlsVersion::Tls12,
            TlsName::V1_3 => TlsVersion::Tls13,
        };
        let cores = match self.threads {
            Some(threads) => threads.into(),
            None => available_parallelism().map_or(1, usize::from),
        };
        Ok(Swarm {
            access: Access {
                api: Https::new(&self.api, trust_anchors(&self.trust_anchor)?).context("--api")?,
                tokens: tokens(&self.tokens)?,
            },
            credentials: Credentials::load(&self.trust_anchor, &certificate, version)?,
            scenario: self.scenario()?,
            state: self.state,
            cores,
            connect: self.connect,
            sources: self.source,
        })
    }

    fn scenario(&self) -> Result<Scenario> {
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
                .context("--pace: expected a factor from 0.001 to 1000")?,
            change_every: None,
        };
        Ok(Scenario {
            devices: self.devices,
            kinds: self.kinds.iter().copied().map(Kind::from).collect(),
            arrivals_per_sec: self.rate,
            clients: self.clients,
            settings,
            changes_per_sec: self.changes,
            retrieves_per_sec: self.retrieves,
            updates_per_sec: self.updates,
            observations_per_client: self.observe,
            seed,
            end,
            sign_off: self.sign_off,
        })
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
    }
}
