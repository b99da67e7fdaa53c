//! Notifications are handed out, and what comes of it (cloud reference 5.9, 5.10).

use std::time::Duration;

use shared::channel::events::{Delivery, EventType, Outcome, Trouble};
use shared::channel::message::Reply;
use shared::ids::SubscriptionId;

use super::Shard;
use super::input::{ChannelId, Output};
use super::staging::Change;
use crate::command::{Caller, ReplyTo};
use crate::events::record::{self, ProgressRecord};
use crate::events::retry::{self, LAST_ATTEMPTS_MAX, REFUSALS_MAX};
use crate::events::subscription::digest;
use crate::events::{Ending, Stage, Subscription, Way};
use crate::limits::{DELIVERY_LEASE, STORE_AGAIN};
use crate::seeded::{Bug, is_planted};

impl Shard {
    /// An `api` process delivers from now on.
    pub(super) fn on_courier(&mut self, to: ReplyTo) {
        self.events.couriers.add(to.channel);
        self.answer(to, Reply::Done);
    }

    /// An `api` process is gone: what it had is handed to another one.
    pub(super) fn on_courier_gone(&mut self, channel: ChannelId) {
        self.events.couriers.remove(channel);
        let had = |found: &&Subscription| found.way == Way::UnderWay(channel);
        let ids: Vec<_> = self.events.subscriptions.iter().filter(had).map(|it| it.id).collect();
        for id in ids {
            self.take_back(id, None);
            self.make_ready(id);
        }
    }

    /// The first notification of a subscription is with nobody any more.
    fn take_back(&mut self, id: SubscriptionId, is_troubled: Option<bool>) {
        self.events.leases.clear(id);
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        if let Way::UnderWay(channel) = subscription.way {
            subscription.way = Way::Idle;
            self.events.couriers.over(&subscription.receiver, channel, is_troubled);
        }
    }

    /// A subscription may have something to hand out.
    pub(super) fn make_ready(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        if subscription.is_ready() {
            subscription.way = Way::Ready;
            self.events.couriers.ready(&subscription.receiver, id);
        }
    }

    /// Hands out what is ready, as long as there are processes for it.
    pub(super) fn hand_out(&mut self) {
        while let Some((channel, receiver, id)) = self.events.couriers.assign() {
            if !self.hand_out_first(channel, id) {
                self.events.couriers.over(&receiver, channel, None);
            }
        }
    }

