//! What devices and clients of a core do while they are signed in, at the rates of the scenario.

use std::time::Duration;

use shared::ocf::cbor::Writer;
use shared::time::Instant;

use super::arrivals::Plans;
use super::core::Core;
use super::slot::{Actor, Target, TargetKind};
use crate::device::{Answer, Ask, Failure, Input, Step, discovered_links};
use crate::partner::Read;

/// Devices that are tried until one is found that is online.
const PICKS: usize = 16;
/// Devices whose links a client asks for at once.
const DISCOVERED_DEVICES: usize = 8;

impl Core {
    pub(super) fn take_activities(&mut self, plans: &mut Plans, now: Instant) {
        while plans.changes.pop(now).is_some() {
            self.change_one(now);
        }
        while let Some((_, due)) = plans.retrieves.pop(now) {
            self.ask_one(Step::Retrieve, due, now);
        }
        while let Some((_, due)) = plans.updates.pop(now) {
            self.ask_one(Step::Update, due, now);
        }
        while let Some((_, due)) = plans.reads.pop(now) {
            self.read_one(due, now);
        }
        while plans.drops.pop(now).is_some() {
            if let Some(owner) = self.pick_online() {
                self.cut_off(owner, now);
            }
        }
    }

    fn pick(&mut self, among: usize) -> usize {
        self.rng.below(among as u64) as usize
    }

    /// Any of the devices that are online, if a few tries find one.
    fn pick_online(&mut self) -> Option<u32> {
        if self.devices.is_empty() {
            return None;
        }
        for _ in 0..PICKS {
            let nth = self.pick(self.devices.len());
            let owner = self.devices[nth];
            if self.slots[owner as usize].counted.ready {
                return Some(owner);
            }
        }
        None
    }

    /// Something happens at one of the devices that are online.
    fn change_one(&mut self, now: Instant) {
        let Some(owner) = self.pick_online() else { return };
        if let Actor::Device(device) = &mut self.slots[owner as usize].actor {
            device.change();
            self.stats.changes += 1;
            self.drain(owner, now);
        }
    }

    /// A partner reads a resource of one of the devices that are online.
    fn read_one(&mut self, due: Instant, now: Instant) {
        let Some(owner) = self.pick_online() else { return };
        let slot = &self.slots[owner as usize];
        let Actor::Device(device) = &slot.actor else { return };
        let read = Read {
            user: slot.number as usize % self.common.users,
            device: device.di(),
            href: device.kind().main_href(),
            due,
            receipts: self.wiring.receipts.clone(),
        };
        if !self.wiring.reads.ask(read) {
            let refused = Failure::Http("too many wait for a connection to the API".into());
            self.count(Step::Read, now.since(due), Err(refused), now);
        }
    }

    /// Breaks the connection of a device that is signed in, as a cut in its network would.
    fn cut_off(&mut self, owner: u32, now: Instant) {
        let slot = &mut self.slots[owner as usize];
        if slot.number < self.common.scenario.stay || !slot.counted.online {
            return;
        }
        if let Some(socket) = slot.socket.take() {
            self.sockets.cut(socket);
            if slot.cut_at_millis == 0 {
                self.stats.comebacks.dropped += 1;
                self.snapshot.dropped += 1;
            }
            // Zero means that it was not.
            slot.cut_at_millis = u32::try_from(now.as_millis()).unwrap_or(u32::MAX).max(1);
            slot.actor.handle(Input::Closed, now);
            self.drain(owner, now);
        }
    }

    /// Cuts off everybody at once.
    pub(super) fn storm(&mut self, now: Instant) {
        for nth in 0..self.devices.len() {
            self.cut_off(self.devices[nth], now);
        }
        self.snapshot.storms += 1;
    }

    /// A device has signed in; it may have been cut off before.
    pub(super) fn is_back(&mut self, owner: u32, now: Instant) {
        let slot = &mut self.slots[owner as usize];
        let Actor::Device(device) = &slot.actor else { return };
        let cut_at = std::mem::take(&mut slot.cut_at_millis);
        if cut_at != 0 {
            let took = Duration::from_millis(now.as_millis().saturating_sub(cut_at.into()));
            self.stats.comebacks.back(took, device.tries());
            self.snapshot.back += 1;
        }
    }

    /// One of the clients asks for something. One that knows nothing to ask for discovers first.
    fn ask_one(&mut self, step: Step, due: Instant, now: Instant) {
        if self.clients.is_empty() {
            return;
        }
        let nth = self.pick(self.clients.len());
        let owner = self.clients[nth];
        let random = self.rng.next_u64();
        let Actor::Client(active) = &mut self.slots[owner as usize].actor else { return };
        if !active.client.is_signed_in() {
            self.count(step, now.since(due), Err(Failure::NotSignedIn), now);
            return;
        }
        let fits = |target: &&Target| step == Step::Retrieve || target.kind != TargetKind::ReadOnly;
        let count = active.targets.iter().filter(fits).count();
        if count == 0 {
            self.discover(owner, due, now);
            return;
        }
        let nth = (random % count as u64) as usize;
        let Some(target) = active.targets.iter().filter(fits).nth(nth) else { return };
        let (device, href) = (target.device, &*target.href);
        if step == Step::Retrieve {
            active.client.ask(&Ask::Retrieve { device, href, query: &[] }, due, now);
        } else {
            let body = &update(target.kind, random >> 32);
            active.client.ask(&Ask::Update { device, href, body }, due, now);
        }
        self.drain(owner, now);
    }

    /// Asks for the links of some devices of the client's user: those of all might be more than one
    /// answer holds.
    fn discover(&mut self, owner: u32, due: Instant, now: Instant) {
        let users = self.common.users;
        let user = self.slots[owner as usize].number as usize % users;
        let mut queries = Vec::with_capacity(DISCOVERED_DEVICES);
        for _ in 0..PICKS * DISCOVERED_DEVICES {
            if self.devices.is_empty() || queries.len() == DISCOVERED_DEVICES {
                break;
            }
            let nth = self.pick(self.devices.len());
            let slot = &self.slots[self.devices[nth] as usize];
            let query = format!("di={}", slot.actor.di());
            if slot.counted.ready
                && slot.number as usize % users == user
                && !queries.contains(&query)
            {
                queries.push(query);
            }
        }
        let query: Vec<_> = queries.iter().map(String::as_str).collect();
        if let Actor::Client(active) = &mut self.slots[owner as usize].actor {
            active.client.ask(&Ask::Discover { query: &query }, due, now);
        }
        self.drain(owner, now);
    }

    /// A client that has discovered something observes as much of it as it is told to.
    pub(super) fn answered(&mut self, owner: u32, answer: Answer, now: Instant) {
        let (Step::Discover, Ok(response)) = (answer.step, answer.result) else { return };
        let Actor::Client(active) = &mut self.slots[owner as usize].actor else { return };
        let first = active.targets.is_empty();
        active.discovered(discovered_links(&response.payload));
        if first {
            let count = self.common.scenario.observations_per_client as usize;
            for target in active.targets.iter().take(count) {
                let (device, href) = (Some(target.device), &*target.href);
                active.client.ask(&Ask::Observe { device, href }, now, now);
            }
        }
    }
}

/// A body that changes a resource to some value.
fn update(kind: TargetKind, random: u64) -> Vec<u8> {
    let mut body = Vec::new();
    match kind {
        TargetKind::Dimming => {
            Writer(&mut body).map(1).text("dimmingSetting").unsigned(random % 101);
        }
        TargetKind::Switch | TargetKind::ReadOnly => {
            Writer(&mut body).map(1).text("value").bool(random & 1 == 1);
        }
    }
    body
}
