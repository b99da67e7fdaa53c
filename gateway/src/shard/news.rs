//! What changes tell subscribers: notifications that are written in the commit of the change itself,
//! and shown when it is durable (cloud reference 5.2, 5.11).

use std::sync::Arc;

use shared::channel::events::{Event, EventBody, EventType, Target};
use shared::channel::message::LinkView;
use shared::ids::{DeviceId, Href, SubscriptionId, UserId};

use super::Shard;
use super::input::Output;
use crate::command::devices::link_view;
use crate::directory::Directory;
use crate::events::record::{self, OutboxRecord};
use crate::events::{Appended, Ending, Stage, Subscription, Waiting, Way};
use crate::limits::{
    MERGED_ENTRIES_MAX, NEWS_BYTES_MAX, NOTIFICATION_BYTES_MAX, NOTIFICATION_ENTRIES_MAX,
};
use crate::seeded::{Bug, is_planted};
use crate::store::Write;

/// What a notification takes in the store beside its body.
const OVERHEAD_BYTES: usize = 64;

/// Notifications that go into a commit.
#[derive(Default)]
pub(super) struct News {
    /// How they are written.
    pub writes: Vec<Write>,
    /// What waits when they are.
    pub appended: Vec<Appended>,
    bytes: usize,
}

/// Something that has happened, as it is written for every subscription.
pub(super) struct Told {
    pub event: Arc<Event>,
    value: Vec<u8>,
}

impl Told {
    pub(super) fn new(event_type: EventType, body: EventBody) -> Self {
        let record = OutboxRecord { event: Event { event_type, body }, ending: None };
        let value = record.to_bytes();
        Self { event: Arc::new(record.event), value }
    }

    pub(super) fn devices(event_type: EventType, devices: &[DeviceId]) -> Self {
        Self::new(event_type, EventBody::Devices(devices.to_vec()))
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.value.len() + OVERHEAD_BYTES
    }
}

impl News {
    /// Adds a notification whose place has been reserved.
    pub(super) fn push(&mut self, subscription: &Subscription, position: u64, told: &Told) {
        self.put(subscription, position, told, None, false);
    }

    /// Adds a notification that takes the place of an older one.
    pub(super) fn replace(&mut self, subscription: &Subscription, position: u64, told: &Told) {
        self.put(subscription, position, told, None, true);
    }

    fn put(
        &mut self,
        subscription: &Subscription,
        position: u64,
        told: &Told,
        ending: Option<Ending>,
        rewrites: bool,
    ) {
        let (user, id) = (subscription.user, subscription.id);
        if !is_planted(Bug::EventsAreNotWritten) {
            self.writes.push(record::put_event(user, id, position, told.value.clone()));
        }
        let waiting = Waiting { position, event: told.event.clone(), bytes: told.bytes() };
        self.appended.push(Appended { user, id, waiting, ending, rewrites });
        self.bytes += told.bytes();
    }

    /// Whether one more fits into the same commit.
    pub(super) fn has_room(&self, told: &Told) -> bool {
        self.bytes + told.bytes() <= NEWS_BYTES_MAX
    }
}

