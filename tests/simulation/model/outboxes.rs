//! Subscriptions and their outboxes as records, and what they tell: whoever is subscribed has been told,
//! or is going to be told, exactly what is stored.

use std::collections::{BTreeMap, BTreeSet};

use gateway::account::record::parse_device_key;
use gateway::events::Ending;
use gateway::events::record::{OutboxRecord, ProgressRecord, parse_key, read_subscription};
use gateway::store::{Batch, Table, Write};
use shared::channel::events::{Event, EventBody, EventType, NewSubscription, Target};
use shared::ids::{DeviceId, SubscriptionId, UserId};

use crate::simulation::cloud::STORE_KEY;

const READABLE: &str = "the gateway writes records that it can read";

/// What somebody knows who has heard some notifications in their order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(in crate::simulation) struct Told {
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) online: BTreeSet<DeviceId>,
    pub(super) links: BTreeSet<String>,
    pub(super) content: Option<Vec<u8>>,
}

impl Told {
    /// Hears one more.
    pub(in crate::simulation) fn hear(&mut self, event: &Event) {
        match (event.event_type, &event.body) {
            (EventType::DevicesRegistered, EventBody::Devices(some)) => self.devices.extend(some),
            (EventType::DevicesUnregistered, EventBody::Devices(some)) => {
                self.devices.retain(|device| !some.contains(device));
                self.online.retain(|device| !some.contains(device));
            }
            (EventType::DevicesOnline, EventBody::Devices(some)) => self.online.extend(some),
            (EventType::DevicesOffline, EventBody::Devices(some)) => {
                self.online.retain(|device| !some.contains(device));
            }
            (EventType::ResourcesPublished, EventBody::Links(_, links)) => {
                self.links.extend(links.iter().map(|link| link.href.clone()));
            }
            (EventType::ResourcesUnpublished, EventBody::Links(_, links)) => {
                self.links.retain(|href| !links.iter().any(|link| link.href == *href));
            }
            (EventType::ResourceContentChanged, EventBody::Content(body)) => {
                self.content = Some(body.clone());
            }
            _ => {}
        }
    }
}

/// A subscription in the records.
#[derive(Clone, Default)]
pub(in crate::simulation) struct Outbox {
    /// What was asked for; none where notifications wait for what is not stored, or not any more.
    pub(super) asked: Option<NewSubscription>,
    /// How many notifications have been dealt with: the number of the next one.
    pub(super) done: u64,
    /// By their places.
    pub(super) waiting: BTreeMap<u64, Event>,
    /// It has ended: the last one that waits says so.
    pub(super) ending: Option<Ending>,
    /// What those say that have been dealt with.
    pub(super) told: Told,
    /// Taken out of `waiting` by the batch that is being applied.
    leaving: Vec<Event>,
}

impl Outbox {
    /// What the receiver knows when it has everything.
    fn telling(&self) -> Told {
        let mut told = self.told.clone();
        self.waiting.values().for_each(|event| told.hear(event));
        told
    }
}

/// All of them, and who was said last to be online.
#[derive(Clone, Default)]
pub(in crate::simulation) struct Outboxes {
    pub(super) of_users: BTreeMap<(UserId, SubscriptionId), Outbox>,
    told_online: BTreeSet<(UserId, DeviceId)>,
}

impl Outboxes {
    /// Carries out one of the writes of a batch. Returns whose it is.
    pub(super) fn write(&mut self, write: &Write) -> UserId {
        let (rest, value) = (write.key.rest(), write.value.as_deref());
        if write.key.table() == Table::ToldOnline {
            let key = parse_device_key(rest).expect(READABLE);
            match value {
                Some(_) => self.told_online.insert(key),
                None => self.told_online.remove(&key),
            };
            return key.0;
        }
        let (user, id, place) = parse_key(rest).expect(READABLE);
        let outbox = self.of_users.entry((user, id)).or_default();
        match (write.key.table(), place, value) {
            (Table::Subscription, _, value) => {
                let read = |value| read_subscription(rest, value, &STORE_KEY).expect(READABLE);
                outbox.asked = value.map(|value| read(value).asked);
            }
            (Table::Progress, _, Some(value)) => {
                let record = ProgressRecord::from_bytes(value).expect(READABLE);
                if record.done > outbox.done {
                    outbox.leaving.drain(..).for_each(|event| outbox.told.hear(&event));
                }
                outbox.done = record.done;
            }
            (Table::Outbox, Some(place), Some(value)) => {
                let record = OutboxRecord::from_bytes(value).expect(READABLE);
                outbox.ending = outbox.ending.or(record.ending);
                outbox.waiting.insert(place, record.event);
            }
            (Table::Outbox, Some(place), None) => {
                outbox.leaving.extend(outbox.waiting.remove(&place));
            }
            _ => {}
        }
        user
    }

