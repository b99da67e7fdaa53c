//! One core of a swarm: its devices and clients, their sockets and timers, and its share of all that
//! the scenario has planned. A loop on a thread of its own; nothing is shared with other cores but
//! plans and counters.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::Result;
use shared::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

use super::live::{Live, Snapshot};
use super::slot::{ActiveClient, Actor, Counted, Phase, Slot};
use crate::credentials::Credentials;
use crate::device::{
    Client, CloudState, Device, Event, Failure, Input, Output, Rng, Step, authority,
};
use crate::io::{Clock, Happening, Sockets};
use crate::mediator::{Asker, Configured, Job};
use crate::scenario::{Scenario, Schedule};
use crate::state::{Entry, Remembered};
use crate::stats::Stats;

/// The Mediator is asked for a token this long before the device arrives.
pub(super) const LEAD: Duration = Duration::from_secs(1);

/// Socket events that are handled before timers and schedules get a look again.
const EVENTS_PER_TURN: usize = 1024;

/// How long devices that sign off at the end may take: the limit that devices have themselves, and a
/// reconnect.
const LEAVING: Duration = Duration::from_secs(15);

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
    pub(super) remembered: Remembered,
}

/// What the swarm says to a core.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Everything begins at this time.
    Begin(Instant),
    /// The run is over.
    Stop,
}

/// How a core is connected to the rest.
pub(super) struct Wiring {
    pub(super) commands: Receiver<Command>,
    pub(super) configured: Receiver<Configured>,
    pub(super) asker: Asker,
    pub(super) jobs: UnboundedSender<Job>,
    pub(super) memory: Option<Sender<Entry>>,
    pub(super) live: Arc<Live>,
}

pub(super) struct Core {
    pub(super) common: Arc<Common>,
    number: usize,
    pub(super) sockets: Sockets,
    wiring: Wiring,
    pub(super) slots: Vec<Slot>,
    /// Slots of clients, and of devices.
    pub(super) clients: Vec<u32>,
    pub(super) devices: Vec<u32>,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    plans: Option<Plans>,
    pub(super) stats: Stats,
    snapshot: Snapshot,
    addresses: HashMap<Box<str>, SocketAddr>,
    pub(super) rng: Rng,
    /// Devices that are still to sign off, and when they are no longer waited for.
    leaving: Option<(usize, Instant)>,
}

/// Everything that is due at some time, whatever the cloud does.
pub(super) struct Plans {
    clients: Schedule,
    arrivals: Schedule,
    pub(super) changes: Schedule,
    pub(super) retrieves: Schedule,
    pub(super) updates: Schedule,
    departures: Option<Schedule>,
}

