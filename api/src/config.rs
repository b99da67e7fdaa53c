//! The configuration: one typed struct, its defaults, and what would be wrong with a value.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::config::{Invalid, Validate};

/// The default configuration with a comment for every key, as `--print-config` shows it.
pub const DEFAULT_TEXT: &str = include_str!("config.default.toml");

/// The whole configuration of `ocf-api`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port on which HTTPS is served. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Threads that serve requests; 0 takes one per core.
    pub workers: usize,
    /// Certificate and key.
    pub tls: Tls,
    /// Where the gateway is.
    pub gateway: Gateway,
    /// Who may use the API.
    pub credentials: Credentials,
    /// How users link partner clouds.
    pub authorization: Authorization,
    /// How events are sent to partner clouds.
    pub events: Events,
    /// What is refused because there is too much of it.
    pub limits: Limits,
    /// What is given up because it takes too long.
    pub timeouts: Timeouts,
    /// What is logged.
    pub log: Log,
}

/// Certificate and key of the HTTPS server.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain in PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub private_key: PathBuf,
}

/// Where the gateway is.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// Unix socket on which the gateway introduces its shards.
    pub socket: PathBuf,
}

/// Who may use the API.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// Access tokens known in advance, as JSON: see [`crate::credentials`].
    pub file: PathBuf,
}

/// How users link partner clouds (cloud reference 3).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// `https` URL under which the outside reaches this server; `iss` of its tokens.
    pub issuer: String,
    /// What tokens name as the API that they are for; the issuer when empty.
    pub audience: String,
    /// What the pages call this cloud.
    pub cloud_name: String,
    /// How long an access token is good.
    pub access_token_secs: u32,
    /// How long a code may wait to be exchanged.
    pub code_secs: u32,
    /// Refresh tokens also for clients that do not ask for `offline_access` (OP-32).
    pub always_refresh_token: bool,
    /// How long a key signs.
    pub signing_key_days: u32,
    /// How long a user who has logged in is not asked for the password again.
    pub session_minutes: u32,
}

impl Authorization {
    /// What tokens name as this API.
    pub fn audience(&self) -> &str {
        if self.audience.is_empty() { &self.issuer } else { &self.audience }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            issuer: "https://localhost:8443".into(),
            audience: String::new(),
            cloud_name: "OCF Cloud".into(),
            access_token_secs: 3600,
            code_secs: 60,
            always_refresh_token: true,
            signing_key_days: 30,
            session_minutes: 15,
        }
    }
}

impl Validate for Authorization {
    fn validate(&self) -> Result<(), Invalid> {
        if !is_issuer(&self.issuer) {
            let problem = format!(
                "{:?} is no https URL without path, query and fragment, such as \"https://cloud.example\"",
                self.issuer
            );
            return Err(Invalid::new("authorization.issuer", problem));
        }
        if self.cloud_name.is_empty() || self.cloud_name.chars().count() > 60 {
            let problem = "a name of 1 to 60 characters is needed";
            return Err(Invalid::new("authorization.cloud_name", problem));
        }
        for (key, value, range) in [
            ("authorization.access_token_secs", self.access_token_secs, 60..=86_400),
            ("authorization.code_secs", self.code_secs, 1..=600),
            // A key is published for ten minutes before it signs, and kept until all tokens that it
            // signed have expired.
            ("authorization.signing_key_days", self.signing_key_days, 2..=3650),
            ("authorization.session_minutes", self.session_minutes, 1..=1440),
        ] {
            if !range.contains(&value) {
                let problem =
                    format!("{value} is not between {} and {}", range.start(), range.end());
                return Err(Invalid::new(key, problem));
            }
        }
        Ok(())
    }
}

/// Browsers and clients find everything below it, so it is nothing but scheme, host and port.
fn is_issuer(text: &str) -> bool {
    let url = url::Url::parse(text);
    url.is_ok_and(|url| {
        url.scheme() == "https" && url.has_host() && url.origin().ascii_serialization() == text
    })
}

