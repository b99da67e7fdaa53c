//! The swarm: a scenario played by devices over all cores.
//!
//! ```text
//!            ┌── Begin, Stop ──► core 0: devices, clients ─► io ═ device ring ═► gateway
//! Swarm::run ┤                   core 1: ...
//!            │◄── Stats ─────────  │ Job            ▲ Configured
//!            └── Snapshot ► viewer └──► Mediator ───┘ ═ HTTPS ═► api
//! ```
//!
//! Reading order: `core`, `slot`, `arrivals`, `activity`, `live`.

mod activity;
mod arrivals;
mod core;
mod live;
mod slot;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use shared::ids::UserId;
use shared::ring::Doorbell;
use shared::time::Instant;

use crate::credentials::Credentials;
use crate::io::{Clock, Sockets};
use crate::mediator::{Access, Asker, Mediator};
use crate::scenario::{End, Scenario};
use crate::state::{Entry, Remembered, StateFile};
use crate::stats::Stats;
use core::{Command, Common, Core, Wiring};
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
    pub credentials: Credentials,
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
}

/// How a core is reached.
struct Handle {
    commands: Sender<Command>,
    doorbell: Doorbell,
    live: Arc<Live>,
    thread: JoinHandle<Result<Stats>>,
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
        let clock = Clock::start();
        let (end, devices) = (self.scenario.end, u64::from(self.scenario.devices));
        let cores = self.start_cores(clock, remembered, &mediator, memory.as_ref())?;
        drop(memory);

        let start = clock.now();
        cores.iter().for_each(|core| core.tell(Command::Begin(start)));
        let duration = watch(&cores, clock, start, end, devices, interrupts, &mut view);
        let last = Live::sum(cores.iter().map(|core| &*core.live));
        let stats = stop(cores)?;
        mediator.stop()?;
        if let Some(state) = state {
            state.close()?;
        }
        Ok(Outcome { stats, end: last, duration, users })
    }

    fn start_cores(
        self,
        clock: Clock,
        remembered: Remembered,
        mediator: &Mediator,
        memory: Option<&Sender<Entry>>,
    ) -> Result<Vec<Handle>> {
        let everybody = self.scenario.devices.saturating_add(self.scenario.clients);
        // Each core gets every n-th; sockets that are being closed take a place for a while.
        let sockets = everybody.div_ceil(self.cores as u32).saturating_mul(5) / 4 + 64;
        let common = Arc::new(Common {
            scenario: self.scenario,
            credentials: Arc::new(self.credentials),
            clock,
            cores: self.cores,
            users: mediator.users().len(),
            connect: self.connect,
            remembered,
        });
        let start = |number| {
            let (common, sources) = (common.clone(), self.sources.clone());
            let (jobs, memory) = (mediator.jobs(), memory.cloned());
            let live = Arc::new(Live::default());
            let (commands, inbox) = mpsc::channel();
            let (ready, started) = mpsc::channel();
            let shown = live.clone();
            let thread = std::thread::Builder::new().name(format!("core {number}")).spawn(
                move || -> Result<Stats> {
                    let sockets = Sockets::new(sockets, number, sources)?;
                    let doorbell = sockets.doorbell();
                    let (sender, configured) = mpsc::channel();
                    let asker = Asker { configured: sender, doorbell: doorbell.clone() };
                    let wiring = Wiring { commands: inbox, configured, asker, jobs, memory, live };
                    ready.send(doorbell).map_err(|_| anyhow!("the run is over already"))?;
                    Core::new(common, number, sockets, wiring).run()
                },
            )?;
            match started.recv() {
                Ok(doorbell) => Ok(Handle { commands, doorbell, live: shown, thread }),
                Err(_) => Err(join(thread).err().unwrap_or_else(|| anyhow!("it ended at once"))),
            }
        };
        (0..self.cores)
            .map(|number| start(number).with_context(|| format!("core {number} cannot start")))
            .collect()
    }
}

/// Waits for the end of the run, showing the numbers. Returns how long it took.
fn watch(
    cores: &[Handle],
    clock: Clock,
    start: Instant,
    end: End,
    devices: u64,
    interrupts: &Receiver<()>,
    view: &mut impl FnMut(&Snapshot, Duration),
) -> Duration {
    loop {
        let interrupted = interrupts.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout);
        let elapsed = clock.now().since(start);
        let snapshot = Live::sum(cores.iter().map(|core| &*core.live));
        view(&snapshot, elapsed);
        let over = match end {
            End::Interrupted => false,
            End::After(limit) => elapsed >= limit,
            End::Online(limit) => {
                snapshot.settled() >= devices || limit.is_some_and(|limit| elapsed >= limit)
            }
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
    let mut stats = Stats::default();
    for core in cores {
        stats.add(&join(core.thread)?);
    }
    Ok(stats)
}

fn join(thread: JoinHandle<Result<Stats>>) -> Result<Stats> {
    thread.join().map_err(|_| anyhow!("a core has panicked"))?
}