impl Shard {
    /// Tells a subscription, if it listens. One for which there is no room ends.
    pub(super) fn append(&mut self, news: &mut News, id: SubscriptionId, told: &Told) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        if !subscription.listens() {
            return;
        }
        let is_full = !subscription.outbox.has_room(told.bytes(), &self.router.limits);
        let fits = news.has_room(told);
        // What is too much is written all the same, and that the subscription ends in the same commit:
        // nothing is missed if the store refuses one of those that follow, or the process dies between.
        if fits {
            let position = subscription.outbox.stage(told.bytes());
            news.push(subscription, position, told);
        }
        if is_full || !fits {
            self.append_end(news, id, Ending::Overflowing);
        }
    }

    /// Adds devices to the notification of the same type that waits last, if nobody may have seen it
    /// (cloud reference 5.12). The first one is about to be handed out, and not held up.
    fn merge(
        &mut self,
        news: &mut News,
        id: SubscriptionId,
        event_type: EventType,
        devices: &[DeviceId],
    ) -> bool {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return false };
        if subscription.stage != Stage::Active || subscription.outbox.len() < 2 {
            return false;
        }
        let Some(last) = subscription.outbox.replaceable(event_type) else { return false };
        let EventBody::Devices(before) = &last.event.body else { return false };
        if before.is_empty() || before.len() + devices.len() > MERGED_ENTRIES_MAX {
            return false;
        }
        let more = devices.iter().filter(|device| !before.contains(device));
        let all: Vec<DeviceId> = before.iter().chain(more).copied().collect();
        let (position, told) = (last.position, Told::devices(event_type, &all));
        if !news.has_room(&told) {
            return false;
        }
        subscription.outbox.stage_again(position, told.bytes());
        news.replace(subscription, position, &told);
        true
    }

    /// The last word of a subscription (cloud reference 5.11).
    pub(super) fn append_end(&mut self, news: &mut News, id: SubscriptionId, ending: Ending) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        match subscription.stage {
            // The end that is on its way may be refused, and this one is not: then it stands.
            Stage::Ending(first)
                if first != Ending::Unwanted
                    && ending.is_unrepeated()
                    && !subscription.outbox.has_ended() =>
            {
                return Self::put_last_word(news, subscription, ending);
            }
            Stage::Ending(_) => return,
            // Nobody has been told of it yet.
            Stage::Waiting { .. } => return self.doom(id, ending),
            Stage::Starting | Stage::Active => {}
        }
        if ending.drops_waiting() {
            // It waits until that is durable: what is refused has changed nothing.
            let (user, dropped) = (subscription.user, subscription.outbox.droppable());
            news.writes.extend(dropped.map(|at| record::delete_event(user, id, at)));
        }
        Self::put_last_word(news, subscription, ending);
        if subscription.way == Way::Pausing && ending.drops_waiting() {
            self.events.retries.set(id, self.now.instant);
        }
        self.begin_end(id, ending);
    }

    fn put_last_word(news: &mut News, subscription: &mut Subscription, ending: Ending) {
        let event =
            Event { event_type: EventType::SubscriptionCancelled, body: EventBody::Nothing };
        let value = OutboxRecord { event: event.clone(), ending: Some(ending) }.to_bytes();
        let told = Told { event: Arc::new(event), value };
        let position = subscription.outbox.stage(told.bytes());
        news.put(subscription, position, &told, Some(ending), false);
    }

    /// From here on a subscription is ending.
    fn begin_end(&mut self, id: SubscriptionId, ending: Ending) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        subscription.stage = Stage::Ending(ending);
        self.outputs.push_back(Output::SubscriptionEnded { id, why: ending });
        self.stop_listening(id);
    }

    /// A subscription has to end, as soon as this turn has done what it is about.
    pub(super) fn doom(&mut self, id: SubscriptionId, ending: Ending) {
        self.events.doomed.push((id, ending));
    }

    /// Notifications are durable, or were refused with their change.
    pub(super) fn news_committed(&mut self, appended: Vec<Appended>, done: bool) {
        for Appended { user, id, waiting, ending, rewrites } in appended {
            let Some(subscription) = self.events.subscriptions.get_mut(id) else {
                // It has ended meanwhile, with everything that was known to be in its outbox.
                self.events.orphans.push(record::event_key(user, id, waiting.position));
                continue;
            };
            let is_content = waiting.event.event_type == EventType::ResourceContentChanged;
            if is_content {
                subscription.content.writing = false;
                self.events.to_write.push(id);
            }
            let outbox = &subscription.outbox;
            let is_late = subscription.drops_waiting() || (ending.is_some() && outbox.has_ended());
            let is_active = subscription.stage == Stage::Active;
            let outbox = &mut subscription.outbox;
            match done {
                true if is_late => {
                    // Too late to be sent.
                    outbox.abandon(&waiting, rewrites);
                    self.events.orphans.push(record::event_key(user, id, waiting.position));
                }
                true => {
                    outbox.insert(waiting, rewrites);
                    if ending.is_some_and(Ending::drops_waiting) {
                        outbox.drop_waiting();
                    }
                    self.counters.events += 1;
                    // The one before it was refused.
                    if let Some(ending) = ending.filter(|_| is_active) {
                        self.begin_end(id, ending);
                    }
                }
                false => {
                    outbox.abandon(&waiting, rewrites);
                    if is_content {
                        self.content_refused(id, waiting.event);
                    } else if ending.is_some() && !outbox.has_ended() {
                        self.go_on_after_all(id);
                    }
                }
            }
            self.make_ready(id);
        }
    }

    /// What a subscription was to end for has not happened, or is noticed again.
    fn go_on_after_all(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.events.subscriptions.get_mut(id) else { return };
        subscription.stage = Stage::Active;
        let target = subscription.asked.target.clone();
        self.events.subscriptions.watch(id);
        self.watch_target(id, &target);
    }

    /// The present representation of what a subscription is about is asked for, if it has one. What was
    /// heard of it while nothing could be written is in no other notification, so it is written now.
    pub(super) fn watch_target(&mut self, id: SubscriptionId, target: &Target) {
        if let Target::Resource(device, href) = target
            && let Ok(href) = Href::parse(href)
        {
            self.events.to_write.push(id);
            self.events.to_watch.push((*device, Some(href.instance())));
        }
    }

    /// The subscriptions of a user to the list of devices that listen for this.
    pub(super) fn devices_audience(
        &self,
        user: UserId,
        event_type: EventType,
    ) -> Vec<SubscriptionId> {
        let all = self.events.subscriptions.of_user(user);
        let audience = |found: &&Subscription| {
            found.asked.target == Target::Devices && found.asked.types.contain(event_type)
        };
        if is_planted(Bug::ForeignSubscribersAreTold) {
            return self.events.subscriptions.iter().filter(audience).map(|it| it.id).collect();
        }
        all.filter(audience).map(|found| found.id).collect()
    }

    /// A device is about to sign up.
    pub(super) fn news_of_sign_up(&mut self, user: UserId, device: DeviceId) -> News {
        let mut news = News::default();
        if self.router.accounts.device_of_user(user, device).is_none() {
            self.tell_devices(&mut news, user, EventType::DevicesRegistered, &[device]);
        }
        news
    }

    /// A device is about to lose its account: it is not the user's any more, and who is subscribed to
    /// it, or to something of it, is told that this has ended.
    pub(super) fn news_of_removal(&mut self, user: UserId, device: DeviceId) -> News {
        let mut news = News::default();
        if self.router.accounts.device_of_user(user, device).is_none() {
            return news;
        }
        self.tell_devices(&mut news, user, EventType::DevicesUnregistered, &[device]);
        if self.events.told_online.contains(&(user, device)) {
            news.writes.push(record::put_told_online(user, device, false));
        }
        let of_device = self.events.subscriptions.of_device(user, device);
        for id in of_device.map(|found| found.id).collect::<Vec<_>>() {
            self.append_end(&mut news, id, Ending::DeviceGone);
        }
        news
    }

    pub(super) fn tell_devices(
        &mut self,
        news: &mut News,
        user: UserId,
        event_type: EventType,
        devices: &[DeviceId],
    ) {
        let audience = self.devices_audience(user, event_type);
        if audience.is_empty() {
            return;
        }
        for some in devices.chunks(NOTIFICATION_ENTRIES_MAX) {
            let told = Told::devices(event_type, some);
            for &id in &audience {
                if !self.merge(news, id, event_type, some) {
                    self.append(news, id, &told);
                }
            }
        }
    }

    /// A device is about to have other links: those that are new or different were published, those
    /// that are gone were unpublished, and subscriptions to them end.
    pub(super) fn news_of_links(
        &mut self,
        user: UserId,
        device: DeviceId,
        after: Option<&Directory>,
    ) -> News {
        let mut news = News::default();
        let ids: Vec<_> =
            self.events.subscriptions.of_device(user, device).map(|found| found.id).collect();
        let before = self.router.accounts.device_of_user(user, device);
        let Some(before) = before.filter(|_| !ids.is_empty()) else { return news };
        let before = self.router.accounts[before].directory.as_ref();
        let published = different_links(after, before);
        let mut gone = links_without(before, after);
        if is_planted(Bug::UnpublishedLinksAreNotTold) {
            gone.clear();
        }
        for (event_type, links) in
            [(EventType::ResourcesUnpublished, &gone), (EventType::ResourcesPublished, &published)]
        {
            for some in chunks(links) {
                let told = Told::new(event_type, EventBody::Links(device, some.to_vec()));
                for &id in &ids {
                    if self.listens_for(id, event_type) {
                        self.append(&mut news, id, &told);
                    }
                }
            }
        }
        for id in ids {
            if self.is_about_one_of(id, &gone) {
                self.append_end(&mut news, id, Ending::ResourceGone);
            }
        }
        news
    }

    fn listens_for(&self, id: SubscriptionId, event_type: EventType) -> bool {
        let found = self.events.subscriptions.get(id);
        found.is_some_and(|found| found.asked.types.contain(event_type))
    }

    fn is_about_one_of(&self, id: SubscriptionId, links: &[LinkView]) -> bool {
        let target = self.events.subscriptions.get(id).map(|found| &found.asked.target);
        let Some(Target::Resource(_, href)) = target else { return false };
        links.iter().any(|link| link.href == *href)
    }
}

