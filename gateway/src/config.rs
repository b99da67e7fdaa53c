//! The gateway's configuration: one typed struct, with a sub-struct for each part that takes one.
//!
//! The doc comment of a field is its documentation: what more and what less of it does. The same
//! words, for operators, stand in `config.default.toml`, which `--print-config` prints; a test
//! proves that the file parses to [`Config::default`] and names every key. Numbers that nobody
//! should change are in `limits.rs` instead.

mod bounds;
mod cores;

pub use bounds::{Limits, Timers};
pub use cores::{Cores, Handshakes, Machine, Plan, Ring, Shares};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shared::channel::message::MESSAGE_BYTES_MAX;
use shared::config::{ConfigError, Invalid, Validate, secs};
use shared::ids::CloudId;

/// The commented default, as `--print-config` prints it.
pub const DEFAULT_TEXT: &str = include_str!("config.default.toml");

/// Everything that can be configured.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who the cloud is, and how long its tokens live.
    pub cloud: Cloud,
    /// Where devices connect.
    pub listen: Listen,
    /// Our certificate, and whose certificates we trust.
    pub tls: Tls,
    /// Cores, and what each of them carries.
    pub cores: Cores,
    /// Bounds of everything that grows.
    pub limits: Limits,
    /// How long we wait for what.
    pub timers: Timers,
    /// The channel to the api processes.
    pub control: Control,
    /// The database.
    pub store: Store,
    /// What is logged.
    pub log: Log,
}

/// Who the cloud is, and how long its tokens live.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cloud {
    /// The cloud's UUID (`sid`), the same in its certificate, its stored state and all its devices.
    /// It can never change; there is no default.
    pub id: CloudId,
    /// The endpoint that devices are told (`cis`): `coaps+tcp://host:port`.
    pub endpoint: String,
    /// Where everything is kept that must survive: the store and its key.
    pub state_dir: PathBuf,
    /// The name that devices may give as `authprovider`; any other is refused.
    pub provider: String,
    /// How long a token that a Mediator gives to a device can be used. Longer helps slow
    /// onboarding, shorter leaves a lost token useful to a finder for less time.
    #[serde(rename = "single_use_token_secs", with = "secs")]
    pub single_use_token: Duration,
    /// Lifetime of access tokens of devices whose identity certificate proves who they are.
    /// Permanent saves each of them a refresh, and us a durable write, on every reconnect.
    #[serde(rename = "identity_token_secs")]
    pub identity_token: TokenLifetime,
    /// Lifetime of access tokens of devices with a manufacturer certificate only.
    #[serde(rename = "manufacturer_token_secs")]
    pub manufacturer_token: TokenLifetime,
    /// Another endpoint of the same cloud, which devices are told at sign-up to use from then on
    /// (`redirecturi`); none by default. Its certificate needs the same `id`.
    pub redirect: Option<String>,
    /// What happens when a device with a manufacturer certificate only signs up for another user
    /// than the one it belongs to (device reference 16, point 12).
    pub takeover: Takeover,
    /// Whether a device with a manufacturer certificate only may come with another key than that of its
    /// sign-up (device reference 16, point 34).
    pub manufacturer_keys: ManufacturerKeys,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            id: CloudId::from_bytes([0; 16]),
            endpoint: "coaps+tcp://localhost:5684".into(),
            state_dir: "/var/lib/ocf-gateway".into(),
            provider: "ocf-cloud".into(),
            single_use_token: Duration::from_secs(15 * 60),
            identity_token: TokenLifetime::Permanent,
            manufacturer_token: TokenLifetime::Limited(Duration::from_secs(24 * 3600)),
            redirect: None,
            takeover: Takeover::Refuse,
            manufacturer_keys: ManufacturerKeys::Accept,
        }
    }
}

/// How long a device's access token is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenLifetime {
    /// For ever, until the account is deleted: `expiresin` -1.
    Permanent,
    /// For this long, then the device must refresh.
    Limited(Duration),
}

impl TokenLifetime {
    /// As devices are told: seconds, or -1.
    pub fn expires_in(self) -> i64 {
        match self {
            Self::Permanent => -1,
            Self::Limited(lifetime) => i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
        }
    }
}

impl<'de> Deserialize<'de> for TokenLifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = i64::deserialize(deserializer)?;
        match u64::try_from(seconds) {
            Ok(seconds) => Ok(Self::Limited(Duration::from_secs(seconds))),
            Err(_) if seconds == -1 => Ok(Self::Permanent),
            Err(_) => Err(serde::de::Error::custom("expected seconds, or -1 for permanent")),
        }
    }
}