    /// A batch has been applied.
    pub(super) fn settle(&mut self, users: &BTreeSet<UserId>) {
        for &user in users {
            let gone: Vec<_> = self
                .of_user_mut(user)
                .filter_map(|(key, outbox)| {
                    outbox.leaving.clear();
                    (outbox.asked.is_none() && outbox.waiting.is_empty()).then_some(*key)
                })
                .collect();
            gone.iter().for_each(|key| drop(self.of_users.remove(key)));
        }
    }

    /// The outboxes of a user.
    pub(super) fn of_user(
        &self,
        user: UserId,
    ) -> impl Iterator<Item = (&(UserId, SubscriptionId), &Outbox)> {
        self.of_users.range((user, FIRST)..=(user, LAST))
    }

    /// How many notifications of a subscription wait when what is on its way is stored.
    pub(super) fn waiting_with<'a>(
        &self,
        key: (UserId, SubscriptionId),
        on_their_way: impl Iterator<Item = &'a Batch>,
    ) -> usize {
        let stored = self.of_users.get(&key).map(|outbox| &outbox.waiting);
        let is_new = |place: &u64| stored.is_none_or(|waiting| !waiting.contains_key(place));
        let coming = on_their_way.flat_map(Batch::writes).filter_map(|write| {
            let is_put = write.key.table() == Table::Outbox && write.value.is_some();
            let rest = is_put.then(|| write.key.rest())?;
            let (user, id, place) = parse_key(rest).expect(READABLE);
            place.filter(|_| (user, id) == key)
        });
        stored.map_or(0, BTreeMap::len) + coming.filter(is_new).count()
    }

    fn of_user_mut(
        &mut self,
        user: UserId,
    ) -> impl Iterator<Item = (&(UserId, SubscriptionId), &mut Outbox)> {
        self.of_users.range_mut((user, FIRST)..=(user, LAST))
    }

    /// A subscription of this user whose notifications do not say what is stored, and how they differ.
    pub(super) fn find_untrue(
        &self,
        user: UserId,
        devices: &[DeviceId],
        links: impl Fn(DeviceId) -> Vec<String>,
        is_unwanted: impl Fn(SubscriptionId) -> bool,
    ) -> Option<String> {
        for ((_, id), outbox) in self.of_user(user) {
            let Some(asked) = outbox.asked.as_ref().filter(|asked| is_complete(asked)) else {
                continue;
            };
            if outbox.ending.is_some() || is_unwanted(*id) {
                continue;
            }
            let telling = outbox.telling();
            let untold = match &asked.target {
                Target::Devices => {
                    let unmarked =
                        |device: &&DeviceId| !self.told_online.contains(&(user, **device));
                    if let Some(device) = telling.online.iter().find(unmarked) {
                        return Some(format!("{id}: nobody would tell that {device} has gone"));
                    }
                    telling.devices.iter().ne(devices)
                }
                Target::Device(device) => telling.links != links(*device).into_iter().collect(),
                Target::Resource(..) => false,
            };
            if untold {
                return Some(format!("{id} tells of {:?}: {telling:?}", asked.target));
            }
        }
        None
    }
}

/// Whether a subscription asks for all events of its level.
pub(super) fn is_complete(asked: &NewSubscription) -> bool {
    EventType::ALL.iter().all(|one| !one.is_of(&asked.target) || asked.types.contain(*one))
}

const FIRST: SubscriptionId = SubscriptionId::from_bytes([0; 16]);
const LAST: SubscriptionId = SubscriptionId::from_bytes([0xff; 16]);
