//! A state directory (I/O): certificates, users and configuration of one small cloud. Made at the first
//! start, continued at the next ones.
//!
//! ```text
//! demo.json           what a person or test needs to know, as long as everything is ready
//! installation.json   the cloud's id, the users and their tokens, the ports: what continues
//! certificates/       authorities, the cloud's certificate, a device's
//! gateway.toml  api.toml  credentials.json  tokens
//! gateway/            the gateway's own state
//! swarm.state  logs/
//! ```

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::ids::{CloudId, UserId};

use super::certificates::Certificates;
use super::partner::Partner;
use crate::files::{Readers, write_atomically};

/// Longest path of a Unix socket, without the NUL at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How long an earlier run may go on to listen after its end.
const EARLIER_RUN: Duration = Duration::from_secs(2);
/// Between two looks whether it still does.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What is to be set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The state directory; made if it is not there.
    pub directory: PathBuf,
    /// Port for devices; 0 for the one of the last time, or any free one.
    pub coap_port: u16,
    /// Port of the API; 0 likewise.
    pub api_port: u16,
    /// Cores that the gateway uses; all if none.
    pub shards: Option<u16>,
    /// How many users own devices.
    pub users: u32,
    /// How many devices will come: the gateway's bounds allow for them.
    pub devices: u32,
    /// Seconds between the Pings of each: the gateway is patient enough for them.
    pub ping_secs: u32,
}

/// A state directory with everything in it that gateway, api and swarm need to start.
pub struct Installation {
    directory: PathBuf,
    kept: Kept,
    /// Its certificates.
    pub certificates: Certificates,
    /// Nobody else works on the directory as long as this is open.
    _lock: fs::File,
}

/// What continues from one start to the next.
#[derive(Clone, Deserialize, Serialize)]
struct Kept {
    cloud_id: CloudId,
    coap_port: u16,
    api_port: u16,
    /// Those who own devices.
    users: Vec<User>,
    /// One who owns nothing.
    other: User,
    /// A token with the operator's right.
    #[serde(default)]
    operator: Option<Box<str>>,
    /// What the first user's devices can be linked with, once it is registered.
    #[serde(default)]
    partner: Option<Partner>,
}

/// A user, and a token with every right.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct User {
    /// Who.
    pub uid: UserId,
    /// A bearer token for the API: `r:*`, `w:*` and the mediator right.
    pub token: Box<str>,
}

