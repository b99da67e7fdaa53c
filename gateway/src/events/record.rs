//! What the store keeps of subscriptions, and where.

use rkyv::rancor;
use shared::channel::events::{BodyFormat, Event, EventTypes, NewSubscription, Target};
use shared::ids::{DeviceId, GrantId, SubscriptionId, UserId};
use shared::placement::PartitionId;
use shared::secret::Secret;
use shared::time::UnixTime;

use super::subscription::{Ending, Stage, Subscription};
use crate::account::record::UnreadableRecord;
use crate::store::{Key, NotOurs, SEAL_NONCE_BYTES, StoreKey, Table, Write};

const SECRET_PURPOSE: &str = "signing secrets of subscriptions";

/// Row of a subscription. It never changes.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct SubscriptionRecord {
    grant: Option<GrantId>,
    created: u64,
    client: String,
    target: Target,
    types: EventTypes,
    url: String,
    sealed_secret: Vec<u8>,
    correlation: String,
    format: BodyFormat,
}

/// Row of a notification that waits.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct OutboxRecord {
    /// What has happened.
    pub event: Event,
    /// It is the last one, for this reason.
    pub ending: Option<Ending>,
}

/// Row of how far the deliveries of a subscription have come.
#[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ProgressRecord {
    /// Notifications that have been dealt with: the number of the next one.
    pub done: u64,
    /// Stands for the newest representation among them.
    pub newest: Option<[u8; 16]>,
    /// Refused ones in a row.
    pub refusals: u8,
    /// When the next one failed for the first time.
    pub first_failure: Option<u64>,
}

macro_rules! bytes {
    ($($visible:vis $record:ty),*) => {$(
        impl $record {
            /// What the store keeps.
            $visible fn to_bytes(&self) -> Vec<u8> {
                rkyv::to_bytes::<rancor::Error>(self)
                    .expect("writing to memory cannot fail")
                    .into_vec()
            }

            /// Reads a stored value.
            $visible fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
                rkyv::from_bytes::<Self, rancor::Error>(bytes).map_err(|_| UnreadableRecord)
            }
        }
    )*};
}

bytes!(pub(crate) SubscriptionRecord, pub OutboxRecord, pub ProgressRecord);

/// Writes a subscription. `nonce` is random.
pub fn put_subscription(
    subscription: &Subscription,
    store_key: &StoreKey,
    nonce: [u8; SEAL_NONCE_BYTES],
) -> Write {
    let key = key(Table::Subscription, subscription.user, subscription.id);
    let asked = &subscription.asked;
    let secret = asked.secret.reveal().as_bytes();
    let record = SubscriptionRecord {
        grant: subscription.grant,
        created: subscription.created.0,
        client: asked.client.clone(),
        target: asked.target.clone(),
        types: asked.types,
        url: asked.url.clone(),
        sealed_secret: store_key.seal(SECRET_PURPOSE, key.rest(), nonce, secret),
        correlation: asked.correlation.clone(),
        format: asked.format,
    };
    Write { key, value: Some(record.to_bytes()) }
}

/// Reads a subscription.
pub fn read_subscription(
    rest: &[u8],
    value: &[u8],
    store_key: &StoreKey,
) -> Result<Subscription, UnreadableRecord> {
    let (user, id, _) = parse_key(rest)?;
    let record = SubscriptionRecord::from_bytes(value)?;
    let secret = store_key
        .unseal(SECRET_PURPOSE, rest, &record.sealed_secret)
        .map_err(|NotOurs| UnreadableRecord)?;
    let secret = String::from_utf8(secret).map_err(|_| UnreadableRecord)?;
    let asked = NewSubscription {
        client: record.client,
        target: record.target,
        types: record.types,
        url: record.url,
        secret: Secret::new(secret),
        correlation: record.correlation,
        format: record.format,
    };
    let created = UnixTime(record.created);
    Ok(Subscription::new(id, user, record.grant, asked, created, Stage::Active))
}

/// Writes a notification into an outbox.
pub fn put_event(user: UserId, id: SubscriptionId, position: u64, value: Vec<u8>) -> Write {
    Write { key: event_key(user, id, position), value: Some(value) }
}

/// Takes a notification out of an outbox.
pub fn delete_event(user: UserId, id: SubscriptionId, position: u64) -> Write {
    Write { key: event_key(user, id, position), value: None }
}

