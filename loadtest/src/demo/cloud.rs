//! A cloud that runs: gateway, api and, where there are devices, a swarm, each a process of its own
//! (I/O).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use shared::ids::{CloudId, DeviceId, UserId};

use super::installation::{Installation, random_text};
use super::partner::{self, Partner, Wanted};
use super::processes::{Processes, Program};
use super::ready::{Notice, Patience, answers_ready, wait_until};
use crate::credentials::trust_anchors;
use crate::files::{Readers, write_atomically};
use crate::http::Https;
use crate::report::Arrived;
use crate::state;

/// Name of the gateway's process.
pub const GATEWAY: &str = "ocf-gateway";
/// Name of the API's process.
pub const API: &str = "ocf-api";
/// Name of the swarm's process.
pub const SWARM: &str = "ocf-swarm";

/// Name of the socket on which a process says that it is ready.
const NOTICE: &str = "ready.sock";

/// The programs of a cloud.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binaries {
    /// `ocf-gateway`.
    pub gateway: PathBuf,
    /// `ocf-api`.
    pub api: PathBuf,
    /// `ocf-swarm`.
    pub swarm: PathBuf,
    /// `ocf-demo`, which starts the others so that none outlives its parent.
    pub demo: PathBuf,
}

impl Binaries {
    /// All in this directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            gateway: directory.join(GATEWAY),
            api: directory.join(API),
            swarm: directory.join(SWARM),
            demo: directory.join("ocf-demo"),
        }
    }
}

/// A running cloud. Dropping it kills all of it.
pub struct Cloud {
    /// What it was set up with.
    pub installation: Installation,
    /// Its processes: [`GATEWAY`], [`API`], [`SWARM`].
    pub processes: Processes,
    binaries: Binaries,
    gateway_pid: u32,
    api_pid: u32,
}

/// What a swarm beside a cloud does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SwarmSettings {
    /// How many devices.
    pub devices: u32,
    /// How many of them arrive per second.
    pub per_sec: f64,
    /// How fast they live.
    pub pace: f64,
    /// State changes per second, over all devices.
    pub changes_per_sec: f64,
    /// They are as fragile as real ones, and say what the cloud does wrong.
    pub fussy: bool,
    /// Its progress is shown on the terminal.
    pub on_terminal: bool,
}

/// The content of `demo.json`: all that somebody needs to use the cloud.
#[derive(Serialize)]
pub struct Facts<'a> {
    /// Where devices connect: `coaps+tcp://host:port`.
    pub coap: String,
    /// The API: `https://host:port`.
    pub api: String,
    /// The cloud's id (`sid`).
    pub cloud_id: CloudId,
    /// The authority of the cloud's certificate, for devices and users of the API.
    pub trust_anchor: &'a Path,
    /// The authority of the devices' manufacturer.
    pub device_trust_anchor: &'a Path,
    /// Its key.
    pub device_trust_anchor_key: &'a Path,
    /// The authority of identity certificates.
    pub identity_trust_anchor: &'a Path,
    /// Its key.
    pub identity_trust_anchor_key: &'a Path,
    /// A device's certificate, of the manufacturer.
    pub device_cert: &'a Path,
    /// Its key.
    pub device_key: &'a Path,
    /// The first user, who owns devices.
    pub uid: UserId,
    /// A token of that user, with every right.
    pub access_token: &'a str,
    /// A token of a user who owns nothing, with every right.
    pub other_access_token: &'a str,
    /// A token with which partners and users are registered.
    pub operator_token: &'a str,
    /// A partner cloud and a login of the first user, to try linking with.
    #[serde(flatten)]
    pub partner: Option<&'a Partner>,
    /// Events go to `http` and to this machine.
    pub events_http_allowed: bool,
    /// The gateway's process.
    pub gateway_pid: u32,
    /// The API's process.
    pub api_pid: u32,
}

impl Cloud {
    /// Starts gateway and api, and waits until they are ready.
    ///
    /// # Errors
    /// If one of them dies, with its last words; or that patience has ended.
    pub fn start(
        installation: Installation,
        binaries: Binaries,
        patience: Patience<'_>,
    ) -> Result<Self> {
        let processes = Processes::new(binaries.demo.clone());
        let mut cloud = Self { installation, processes, binaries, gateway_pid: 0, api_pid: 0 };
        let started = cloud.start_gateway(patience).and_then(|()| cloud.start_api(patience));
        match started {
            Ok(()) => Ok(cloud),
            Err(error) => {
                // Why it did not start is what counts.
                let _ = cloud.stop();
                Err(error)
            }
        }
    }