/// All links as partners see them.
pub(super) fn links_of(directory: Option<&Directory>) -> Vec<LinkView> {
    directory.map_or_else(Vec::new, |all| all.links().map(link_view).collect())
}

/// The links that are new, or not what they were.
fn different_links(after: Option<&Directory>, before: Option<&Directory>) -> Vec<LinkView> {
    let old = links_of(before);
    links_of(after).into_iter().filter(|link| !old.contains(link)).collect()
}

/// The links whose hrefs are not there any more.
fn links_without(before: Option<&Directory>, after: Option<&Directory>) -> Vec<LinkView> {
    let kept = |link: &LinkView| after.is_some_and(|after| after.link(&link.href).is_some());
    links_of(before).into_iter().filter(|link| !kept(link)).collect()
}

/// Links in notifications of a size that can be sent.
pub(super) fn chunks(links: &[LinkView]) -> Vec<&[LinkView]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, link) in links.iter().enumerate() {
        let size = link_bytes(link);
        let is_full =
            at - start >= NOTIFICATION_ENTRIES_MAX || bytes + size > NOTIFICATION_BYTES_MAX;
        if is_full && at > start {
            chunks.push(&links[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < links.len() {
        chunks.push(&links[start..]);
    }
    chunks
}

fn link_bytes(link: &LinkView) -> usize {
    let texts = [&link.resource_types, &link.interfaces, &link.media_types];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let described = [&link.title, &link.tag_pos_desc, &link.tag_func_desc, &link.tag_locn];
    let described: usize = described.into_iter().flatten().map(String::len).sum();
    link.href.len() + texts + described + OVERHEAD_BYTES
}
