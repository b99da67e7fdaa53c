//! What was acknowledged to somebody: it must be there after every start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::events::Ending;
use shared::ids::{DeviceId, UserId};
use shared::time::Instant;

use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

/// Longer than any request that is still on its way.
const UNDER_WAY: Duration = Duration::from_secs(300);

/// An account that a device was told it has, and the links that it was told are published.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Fact {
    /// The seed of the account: another sign-up makes another account.
    pub(super) seed: [u8; 16],
    /// Links without a time.
    pub(super) links: BTreeSet<String>,
}

/// Names a request: link and token, or channel and number.
pub(in crate::simulation) type RequestKey = (u64, u64);

/// Requests under way that end an account or put another one in its place.
#[derive(Default)]
pub(in crate::simulation) struct Facts {
    of_devices: BTreeMap<(UserId, DeviceId), Fact>,
    doubts: Vec<(DeviceId, RequestKey, Instant)>,
    /// The step in which the end of links of a device was asked for last.
    links_doubted: BTreeMap<(UserId, DeviceId), u64>,
}

impl Facts {
    /// Somebody asks for the end of an account, or for another one in its place.
    pub(in crate::simulation) fn doubt(&mut self, device: DeviceId, by: RequestKey, now: Instant) {
        self.of_devices.retain(|(_, of), _| *of != device);
        self.doubts.retain(|(_, _, until)| *until > now);
        self.doubts.push((device, by, now + UNDER_WAY));
    }

    /// That has been answered.
    pub(super) fn settle(&mut self, by: RequestKey) {
        self.doubts.retain(|(_, key, _)| *key != by);
    }

    /// An account was acknowledged. It is a fact unless somebody is about to end it.
    pub(super) fn signed_up(
        &mut self,
        user: UserId,
        device: DeviceId,
        seed: [u8; 16],
        now: Instant,
    ) {
        if !self.doubts.iter().any(|(of, _, until)| *of == device && *until > now) {
            self.of_devices.insert((user, device), Fact { seed, links: BTreeSet::new() });
        }
    }

    /// A publish of this step was acknowledged. An answer may leave so late, over a connection whose
    /// device does not read and has another one, that the links have ended meanwhile: then it says
    /// nothing.
    pub(super) fn published(
        &mut self,
        user: UserId,
        device: DeviceId,
        hrefs: Vec<String>,
        asked: u64,
    ) {
        if self.links_doubted.get(&(user, device)).is_some_and(|&doubted| doubted >= asked) {
            return;
        }
        if let Some(fact) = self.of_devices.get_mut(&(user, device)) {
            fact.links.extend(hrefs);
        }
    }

    /// These links, or all, may end from this step on.
    pub(in crate::simulation) fn doubt_links(
        &mut self,
        user: UserId,
        device: DeviceId,
        hrefs: Option<&[String]>,
        step: u64,
    ) {
        self.links_doubted.insert((user, device), step);
        if let Some(fact) = self.of_devices.get_mut(&(user, device)) {
            fact.links.retain(|link| hrefs.is_some_and(|hrefs| !hrefs.contains(link)));
        }
    }
}

impl Simulation {
    /// Everything that was acknowledged is there.
    pub(in crate::simulation) fn check_facts(&mut self) {
        let records = &self.model.acknowledged;
        let mut lost = None;
        for (key, fact) in &self.model.facts.of_devices {
            if records.accounts.get(key).is_none_or(|account| account.seed != fact.seed) {
                lost = Some(format!("the account of {} is not there", key.1));
            }
            let links = records.links.get(key).map_or(&[][..], Vec::as_slice);
            if let Some(href) = fact.links.iter().find(|href| !links.contains(href)) {
                lost = Some(format!("{href} of {} is not there", key.1));
            }
        }
        if let Some(seen) = lost {
            return self.fail(Invariant::Durability, seen);
        }
        self.check_subscriptions();
    }

    /// Every subscription is there, or has said its last word, or has ended in a way of which nobody
    /// needs to hear.
    fn check_subscriptions(&mut self) {
        let outboxes = &self.model.acknowledged.outboxes.of_users;
        let lost = self.model.receivers.all.iter().find(|known| {
            let Some(id) = known.id else { return false };
            let outbox = outboxes.get(&(self.users[known.user], id));
            let is_there = outbox.is_some_and(|outbox| outbox.asked.is_some());
            let may_be_silent =
                known.ended.is_some_and(|why| why.is_brief() || why == Ending::Unwanted);
            !(is_there || may_be_silent || known.has_said_its_last())
        });
        if let Some(lost) = lost {
            let seen = format!("the subscription {:?} of user {} is lost", lost.id, lost.user);
            self.fail(Invariant::EventsComplete, seen);
        }
    }
}