impl Core {
    pub(super) fn new(
        common: Arc<Common>,
        number: usize,
        sockets: Sockets,
        wiring: Wiring,
    ) -> Self {
        let rng = Rng::new(common.scenario.seed.wrapping_add(number as u64));
        Self {
            common,
            number,
            sockets,
            wiring,
            slots: Vec::new(),
            clients: Vec::new(),
            devices: Vec::new(),
            timers: BinaryHeap::new(),
            plans: None,
            stats: Stats::default(),
            snapshot: Snapshot::default(),
            addresses: HashMap::new(),
            rng,
            leaving: None,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) -> Result<Stats> {
        loop {
            let now = self.common.clock.now();
            if self.take_commands(now) {
                break;
            }
            self.take_configurations(now);
            self.take_plans(now);
            self.take_timers(now);
            self.take_events();
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
            Ok(Command::Begin(start)) => self.plans = Some(self.plan(start)),
            Ok(Command::Stop) if self.common.scenario.sign_off => self.leave(now),
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
            Err(TryRecvError::Empty) => {}
        }
        false
    }

    fn plan(&self, start: Instant) -> Plans {
        let scenario = &self.common.scenario;
        let of_all =
            |rate, count| Schedule::new(start, rate, count, self.number, self.common.cores);
        Plans {
            // Clients are there from the beginning.
            clients: of_all(1e9, Some(scenario.clients.into())),
            arrivals: of_all(scenario.arrivals_per_sec, Some(scenario.devices.into())),
            changes: of_all(scenario.changes_per_sec, None),
            retrieves: of_all(scenario.retrieves_per_sec, None),
            updates: of_all(scenario.updates_per_sec, None),
            departures: None,
        }
    }

    /// Nothing new begins; devices sign off at the rate at which they came.
    fn leave(&mut self, now: Instant) {
        let (rate, count) = (self.common.scenario.arrivals_per_sec, self.devices.len() as u64);
        let rate = rate / self.common.cores as f64;
        let nothing = Schedule::new(now, 0.0, None, 0, 1);
        self.plans = Some(Plans {
            clients: nothing.clone(),
            arrivals: nothing.clone(),
            changes: nothing.clone(),
            retrieves: nothing.clone(),
            updates: nothing,
            departures: Some(Schedule::new(now, rate, Some(count), 0, 1)),
        });
        let duration = Duration::from_secs_f64((count as f64 / rate).min(3600.0));
        let present = |&&slot: &&u32| match &self.slots[slot as usize].actor {
            Actor::Device(device) => device.cloud_state() != CloudState::Uninitialized,
            Actor::Client(_) => false,
        };
        let present = self.devices.iter().filter(present).count();
        self.leaving = Some((present, now + duration + LEAVING));
    }

    fn take_plans(&mut self, now: Instant) {
        let Some(mut plans) = self.plans.take() else { return };
        while let Some((number, due)) = plans.clients.pop(now) {
            self.make_client(number as u32, due);
        }
        while let Some((number, due)) = plans.arrivals.pop(now) {
            self.make_device(number as u32, due);
        }
        if let Some(departures) = &mut plans.departures {
            while let Some((nth, _)) = departures.pop(now) {
                let slot = self.devices[nth as usize];
                if let Actor::Device(device) = &mut self.slots[slot as usize].actor {
                    device.sign_off(now);
                }
                self.drain(slot, now);
            }
        }
        self.take_activities(&mut plans, now);
        self.plans = Some(plans);
    }

    fn make_device(&mut self, number: u32, due: Instant) {
        let common = self.common.clone();
        let (scenario, seed) = (&common.scenario, common.scenario.seed_of(number));
        let remembered = common.remembered.devices.get(&number);
        let kind = remembered.and_then(|entry| entry.kind).unwrap_or(scenario.kind(number));
        let settings = &scenario.settings;
        let device = match remembered {
            Some(entry) => Device::restore(settings, kind, number, seed, &entry.memory),
            None => Device::new(settings, kind, number, seed),
        };
        let registered = device.cloud_state() == CloudState::Registered;
        self.devices.push(self.slots.len() as u32);
        self.make(Actor::Device(device), number, registered, due);
    }

    fn make_client(&mut self, number: u32, due: Instant) {
        let common = self.common.clone();
        let seed = common.scenario.seed_of(common.scenario.devices.saturating_add(number));
        let settings = &common.scenario.settings;
        let client = match common.remembered.clients.get(&number) {
            Some(entry) => Client::restore(settings, seed, &entry.memory),
            None => Client::new(settings, seed),
        };
        let registered = client.cloud_state() == CloudState::Registered;
        self.clients.push(self.slots.len() as u32);
        let active = Box::new(ActiveClient { client, targets: Vec::new() });
        self.make(Actor::Client(active), number, registered, due);
    }

    /// It arrives [`LEAD`] later, with a configuration from the Mediator unless it has one.
    fn make(&mut self, actor: Actor, number: u32, registered: bool, due: Instant) {
        let owner = self.slots.len() as u32;
        if registered {
            self.slots.push(Slot::new(actor, number, Phase::Arriving(None)));
            self.arm(owner, due + LEAD);
            return;
        }
        let job = Job {
            user: number as usize % self.common.users,
            di: actor.di(),
            owner,
            asker: self.wiring.asker.clone(),
        };
        self.slots.push(Slot::new(actor, number, Phase::Provisioning(due)));
        if self.wiring.jobs.send(job).is_err() {
            self.configured(owner, Err(Failure::Http("the Mediator has stopped".into())), due);
        }
    }

    fn take_configurations(&mut self, now: Instant) {
        while let Ok(Configured { owner, result }) = self.wiring.configured.try_recv() {
            self.configured(owner, result, now);
        }
    }

    fn configured(
        &mut self,
        owner: u32,
        result: Result<crate::device::CloudConf, Failure>,
        now: Instant,
    ) {
        let slot = &mut self.slots[owner as usize];
        let Phase::Provisioning(due) = slot.phase else { return };
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.stats.step(Step::Provision, now.since(due), outcome);
        match result {
            Ok(conf) => {
                slot.phase = Phase::Arriving(Some(conf));
                self.arm(owner, due + LEAD);
            }
            Err(_) => {
                slot.phase = Phase::Unprovisioned;
                self.recount(owner);
            }
        }
    }

    fn arm(&mut self, owner: u32, at: Instant) {
        self.slots[owner as usize].armed = Some(at);
        self.timers.push(Reverse((at, owner)));
    }

    fn take_timers(&mut self, now: Instant) {
        while let Some(Reverse((at, owner))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let slot = &mut self.slots[owner as usize];
            if slot.armed != Some(at) {
                continue;
            }
            slot.armed = None;
            match &mut slot.phase {
                Phase::Arriving(conf) => {
                    let conf = conf.take();
                    slot.phase = Phase::Living;
                    self.snapshot.arrived += u64::from(matches!(slot.actor, Actor::Device(_)));
                    match conf {
                        Some(conf) => slot.actor.configure(conf, at),
                        None => slot.actor.handle(Input::SwitchedOn, at),
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
        if let Some(at) = slot.actor.poll_timeout()
            && slot.armed.is_none_or(|armed| at < armed)
        {
            self.arm(owner, at);
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
        self.stats.event(&event);
        match event {
            Event::Step { result: Err(_), .. } => self.snapshot.failures += 1,
            Event::Breach(_) => self.snapshot.breaches += 1,
            Event::Disconnected => self.snapshot.disconnects += 1,
            Event::Erased => {
                if let Some((count, _)) = &mut self.leaving {
                    *count = count.saturating_sub(1);
                }
            }
            Event::MemoryChanged => {
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
    fn recount(&mut self, owner: u32) {
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
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let plans = self.plans.as_ref().and_then(Plans::next_due);
        [timer, plans, self.leaving.map(|(_, until)| until)].into_iter().flatten().min()
    }
}

impl Plans {
    fn next_due(&self) -> Option<Instant> {
        let departures = self.departures.as_ref().and_then(Schedule::next_due);
        [&self.clients, &self.arrivals, &self.changes, &self.retrieves, &self.updates]
            .into_iter()
            .filter_map(Schedule::next_due)
            .chain(departures)
            .min()
    }
}
