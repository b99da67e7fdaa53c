//! Subscriptions and their events (cloud reference 5): what `api` asks of the user's shard, and what
//! shards hand to `api` for delivery.
//!
//! ```text
//! api ── Deliver ─────────► shard     this process delivers
//! api ◄── Delivery ──────── shard     one notification, as long as its subscription has no other
//! api ── Delivered ───────► shard     what came of one attempt
//! ```
//!
//! A [`Delivery`] is the only message that answers no command. When to try again, and when to give up,
//! is decided by the shard: `api` makes one attempt and says how it ended.
//!
//! Events are also what the store keeps: their layout is on every disk.
#![expect(missing_docs, reason = "rkyv gives archived enum variants fields without comments")]

use super::message::LinkView;
use crate::ids::{DeviceId, SubscriptionId, UserId};
use crate::secret::Secret;

/// Notifications to one receiver that a shard has under way at a time.
pub const DELIVERIES_PER_RECEIVER_MAX: usize = 32;

/// The events that there are (cloud reference 5.2).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub enum EventType {
    /// Devices have signed up.
    DevicesRegistered,
    /// Devices have signed off, or were removed.
    DevicesUnregistered,
    /// Devices have signed in.
    DevicesOnline,
    /// Devices have signed out, or were lost.
    DevicesOffline,
    /// A device has published links.
    ResourcesPublished,
    /// A device has removed links.
    ResourcesUnpublished,
    /// A representation is another one.
    ResourceContentChanged,
    /// The subscription has ended.
    SubscriptionCancelled,
}

impl EventType {
    /// All of them, in the order of initial notifications (cloud reference 5.5).
    pub const ALL: [Self; 8] = [
        Self::DevicesRegistered,
        Self::DevicesUnregistered,
        Self::DevicesOnline,
        Self::DevicesOffline,
        Self::ResourcesPublished,
        Self::ResourcesUnpublished,
        Self::ResourceContentChanged,
        Self::SubscriptionCancelled,
    ];

    /// As it stands in requests and notifications.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DevicesRegistered => "devices_registered",
            Self::DevicesUnregistered => "devices_unregistered",
            Self::DevicesOnline => "devices_online",
            Self::DevicesOffline => "devices_offline",
            Self::ResourcesPublished => "resources_published",
            Self::ResourcesUnpublished => "resources_unpublished",
            Self::ResourceContentChanged => "resource_contentchanged",
            Self::SubscriptionCancelled => "subscription_cancelled",
        }
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Whether a subscription to this may ask for it.
    pub const fn is_of(self, target: &Target) -> bool {
        match self {
            Self::DevicesRegistered
            | Self::DevicesUnregistered
            | Self::DevicesOnline
            | Self::DevicesOffline => matches!(target, Target::Devices),
            Self::ResourcesPublished | Self::ResourcesUnpublished => {
                matches!(target, Target::Device(_))
            }
            Self::ResourceContentChanged => matches!(target, Target::Resource(..)),
            Self::SubscriptionCancelled => false,
        }
    }
}

/// Some of the events.
#[derive(
    Clone, Copy, PartialEq, Eq, Default, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct EventTypes(u8);

impl EventTypes {
    /// Whether this one is among them.
    pub const fn contain(self, one: EventType) -> bool {
        self.0 & 1 << one as u8 != 0
    }

    /// None.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of initial notifications.
    pub fn iter(self) -> impl Iterator<Item = EventType> {
        EventType::ALL.into_iter().filter(move |&one| self.contain(one))
    }
}

impl FromIterator<EventType> for EventTypes {
    fn from_iter<I: IntoIterator<Item = EventType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |all, one| all | 1 << one as u8))
    }
}

/// What is subscribed to.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub enum Target {
    /// Which devices there are, and which of them are online.
    Devices,
    /// The links of a device.
    Device(DeviceId),
    /// The representation of a resource: its device, and the path below it with a leading slash.
    Resource(DeviceId, String),
}

impl Target {
    /// The device, unless it is about all of them.
    pub const fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Devices => None,
            Self::Device(device) | Self::Resource(device, _) => Some(*device),
        }
    }
}

/// In which form the bodies of notifications are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum BodyFormat {
    /// `application/json`.
    Json,
    /// `application/vnd.ocf+cbor`.
    OcfCbor,
    /// `application/cbor`.
    Cbor,
}

/// A subscription that is asked for (cloud reference 5.3).
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct NewSubscription {
    /// Who asks.
    pub client: String,
    /// To what.
    pub target: Target,
    /// At least one, all of the target's level.
    pub types: EventTypes,
    /// Where notifications go: a URL that was checked.
    pub url: String,
    /// What they are signed with.
    pub secret: Secret,
    /// Repeated in every notification.
    pub correlation: String,
    /// In which form their bodies are.
    pub format: BodyFormat,
}

/// About subscriptions.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum EventsCommand {
    /// [`super::message::Reply::Subscribed`], as soon as it is durable.
    Subscribe(NewSubscription),
    /// Whether a client has this subscription: [`super::message::Reply::Done`].
    ReadSubscription { id: SubscriptionId, client: String, target: Target },
    /// Ends a subscription of a client: [`super::message::Reply::Done`].
    Unsubscribe { id: SubscriptionId, client: String, target: Target },
    /// From now on, and until the channel closes, this process delivers what the shard hands to it:
    /// [`super::message::Reply::Done`]. About any partition of the shard.
    Deliver,
    /// A client may have nothing any more: its subscriptions under grants end;
    /// [`super::message::Reply::Done`]. About any partition of the shard, and to every shard.
    EndClient { client: String },
    /// All subscriptions of the shard in the order of their ids, a page at a time:
    /// [`super::message::Reply::Subscriptions`]. About any partition of the shard.
    ListSubscriptions {
        /// Begin behind this one; at the first when none.
        after: Option<SubscriptionId>,
        /// Of this client only; of all when none.
        client: Option<String>,
    },
    /// What came of a delivery: [`super::message::Reply::Done`], whether anybody waited for it or not.
    Delivered { id: SubscriptionId, number: u64, outcome: Outcome },
}