    fn hand_out_first(&mut self, channel: ChannelId, id: SubscriptionId) -> bool {
        let now = self.now;
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return false };
        if subscription.way != Way::Ready {
            return false;
        }
        subscription.way = Way::Idle;
        let Some(first) = subscription.outbox.first() else { return false };
        let event = first.event.clone();
        let is_last = event.event_type == EventType::SubscriptionCancelled;
        let grants = &self.authorization.grants;
        let revoked = |grant| !grants.is_live(subscription.user, grant, now.unix);
        let is_revoked = subscription.grant.is_some_and(revoked);
        match subscription.stage {
            // Whether it ends is not durable yet.
            Stage::Ending(why) if why.drops_waiting() && !subscription.drops_waiting() => {
                return false;
            }
            Stage::Ending(why) if !is_last && (why.drops_waiting() || is_revoked) => {
                // Somebody may have seen it, so its number is used; nobody gets it again.
                self.deal_with_first(id);
                return false;
            }
            Stage::Ending(_) => {}
            _ if is_revoked => {
                self.doom(id, Ending::Revoked);
                return false;
            }
            _ => {}
        }
        subscription.outbox.show();
        subscription.way = Way::UnderWay(channel);
        let asked = &subscription.asked;
        let delivery = Delivery {
            user: subscription.user,
            id,
            number: subscription.outbox.number(),
            client: asked.client.clone(),
            granted: subscription.grant.is_some(),
            url: asked.url.clone(),
            secret: asked.secret.clone(),
            correlation: asked.correlation.clone(),
            format: asked.format,
            event: (*event).clone(),
        };
        self.events.leases.set(id, now.instant + DELIVERY_LEASE);
        self.counters.deliveries += 1;
        self.outputs.push_back(Output::Delivery { channel, delivery: Box::new(delivery) });
        true
    }

    /// A process says what came of a delivery. Late news of one that was taken back means nothing.
    pub(super) fn on_delivered(
        &mut self,
        caller: Caller,
        id: SubscriptionId,
        number: u64,
        outcome: Outcome,
    ) {
        let Some(subscription) = self.events.subscriptions.get(id) else { return };
        let is_it = subscription.user == caller.user
            && subscription.way == Way::UnderWay(caller.channel)
            && subscription.outbox.number() == number;
        if is_it {
            self.take_back(id, Some(matches!(outcome, Outcome::Failed { .. })));
            self.attempt_ended(id, outcome);
        }
    }

    fn attempt_ended(&mut self, id: SubscriptionId, outcome: Outcome) {
        let now = self.now.unix;
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        match outcome {
            Outcome::Accepted => {
                self.counters.delivered += 1;
                subscription.refusals = 0;
                subscription.deliveries.delivered += 1;
                subscription.deliveries.last_delivered = Some(now.0);
                self.deal_with_first(id);
            }
            Outcome::Gone => {
                subscription.stage = Stage::Ending(Ending::Unwanted);
                self.stop_listening(id);
                self.outputs.push_back(Output::SubscriptionEnded { id, why: Ending::Unwanted });
                self.remove_subscription(id);
            }
            Outcome::Refused { why } => {
                self.counters.deliveries_refused += 1;
                subscription.deliveries.refused += 1;
                subscription.note_trouble(why, now);
                subscription.refusals = subscription.refusals.saturating_add(1);
                if subscription.refusals >= REFUSALS_MAX {
                    self.doom(id, Ending::Refused);
                }
                self.deal_with_first(id);
            }
            Outcome::ClientGone => {
                self.doom(id, Ending::Revoked);
                self.deal_with_first(id);
            }
            Outcome::Failed { why, retry_after_secs } => {
                self.counters.deliveries_failed += 1;
                subscription.deliveries.failed += 1;
                subscription.note_trouble(why, now);
                if is_planted(Bug::FailedEventsAreDropped) {
                    return self.deal_with_first(id);
                }
                self.attempt_failed(id, retry_after_secs);
            }
        }
    }

    fn attempt_failed(&mut self, id: SubscriptionId, asked_secs: Option<u32>) {
        let now = self.now.unix;
        let mut random = [0; 4];
        self.random.fill(&mut random);
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        subscription.failures = subscription.failures.saturating_add(1);
        let is_first = subscription.first_failure.is_none();
        let first_failure = *subscription.first_failure.get_or_insert(now);
        let is_over = retry::is_over(first_failure, now);
        let failures = subscription.failures;
        match subscription.stage {
            Stage::Ending(why) => {
                let is_enough = why.is_brief() && failures >= LAST_ATTEMPTS_MAX;
                let is_last = subscription.outbox.len() == 1 && subscription.outbox.has_last_word();
                if is_over || (is_last && is_enough) {
                    return self.remove_subscription(id);
                }
            }
            _ if is_over => self.doom(id, Ending::GivenUp),
            _ => {}
        }
        self.pause(id, retry::pause(failures, asked_secs, u32::from_be_bytes(random)));
        // A restart does not begin the day anew.
        if is_first && self.check_commits().is_ok() {
            self.write_progress(id);
        }
    }

    fn write_progress(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.events.subscriptions.get(id) else { return };
        let record = progress(subscription, subscription.outbox.number());
        let write = record::put_progress(subscription.user, id, &record);
        self.commit([write], Change::Noted, None);
    }

    /// Lets a subscription rest for so long.
    pub(super) fn pause(&mut self, id: SubscriptionId, pause: Duration) {
        if let Some(subscription) = self.events.subscriptions.get_mut(id) {
            subscription.way = Way::Pausing;
            self.events.retries.set(id, self.now.instant + pause);
        }
    }

    /// The first notification needs no further attempt: it leaves the outbox as soon as that is
    /// durable. With the last one the subscription goes.
    fn deal_with_first(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        let Some(first) = subscription.outbox.first() else { return };
        if first.event.event_type == EventType::SubscriptionCancelled {
            return self.remove_subscription(id);
        }
        if let shared::channel::events::EventBody::Content(body) = &first.event.body {
            subscription.content.dealt_with = Some(digest(body));
        }
        let position = first.position;
        subscription.way = Way::Settling;
        subscription.failures = 0;
        subscription.first_failure = None;
        let record = progress(subscription, subscription.outbox.number() + 1);
        let removal = record::delete_event(subscription.user, id, position);
        let count = record::put_progress(subscription.user, id, &record);
        let count = (!is_planted(Bug::NumbersAreNotWritten)).then_some(count);
        let writes = [removal].into_iter().chain(count);
        self.commit(writes, Change::DealtWith { id }, None);
    }

    /// The first notification is gone for good, or the store has refused to say so: then it is
    /// delivered once more, under the same number.
    pub(super) fn dealt_with_committed(&mut self, id: SubscriptionId, done: bool) {
        if !done {
            return self.pause(id, STORE_AGAIN);
        }
        if let Some(subscription) = self.events.subscriptions.get_mut(id) {
            subscription.outbox.take();
            subscription.way = Way::Idle;
            self.make_ready(id);
        }
    }

    /// Tries again what is due.
    pub(super) fn retry_deliveries(&mut self) {
        while let Some(id) = self.events.retries.next_due(self.now.instant) {
            let Some(subscription) = self.events.subscriptions.get_mut(id) else { continue };
            if subscription.way == Way::Pausing {
                subscription.way = Way::Idle;
            }
            let is_unwanted = subscription.stage == Stage::Ending(Ending::Unwanted);
            self.events.to_write.push(id);
            if is_unwanted {
                self.remove_subscription(id);
            } else {
                self.make_ready(id);
            }
        }
        while let Some(id) = self.events.leases.next_due(self.now.instant) {
            self.take_back(id, Some(true));
            let outcome = Outcome::Failed { why: Trouble::NotSent, retry_after_secs: None };
            self.attempt_ended(id, outcome);
        }
    }
}

fn progress(subscription: &Subscription, done: u64) -> ProgressRecord {
    ProgressRecord {
        done,
        newest: subscription.content.dealt_with,
        refusals: subscription.refusals,
        first_failure: subscription.first_failure.map(|at| at.0),
    }
}
