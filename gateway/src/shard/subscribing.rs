//! Subscriptions come and go: what `api` asks, and what follows from the end of grants
//! (cloud reference 5.3 to 5.5, 5.11).
//!
//! A subscription listens from the moment at which it is asked for. Changes that were staged before
//! it do not know it, so its initial notifications are made when they are durable: they show them,
//! and everything staged later tells it. What it has heard by then is in the initial notifications
//! already, and is dropped.

use shared::channel::events::{EventBody, EventType, EventsCommand, NewSubscription, Target};
use shared::channel::message::{Failure, Reply};
use shared::ids::{DeviceId, GrantId, SubscriptionId};

use super::Shard;
use super::news::{News, Told, chunks, links_of};
use super::staging::Change;
use crate::command::{Caller, ReplyTo};
use crate::events::{Ending, Stage, Subscription, Way, record};
use crate::limits::{CLIENT_ID_BYTES_MAX, EVENTS_URL_BYTES_MAX, NOTIFICATION_ENTRIES_MAX};
use crate::store::SEAL_NONCE_BYTES;

/// Subscriptions that are ended in one commit.
const ENDED_AT_ONCE: usize = 256;

impl Shard {
    /// A command about subscriptions of a user.
    pub(super) fn on_events_command(
        &mut self,
        caller: Caller,
        grant: Option<GrantId>,
        command: EventsCommand,
    ) {
        let outcome = match command {
            EventsCommand::Subscribe(asked) => self.subscribe(caller, grant, asked),
            EventsCommand::ReadSubscription { id, client, target } => {
                self.find_subscription(caller, id, &client, &target).map(|()| {
                    self.router.reply(caller.channel, caller.request, Reply::Done);
                })
            }
            EventsCommand::Unsubscribe { id, client, target } => {
                self.unsubscribe(caller, id, &client, &target)
            }
            EventsCommand::Delivered { id, number, outcome } => {
                self.on_delivered(caller, id, number, outcome);
                self.router.reply(caller.channel, caller.request, Reply::Done);
                Ok(())
            }
            EventsCommand::Deliver
            | EventsCommand::EndClient { .. }
            | EventsCommand::ListSubscriptions { .. } => Err(Failure::WrongShard),
        };
        if let Err(failure) = outcome {
            self.fail(caller, failure);
        }
    }

    fn subscribe(
        &mut self,
        caller: Caller,
        grant: Option<GrantId>,
        asked: NewSubscription,
    ) -> Result<(), Failure> {
        self.check_target(caller, &asked.target)?;
        // Nothing begins for somebody who leaves.
        if self.departures.has(caller.user) {
            return Err(Failure::Overloaded);
        }
        let texts = [&asked.url, &asked.correlation];
        let is_small = texts.iter().all(|text| text.len() <= EVENTS_URL_BYTES_MAX)
            && asked.secret.reveal().len() <= EVENTS_URL_BYTES_MAX
            && asked.client.len() <= CLIENT_ID_BYTES_MAX;
        if !is_small {
            return Err(Failure::RecordTooLarge);
        }
        let limits = &self.router.limits;
        let all = &self.events.subscriptions;
        let of_user = all.of_user(caller.user).take(limits.subscriptions_per_user_max).count();
        let of_device = asked.target.device().map_or(0, |device| {
            all.of_device(caller.user, device).take(limits.subscriptions_per_device_max).count()
        });
        if of_user >= limits.subscriptions_per_user_max
            || of_device >= limits.subscriptions_per_device_max
        {
            return Err(Failure::TooManySubscriptions);
        }
        self.pace_subscriber(caller.user, &asked.client)?;
        self.check_commits().map_err(|_| Failure::Overloaded)?;
        let mut random = [0; 16];
        self.random.fill(&mut random);
        let id = SubscriptionId::from_random(random);
        let stage = Stage::Waiting { behind: self.staging.last(), caller };
        let now = self.now.unix;
        let subscription = Subscription::new(id, caller.user, grant, asked, now, stage);
        self.events.subscriptions.insert(subscription);
        self.events.starting.push(id);
        Ok(())
    }

    fn check_target(&self, caller: Caller, target: &Target) -> Result<(), Failure> {
        let Some(device) = target.device() else { return Ok(()) };
        let key = self.router.device_of(caller.user, device)?;
        let Target::Resource(_, href) = target else { return Ok(()) };
        let directory = self.router.accounts[key].directory.as_ref();
        let found = directory.is_some_and(|directory| directory.link(href).is_some());
        if found { Ok(()) } else { Err(Failure::NoSuchResource) }
    }

    /// Whether a client has such a subscription, and it has not ended.
    fn find_subscription(
        &self,
        caller: Caller,
        id: SubscriptionId,
        client: &str,
        target: &Target,
    ) -> Result<(), Failure> {
        let found = self.events.subscriptions.get(id).filter(|found| {
            found.user == caller.user
                && found.asked.client == client
                && found.asked.target == *target
                && found.stage == Stage::Active
        });
        found.map(drop).ok_or(Failure::NoSuchSubscription)
    }