/// How events are sent to partner clouds (cloud reference 5.6, 9.2).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Authorities of receivers' certificates, in PEM, besides those that a client has of its own.
    pub authorities: PathBuf,
    /// Addresses that get no events although they are public: our own.
    pub refused_addresses: Vec<IpAddr>,
    /// Signing secrets have exactly 32 characters (OP-6).
    pub strict_signing_secret: bool,
    /// Plain http, any port, and addresses that are not public. For development only.
    pub http_allowed: bool,
    /// For one attempt, in milliseconds.
    pub attempt_ms: u32,
    /// How long a connection to a receiver is kept without anything to send, in milliseconds.
    pub idle_ms: u32,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            refused_addresses: Vec::new(),
            strict_signing_secret: false,
            http_allowed: false,
            attempt_ms: 10_000,
            idle_ms: 60_000,
        }
    }
}

impl Validate for Events {
    fn validate(&self) -> Result<(), Invalid> {
        for (key, ms, range) in [
            // A shard takes a delivery back after a minute.
            ("events.attempt_ms", self.attempt_ms, 100..=30_000),
            ("events.idle_ms", self.idle_ms, 100..=3_600_000),
        ] {
            if !range.contains(&ms) {
                let problem = format!("{ms} is not between {} and {}", range.start(), range.end());
                return Err(Invalid::new(key, problem));
            }
        }
        Ok(())
    }
}

/// What is refused because there is too much of it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Requests under way on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Requests under way in the process.
    pub requests_in_flight: usize,
    /// Lists of devices being sent.
    pub lists: usize,
    /// Commands under way per shard, with those whose requester has gone.
    pub commands_per_shard: usize,
    /// Longest request body.
    pub body_bytes: usize,
    /// Longest head of a request.
    pub header_bytes: usize,
}

