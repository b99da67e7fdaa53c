//! The swarm: a scenario played by devices over all cores.
//!
//! ```text
//!            ┌── Begin, Stop ──► core 0: devices, clients ─► io ═ device ring ═► gateway
//! Swarm::run ┤                   core 1: ...
//!            │◄── Stats ─────────  │ Job            ▲ Receipt
//!            └── Snapshot ► viewer └──► Mediator ───┘ ═ HTTPS ═► api
//! ```
//!
//! Devices' resources are read over the API by the [`Partner`](crate::partner), whose answers come the
//! same way as configurations.
//!
//! Reading order: `core`, `slot`, `wheel`, `arrivals`, `activity`, `live`.

mod activity;
mod arrivals;
mod core;
mod ending;
mod live;
mod slot;
mod wheel;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use shared::ids::UserId;
use shared::ring::Doorbell;
use shared::time::Instant;

use crate::credentials::Credentials;
use crate::io::{CONNECTIONS_PER_SOURCE, Clock, Sockets};
use crate::machine::Allowed;
use crate::mediator::{Access, Mediator, Receipts};
use crate::partner::Partner;
use crate::scenario::Scenario;
use crate::state::{Entry, Remembered, StateFile};
use crate::stats::Stats;
use core::{Command, Common, Core, Wiring};
use ending::{Ending, Next};
use live::Live;

pub use live::Snapshot;

/// How often the run is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Everything that a run needs.
pub struct Swarm {
    /// What devices and clients do.
    pub scenario: Scenario,
    /// Where tokens come from.
    pub access: Access,
    /// What devices present and trust.
    pub credentials: Arc<Credentials>,
    /// Where the devices' memory is kept over runs.
    pub state: Option<PathBuf>,
    /// How many threads drive devices.
    pub cores: usize,
    /// Where devices connect, whatever address they were told.
    pub connect: Option<SocketAddr>,
    /// Local addresses to connect from; when empty, whatever the kernel takes.
    pub sources: Vec<IpAddr>,
}

/// What a run has come to.
pub struct Outcome {
    /// What was counted and measured.
    pub stats: Stats,
    /// The numbers when the run was over, before anybody signed off.
    pub end: Snapshot,
    /// How long it took, without signing off.
    pub duration: Duration,
    /// The users, in the order of their tokens.
    pub users: Vec<UserId>,
    /// Devices that kept a TLS session to resume; their memory comes on top of the devices'.
    pub sessions: usize,
    /// When everybody was cut off, if that was, counted from the beginning.
    pub storm: Option<Duration>,
}

/// How a core is reached.
struct Handle {
    commands: Sender<Command>,
    doorbell: Doorbell,
    live: Arc<Live>,
    thread: JoinHandle<Result<Stats>>,
}

/// What works beside the cores.
struct Beside<'r> {
    mediator: &'r Mediator,
    partner: &'r Partner,
    memory: Option<&'r Sender<Entry>>,
}

impl Handle {
    fn tell(&self, command: Command) {
        // A core that has stopped is found when it is joined.
        if self.commands.send(command).is_ok() {
            self.doorbell.ring();
        }
    }
}

impl Swarm {
    /// Whether the system allows for so many devices.
    ///
    /// # Errors
    /// Names each limit in the way, and what would be right.
    pub fn check(&self) -> Result<()> {
        let Scenario { devices, clients, .. } = self.scenario;
        let connections = u64::from(devices) + u64::from(clients);
        let is_local = self.connect.is_none_or(|address| address.ip().is_loopback());
        let per_source = match self.sources.len() {
            0 if is_local => CONNECTIONS_PER_SOURCE as u64,
            sources => connections.div_ceil(sources.max(1) as u64),
        };
        let problems = Allowed::here().problems(connections, is_local, per_source);
        if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\n")) }
    }