impl Serialize for TokenLifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.expires_in())
    }
}

/// Whether a device that proves no identity may move to another user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// The first owner keeps it until he removes it.
    Refuse,
    /// A token made for exactly this device moves it; the first owner is told.
    Allow,
}

/// Whether the key of a manufacturer certificate may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManufacturerKeys {
    /// Any key is as good; a change is logged.
    Accept,
    /// The key of the sign-up is the only one. A device that gets another one has to be set up anew.
    Pin,
}

/// Where devices connect.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Addresses with ports. `[::]:5684` accepts IPv4 as well.
    pub addresses: Vec<SocketAddr>,
    /// Connections that the kernel keeps for us until we accept them, per shard and address. More
    /// rides out a longer burst; they wait there without being served. `net.core.somaxconn` caps it.
    pub backlog: u32,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 5684))],
            backlog: 4096,
        }
    }
}

/// Our certificate, and whose certificates we trust. All files are PEM or DER and are read again on
/// `SIGHUP`.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The cloud's certificate (`CN=uuid:<cloud.id>`), then its intermediates, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM, readable by the gateway only.
    pub key: PathBuf,
    /// Authorities whose certificates prove a device's id. Whoever holds one of their keys can speak
    /// for every device.
    pub identity_anchors: Vec<PathBuf>,
    /// Authorities whose certificates prove a genuine product, but not which one.
    pub manufacturer_anchors: Vec<PathBuf>,
    /// Lists of revoked certificates, of any of these authorities.
    pub crls: Vec<PathBuf>,
    /// For how long a device may resume its session instead of a full handshake, which costs twenty
    /// times as much. Longer serves devices that were away, shorter limits what a stolen ticket key
    /// reveals. 0 turns resumption off.
    #[serde(rename = "ticket_secs", with = "secs")]
    pub ticket: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: "/etc/ocf-gateway/cloud.pem".into(),
            key: "/etc/ocf-gateway/cloud.key".into(),
            identity_anchors: vec!["/etc/ocf-gateway/identity-ca.pem".into()],
            manufacturer_anchors: vec!["/etc/ocf-gateway/manufacturer-ca.pem".into()],
            crls: Vec::new(),
            ticket: Duration::from_secs(24 * 3600),
        }
    }
}

/// The channel to the api processes.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// The Unix socket on which they introduce themselves.
    pub socket: PathBuf,
    /// The group that may open it (mode 0660); by default the gateway's own.
    pub group: Option<String>,
    /// Bytes of one ring; each api process has two per shard. A power of two. More holds a longer
    /// burst of commands before REST callers get 503.
    pub ring_bytes: usize,
    /// Api processes at a time.
    pub processes_max: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/ocf-gateway/control.sock".into(),
            group: None,
            ring_bytes: 2 * 1024 * 1024,
            processes_max: 8,
        }
    }
}

/// The database.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Its place, below `cloud.state_dir` unless absolute.
    pub path: PathBuf,
    /// The store key, 32 bytes; by default `store.key` in `cloud.state_dir`, made at the first start.
    /// A file named here must exist: a systemd credential, for example.
    pub key_file: Option<PathBuf>,
    /// Batches that each shard may have waiting for their commit. More rides out a slower disk; what
    /// does not fit is answered 5.03.
    pub queue_batches_max: usize,
    /// Bytes that each shard may have waiting for their commit.
    pub queue_bytes_max: usize,
    /// Batches that share one fsync. More is faster under load and longer for the first of them.
    pub group_batches_max: usize,
    /// Bytes that share one fsync.
    pub group_bytes_max: usize,
    /// Space on the file system below which changes are refused, so that the database never meets a
    /// full disk and an operator can still clean up.
    pub free_bytes_min: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: "store".into(),
            key_file: None,
            queue_batches_max: 4096,
            queue_bytes_max: 16 * 1024 * 1024,
            group_batches_max: 512,
            group_bytes_max: 4 * 1024 * 1024,
            free_bytes_min: 256 * 1024 * 1024,
        }
    }
}

/// What is logged, to standard error.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// The least important events that are still logged.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people and the journal.
    Text,
    /// One JSON object a line.
    Json,
}

/// How important an event is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something is broken and needs a person.
    Error,
    /// Something is wrong that we live with.
    Warn,
    /// Starts, stops, reloads, and why connections ended.
    Info,
    /// Every exchange.
    Debug,
    /// Everything.
    Trace,
}