impl Installation {
    /// Makes the directory, or continues with what is in it. `gateway` is the binary that makes the
    /// certificates.
    ///
    /// # Errors
    /// If the directory cannot be written or is in use, a port is taken, or certificates cannot be
    /// made; the text says what to do.
    pub fn open(settings: &Settings, gateway: &Path) -> Result<Self> {
        let directory = &settings.directory;
        let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(directory)
            .and_then(|()| private(&directory.join("logs")))
            .and_then(|()| private(&directory.join("gateway")))
            .with_context(|| format!("cannot write the state directory {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        let lock = lock(&directory)?;
        let mut kept = match read_kept(&directory)? {
            Some(kept) => kept,
            None => Kept {
                cloud_id: CloudId::from_random(random()?),
                coap_port: 0,
                api_port: 0,
                users: Vec::new(),
                other: User::new()?,
                operator: None,
                partner: None,
            },
        };
        if kept.operator.is_none() {
            kept.operator = Some(random_text()?);
        }
        while kept.users.len() < settings.users.max(1) as usize {
            kept.users.push(User::new()?);
        }
        kept.coap_port = port(settings.coap_port, kept.coap_port, "--coap-port")?;
        kept.api_port = port(settings.api_port, kept.api_port, "--api-port")?;
        if socket(&directory).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            bail!(
                "{} is too long for a state directory: a Unix socket in it may have {} bytes",
                directory.display(),
                SOCKET_PATH_BYTES_MAX
            );
        }
        let certificates =
            Certificates::make(&directory.join("certificates"), kept.cloud_id, gateway)?;
        let installation = Self { directory, kept, certificates, _lock: lock };
        installation.write(settings)?;
        Ok(installation)
    }

    fn write(&self, settings: &Settings) -> Result<()> {
        self.forget_facts()?;
        self.write_kept()?;
        write_atomically(&self.path("tokens"), self.tokens(settings).as_bytes(), Readers::Owner)?;
        let credentials = serde_json::to_vec_pretty(&self.credentials())?;
        write_atomically(&self.path("credentials.json"), &credentials, Readers::Owner)?;
        let gateway = toml::to_string(&self.gateway_toml(settings))?;
        write_atomically(&self.path("gateway.toml"), gateway.as_bytes(), Readers::Anybody)?;
        let api = toml::to_string(&self.api_toml())?;
        write_atomically(&self.path("api.toml"), api.as_bytes(), Readers::Anybody)
    }

    fn write_kept(&self) -> Result<()> {
        let kept = serde_json::to_vec_pretty(&self.kept)?;
        write_atomically(&self.path("installation.json"), &kept, Readers::Owner)
    }

    /// Only those users who were asked for get devices.
    fn tokens(&self, settings: &Settings) -> String {
        let users = self.kept.users.iter().take(settings.users.max(1) as usize);
        users.map(|user| format!("{}\n", user.token)).collect()
    }

    fn credentials(&self) -> Vec<Credential> {
        let users = self.kept.users.iter().chain([&self.kept.other]);
        let users = users.map(|user| Credential::of(user.uid, &user.token));
        let operator = Credential::of(self.kept.other.uid, self.operator());
        let operator = Credential { scopes: &[], mediator: false, operator: true, ..operator };
        users.chain([operator]).collect()
    }

    fn gateway_toml(&self, settings: &Settings) -> toml::Table {
        let certificates = &self.certificates;
        let mut cores = toml::Table::new();
        if let Some(shards) = settings.shards {
            cores.insert("shards".into(), i64::from(shards).into());
        }
        // Room for all devices even if they belong to one user.
        let devices = i64::from(settings.devices);
        table([
            (
                "cloud",
                table([
                    ("id", self.kept.cloud_id.to_string().into()),
                    ("endpoint", self.cis().into()),
                    ("state_dir", text(&self.path("gateway"))),
                ])
                .into(),
            ),
            ("listen", table([("addresses", list([self.coap().to_string().into()]))]).into()),
            (
                "tls",
                table([
                    ("certificate", text(&certificates.cloud)),
                    ("key", text(&certificates.cloud_key)),
                    ("identity_anchors", list([text(&certificates.identity_ca)])),
                    ("manufacturer_anchors", list([text(&certificates.device_ca)])),
                ])
                .into(),
            ),
            ("cores", cores.into()),
            (
                "limits",
                table([
                    ("devices_per_user_max", (10_000 + devices).into()),
                    ("single_use_tokens_per_user_max", (1000 + devices).into()),
                ])
                .into(),
            ),
            ("control", table([("socket", text(&self.socket()))]).into()),
            // A demo is stopped by hand, and its devices with it.
            (
                "timers",
                table([
                    ("drain_secs", 1.into()),
                    // In the proportions of its defaults, which are made for a Ping in 20 s.
                    ("ping_after_secs", (i64::from(settings.ping_secs) * 3 / 2).into()),
                    ("idle_secs", (i64::from(settings.ping_secs) * 9 / 2).into()),
                ])
                .into(),
            ),
        ])
    }

    fn api_toml(&self) -> toml::Table {
        table([
            ("listen", self.api().to_string().into()),
            (
                "tls",
                table([
                    ("certificate", text(&self.certificates.cloud)),
                    ("private_key", text(&self.certificates.cloud_key)),
                ])
                .into(),
            ),
            ("gateway", table([("socket", text(&self.socket()))]).into()),
            ("credentials", table([("file", text(&self.path("credentials.json")))]).into()),
            ("authorization", table([("issuer", self.api_url().into())]).into()),
            // Anybody can try events with ten lines on the same machine.
            ("events", table([("http_allowed", true.into())]).into()),
            ("log", table([("format", "text".into())]).into()),
        ])
    }

    /// Removes `demo.json`: what it says is not so, or no longer.
    pub(super) fn forget_facts(&self) -> Result<()> {
        match fs::remove_file(self.path("demo.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove demo.json")
            }
            _ => Ok(()),
        }
    }

