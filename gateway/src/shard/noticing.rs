//! What subscribers are told of without anybody having asked for a change: devices that come and go,
//! and representations that change (cloud reference 5.2, 5.12).
//!
//! Whether a device is online is in no record of its own, so what its subscribers were told last is:
//! after a restart it is compared with what is. It is looked at once at the end of a turn, so a session
//! that is superseded by another one of the same device is no event; and not while what was looked at
//! before is on its way to the store, so the thousand devices that come back at once are told of in a
//! few notifications.

use std::sync::Arc;

use shared::channel::events::{Event, EventBody, EventType, Target};
use shared::ids::{DeviceId, SubscriptionId, UserId};

use super::Shard;
use super::news::{News, Told};
use super::staging::Change;
use crate::events::subscription::digest;
use crate::events::{Ending, Stage, record};
use crate::limits::{NOTIFICATION_BYTES_MAX, NOTIFICATION_ENTRIES_MAX, STORE_AGAIN, WATCH_AGAIN};
use crate::seeded::{Bug, is_planted};
use crate::store::Write;

/// Turns of settling after which the rest waits for the next input.
const ROUNDS_MAX: usize = 8;

/// Records that belong to nothing and are removed in one commit.
const ORPHANS_AT_ONCE: usize = 1024;

impl Shard {
    /// Sees to what this turn means for subscriptions.
    pub(super) fn settle_events(&mut self) {
        if self.events.subscriptions.is_empty() && self.events.is_settled() && !self.events.loaded {
            self.router.samples.clear();
            self.router.unwatched.clear();
            return;
        }
        for _ in 0..ROUNDS_MAX {
            self.tell_who_came_and_went();
            self.watch_resources();
            self.take_samples();
            self.end_doomed();
            self.start_subscriptions();
            self.hand_out();
            self.write_representations();
            self.remove_orphans();
            if self.events.is_settled() && self.router.samples.is_empty() {
                break;
            }
        }
    }

    /// Does what is due about subscriptions.
    pub(super) fn tick_events(&mut self) {
        if std::mem::take(&mut self.events.loaded) {
            self.compare_with_what_is();
        }
        self.retry_deliveries();
        let now = self.now.instant;
        while let Some(device) = self.events.watch_again.next_due(now) {
            self.events.to_watch.push((device, None));
        }
        while let Some(touched) = self.events.touch_again.next_due(now) {
            self.events.touched.push(touched);
            self.events.untold.insert(touched);
        }
    }

    /// After a start: nobody is online yet, and what subscriptions depend on may have ended in the
    /// moment in which the process did.
    fn compare_with_what_is(&mut self) {
        if !is_planted(Bug::LostDevicesAreNotTold) {
            self.events.touched.extend(self.events.told_online.iter().copied());
        }
        let mut doomed = Vec::new();
        for found in self.events.subscriptions.iter().filter(|found| found.listens()) {
            let grants = &self.authorization.grants;
            let is_live = |grant| grants.is_live(found.user, grant, self.now.unix);
            if !found.grant.is_none_or(is_live) {
                doomed.push((found.id, Ending::Revoked));
                continue;
            }
            let accounts = &self.router.accounts;
            let Some(device) = found.asked.target.device() else { continue };
            let Some(key) = accounts.device_of_user(found.user, device) else {
                doomed.push((found.id, Ending::DeviceGone));
                continue;
            };
            if let Target::Resource(_, href) = &found.asked.target
                && accounts[key].directory.as_ref().is_none_or(|all| all.link(href).is_none())
            {
                doomed.push((found.id, Ending::ResourceGone));
            }
        }
        self.events.doomed.extend(doomed);
        let ids: Vec<_> = self.events.subscriptions.iter().map(|found| found.id).collect();
        for id in ids {
            self.make_ready(id);
        }
    }

