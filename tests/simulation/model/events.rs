//! Every notification that leaves the cloud, judged at the moment in which it does; and what its
//! receiver makes of it.

use std::collections::BTreeMap;

use gateway::events::Ending;
use gateway::events::retry::REFUSALS_MAX;
use shared::channel::events::{
    Delivery, Event, EventBody, EventType, NewSubscription, Outcome, Target,
};
use shared::ids::{DeviceId, GrantId, SubscriptionId, UserId};
use shared::time::Instant;

use super::Model;
use super::asked::Value;
use super::canary;
use super::outboxes::Told;
use super::replies::shown_links;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

/// In the place of a notification that nobody was told.
const DROPPED: Event =
    Event { event_type: EventType::SubscriptionCancelled, body: EventBody::Nothing };

/// A subscription that an `api` process has asked for.
pub(in crate::simulation) struct Subscribed {
    pub(in crate::simulation) user: usize,
    pub(in crate::simulation) asked: NewSubscription,
    /// It ends with this.
    grant: Option<GrantId>,
    /// Its receiver refuses everything.
    pub(in crate::simulation) refuses: bool,
    pub(in crate::simulation) id: Option<SubscriptionId>,
    /// Since this step.
    pub(super) step: u64,
    /// A reply has said that there is none.
    pub(super) failed: bool,
    /// What was handed out, by number.
    handed: Vec<Event>,
    /// The last of that needs no further attempt.
    settled: bool,
    refusals: u8,
    /// Its client does not want it any more.
    pub(in crate::simulation) unsubscribed: bool,
    /// Its receiver does not want it any more.
    pub(super) unwanted: bool,
    /// Why the cloud has ended it.
    pub(super) ended: Option<Ending>,
    /// The number that its receiver waits for.
    awaits: u64,
    /// When it has heard something last.
    pub(super) heard: Instant,
    /// Its receiver has refused some.
    pub(super) has_gaps: bool,
    /// What its receiver knows.
    pub(super) told: Told,
}

/// All of them, and who receives their notifications.
#[derive(Default)]
pub(in crate::simulation) struct Receivers {
    pub(in crate::simulation) all: Vec<Subscribed>,
    by_id: BTreeMap<SubscriptionId, usize>,
}

impl Receivers {
    /// Somebody asks for a subscription.
    pub(in crate::simulation) fn ask(
        &mut self,
        user: usize,
        asked: NewSubscription,
        grant: Option<GrantId>,
        refuses: bool,
        step: u64,
    ) {
        self.all.push(Subscribed {
            user,
            asked,
            grant,
            refuses,
            id: None,
            step,
            failed: false,
            handed: Vec::new(),
            settled: true,
            refusals: 0,
            unsubscribed: false,
            unwanted: false,
            ended: None,
            awaits: 0,
            heard: Instant::START,
            has_gaps: false,
            told: Told::default(),
        });
    }

    /// What tells the subscription of this number from others.
    pub(in crate::simulation) fn correlation(user: usize, number: usize) -> String {
        format!("{} {number}", canary::of(user))
    }

    /// The number of the subscription that this belongs to.
    pub(super) fn number_in(&self, correlation: &str) -> Option<usize> {
        let number = correlation.split(' ').nth(1)?.parse().ok()?;
        (number < self.all.len()).then_some(number)
    }

    pub(in crate::simulation) fn find(&self, id: SubscriptionId) -> Option<&Subscribed> {
        self.by_id.get(&id).map(|&number| &self.all[number])
    }

    pub(in crate::simulation) fn find_mut(
        &mut self,
        id: SubscriptionId,
    ) -> Option<&mut Subscribed> {
        self.by_id.get(&id).map(|&number| &mut self.all[number])
    }

    /// Whether the receiver of a subscription has said that it does not want it.
    pub(super) fn is_unwanted(&self, id: SubscriptionId) -> bool {
        self.find(id).is_some_and(|known| known.unwanted)
    }

    /// A subscription has this id, whoever says so.
    pub(super) fn name(&mut self, number: usize, id: SubscriptionId) -> bool {
        self.by_id.insert(id, number);
        *self.all[number].id.get_or_insert(id) == id && !self.all[number].failed
    }

    /// A process says how an attempt ended.
    pub(in crate::simulation) fn attempted(
        &mut self,
        id: SubscriptionId,
        number: u64,
        outcome: Outcome,
    ) {
        let Some(known) = self.find_mut(id) else { return };
        let is_last = number + 1 == known.handed.len() as u64;
        match outcome {
            Outcome::Accepted => known.refusals = 0,
            Outcome::Refused { .. } => known.refusals = known.refusals.saturating_add(1),
            Outcome::Gone => return known.unwanted = true,
            // Clients of the simulation stay what they are: nobody finds them gone.
            Outcome::Failed { .. } | Outcome::ClientGone => return,
        }
        known.settled |= is_last;
    }
}