    fn unsubscribe(
        &mut self,
        caller: Caller,
        id: SubscriptionId,
        client: &str,
        target: &Target,
    ) -> Result<(), Failure> {
        self.find_subscription(caller, id, client, target)?;
        self.check_commits().map_err(|_| Failure::Overloaded)?;
        let mut news = News::default();
        self.append_end(&mut news, id, Ending::Unsubscribed);
        self.commit_with([], Change::Unsubscribed { caller }, None, news);
        Ok(())
    }

    /// Writes the subscriptions that have nothing before them any more.
    pub(super) fn start_subscriptions(&mut self) {
        let waiting = std::mem::take(&mut self.events.starting);
        for id in waiting {
            let found = self.events.subscriptions.get(id);
            match found.map(|found| found.stage) {
                Some(Stage::Waiting { behind, caller }) if self.staging.is_over(behind) => {
                    self.start_subscription(id, caller);
                }
                Some(Stage::Waiting { .. }) => self.events.starting.push(id),
                _ => {}
            }
        }
    }

    fn start_subscription(&mut self, id: SubscriptionId, caller: Caller) {
        let Some(target) = self.events.subscriptions.get(id).map(|it| it.asked.target.clone())
        else {
            return;
        };
        if let Err(failure) = self.check_target(caller, &target) {
            self.forget_refused(id);
            return self.fail(caller, failure);
        }
        let mut nonce = [0; SEAL_NONCE_BYTES];
        self.random.fill(&mut nonce);
        let initial = self.initial_notifications(caller, &target);
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        let (user, types) = (subscription.user, subscription.asked.types);
        let mut news = News::default();
        // In the initial notifications already.
        subscription.outbox.drop_waiting();
        let known = subscription.outbox.positions();
        news.writes.extend(known.map(|at| record::delete_event(user, id, at)));
        subscription.stage = Stage::Starting;
        for told in initial.iter().filter(|told| types.contain(told.event.event_type)) {
            let position = subscription.outbox.stage_initial(told.bytes());
            news.push(subscription, position, told);
        }
        news.writes.push(record::put_subscription(subscription, &self.store_key, nonce));
        if target == Target::Devices {
            self.note_who_is_online(caller, &mut news);
        }
        self.commit_with([], Change::Subscribed { id, caller }, None, news);
        self.watch_target(id, &target);
    }

    /// The present state, in the fixed order (cloud reference 5.5). A representation comes when it is
    /// known.
    fn initial_notifications(&self, caller: Caller, target: &Target) -> Vec<Told> {
        let accounts = &self.router.accounts;
        match target {
            Target::Devices => {
                let of_user = accounts.user(caller.user);
                let keys = of_user.map_or(&[][..], |user| &accounts[user].devices);
                let all = keys.iter().map(|&key| &accounts[key]);
                let (online, offline): (Vec<_>, Vec<_>) =
                    all.partition(|device| device.connection.is_some());
                let ids = |some: &[&crate::account::Device]| -> Vec<DeviceId> {
                    some.iter().map(|device| device.id).collect()
                };
                let (online, offline) = (ids(&online), ids(&offline));
                let mut all = [&online[..], &offline[..]].concat();
                all.sort_unstable();
                [
                    in_chunks(EventType::DevicesRegistered, &all),
                    in_chunks(EventType::DevicesUnregistered, &[]),
                    in_chunks(EventType::DevicesOnline, &online),
                    in_chunks(EventType::DevicesOffline, &offline),
                ]
                .into_iter()
                .flatten()
                .collect()
            }
            Target::Device(device) => {
                let key = accounts.device_of_user(caller.user, *device);
                let links = links_of(key.and_then(|key| accounts[key].directory.as_ref()));
                let published = match chunks(&links) {
                    chunks if chunks.is_empty() => vec![&[][..]],
                    chunks => chunks,
                };
                let published = published.into_iter().map(|some| {
                    let body = EventBody::Links(*device, some.to_vec());
                    Told::new(EventType::ResourcesPublished, body)
                });
                let none = EventBody::Links(*device, Vec::new());
                published.chain([Told::new(EventType::ResourcesUnpublished, none)]).collect()
            }
            Target::Resource(..) => Vec::new(),
        }
    }

    /// From now on it is written whether the devices of this user come and go. What others were told
    /// differs from what is while that could not be stored, or is on its way to the store: then all are
    /// told, for it was heard by this one too.
    fn note_who_is_online(&mut self, caller: Caller, news: &mut News) {
        let to_devices = |found: &&Subscription| found.asked.target == Target::Devices;
        let all = self.events.subscriptions.of_user(caller.user);
        let is_told = self.events.telling.contains_key(&caller.user);
        let is_first = !is_told && all.filter(to_devices).nth(1).is_none();
        let accounts = &self.router.accounts;
        let Some(owner) = accounts.user(caller.user) else { return };
        for &key in &accounts[owner].devices {
            let (device, online) = (accounts[key].id, accounts[key].connection.is_some());
            let known = (caller.user, device);
            let differs = online != self.events.told_online.contains(&known);
            if differs && !is_first {
                self.events.touched.push(known);
                self.events.untold.insert(known);
            } else if differs && online {
                self.events.told_online.insert(known);
            } else if differs {
                self.events.told_online.remove(&known);
            }
            // A mark that is known may be refused yet.
            if online || (differs && is_first) {
                news.writes.push(record::put_told_online(caller.user, device, online));
            }
        }
    }