impl Config {
    /// Loads and validates a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        shared::config::load(path)
    }

    /// Where the database is.
    pub fn store_dir(&self) -> PathBuf {
        self.cloud.state_dir.join(&self.store.path)
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.cloud.validate()?;
        self.listen.validate()?;
        self.tls.validate()?;
        self.cores.validate()?;
        self.limits.validate()?;
        self.timers.validate()?;
        self.control.validate()?;
        self.store.validate()
    }
}

impl Validate for Cloud {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.id.as_bytes() != &[0; 16], "cloud.id", || {
            "choose a UUID once, for ever: the one in the cloud's certificate".into()
        })?;
        Invalid::unless(is_endpoint(&self.endpoint), "cloud.endpoint", || {
            format!("`{}` is not of the form coaps+tcp://host:port", self.endpoint)
        })?;
        let redirects = self.redirect.as_deref().is_none_or(is_endpoint);
        Invalid::unless(redirects, "cloud.redirect", || {
            "not of the form coaps+tcp://host:port".into()
        })?;
        Invalid::unless(self.state_dir.is_absolute(), "cloud.state_dir", absolute)?;
        Invalid::unless(!self.provider.is_empty(), "cloud.provider", || {
            "must not be empty".into()
        })?;
        Invalid::unless(
            !self.single_use_token.is_zero(),
            "cloud.single_use_token_secs",
            at_least_1,
        )?;
        for (key, lifetime) in [
            ("cloud.identity_token_secs", self.identity_token),
            ("cloud.manufacturer_token_secs", self.manufacturer_token),
        ] {
            // Devices refresh up to ten minutes early (device reference 7.1) and take 0 for never.
            let sensible = match lifetime {
                TokenLifetime::Permanent => true,
                TokenLifetime::Limited(lifetime) => lifetime >= Duration::from_secs(60),
            };
            Invalid::unless(sensible, key, || "at least 60, or -1 for permanent".into())?;
        }
        Ok(())
    }
}

/// Whether this is `coaps+tcp://host:port`.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) =
        text.strip_prefix("coaps+tcp://").and_then(|address| address.rsplit_once(':'))
    else {
        return false;
    };
    let host_is_plausible = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    host_is_plausible && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl Validate for Listen {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(!self.addresses.is_empty(), "listen.addresses", || {
            "give at least one, such as \"[::]:5684\"".into()
        })?;
        Invalid::unless(self.addresses.len() <= 16, "listen.addresses", || "at most 16".into())?;
        Invalid::unless(self.backlog >= 1, "listen.backlog", at_least_1)
    }
}

impl Validate for Tls {
    fn validate(&self) -> Result<(), Invalid> {
        let has_anchors =
            !(self.identity_anchors.is_empty() && self.manufacturer_anchors.is_empty());
        Invalid::unless(has_anchors, "tls.identity_anchors", || {
            "no device can connect: name an authority here or in tls.manufacturer_anchors".into()
        })?;
        // RFC 8446 4.6.1: tickets must not be used for longer than seven days.
        Invalid::unless(
            self.ticket <= Duration::from_secs(7 * 24 * 3600),
            "tls.ticket_secs",
            || "at most 604800, seven days".into(),
        )
    }
}

impl Validate for Control {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.socket.is_absolute(), "control.socket", absolute)?;
        let min = (2 * MESSAGE_BYTES_MAX).next_power_of_two();
        let holds = self.ring_bytes.is_power_of_two() && (min..=1 << 30).contains(&self.ring_bytes);
        Invalid::unless(holds, "control.ring_bytes", || {
            format!("a power of two between {min} and {}", 1 << 30)
        })?;
        Invalid::unless((1..=64).contains(&self.processes_max), "control.processes_max", || {
            "between 1 and 64".into()
        })
    }
}

impl Validate for Store {
    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(!self.path.as_os_str().is_empty(), "store.path", || {
            "must not be empty".into()
        })?;
        Invalid::unless(self.queue_batches_max >= 1, "store.queue_batches_max", at_least_1)?;
        Invalid::unless(self.group_batches_max >= 1, "store.group_batches_max", at_least_1)?;
        let group_bytes_fit = (4096..=16 << 20).contains(&self.group_bytes_max);
        Invalid::unless(group_bytes_fit, "store.group_bytes_max", || {
            "between 4096 and 16777216".into()
        })?;
        Invalid::unless(self.queue_bytes_max >= 4096, "store.queue_bytes_max", || {
            "at least 4096".into()
        })
    }
}

fn at_least_1() -> String {
    "at least 1".into()
}

fn absolute() -> String {
    "must be an absolute path".into()
}

#[cfg(test)]
mod tests;
