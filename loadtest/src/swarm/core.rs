//! One core of a swarm: its devices and clients, their sockets and timers, and its share of all that
//! the scenario has planned. A loop on a thread of its own; nothing is shared with other cores but
//! plans and counters.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::Result;
use shared::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

use super::arrivals::Plans;
use super::live::{Live, Snapshot};
use super::slot::{Actor, Counted, Phase, Slot};
use super::wheel::Wheel;
use crate::credentials::Credentials;
use crate::device::{Cloud, CloudState, Event, Failure, Input, Output, Rng, Step, authority};
use crate::io::{Clock, Happening, Sockets};
use crate::mediator::{Job, Receipt, Receipts};
use crate::partner::Reads;
use crate::scenario::Scenario;
use crate::state::{Entry, Remembered};
use crate::stats::Stats;
use crate::timeline::Gauges;

/// Socket events that are handled before timers and schedules get a look again.
const EVENTS_PER_TURN: usize = 1024;

/// What all cores have in common.
pub(super) struct Common {
    pub(super) scenario: Scenario,
    pub(super) credentials: Arc<Credentials>,
    pub(super) clock: Clock,
    pub(super) cores: usize,
    /// How many users the devices are spread over.
    pub(super) users: usize,
    /// Where devices connect, whatever address they were told.
    pub(super) connect: Option<SocketAddr>,
}

/// What the swarm says to a core.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Everything begins at this time.
    Begin(Instant),
    /// All devices are cut off at once.
    Storm,
    /// The run is over.
    Stop,
}

/// How a core is connected to the rest.
pub(super) struct Wiring {
    pub(super) commands: Receiver<Command>,
    /// What came of requests to the API, and where it is handed in.
    pub(super) inbox: Receiver<Receipt>,
    pub(super) receipts: Receipts,
    pub(super) reads: Reads,
    pub(super) jobs: UnboundedSender<Job>,
    pub(super) memory: Option<Sender<Entry>>,
    /// What is known of this core's devices and clients from earlier runs.
    pub(super) remembered: Remembered,
    pub(super) live: Arc<Live>,
}

pub(super) struct Core {
    pub(super) common: Arc<Common>,
    pub(super) number: usize,
    pub(super) sockets: Sockets,
    pub(super) wiring: Wiring,
    pub(super) slots: Vec<Slot>,
    /// Slots of clients, and of devices.
    pub(super) clients: Vec<u32>,
    pub(super) devices: Vec<u32>,
    timers: Wheel,
    /// The clouds that devices know, each once.
    clouds: Vec<Arc<Cloud>>,
    pub(super) plans: Option<Plans>,
    pub(super) stats: Stats,
    pub(super) snapshot: Snapshot,
    /// When everything began.
    start: Instant,
    /// When the last interval is looked at again.
    look_at: Instant,
    addresses: HashMap<Box<str>, SocketAddr>,
    pub(super) rng: Rng,
    /// Devices that are still to sign off, and when they are no longer waited for.
    pub(super) leaving: Option<(usize, Instant)>,
}