    /// A subscription is durable, or was refused.
    pub(super) fn subscription_committed(
        &mut self,
        id: SubscriptionId,
        caller: Caller,
        done: bool,
    ) {
        if !done {
            self.forget_refused(id);
            return self.fail(caller, Failure::StoreUnavailable);
        }
        self.counters.subscriptions += 1;
        if let Some(subscription) = self.events.subscriptions.get_mut(id)
            && subscription.stage == Stage::Starting
        {
            subscription.stage = Stage::Active;
            self.make_ready(id);
        }
        self.router.reply(caller.channel, caller.request, Reply::Subscribed(id));
    }

    /// A subscription does not come to stand: what it has heard meanwhile belongs to nothing.
    fn forget_refused(&mut self, id: SubscriptionId) {
        if let Some(subscription) = self.events.subscriptions.get(id) {
            let heard = subscription.outbox.positions();
            let keys = heard.map(|at| record::event_key(subscription.user, id, at));
            self.events.orphans.extend(keys);
        }
        self.forget_subscription(id);
    }

    /// Takes a subscription out of the tables.
    pub(super) fn forget_subscription(&mut self, id: SubscriptionId) {
        self.stop_listening(id);
        self.events.retries.clear(id);
        self.events.leases.clear(id);
        if let Some(subscription) = self.events.subscriptions.remove(id) {
            self.events.couriers.forget(&subscription.receiver);
        }
    }

    /// Ends what has to end, some at a time.
    pub(super) fn end_doomed(&mut self) {
        while let Some(grant) = self.events.revoked.pop_front() {
            let of_grant = self.events.subscriptions.of_grant(grant);
            self.events.doomed.extend(of_grant.map(|id| (id, Ending::Revoked)));
        }
        let doomed = std::mem::take(&mut self.events.doomed);
        for some in doomed.chunks(ENDED_AT_ONCE) {
            if self.check_commits().is_err() {
                self.events.doomed.extend_from_slice(some);
                continue;
            }
            let news = self.news_of_ends(some);
            if !news.writes.is_empty() {
                self.commit_with([], Change::Noted, None, news);
            }
        }
    }

    fn news_of_ends(&mut self, doomed: &[(SubscriptionId, Ending)]) -> News {
        let mut news = News::default();
        for &(id, ending) in doomed {
            match self.events.subscriptions.get(id).map(|found| found.stage) {
                Some(Stage::Waiting { caller, .. }) => {
                    self.forget_refused(id);
                    self.fail(caller, not_begun(ending));
                }
                Some(_) => self.append_end(&mut news, id, ending),
                None => {}
            }
        }
        news
    }

    /// A client may have nothing any more: what users had granted it to be told ends. Subscriptions
    /// under tokens of the credentials file have nothing to do with who is registered.
    pub(super) fn end_client(&mut self, to: ReplyTo, client: &str) {
        if self.check_commits().is_err() {
            return self.answer(to, Reply::Failed(Failure::Overloaded));
        }
        let all = self.events.subscriptions.iter();
        let its = all.filter(|it| it.grant.is_some() && it.asked.client == client && it.listens());
        let mut its: Vec<_> = its.map(|it| (it.id, Ending::Revoked)).collect();
        let last = its.split_off(its.len().saturating_sub(ENDED_AT_ONCE));
        self.events.doomed.extend(its);
        self.end_doomed();
        let news = self.news_of_ends(&last);
        let answer = Some((to, Reply::Done));
        self.commit_with([], Change::Authorization { edits: Vec::new(), answer }, None, news);
    }

    /// Nothing of a subscription is left in the store, or it could not be said.
    pub(super) fn forgotten_committed(&mut self, id: SubscriptionId, done: bool) {
        if done {
            return self.forget_subscription(id);
        }
        self.pause(id, crate::limits::STORE_AGAIN);
    }

    /// Removes a subscription that has said its last word, or is not to say one.
    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        subscription.way = Way::Settling;
        let writes = record::delete_subscription(subscription);
        self.commit(writes, Change::Forgotten { id }, None);
    }
}

/// Why a subscription that ends before it has begun is refused.
fn not_begun(ending: Ending) -> Failure {
    match ending {
        Ending::Revoked => Failure::GrantRevoked,
        Ending::DeviceGone => Failure::NoSuchDevice,
        Ending::ResourceGone => Failure::NoSuchResource,
        _ => Failure::Overloaded,
    }
}

fn in_chunks(event_type: EventType, devices: &[DeviceId]) -> Vec<Told> {
    if devices.is_empty() {
        return vec![Told::devices(event_type, devices)];
    }
    let chunks = devices.chunks(NOTIFICATION_ENTRIES_MAX);
    chunks.map(|some| Told::devices(event_type, some)).collect()
}
