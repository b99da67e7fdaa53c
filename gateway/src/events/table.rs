//! The subscriptions of a shard's users, found by what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use shared::channel::events::Target;
use shared::channel::figures::TableMemory;
use shared::channel::message::Reply;
use shared::ids::{DeviceId, GrantId, Href, SubscriptionId, UserId};

use super::subscription::Subscription;
use crate::memory::{allocated, table};

/// A resource to which somebody is subscribed.
#[derive(Debug)]
pub struct Watch {
    /// The number of its link.
    pub instance: u32,
    /// Path below the device.
    pub href: Href,
    /// By whom.
    pub subscriptions: Vec<SubscriptionId>,
}

/// All subscriptions of a shard.
#[derive(Default)]
pub struct Subscriptions {
    by_id: BTreeMap<SubscriptionId, Box<Subscription>>,
    by_user: BTreeSet<(UserId, SubscriptionId)>,
    by_device: BTreeSet<(DeviceId, SubscriptionId)>,
    by_grant: BTreeSet<(GrantId, SubscriptionId)>,
    watches: BTreeMap<DeviceId, Vec<Watch>>,
}

/// Subscriptions in a page. With the longest texts that they may have it is a message.
const PAGE_MAX: usize = 64;

/// Subscriptions that are looked at for a page: a turn ends.
const PAGE_LOOKED_AT_MAX: usize = 4096;

const FIRST: SubscriptionId = SubscriptionId::from_bytes([0; 16]);
const LAST: SubscriptionId = SubscriptionId::from_bytes([0xff; 16]);

impl Subscriptions {
    /// Adds one.
    pub fn insert(&mut self, subscription: Subscription) {
        let id = subscription.id;
        self.by_user.insert((subscription.user, id));
        self.by_device.extend(subscription.asked.target.device().map(|device| (device, id)));
        self.by_grant.extend(subscription.grant.map(|grant| (grant, id)));
        self.by_id.insert(id, Box::new(subscription));
        self.watch(id);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        self.unwatch(id);
        let subscription = *self.by_id.remove(&id)?;
        self.by_user.remove(&(subscription.user, id));
        if let Some(device) = subscription.asked.target.device() {
            self.by_device.remove(&(device, id));
        }
        if let Some(grant) = subscription.grant {
            self.by_grant.remove(&(grant, id));
        }
        Some(subscription)
    }

    /// A subscription to a resource hears of its representations from now on.
    pub fn watch(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.by_id.get(&id) else { return };
        let Target::Resource(device, href) = &subscription.asked.target else { return };
        let Ok(href) = Href::parse(href) else { return };
        let watches = self.watches.entry(*device).or_default();
        match watches.iter_mut().find(|watch| watch.href == href) {
            Some(watch) if watch.subscriptions.contains(&id) => {}
            Some(watch) => watch.subscriptions.push(id),
            None => {
                let instance = href.instance();
                watches.push(Watch { instance, href, subscriptions: vec![id] });
            }
        }
    }

    /// It does not any more. Returns the resource, if nobody else does.
    pub fn unwatch(&mut self, id: SubscriptionId) -> Option<(DeviceId, Href)> {
        let subscription = self.by_id.get(&id)?;
        let device = subscription.asked.target.device()?;
        let watches = self.watches.get_mut(&device)?;
        let at = watches.iter().position(|watch| watch.subscriptions.contains(&id))?;
        watches[at].subscriptions.retain(|&other| other != id);
        if !watches[at].subscriptions.is_empty() {
            return None;
        }
        let watch = watches.swap_remove(at);
        if watches.is_empty() {
            self.watches.remove(&device);
        }
        Some((device, watch.href))
    }

    /// The resources of a device to which somebody is subscribed.
    pub fn watches(&self, device: DeviceId) -> &[Watch] {
        self.watches.get(&device).map_or(&[], Vec::as_slice)
    }

    /// One.
    pub fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.by_id.get(&id).map(|subscription| &**subscription)
    }

    /// One, to change it. What it is about stays.
    pub fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.by_id.get_mut(&id).map(|subscription| &mut **subscription)
    }

    /// Those of a user.
    pub fn of_user(&self, user: UserId) -> impl Iterator<Item = &Subscription> {
        self.by_user.range((user, FIRST)..=(user, LAST)).map(|(_, id)| &*self.by_id[id])
    }

    /// Those of a user to a device, or to one of its resources.
    pub fn of_device(&self, user: UserId, device: DeviceId) -> impl Iterator<Item = &Subscription> {
        let all = self.by_device.range((device, FIRST)..=(device, LAST));
        all.map(|(_, id)| &*self.by_id[id]).filter(move |found| found.user == user)
    }

    /// Those under a grant.
    pub fn of_grant(&self, grant: GrantId) -> impl Iterator<Item = SubscriptionId> {
        self.by_grant.range((grant, FIRST)..=(grant, LAST)).map(|(_, id)| *id)
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.by_id.values().map(|subscription| &**subscription)
    }

    /// What they occupy, without what waits in their outboxes.
    pub fn memory(&self) -> TableMemory {
        type Indexed = [(SubscriptionId, SubscriptionId); 3];
        let each = allocated(size_of::<Subscription>()) + 2 * size_of::<Indexed>();
        let count = self.by_id.len();
        table("subscriptions", count, count * size_of::<Subscription>(), count * each)
    }

    /// A page of those of a client, or of all, as [`Reply::Subscriptions`].
    pub fn page(&self, after: Option<SubscriptionId>, client: Option<&str>) -> Reply {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.by_id.range((begin, Bound::Unbounded));
        let (mut subscriptions, mut next) = (Vec::new(), None);
        for (&id, found) in behind.by_ref().take(PAGE_LOOKED_AT_MAX) {
            next = Some(id);
            if client.is_none_or(|client| client == found.asked.client) {
                subscriptions.push(found.view());
            }
            if subscriptions.len() == PAGE_MAX {
                break;
            }
        }
        let next = next.filter(|_| behind.next().is_some());
        Reply::Subscriptions { subscriptions, next }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