impl Core {
    pub(super) fn new(
        common: Arc<Common>,
        number: usize,
        sockets: Sockets,
        wiring: Wiring,
    ) -> Self {
        let scenario = &common.scenario;
        let everybody = scenario.devices as usize + scenario.clients as usize;
        let share = everybody.div_ceil(common.cores);
        let interval = scenario.interval;
        let rng = Rng::new(common.scenario.seed.wrapping_add(number as u64));
        Self {
            common,
            number,
            sockets,
            wiring,
            // What is reserved and not yet used takes no memory; growing would take it twice.
            slots: Vec::with_capacity(share),
            clients: Vec::new(),
            devices: Vec::with_capacity(share),
            timers: Wheel::new(share),
            clouds: Vec::new(),
            plans: None,
            stats: Stats::new(interval),
            snapshot: Snapshot::default(),
            start: Instant::START,
            look_at: Instant::START,
            addresses: HashMap::new(),
            rng,
            leaving: None,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) -> Result<Stats> {
        loop {
            self.take_events();
            let now = self.common.clock.now();
            if self.take_commands(now) {
                break;
            }
            self.take_receipts(now);
            self.take_plans(now);
            self.take_timers(now);
            self.note(now);
            self.wiring.live.publish(self.snapshot);
            if self.leaving.is_some_and(|(count, until)| count == 0 || now >= until) {
                break;
            }
            let wake = self.next_wake();
            let now = self.common.clock.now();
            self.sockets.wait(wake.map(|at| at.since(now)))?;
        }
        Ok(self.stats)
    }

    /// Whether to stop at once.
    fn take_commands(&mut self, now: Instant) -> bool {
        match self.wiring.commands.try_recv() {
            Ok(Command::Begin(start)) => {
                self.start = start;
                self.plans = Some(self.plan(start));
            }
            Ok(Command::Storm) => self.storm(now),
            Ok(Command::Stop) if self.common.scenario.sign_off => self.leave(now),
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
            Err(TryRecvError::Empty) => {}
        }
        false
    }

    /// Notes how things are.
    fn note(&mut self, now: Instant) {
        let Snapshot { arrived, online, .. } = self.snapshot;
        let gauges = Gauges { arrived, online, out: self.snapshot.out() };
        let at = now.since(self.start);
        self.stats.timeline.gauge(at, gauges);
        if now < self.look_at {
            return;
        }
        self.look_at = now + self.stats.timeline.every();
        let of = |step| self.stats.timeline.last_p99(at, step);
        let p99 = [Step::Retrieve, Step::Read, Step::Ping].into_iter().find_map(of);
        self.snapshot.p99_micros = p99.map_or(0, |p99| p99.as_micros() as u64);
    }

    /// Counts a step that has ended.
    pub(super) fn count(
        &mut self,
        step: Step,
        took: Duration,
        result: Result<(), Failure>,
        now: Instant,
    ) {
        self.snapshot.failures += u64::from(result.is_err());
        self.stats.ended(step, took, result, now.since(self.start));
    }

    pub(super) fn arm(&mut self, owner: u32, at: Instant) {
        self.timers.arm(owner, Some(at));
    }

    fn take_timers(&mut self, now: Instant) {
        while let Some(owner) = self.timers.pop(now) {
            let slot = &mut self.slots[owner as usize];
            match &mut slot.phase {
                Phase::Arriving(conf) => {
                    let conf = conf.take();
                    slot.phase = Phase::Living;
                    self.snapshot.arrived += u64::from(matches!(slot.actor, Actor::Device(_)));
                    match conf {
                        Some(conf) => slot.actor.configure(*conf, now),
                        None => slot.actor.handle(Input::SwitchedOn, now),
                    }
                }
                Phase::Living => {
                    if slot.actor.poll_timeout().is_some_and(|due| due <= now) {
                        slot.actor.handle(Input::Timeout, now);
                    }
                }
                Phase::Provisioning(_) | Phase::Unprovisioned => {}
            }
            self.drain(owner, now);
        }
    }

    fn take_events(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            let (slots, common) = (&mut self.slots, &self.common);
            let now = common.clock.now();
            let told = self.sockets.next(|owner, happening| {
                let slot = &mut slots[owner as usize];
                match happening {
                    Happening::Connected => match common.credentials.config(slot.actor.di()) {
                        Ok(config) => slot.actor.handle(Input::Connected(config), now),
                        Err(_) => {
                            let kind = io::ErrorKind::InvalidData;
                            slot.actor.handle(Input::NotConnected(kind), now);
                        }
                    },
                    Happening::NotConnected(kind) => {
                        slot.socket = None;
                        slot.actor.handle(Input::NotConnected(kind), now);
                    }
                    Happening::Received { bytes, cut } => {
                        slot.actor.handle(Input::Received { bytes, cut }, now);
                    }
                    Happening::Closed => {
                        slot.socket = None;
                        slot.actor.handle(Input::Closed, now);
                    }
                }
            });
            match told {
                None => return,
                Some(None) => {}
                Some(Some(owner)) => self.drain(owner, now),
            }
        }
    }