impl Subscribed {
    /// Whether the notification that comes now has the number that it must have.
    fn takes(&mut self, number: u64, event: &Event) -> bool {
        let next = self.handed.len() as u64;
        if number + 1 == next {
            return self.handed.last() == Some(event);
        }
        let is_last = event.event_type == EventType::SubscriptionCancelled;
        // What was dropped because of a grant that has ended, or of a client that wants nothing any more,
        // has its numbers all the same.
        let is_next = if is_last { number >= next } else { number == next && self.settled };
        if !is_next {
            return false;
        }
        self.handed.resize(number as usize, DROPPED);
        self.handed.push(event.clone());
        self.settled = false;
        true
    }

    /// The last word has been handed out.
    pub(super) fn has_said_its_last(&self) -> bool {
        let is_last = |event: &Event| event.event_type == EventType::SubscriptionCancelled;
        self.handed.last().is_some_and(is_last)
    }

    /// Whether there is a reason to end it.
    fn may_end(&self, why: Ending) -> bool {
        match why {
            Ending::Unsubscribed => self.unsubscribed,
            Ending::Unwanted => self.unwanted,
            Ending::Refused => self.refusals >= REFUSALS_MAX,
            // Judged when it is durable.
            Ending::DeviceGone | Ending::ResourceGone => self.asked.target.device().is_some(),
            Ending::Revoked => self.grant.is_some(),
            // Judged by what waits.
            Ending::Overflowing => true,
            Ending::GivenUp => false,
        }
    }
}

impl Simulation {
    /// Judges a notification that is handed out.
    pub(in crate::simulation) fn judge_delivery(&mut self, delivery: &Delivery) {
        let Some(number) = self.model.receivers.number_in(&delivery.correlation) else {
            return self.fail(Invariant::EventsComplete, "nobody has asked for this".into());
        };
        let known = &self.model.receivers.all[number];
        let (user, asked, grant) = (self.users[known.user], &known.asked, known.grant);
        let is_as_asked = delivery.user == user
            && delivery.client == asked.client
            && delivery.url == asked.url
            && delivery.secret == asked.secret
            && delivery.correlation == asked.correlation
            && delivery.format == asked.format;
        if !is_as_asked {
            let seen = format!("subscription {number} of user {} is mixed up", known.user);
            return self.fail(Invariant::Isolation, seen);
        }
        if !self.model.receivers.name(number, delivery.id) {
            let seen = format!("subscription {number} was refused, or has two ids");
            return self.fail(Invariant::EventsComplete, seen);
        }
        let is_last = delivery.event.event_type == EventType::SubscriptionCancelled;
        let stands = |grant| self.model.acknowledged.grants.contains_key(&grant);
        if !is_last && grant.is_some_and(|grant| !stands(grant)) {
            let seen = format!("subscription {number} tells, and its grant has ended");
            return self.fail(Invariant::Revocation, seen);
        }
        self.judge_event(number, &delivery.event);
        self.judge_place(user, delivery);
        let known = &mut self.model.receivers.all[number];
        if !known.takes(delivery.number, &delivery.event) {
            let seen = format!(
                "subscription {number}: {} {:?} after {} ones",
                delivery.number,
                delivery.event,
                known.handed.len()
            );
            self.fail(Invariant::EventsInOrder, seen);
        }
    }

    /// It is of the user, and of what was asked for.
    fn judge_event(&mut self, number: usize, event: &Event) {
        let known = &self.model.receivers.all[number];
        let (of, user) = (known.user, self.users[known.user]);
        let (target, types, step) = (known.asked.target.clone(), known.asked.types, known.step);
        let shown = match &event.body {
            EventBody::Links(_, links) => shown_links(links),
            EventBody::Content(body) => body.clone(),
            EventBody::Devices(_) | EventBody::Nothing => Vec::new(),
        };
        if let Some(found) = canary::foreign(of, &shown) {
            return self.fail(Invariant::Isolation, format!("user {of} is told of {found}"));
        }
        let views = &self.model.views;
        let is_own = |device: &DeviceId| views.pairs_of(user, *device).next().is_some();
        let of_others = match &event.body {
            EventBody::Devices(devices) => devices.iter().any(|device| !is_own(device)),
            EventBody::Links(device, _) => target.device() != Some(*device),
            EventBody::Content(_) | EventBody::Nothing => false,
        };
        if of_others {
            return self.fail(Invariant::Isolation, format!("user {of} is told of {event:?}"));
        }
        if event.event_type == EventType::SubscriptionCancelled {
            return self.judge_last_word(number, user, &target, step);
        }
        if !types.contain(event.event_type) {
            let seen = format!("subscription {number} has not asked for {event:?}");
            return self.fail(Invariant::EventsComplete, seen);
        }
        if let EventBody::Content(body) = &event.body {
            self.judge_content(number, &target, body);
        }
    }