/// How an attempt to deliver ended (cloud reference 5.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Outcome {
    /// The receiver has it.
    Accepted,
    /// The receiver does not want the subscription any more.
    Gone,
    /// The receiver will never take this notification.
    Refused {
        /// Why.
        why: Trouble,
    },
    /// Nobody was asked: its client is not registered any more, or switched off.
    ClientGone,
    /// The receiver may take it another time.
    Failed {
        /// Why.
        why: Trouble,
        /// When, if it said so.
        retry_after_secs: Option<u32>,
    },
}

/// Why a notification was not taken, as far as operators are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Trouble {
    /// The receiver has answered with this HTTP status.
    Status(u16),
    /// The receiver has not answered in time.
    TimedOut,
    /// There is no connection to the receiver, or it was lost.
    NotConnected,
    /// The receiver has an address now to which no events go.
    NotAllowed,
    /// The receiver's certificate is not trusted.
    NotTrusted,
    /// What there is to tell cannot be written in the form that was asked for.
    NotWritable,
    /// Nobody has asked the receiver: that is our trouble.
    NotSent,
}

/// A subscription as operators see it: no secret, and of its URL not the path, which may be one.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SubscriptionView {
    /// Which.
    pub id: SubscriptionId,
    /// Whose devices it is about.
    pub user: UserId,
    /// Whose it is.
    pub client: String,
    /// To what.
    pub target: Target,
    /// Which events.
    pub types: EventTypes,
    /// Scheme, host and port of its receiver.
    pub receiver: String,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// How far it has come.
    pub state: SubscriptionState,
    /// Notifications that have been dealt with since it began: the number of the next one.
    pub next_number: u64,
    /// Notifications that wait, with the one that is being delivered.
    pub waiting: u32,
    /// How its deliveries have gone.
    pub deliveries: Deliveries,
}

/// How far a subscription has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum SubscriptionState {
    /// It is not stored yet.
    Starting,
    /// It stands.
    Active,
    /// Its last notification says that it has ended.
    Ending,
}

/// How the deliveries of a subscription have gone since the gateway was started.
#[derive(
    Clone, Copy, PartialEq, Eq, Default, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct Deliveries {
    /// Notifications that the receiver has taken.
    pub delivered: u64,
    /// Notifications that the receiver has refused for good.
    pub refused: u64,
    /// Attempts that have failed, and were or will be made again.
    pub failed: u64,
    /// When the receiver has taken one last, in seconds since 1970.
    pub last_delivered: Option<u64>,
    /// What went wrong last, and when, in seconds since 1970.
    pub last_trouble: Option<(Trouble, u64)>,
    /// Since when the notification that is next has failed, in seconds since 1970: also before the
    /// gateway was started.
    pub failing_since: Option<u64>,
}

/// What has happened.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Event {
    /// Which of the eight.
    pub event_type: EventType,
    /// To what.
    pub body: EventBody,
}

/// What a notification tells.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum EventBody {
    /// Of some devices.
    Devices(Vec<DeviceId>),
    /// Of some links of a device.
    Links(DeviceId, Vec<LinkView>),
    /// A representation as CBOR.
    Content(Vec<u8>),
    /// That the subscription has ended.
    Nothing,
}

/// A notification for one attempt.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Delivery {
    /// Whose subscription.
    pub user: UserId,
    /// Which.
    pub id: SubscriptionId,
    /// `Sequence-Number`.
    pub number: u64,
    /// Whose receiver it is.
    pub client: String,
    /// Whether a user has granted it, so that the client has to be a registered one. Those of the
    /// credentials file are not.
    pub granted: bool,
    /// Where it goes.
    pub url: String,
    /// What it is signed with.
    pub secret: Secret,
    /// `Correlation-ID`.
    pub correlation: String,
    /// In which form its body is.
    pub format: BodyFormat,
    /// What has happened.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_and_a_level() {
        let device = DeviceId::from_bytes([1; 16]);
        let targets =
            [Target::Devices, Target::Device(device), Target::Resource(device, "/a".into())];
        for one in EventType::ALL {
            assert_eq!(EventType::named(one.as_str()), Some(one));
            let levels = targets.iter().filter(|target| one.is_of(target)).count();
            // It cannot be subscribed to: it is always sent.
            assert_eq!(levels, usize::from(one != EventType::SubscriptionCancelled), "{one:?}");
        }
        assert_eq!(EventType::named("resource_published"), None);
    }

    #[test]
    fn some_types_come_in_the_order_of_initial_notifications() {
        let types: EventTypes =
            [EventType::DevicesOffline, EventType::DevicesRegistered, EventType::DevicesOffline]
                .into_iter()
                .collect();
        let order: Vec<_> = types.iter().collect();
        assert_eq!(order, [EventType::DevicesRegistered, EventType::DevicesOffline]);
        assert!(!types.is_empty() && EventTypes::default().is_empty());
    }
}