    /// Starts the gateway, again if it was stopped or killed, and waits until it accepts devices.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_gateway(&mut self, patience: Patience<'_>) -> Result<()> {
        let binary = self.binaries.gateway.clone();
        let config = self.installation.path("gateway.toml");
        let mut program = self.program(GATEWAY, binary, vec!["--config".into(), config.into()]);
        let path = self.installation.path(NOTICE);
        let notice = Notice::open(path.clone())?;
        program.notify = Some(path);
        self.gateway_pid = self.processes.start(program)?;
        wait_until(&mut self.processes, patience, || notice.is_given())
    }

    /// Starts the API, again if it was stopped or killed, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_api(&mut self, patience: Patience<'_>) -> Result<()> {
        let binary = self.binaries.api.clone();
        let config = self.installation.path("api.toml");
        let program = self.program(API, binary, vec!["--config".into(), config.into()]);
        self.api_pid = self.processes.start(program)?;
        let roots = trust_anchors(&self.installation.certificates.cloud_ca)?;
        let api = Https::new(&self.installation.api_url(), roots)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        wait_until(&mut self.processes, patience, || answers_ready(&runtime, &api))?;
        self.register_partner(&runtime)
    }

    /// Registers what linking can be tried with, if it was not before.
    fn register_partner(&mut self, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let installation = &mut self.installation;
        let url = installation.api_url();
        let before = installation.partner();
        if before.is_some_and(|partner| partner.redirect_uri.starts_with(&url)) {
            return Ok(());
        }
        let password = match before {
            Some(partner) => partner.password.clone(),
            None => random_text()?,
        };
        let wanted = Wanted {
            url,
            roots: trust_anchors(&installation.certificates.cloud_ca)?,
            operator: installation.operator(),
            user: installation.users()[0].uid,
            password: &password,
        };
        let partner = runtime.block_on(partner::register(&wanted));
        installation.keep_partner(partner.context("cannot register a partner to try with")?)
    }

    /// Starts a swarm that continues with the devices of the last time, and waits until all of them
    /// are online or have given up. Returns how many are which.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_swarm(
        &mut self,
        settings: &SwarmSettings,
        patience: Patience<'_>,
    ) -> Result<Arrived> {
        let online = self.installation.path("swarm.online");
        if online.exists() {
            std::fs::remove_file(&online)?;
        }
        let certificates = &self.installation.certificates;
        let mut arguments: Vec<OsString> = Vec::new();
        for (option, value) in [
            ("--api", self.installation.api_url().into()),
            ("--tokens", self.installation.path("tokens").into_os_string()),
            ("--trust-anchor", certificates.cloud_ca.clone().into()),
            ("--cert", certificates.device.clone().into()),
            ("--key", certificates.device_key.clone().into()),
            ("--connect", self.installation.coap().to_string().into()),
            ("--devices", settings.devices.to_string().into()),
            ("--rate", settings.per_sec.to_string().into()),
            ("--pace", settings.pace.to_string().into()),
            ("--changes", settings.changes_per_sec.to_string().into()),
            ("--state", self.installation.path("swarm.state").into()),
            ("--online-file", online.clone().into()),
        ] {
            arguments.extend([option.into(), value]);
        }
        if settings.fussy {
            arguments.push("--fussy".into());
        }
        if !settings.on_terminal {
            arguments.push("--headless".into());
        }
        let mut program = self.program(SWARM, self.binaries.swarm.clone(), arguments);
        program.on_terminal = settings.on_terminal;
        self.processes.start(program)?;
        wait_until(&mut self.processes, patience, || online.exists())?;
        Ok(serde_json::from_slice(&std::fs::read(&online)?)?)
    }

    fn program(&self, name: &'static str, binary: PathBuf, arguments: Vec<OsString>) -> Program {
        let log = self.installation.path("logs").join(format!("{name}.log"));
        Program { name, binary, arguments, log, notify: None, on_terminal: false }
    }

    /// What somebody needs to use it.
    pub fn facts(&self) -> Facts<'_> {
        let (installation, certificates) = (&self.installation, &self.installation.certificates);
        let first = &installation.users()[0];
        Facts {
            coap: installation.cis(),
            api: installation.api_url(),
            cloud_id: installation.cloud_id(),
            trust_anchor: &certificates.cloud_ca,
            device_trust_anchor: &certificates.device_ca,
            device_trust_anchor_key: &certificates.device_ca_key,
            identity_trust_anchor: &certificates.identity_ca,
            identity_trust_anchor_key: &certificates.identity_ca_key,
            device_cert: &certificates.device,
            device_key: &certificates.device_key,
            uid: first.uid,
            access_token: &first.token,
            other_access_token: &installation.other().token,
            operator_token: installation.operator(),
            partner: installation.partner(),
            events_http_allowed: true,
            gateway_pid: self.gateway_pid,
            api_pid: self.api_pid,
        }
    }

    /// Writes `demo.json`, which says that everything is ready.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_facts(&self) -> Result<()> {
        let facts = serde_json::to_vec_pretty(&self.facts())?;
        write_atomically(&self.installation.path("demo.json"), &facts, Readers::Owner)
    }

    /// A light of the first user, if the swarm has one: its first device.
    ///
    /// # Errors
    /// If the swarm's state cannot be read.
    pub fn light(&self) -> Result<Option<DeviceId>> {
        let remembered = state::read(&self.installation.path("swarm.state"));
        let remembered = remembered.context("cannot read the swarm's state")?;
        Ok(remembered.devices.get(&0).map(|entry| entry.memory.di))
    }

    /// Stops swarm, api and gateway, in this order. `demo.json` goes first.
    ///
    /// # Errors
    /// If one cannot be waited for, or has not ended well: a swarm does not when a device was missing
    /// or the cloud broke a rule.
    pub fn stop(mut self) -> Result<()> {
        self.installation.forget_facts()?;
        let mut told = Vec::new();
        for name in [SWARM, API, GATEWAY] {
            if let Some(death) = self.processes.end(name)? {
                told.push(death.to_string());
            }
        }
        if told.is_empty() { Ok(()) } else { bail!("{}", told.join("\n")) }
    }
}