/// Writes how far the deliveries have come.
pub fn put_progress(user: UserId, id: SubscriptionId, record: &ProgressRecord) -> Write {
    Write { key: key(Table::Progress, user, id), value: Some(record.to_bytes()) }
}

/// Removes a subscription, with everything in its outbox.
pub fn delete_subscription(subscription: &Subscription) -> Vec<Write> {
    let (user, id) = (subscription.user, subscription.id);
    let own = [Table::Subscription, Table::Progress]
        .map(|table| Write { key: key(table, user, id), value: None });
    let waiting = subscription.outbox.positions().map(|at| delete_event(user, id, at));
    own.into_iter().chain(waiting).collect()
}

/// Writes whether those who are subscribed were told last that a device is online.
pub fn put_told_online(user: UserId, device: DeviceId, online: bool) -> Write {
    let parts: [&[u8]; 2] = [user.as_bytes(), device.as_bytes()];
    let key = Key::of_parts(PartitionId::of_user(user), Table::ToldOnline, &parts);
    Write { key, value: online.then(Vec::new) }
}

/// The ids in a key of these tables, and the place in an outbox.
pub fn parse_key(rest: &[u8]) -> Result<(UserId, SubscriptionId, Option<u64>), UnreadableRecord> {
    let (user, rest) = rest.split_first_chunk().ok_or(UnreadableRecord)?;
    let (id, position) = rest.split_first_chunk().ok_or(UnreadableRecord)?;
    let position = match position {
        [] => None,
        position => Some(u64::from_be_bytes(position.try_into().map_err(|_| UnreadableRecord)?)),
    };
    Ok((UserId::from_bytes(*user), SubscriptionId::from_bytes(*id), position))
}

fn key(table: Table, user: UserId, id: SubscriptionId) -> Key {
    let parts: [&[u8]; 2] = [user.as_bytes(), id.as_bytes()];
    Key::of_parts(PartitionId::of_user(user), table, &parts)
}

/// The place of a notification in the store.
pub fn event_key(user: UserId, id: SubscriptionId, position: u64) -> Key {
    let position = position.to_be_bytes();
    let parts: [&[u8]; 3] = [user.as_bytes(), id.as_bytes(), &position];
    Key::of_parts(PartitionId::of_user(user), Table::Outbox, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::channel::events::EventType;

    fn subscription() -> Subscription {
        let asked = NewSubscription {
            client: "partner".into(),
            target: Target::Resource(DeviceId::from_bytes([3; 16]), "/light/1".into()),
            types: [EventType::ResourceContentChanged].into_iter().collect(),
            url: "https://partner.example/events".into(),
            secret: Secret::new("a secret of thirty-two characters"),
            correlation: "8804e90c-53f7-45b8-a9af-128b6bc8cd10".into(),
            format: BodyFormat::Json,
        };
        let (user, id) = (UserId::from_bytes([1; 16]), SubscriptionId::from_bytes([2; 16]));
        Subscription::new(id, user, None, asked, UnixTime(7), Stage::Active)
    }

    #[test]
    fn a_subscription_reads_back_and_its_secret_is_encrypted() {
        let store_key = StoreKey::from_bytes([3; 32]);
        let write = put_subscription(&subscription(), &store_key, [1; 12]);
        let value = write.value.unwrap();
        assert!(!value.windows(8).any(|window| window == b"a secret"));
        let read = read_subscription(write.key.rest(), &value, &store_key).unwrap();
        assert_eq!(read.asked, subscription().asked);
        assert_eq!(
            (read.id, read.user, read.created),
            (subscription().id, subscription().user, UnixTime(7))
        );
        let other = StoreKey::from_bytes([4; 32]);
        assert!(read_subscription(write.key.rest(), &value, &other).is_err());
        assert!(read_subscription(write.key.rest(), &value[..9], &store_key).is_err());
        assert!(read_subscription(&write.key.rest()[..20], &value, &store_key).is_err());
    }

    #[test]
    fn places_in_an_outbox_are_in_order_in_the_store() {
        let (user, id) = (subscription().user, subscription().id);
        assert!(event_key(user, id, 255) < event_key(user, id, 256));
        let parsed = parse_key(event_key(user, id, 9).rest());
        assert_eq!(parsed, Ok((user, id, Some(9))));
    }
}
