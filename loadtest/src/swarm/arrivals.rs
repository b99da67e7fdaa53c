//! How devices and clients come into a core, and how they leave it: by plan, whatever the cloud does,
//! unless arrivals are to pause while it is late.

use std::time::Duration;

use shared::time::Instant;

use super::core::Core;
use super::slot::{ActiveClient, Actor, Phase, Slot};
use crate::device::{Client, CloudConf, CloudState, Device, Failure, Step};
use crate::mediator::{Job, Receipt};
use crate::scenario::Schedule;

/// The Mediator is asked for a token this long before the device arrives.
const LEAD: Duration = Duration::from_secs(1);

/// How long arrivals pause at least, until it is looked again whether answers are still late.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long devices that sign off at the end may take: the limit that devices have themselves, and a
/// reconnect.
const LEAVING: Duration = Duration::from_secs(15);

/// Everything that is due at some time, whatever the cloud does.
pub(super) struct Plans {
    clients: Schedule,
    arrivals: Schedule,
    pub(super) changes: Schedule,
    pub(super) retrieves: Schedule,
    pub(super) updates: Schedule,
    pub(super) reads: Schedule,
    pub(super) drops: Schedule,
    departures: Option<Schedule>,
}

impl Core {
    pub(super) fn plan(&self, start: Instant) -> Plans {
        let scenario = &self.common.scenario;
        let of_all =
            |rate, count| Schedule::new(start, rate, count, self.number, self.common.cores);
        Plans {
            // Clients are there from the beginning.
            clients: of_all(1e9, Some(scenario.clients.into())),
            arrivals: of_all(scenario.arrivals_per_sec, Some(scenario.devices.into()))
                .rising_for(scenario.ramp),
            changes: of_all(scenario.changes_per_sec, None),
            retrieves: of_all(scenario.retrieves_per_sec, None),
            updates: of_all(scenario.updates_per_sec, None),
            reads: of_all(scenario.reads_per_sec, None),
            drops: of_all(scenario.drops_per_sec, None),
            departures: None,
        }
    }

    /// Nothing new begins; devices sign off at the rate at which they came.
    pub(super) fn leave(&mut self, now: Instant) {
        let (rate, count) = (self.common.scenario.arrivals_per_sec, self.devices.len() as u64);
        let rate = rate / self.common.cores as f64;
        let nothing = Schedule::new(now, 0.0, None, 0, 1);
        self.plans = Some(Plans {
            clients: nothing.clone(),
            arrivals: nothing.clone(),
            changes: nothing.clone(),
            retrieves: nothing.clone(),
            updates: nothing.clone(),
            reads: nothing.clone(),
            drops: nothing,
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

    pub(super) fn take_plans(&mut self, now: Instant) {
        let Some(mut plans) = self.plans.take() else { return };
        while let Some((number, due)) = plans.clients.pop(now) {
            self.make_client(number as u32, due);
        }
        let limit = self.common.scenario.pause_above;
        if limit.is_some_and(|limit| u128::from(self.snapshot.p99_micros) > limit.as_micros()) {
            plans.arrivals.pause_until(now + LOOK_AGAIN);
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
        let remembered = self.wiring.remembered.take_device(number);
        let kind =
            remembered.as_ref().and_then(|entry| entry.kind).unwrap_or(scenario.kind(number));
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
        let client = match self.wiring.remembered.take_client(number) {
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
            receipts: self.wiring.receipts.clone(),
        };
        self.slots.push(Slot::new(actor, number, Phase::Provisioning(due)));
        if self.wiring.jobs.send(job).is_err() {
            self.configured(owner, Err(Failure::Http("the Mediator has stopped".into())), due);
        }
    }

    pub(super) fn take_receipts(&mut self, now: Instant) {
        while let Ok(receipt) = self.wiring.inbox.try_recv() {
            match receipt {
                Receipt::Configured { owner, result } => self.configured(owner, result, now),
                Receipt::Read { took, result } => self.count(Step::Read, took, result, now),
            }
        }
    }

    fn configured(&mut self, owner: u32, result: Result<CloudConf, Failure>, now: Instant) {
        let Phase::Provisioning(due) = self.slots[owner as usize].phase else { return };
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.count(Step::Provision, now.since(due), outcome, now);
        let slot = &mut self.slots[owner as usize];
        match result {
            Ok(conf) => {
                slot.phase = Phase::Arriving(Some(Box::new(conf)));
                self.arm(owner, due + LEAD);
            }
            Err(_) => {
                slot.phase = Phase::Unprovisioned;
                self.recount(owner);
            }
        }
    }
}

impl Plans {
    pub(super) fn next_due(&self) -> Option<Instant> {
        let departures = self.departures.as_ref().and_then(Schedule::next_due);
        let Self { clients, arrivals, changes, retrieves, updates, reads, drops, .. } = self;
        [clients, arrivals, changes, retrieves, updates, reads, drops]
            .into_iter()
            .filter_map(Schedule::next_due)
            .chain(departures)
            .min()
    }
}