    /// What is gone according to the last word is gone.
    fn judge_last_word(&mut self, number: usize, user: UserId, target: &Target, step: u64) {
        let views = &self.model.views;
        let is_gone = match (self.model.receivers.all[number].ended, target) {
            (Some(Ending::DeviceGone), Target::Device(device) | Target::Resource(device, _)) => {
                views.since(user, step, |view| !view.devices.contains(device))
            }
            (Some(Ending::ResourceGone), Target::Resource(device, href)) => {
                let path = format!("/{device}{href}");
                views.since(user, step, |view| !view.links.contains(&path))
            }
            _ => true,
        };
        if !is_gone {
            // The cloud does not know any more what it has acknowledged.
            let seen = format!("subscription {number} ends, and {target:?} is there");
            self.fail(Invariant::Durability, seen);
        }
    }

    /// A representation is of the resource, and not older than the one before.
    fn judge_content(&mut self, number: usize, target: &Target, body: &[u8]) {
        let Target::Resource(device, href) = target else { return };
        let handed = self.model.receivers.all[number].handed.iter().rev();
        let mut before = handed.filter_map(|event| match &event.body {
            EventBody::Content(body) => Value::parse(body),
            _ => None,
        });
        let before = before.next();
        let value = Value::parse(body);
        let is_right = value.as_ref().is_some_and(|value| {
            let is_newer = before
                .as_ref()
                .is_none_or(|old| old.peer != value.peer || old.version <= value.version);
            let (peer, path) = (self.peers.get(value.peer), super::super::peer::HREFS);
            is_newer && peer.is_some_and(|it| it.di == *device) && path[value.href] == *href
        });
        if !is_right {
            let seen =
                format!("subscription {number} to {device}{href}: {value:?} after {before:?}");
            self.fail(Invariant::LatestState, seen);
        }
    }

    /// It is durable, the first that waits, and numbered by those before it.
    fn judge_place(&mut self, user: UserId, delivery: &Delivery) {
        let outboxes = &self.model.acknowledged.outboxes.of_users;
        let Some(outbox) = outboxes.get(&(user, delivery.id)).filter(|it| it.asked.is_some())
        else {
            let seen = format!("{} is handed out before it is durable", delivery.id);
            return self.fail(Invariant::CommitFirst, seen);
        };
        let is_first = outbox.waiting.values().next() == Some(&delivery.event);
        // Nobody wants what waits before the last word.
        let is_last = outbox.ending.is_some_and(Ending::drops_waiting)
            && delivery.event.event_type == EventType::SubscriptionCancelled
            && outbox.waiting.values().any(|event| *event == delivery.event);
        if !is_first && !is_last {
            let durable = outbox.waiting.values().any(|event| *event == delivery.event);
            let invariant = if durable { Invariant::EventsInOrder } else { Invariant::CommitFirst };
            let seen = format!("{}: {:?} is not the first", delivery.id, delivery.event);
            return self.fail(invariant, seen);
        }
        if outbox.done != delivery.number {
            let seen = format!("{}: {} after {}", delivery.id, delivery.number, outbox.done);
            self.fail(Invariant::EventsInOrder, seen);
        }
    }

    /// The cloud ends a subscription.
    pub(in crate::simulation) fn judge_subscription_end(
        &mut self,
        id: SubscriptionId,
        why: Ending,
    ) {
        self.tell(format_args!("{id} ends: {why:?}"));
        let Some(known) = self.model.receivers.find_mut(id) else { return };
        known.ended = Some(why);
        let Model { acknowledged, receivers, .. } = &self.model;
        let Some(known) = receivers.find(id) else { return };
        let stands = |grant| acknowledged.grants.contains_key(&grant);
        let is_full = || {
            let coming = self.cloud.disk.on_their_way();
            let key = (self.users[known.user], id);
            // One more may be in the very commit with which it ends.
            acknowledged.outboxes.waiting_with(key, coming) + 1 >= self.limits.outbox_events_max
        };
        let has_reason = match why {
            Ending::Revoked => !known.grant.is_some_and(stands),
            Ending::Overflowing => is_full(),
            _ => true,
        };
        if !known.may_end(why) || !has_reason {
            let seen = format!("{id} of user {} ends: {why:?}", known.user);
            self.fail(Invariant::EventsComplete, seen);
        }
    }

    /// A receiver hears a notification, perhaps not for the first time.
    pub(in crate::simulation) fn receive(&mut self, delivery: &Delivery, takes: bool) {
        let Some(known) = self.model.receivers.find_mut(delivery.id) else { return };
        // An attempt may have taken longer than those that followed it.
        if delivery.number < known.awaits {
            return;
        }
        let is_gap = delivery.number > known.awaits && !known.has_gaps;
        let is_last = delivery.event.event_type == EventType::SubscriptionCancelled;
        (known.awaits, known.heard) = (delivery.number + 1, self.instant);
        if takes {
            known.told.hear(&delivery.event);
        } else {
            known.has_gaps = true;
        }
        if is_gap && !is_last {
            let seen =
                format!("{}: a receiver misses what is before {}", delivery.id, delivery.number);
            self.fail(Invariant::EventsInOrder, seen);
        }
    }
}