    /// A file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// Who the cloud is.
    pub fn cloud_id(&self) -> CloudId {
        self.kept.cloud_id
    }

    /// Where devices connect.
    pub fn coap(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.kept.coap_port))
    }

    /// What devices are told.
    pub fn cis(&self) -> String {
        format!("coaps+tcp://{}", self.coap())
    }

    /// Where the API listens.
    pub fn api(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.kept.api_port))
    }

    /// The API, as its certificate names it.
    pub fn api_url(&self) -> String {
        format!("https://{}", self.api())
    }

    /// Who owns devices; the first one always does.
    pub fn users(&self) -> &[User] {
        &self.kept.users
    }

    /// A token with the operator's right.
    pub fn operator(&self) -> &str {
        self.kept.operator.as_deref().unwrap_or_default()
    }

    /// What the first user's devices can be linked with, once it is registered.
    pub fn partner(&self) -> Option<&Partner> {
        self.kept.partner.as_ref()
    }

    /// Remembers it.
    pub(super) fn keep_partner(&mut self, partner: Partner) -> Result<()> {
        self.kept.partner = Some(partner);
        self.write_kept()
    }

    /// Who owns nothing.
    pub fn other(&self) -> &User {
        &self.kept.other
    }
}

impl User {
    fn new() -> Result<Self> {
        Ok(Self { uid: UserId::from_random(random()?), token: random_text()? })
    }
}

/// A secret that nobody can guess.
pub(super) fn random_text() -> Result<Box<str>> {
    let bytes = [random()?, random()?].concat();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(text.into())
}

/// An entry of the credentials file of `api`.
#[derive(Serialize)]
struct Credential {
    token_sha256: String,
    user: UserId,
    client: &'static str,
    scopes: &'static [&'static str],
    mediator: bool,
    operator: bool,
}

impl Credential {
    fn of(user: UserId, token: &str) -> Self {
        let digest = Sha256::digest(token.as_bytes());
        Self {
            token_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            user,
            client: "demo",
            scopes: &["r:*", "w:*"],
            mediator: true,
            operator: false,
        }
    }
}

fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes)
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

fn lock(directory: &Path) -> Result<fs::File> {
    let path = directory.join("lock");
    let open = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.with_context(|| format!("cannot write {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => bail!("another demo works on {}; stop it first", directory.display()),
    }
}

fn read_kept(directory: &Path) -> Result<Option<Kept>> {
    let path = directory.join("installation.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    let kept = serde_json::from_slice(&text);
    kept.map(Some).with_context(|| format!("{} was not written by this demo", path.display()))
}

/// The port that is asked for, which has to be free; or the last one if it is; or any.
fn port(asked: u16, last: u16, option: &str) -> Result<u16> {
    if asked != 0 {
        return free_soon(asked)
            .with_context(|| format!("port {asked} cannot be used; choose another with {option}"));
    }
    free_soon(last).or_else(|_| free(0)).context("no port is free")
}

/// A gateway that was killed listens for some moments more, until the kernel has closed its rings.
fn free_soon(port: u16) -> Result<u16> {
    let late = Instant::now() + EARLIER_RUN;
    loop {
        match free(port) {
            Err(_) if Instant::now() < late => thread::sleep(LOOK_AGAIN_AFTER),
            result => return result,
        }
    }
}

fn free(port: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(listener.local_addr()?.port())
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn list<const N: usize>(values: [toml::Value; N]) -> toml::Value {
    toml::Value::Array(values.into())
}

fn text(path: &Path) -> toml::Value {
    path.to_string_lossy().into_owned().into()
}