    /// Tells of devices whose state is not what was told last.
    fn tell_who_came_and_went(&mut self) {
        let mut touched = std::mem::take(&mut self.events.touched);
        touched.sort_unstable();
        touched.dedup();
        let accounts = &self.router.accounts;
        let mut changes: Vec<(UserId, bool, Vec<DeviceId>)> = Vec::new();
        for (user, device) in touched {
            let (known, key) = ((user, device), accounts.device_of_user(user, device));
            let online = key.is_some_and(|key| accounts[key].connection.is_some());
            if self.events.leaving.contains(&known) {
                // Its account may stay after all; what nobody was told of it, nobody was.
                continue;
            }
            if self.events.telling.contains_key(&user) {
                self.events.told_next.insert(known);
                continue;
            }
            let is_untold = self.events.untold.remove(&known) && key.is_some();
            if online == self.events.told_online.contains(&known) && !is_untold {
                continue;
            }
            let of_same =
                |(of, is, _): &&mut (UserId, bool, Vec<DeviceId>)| (*of, *is) == (user, online);
            match changes.iter_mut().rev().take(2).find(of_same) {
                Some((_, _, devices)) => devices.push(device),
                None => changes.push((user, online, vec![device])),
            }
        }
        for (user, online, devices) in changes {
            for some in devices.chunks(NOTIFICATION_ENTRIES_MAX) {
                self.tell_status(user, some.to_vec(), online);
            }
        }
    }

    fn tell_status(&mut self, user: UserId, devices: Vec<DeviceId>, online: bool) {
        if self.check_commits().is_err() {
            let again = self.now.instant + STORE_AGAIN;
            for device in devices {
                self.events.touch_again.set((user, device), again);
            }
            return;
        }
        let mut news = News::default();
        for &device in &devices {
            match online {
                true => self.events.told_online.insert((user, device)),
                false => self.events.told_online.remove(&(user, device)),
            };
            news.writes.push(record::put_told_online(user, device, online));
        }
        let event_type = match online {
            true => EventType::DevicesOnline,
            false => EventType::DevicesOffline,
        };
        self.tell_devices(&mut news, user, event_type, &devices);
        *self.events.telling.entry(user).or_default() += 1;
        self.commit_with([], Change::Told { user, devices, online }, None, news);
    }

    /// It is durable what subscribers are told, or it was refused: then they are told later.
    pub(super) fn told_committed(
        &mut self,
        user: UserId,
        devices: &[DeviceId],
        online: bool,
        done: bool,
    ) {
        self.events.told(user);
        if done {
            return;
        }
        let again = self.now.instant + STORE_AGAIN;
        for &device in devices {
            match online {
                true => self.events.told_online.remove(&(user, device)),
                false => self.events.told_online.insert((user, device)),
            };
            self.events.touch_again.set((user, device), again);
        }
    }

    /// A subscription hears of nothing any more: its resource is not observed for it.
    pub(super) fn stop_listening(&mut self, id: SubscriptionId) {
        let user = self.events.subscriptions.get(id).map(|found| found.user);
        if let Some((device, href)) = self.events.subscriptions.unwatch(id)
            && let Some(key) =
                user.and_then(|user| self.router.accounts.device_of_user(user, device))
        {
            self.router.unwatch(key, &href);
        }
    }

    /// Observes subscribed resources of devices that have come, and those that could not be observed
    /// before.
    fn watch_resources(&mut self) {
        for device in std::mem::take(&mut self.router.unwatched) {
            let is_online = self
                .router
                .accounts
                .device(device)
                .is_some_and(|key| self.router.accounts[key].connection.is_some());
            if is_online && !self.events.subscriptions.watches(device).is_empty() {
                let again = self.now.instant + WATCH_AGAIN;
                self.events.watch_again.set_no_later(device, again);
            }
        }
        for (device, refreshed) in std::mem::take(&mut self.events.to_watch) {
            let Some(key) = self.router.accounts.device(device) else { continue };
            for watch in self.events.subscriptions.watches(device) {
                let refresh = refreshed == Some(watch.instance)
                    || watch.subscriptions.iter().any(|&id| self.has_heard_nothing(id));
                if self.router.watch(key, &watch.href, refresh).is_err() {
                    let again = self.now.instant + WATCH_AGAIN;
                    self.events.watch_again.set_no_later(device, again);
                }
            }
        }
    }