/// What is given up because it takes too long (cloud reference 4.12), in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_ms: u32,
    /// From the first byte of a request to the end of its head.
    pub header_ms: u32,
    /// From the end of the head to the end of the request's body.
    pub body_ms: u32,
    /// Until a device has answered.
    pub device_ms: u32,
    /// Until a shard has answered from its own tables and the store.
    pub store_ms: u32,
    /// From the end of the head to the beginning of the answer, whatever happens.
    pub response_ms: u32,
    /// How long 16 KiB of an answer may take to be read.
    pub write_ms: u32,
    /// How long a connection may be open without a request.
    pub idle_ms: u32,
    /// How long requests under way may go on after SIGTERM.
    pub drain_ms: u32,
}

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Levels, also per module: `info,api=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One object per line.
    Json,
    /// For people.
    Text,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
            workers: 0,
            tls: Tls::default(),
            gateway: Gateway::default(),
            credentials: Credentials::default(),
            authorization: Authorization::default(),
            events: Events::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            log: Log::default(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: "/etc/ocf-cloud/api.pem".into(),
            private_key: "/etc/ocf-cloud/api.key".into(),
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self { socket: "/run/ocf-cloud/gateway.sock".into() }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { file: "/etc/ocf-cloud/credentials.json".into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams_per_connection: 64,
            requests_in_flight: 4096,
            lists: 64,
            commands_per_shard: 8192,
            body_bytes: 1 << 20,
            header_bytes: 16 << 10,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake_ms: 4_000,
            header_ms: 4_000,
            body_ms: 8_000,
            device_ms: 10_000,
            store_ms: 5_000,
            response_ms: 16_000,
            write_ms: 16_000,
            idle_ms: 30_000,
            drain_ms: 20_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Json }
    }
}

/// Milliseconds of a configuration key.
pub(crate) fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

/// Headroom between the patience with a shard and the answer to the consumer.
const ANSWER_MARGIN_MS: u32 = 1_000;

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.limits.validate()?;
        self.timeouts.validate()?;
        self.authorization.validate()?;
        self.events.validate()?;
        if self.workers > 1024 {
            return Err(Invalid::new("workers", "more than 1024 threads; 0 takes one per core"));
        }
        if self.log.level.parse::<tracing_subscriber::EnvFilter>().is_err() {
            let problem = format!("{:?} is no list of levels such as \"info\"", self.log.level);
            return Err(Invalid::new("log.level", problem));
        }
        Ok(())
    }
}

impl Validate for Limits {
    fn validate(&self) -> Result<(), Invalid> {
        let counts = [
            ("limits.connections", self.connections),
            ("limits.streams_per_connection", self.streams_per_connection as usize),
            ("limits.requests_in_flight", self.requests_in_flight),
            ("limits.lists", self.lists),
            ("limits.commands_per_shard", self.commands_per_shard),
        ];
        for (key, count) in counts {
            if !(1..=1 << 24).contains(&count) {
                return Err(Invalid::new(key, format!("{count} is not between 1 and 16777216")));
            }
        }
        for (key, bytes, range) in [
            ("limits.body_bytes", self.body_bytes, 1 << 10..=16 << 20),
            ("limits.header_bytes", self.header_bytes, 8 << 10..=256 << 10),
        ] {
            if !range.contains(&bytes) {
                let problem =
                    format!("{bytes} is not between {} and {}", range.start(), range.end());
                return Err(Invalid::new(key, problem));
            }
        }
        Ok(())
    }
}

impl Validate for Timeouts {
    fn validate(&self) -> Result<(), Invalid> {
        let all = [
            ("timeouts.handshake_ms", self.handshake_ms),
            ("timeouts.header_ms", self.header_ms),
            ("timeouts.body_ms", self.body_ms),
            ("timeouts.device_ms", self.device_ms),
            ("timeouts.store_ms", self.store_ms),
            ("timeouts.response_ms", self.response_ms),
            ("timeouts.write_ms", self.write_ms),
            ("timeouts.idle_ms", self.idle_ms),
            ("timeouts.drain_ms", self.drain_ms),
        ];
        for (key, ms) in all {
            if !(100..=3_600_000).contains(&ms) {
                let problem = format!("{ms} is not between 100 (0.1 s) and 3600000 (an hour)");
                return Err(Invalid::new(key, problem));
            }
        }
        let longest = self.device_ms.max(self.store_ms) + ANSWER_MARGIN_MS;
        if self.response_ms < longest {
            let problem = format!(
                "{} is too short: device_ms and store_ms ask for at least {longest}",
                self.response_ms
            );
            return Err(Invalid::new("timeouts.response_ms", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, String> {
        shared::config::parse(text, Path::new("api.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_printed_default_is_the_default() {
        assert_eq!(parse(DEFAULT_TEXT), Ok(Config::default()));
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn the_printed_default_names_and_explains_every_key() {
        let all = toml::Table::try_from(Config::default()).unwrap();
        let printed: toml::Table = DEFAULT_TEXT.parse().unwrap();
        assert_eq!(printed, all);
        let mut previous = "";
        for line in DEFAULT_TEXT.lines() {
            let is_key = line.contains(" = ") && !line.starts_with('#');
            assert!(!is_key || previous.starts_with('#'), "{line} has no comment");
            previous = line;
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_key() {
        for (text, key) in [
            ("lissten = 1", "lissten"),
            ("listen = \"nowhere\"", "listen"),
            ("[limits]\nlists = 0", "limits.lists"),
            ("[limits]\nbody_bytes = 10", "limits.body_bytes"),
            ("[limits]\nheader_bytes = 100", "limits.header_bytes"),
            ("[timeouts]\nidle_ms = 0", "timeouts.idle_ms"),
            ("[timeouts]\nresponse_ms = 10000", "timeouts.response_ms"),
            ("[log]\nlevel = \"api=loud\"", "log.level"),
            ("workers = 5000", "workers"),
            ("[authorization]\nissuer = \"http://cloud.example\"", "authorization.issuer"),
            ("[authorization]\nissuer = \"https://cloud.example/\"", "authorization.issuer"),
            ("[authorization]\ncode_secs = 601", "authorization.code_secs"),
            ("[authorization]\nsigning_key_days = 1", "authorization.signing_key_days"),
            ("[authorization]\ncloud_name = \"\"", "authorization.cloud_name"),
            ("[events]\nattempt_ms = 30001", "events.attempt_ms"),
            ("[events]\nrefused_addresses = [\"here\"]", "refused_addresses"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key) && error.contains("api.toml"), "{error}");
        }
    }
}