    /// Carries out what a device or client wants, until it wants nothing more.
    pub(super) fn drain(&mut self, owner: u32, now: Instant) {
        while let Some(output) = self.slots[owner as usize].actor.poll_output() {
            match output {
                Output::Connect => self.connect(owner, now),
                Output::Send(bytes) => {
                    let slot = &mut self.slots[owner as usize];
                    if let Some(socket) = slot.socket
                        && !self.sockets.send(socket, bytes)
                    {
                        slot.socket = None;
                        slot.actor.handle(Input::Closed, now);
                    }
                }
                Output::Close => {
                    if let Some(socket) = self.slots[owner as usize].socket.take() {
                        self.sockets.close(socket);
                    }
                }
                Output::Event(event) => self.event(owner, event, now),
            }
        }
        self.recount(owner);
        let slot = &self.slots[owner as usize];
        if matches!(slot.phase, Phase::Living) {
            self.timers.arm(owner, slot.actor.poll_timeout());
        }
    }

    fn connect(&mut self, owner: u32, now: Instant) {
        let peer = self.address_of(owner);
        let connected = peer.and_then(|peer| self.sockets.connect(owner, peer));
        let slot = &mut self.slots[owner as usize];
        match connected {
            Ok(socket) => slot.socket = Some(socket),
            Err(kind) => slot.actor.handle(Input::NotConnected(kind), now),
        }
    }

    /// Where the cloud of this device is. Names are looked up once.
    fn address_of(&mut self, owner: u32) -> Result<SocketAddr, io::ErrorKind> {
        if let Some(address) = self.common.connect {
            return Ok(address);
        }
        let cis = self.slots[owner as usize].actor.cis().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(address) = self.addresses.get(cis) {
            return Ok(*address);
        }
        let authority = authority(cis).ok_or(io::ErrorKind::InvalidInput)?;
        let mut addresses = authority.to_socket_addrs().map_err(|error| error.kind())?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        self.addresses.insert(cis.into(), address);
        Ok(address)
    }

    fn event(&mut self, owner: u32, event: Event, now: Instant) {
        self.stats.event(&event, now.since(self.start));
        match event {
            Event::SignedIn => self.is_back(owner, now),
            Event::Step { result: Err(_), .. } => self.snapshot.failures += 1,
            Event::Breach(_) => self.snapshot.breaches += 1,
            Event::Disconnected => self.snapshot.disconnects += 1,
            Event::Erased => {
                if let Some((count, _)) = &mut self.leaving {
                    *count = count.saturating_sub(1);
                }
            }
            Event::MemoryChanged => {
                self.slots[owner as usize].actor.share_cloud(&mut self.clouds);
                if let Some(memory) = &self.wiring.memory {
                    // The writer tells why it has stopped when the run ends.
                    let _ = memory.send(self.slots[owner as usize].entry());
                }
            }
            Event::Answer(answer) => {
                match answer.result {
                    Ok(_) => self.snapshot.answers += 1,
                    Err(_) => self.snapshot.failures += 1,
                }
                self.answered(owner, answer, now);
            }
            _ => {}
        }
    }

    /// Brings the live numbers up to date with one device.
    pub(super) fn recount(&mut self, owner: u32) {
        let slot = &mut self.slots[owner as usize];
        let Actor::Device(device) = &slot.actor else { return };
        let online = device.is_signed_in();
        let counted = Counted {
            online,
            ready: online && device.is_published(),
            failed: matches!(slot.phase, Phase::Unprovisioned)
                || (matches!(slot.phase, Phase::Living)
                    && matches!(
                        device.cloud_state(),
                        CloudState::Failed | CloudState::Uninitialized
                    )),
        };
        let before = std::mem::replace(&mut slot.counted, counted);
        let adjust = |number: &mut u64, before: bool, now: bool| {
            *number = *number + u64::from(now) - u64::from(before);
        };
        adjust(&mut self.snapshot.online, before.online, counted.online);
        adjust(&mut self.snapshot.ready, before.ready, counted.ready);
        adjust(&mut self.snapshot.failed, before.failed, counted.failed);
    }

    fn next_wake(&self) -> Option<Instant> {
        let timer = self.timers.next_due();
        let plans = self.plans.as_ref().and_then(Plans::next_due);
        [timer, plans, self.leaving.map(|(_, until)| until)].into_iter().flatten().min()
    }
}