    fn has_heard_nothing(&self, id: SubscriptionId) -> bool {
        let found = self.events.subscriptions.get(id);
        found.is_some_and(|it| it.content.newest.is_none() && it.content.pending.is_none())
    }

    /// Hears what devices have said of subscribed resources.
    fn take_samples(&mut self) {
        for sample in std::mem::take(&mut self.router.samples) {
            if sample.body.len() > NOTIFICATION_BYTES_MAX
                || shared::ocf::cbor::scan(&sample.body).is_err()
            {
                continue;
            }
            let watches = self.events.subscriptions.watches(sample.device);
            let Some(watch) = watches.iter().find(|watch| watch.instance == sample.instance) else {
                continue;
            };
            let stands_for = digest(&sample.body);
            let event_type = EventType::ResourceContentChanged;
            let event = Arc::new(Event { event_type, body: EventBody::Content(sample.body) });
            for id in watch.subscriptions.clone() {
                let Some(subscription) = self.events.subscriptions.get_mut(id) else { continue };
                let content = &mut subscription.content;
                if content.newest == Some(stands_for) {
                    content.pending = None;
                } else {
                    content.pending = Some(event.clone());
                    self.events.to_write.push(id);
                }
            }
        }
    }

    /// Writes the newest representations of subscriptions of which none is on its way.
    fn write_representations(&mut self) {
        let ids = std::mem::take(&mut self.events.to_write);
        let mut news = News::default();
        let mut last: Option<(Arc<Event>, Told)> = None;
        for id in ids {
            let Some(subscription) = self.events.subscriptions.get_mut(id) else { continue };
            let may = matches!(subscription.stage, Stage::Starting | Stage::Active);
            if !may || subscription.content.writing {
                continue;
            }
            let Some(event) = subscription.content.pending.take() else { continue };
            let EventBody::Content(body) = &event.body else { continue };
            subscription.content.newest = Some(digest(body));
            // Subscriptions to the same resource are told of the same event.
            let told = match last.take() {
                Some((of, told)) if Arc::ptr_eq(&of, &event) => told,
                _ => Told::new(event.event_type, event.body.clone()),
            };
            if !news.has_room(&told) {
                let full = std::mem::take(&mut news);
                self.commit_with([], Change::Noted, None, full);
            }
            self.write_representation(&mut news, id, &told);
            last = Some((event, told));
        }
        if !news.writes.is_empty() {
            self.commit_with([], Change::Noted, None, news);
        }
    }

    fn write_representation(&mut self, news: &mut News, id: SubscriptionId, told: &Told) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        let outbox = &mut subscription.outbox;
        let older = outbox.replaceable(EventType::ResourceContentChanged);
        if let Some(position) = older.map(|older| older.position) {
            outbox.stage_again(position, told.bytes());
            news.replace(subscription, position, told);
        } else if outbox.has_room(told.bytes(), &self.router.limits) {
            let position = outbox.stage(told.bytes());
            news.push(subscription, position, told);
        } else {
            return self.doom(id, Ending::Overflowing);
        }
        subscription.content.writing = true;
    }

    /// The store has refused a representation: it is tried again, unless there is a newer one.
    pub(super) fn content_refused(&mut self, id: SubscriptionId, event: Arc<Event>) {
        if let Some(subscription) = self.events.subscriptions.get_mut(id) {
            subscription.content.pending.get_or_insert(event);
            subscription.content.newest = None;
            self.events.to_write.retain(|&other| other != id);
            self.events.retries.set_no_later(id, self.now.instant + STORE_AGAIN);
        }
    }

    fn remove_orphans(&mut self) {
        while !self.events.orphans.is_empty() && self.check_commits().is_ok() {
            let some = self.events.orphans.len().min(ORPHANS_AT_ONCE);
            let keys = self.events.orphans.drain(..some);
            let writes: Vec<_> = keys.map(|key| Write { key, value: None }).collect();
            self.commit(writes, Change::Noted, None);
        }
    }
}