    /// Plays the scenario. `view` is shown the numbers several times a second; whatever is sent to
    /// `interrupts` ends the run.
    ///
    /// # Errors
    /// If the run cannot begin: the ring, the state file, the Mediator. What goes wrong with devices
    /// is counted instead.
    pub fn run(
        self,
        interrupts: &Receiver<()>,
        mut view: impl FnMut(&Snapshot, Duration),
    ) -> Result<Outcome> {
        let (state, remembered) = match &self.state {
            Some(path) => {
                let (state, remembered) = StateFile::open(path)?;
                (Some(state), remembered)
            }
            None => (None, Remembered::default()),
        };
        let mediator = Mediator::start(self.access.clone())?;
        let users = mediator.users().to_vec();
        let memory = state.as_ref().and_then(StateFile::sender);
        let credentials = self.credentials.clone();
        let clock = Clock::start();
        let partner = Partner::start(self.access.clone(), clock)?;
        let (end, devices) = (self.scenario.end, u64::from(self.scenario.devices));
        let beside = Beside { mediator: &mediator, partner: &partner, memory: memory.as_ref() };
        let cores = self.start_cores(clock, remembered, &beside)?;
        drop(memory);

        let start = clock.now();
        cores.iter().for_each(|core| core.tell(Command::Begin(start)));
        let mut ending = Ending::new(end, devices, cores.len() as u64);
        let duration = watch(&cores, clock, start, &mut ending, interrupts, &mut view);
        let last = Live::sum(cores.iter().map(|core| &*core.live));
        let stats = stop(cores)?;
        mediator.stop()?;
        partner.stop()?;
        if let Some(state) = state {
            state.close()?;
        }
        let sessions = credentials.sessions();
        Ok(Outcome { stats, end: last, duration, users, sessions, storm: ending.storm_at() })
    }

    fn start_cores(
        self,
        clock: Clock,
        remembered: Remembered,
        beside: &Beside<'_>,
    ) -> Result<Vec<Handle>> {
        let everybody = self.scenario.devices.saturating_add(self.scenario.clients);
        // Each core gets every n-th; sockets that are being closed take a place for a while.
        let sockets = everybody.div_ceil(self.cores as u32).saturating_mul(5) / 4 + 64;
        let common = Arc::new(Common {
            scenario: self.scenario,
            credentials: self.credentials,
            clock,
            cores: self.cores,
            users: beside.mediator.users().len(),
            connect: self.connect,
        });
        let start = |(number, remembered)| {
            let (common, sources) = (common.clone(), self.sources.clone());
            let (jobs, memory) = (beside.mediator.jobs(), beside.memory.cloned());
            let reads = beside.partner.reads();
            let live = Arc::new(Live::default());
            let (commands, inbox) = mpsc::channel();
            let (ready, started) = mpsc::channel();
            let shown = live.clone();
            let thread = std::thread::Builder::new().name(format!("core {number}")).spawn(
                move || -> Result<Stats> {
                    let sockets = Sockets::new(sockets, (number, common.cores), sources)?;
                    let doorbell = sockets.doorbell();
                    let (sender, answers) = mpsc::channel();
                    let receipts = Receipts { sender, doorbell: doorbell.clone() };
                    let wiring = Wiring {
                        commands: inbox,
                        inbox: answers,
                        receipts,
                        reads,
                        jobs,
                        memory,
                        remembered,
                        live,
                    };
                    ready.send(doorbell).map_err(|_| anyhow!("the run is over already"))?;
                    Core::new(common, number, sockets, wiring).run()
                },
            )?;
            match started.recv() {
                Ok(doorbell) => Ok(Handle { commands, doorbell, live: shown, thread }),
                Err(_) => Err(join(thread).err().unwrap_or_else(|| anyhow!("it ended at once"))),
            }
        };
        let parts = remembered.deal(self.cores).into_iter().enumerate();
        parts
            .map(|part| {
                let number = part.0;
                start(part).with_context(|| format!("core {number} cannot start"))
            })
            .collect()
    }
}

/// Waits for the end of the run, showing the numbers. Returns how long it took.
fn watch(
    cores: &[Handle],
    clock: Clock,
    start: Instant,
    ending: &mut Ending,
    interrupts: &Receiver<()>,
    view: &mut impl FnMut(&Snapshot, Duration),
) -> Duration {
    loop {
        let interrupted = interrupts.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout);
        let elapsed = clock.now().since(start);
        let snapshot = Live::sum(cores.iter().map(|core| &*core.live));
        view(&snapshot, elapsed);
        let over = match ending.look(&snapshot, elapsed) {
            Next::GoOn => false,
            Next::Storm => {
                cores.iter().for_each(|core| core.tell(Command::Storm));
                false
            }
            Next::Over => true,
        };
        let dead = cores.iter().any(|core| core.thread.is_finished());
        if over || interrupted || dead {
            return elapsed;
        }
    }
}

/// Stops all cores and adds up what they have seen.
fn stop(cores: Vec<Handle>) -> Result<Stats> {
    cores.iter().for_each(|core| core.tell(Command::Stop));
    let mut sum: Option<Stats> = None;
    for core in cores {
        let stats = join(core.thread)?;
        match &mut sum {
            Some(sum) => sum.add(&stats),
            None => sum = Some(stats),
        }
    }
    Ok(sum.unwrap_or_default())
}

fn join(thread: JoinHandle<Result<Stats>>) -> Result<Stats> {
    thread.join().map_err(|_| anyhow!("a core has panicked"))?
}
