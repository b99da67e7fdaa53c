//! Messages of the shard channel, closed enums as rkyv archives.
//!
//! Everything is copied out of the ring before it is validated: the other side can still write to
//! the ring. Archives are unaligned, so they need no particular address.
#![expect(missing_docs, reason = "rkyv gives archived enum variants fields without comments")]

use super::authorization::{
    AuthorizationCommand, ClientRecord, Granted, LoginRecord, RegistryCommand, SigningKey,
};
use super::events::{Delivery, EventsCommand, SubscriptionView};
use super::figures::ShardFigures;
use crate::ids::{DeviceId, GrantId, SubscriptionId, UserId};
use crate::ocf::device::Status;
use crate::placement::PartitionId;
use crate::secret::Secret;

/// Version of this module: both sides must agree, it is the first thing the introduction checks.
pub const PROTOCOL_VERSION: u32 = 5;

/// Largest message in a ring, in bytes. Longer lists are paged.
pub const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// What `api` asks of a shard.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct CommandEnvelope {
    /// Chosen by `api`, unique among its commands under way on this ring.
    pub request: u64,
    /// How long the caller is going to wait, in milliseconds. The shard gives up then.
    pub patience_ms: u32,
    /// Whose data it is about. The shard answers [`Failure::WrongShard`] for what is another's.
    pub subject: Subject,
    /// What to do.
    pub command: Command,
}

/// Whose data a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Subject {
    /// A user's.
    User {
        /// Who.
        user: UserId,
        /// What it is asked under; the shard answers [`Failure::GrantRevoked`] if it has ended. None
        /// for what no client asks.
        grant: Option<GrantId>,
    },
    /// Whatever the partition knows under a token, or the cloud's own records in partition 0.
    Partition(PartitionId),
}

/// The commands.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Command {
    /// The user's devices in ascending order of their ids, a page at a time: [`Reply::Devices`].
    ListDevices {
        /// Begin behind this device; at the first when none.
        after: Option<DeviceId>,
        /// With links or with representations.
        content: Content,
    },
    /// One device, a page of its links at a time: [`Reply::Devices`] with exactly one device.
    ReadDevice {
        /// Which.
        device: DeviceId,
        /// Begin at this link, counted in ascending order of hrefs.
        first_link: u32,
        /// With links or with representations.
        content: Content,
    },
    /// GET on a published resource of an online device: [`Reply::Device`].
    Retrieve {
        /// Which device.
        device: DeviceId,
        /// Path below the device, with a leading slash.
        href: String,
        /// Value of an `if` query, passed on if it is one of the link's interfaces.
        interface: Option<String>,
    },
    /// POST on a published resource of an online device: [`Reply::Device`].
    Update {
        /// Which device.
        device: DeviceId,
        /// Path below the device, with a leading slash.
        href: String,
        /// Value of an `if` query, passed on if it is one of the link's interfaces.
        interface: Option<String>,
        /// CBOR.
        body: Vec<u8>,
    },
    /// A Mediator registers; the user is created on first use: [`Reply::Done`].
    RegisterMediator,
    /// A single-use token for a device of this user: [`Reply::DeviceToken`].
    IssueDeviceToken {
        /// The only device that may use it; the first that does when none.
        device: Option<DeviceId>,
    },
    /// Tokens that were issued and neither used nor expired: [`Reply::DeviceTokens`].
    ListDeviceTokens,
    /// Revokes the tokens of a device and removes it with its links and sessions: [`Reply::Done`].
    RemoveDevice {
        /// Which.
        device: DeviceId,
    },
    /// Deletes the user with everything that is theirs: [`Reply::Done`] when nothing is left. Whether
    /// anybody still waits or not, it is done to the end.
    DeleteUser,
    /// About codes and grants.
    Authorization(AuthorizationCommand),
    /// About clients, logins and signing keys; to partition 0.
    Registry(RegistryCommand),
    /// About subscriptions.
    Events(EventsCommand),
    /// What the shard of this partition occupies, and how long it takes: [`Reply::Figures`].
    ReadFigures,
}

/// What a list of devices shows of each link (cloud reference 4.4, 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Content {
    /// Link members.
    Base,
    /// The last representation.
    All,
}

/// The number of no command: under it a shard sends what nobody asked for.
pub const NO_COMMAND: u64 = u64::MAX;

/// The answer to a command.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ReplyEnvelope {
    /// The command's number, or [`NO_COMMAND`].
    pub request: u64,
    /// What came of it.
    pub reply: Reply,
}

/// The answers.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Reply {
    /// One page of devices.
    Devices(DevicesPage),
    /// What the device answered.
    Device(DeviceAnswer),
    /// A fresh single-use token.
    DeviceToken {
        /// The token, in clear: it is shown once and stored as a digest.
        token: String,
        /// Seconds until it expires.
        expires_in_secs: u64,
    },
    /// Outstanding single-use tokens.
    DeviceTokens(Vec<OutstandingToken>),
    /// A fresh code, in clear.
    AuthorizationCode(Secret),
    /// What a client has been granted.
    Granted(Granted),
    /// A client.
    Client(ClientRecord),
    /// Some clients.
    Clients {
        /// In the order of their ids.
        clients: Vec<ClientRecord>,
        /// There are more behind the last one.
        more: bool,
    },
    /// A login.
    Login(LoginRecord),
    /// Some logins.
    Logins {
        /// In the order of their names.
        logins: Vec<LoginRecord>,
        /// There are more behind the last one.
        more: bool,
    },
    /// The keys that sign access tokens, the newest first.
    SigningKeys(Vec<SigningKey>),
    /// A subscription exists.
    Subscribed(SubscriptionId),
    /// The figures of a shard.
    Figures(Box<ShardFigures>),
    /// Some subscriptions.
    Subscriptions {
        /// In the order of their ids.
        subscriptions: Vec<SubscriptionView>,
        /// Where to go on, if there may be more: behind this id, which need not be among them.
        next: Option<SubscriptionId>,
    },
    /// A notification to be delivered: the only one that answers no command.
    Delivery(Box<Delivery>),
    /// Done, and durable.
    Done,
    /// Not done.
    Failed(Failure),
}

/// Some devices, and where to go on.
#[derive(Clone, PartialEq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DevicesPage {
    /// In ascending order of their ids.
    pub devices: Vec<DeviceView>,
    /// Links of the last device that did not fit: go on with [`Command::ReadDevice`] from this link.
    pub next_link: Option<u32>,
    /// There are more devices behind the last one.
    pub more_devices: bool,
}

/// A device as partners see it.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub device: DeviceId,
    /// Whether it is signed in.
    pub status: Status,
    /// Representation of `/oic/d` as CBOR, if it is known.
    pub description: Option<Vec<u8>>,
    /// Representation of `/oic/p` as CBOR, if it is known.
    pub platform: Option<Vec<u8>>,
    /// The name it published, if any.
    pub name: Option<String>,
    /// Published links in ascending order of their hrefs.
    pub links: Vec<LinkView>,
}

/// A link as partners see it. Hrefs are local: the device id is not part of them.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct LinkView {
    /// Path below the device, with a leading slash.
    pub href: String,
    /// Resource types.
    pub resource_types: Vec<String>,
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// Policy bit mask.
    pub policy: u8,
    /// Human-readable.
    pub title: Option<String>,
    /// Media types.
    pub media_types: Vec<String>,
    /// Position, described.
    pub tag_pos_desc: Option<String>,
    /// Position, three coordinates.
    pub tag_pos_rel: Option<[f64; 3]>,
    /// Function.
    pub tag_func_desc: Option<String>,
    /// Location.
    pub tag_locn: Option<String>,
    /// With [`Content::All`]: the representation as CBOR, if it is known.
    pub representation: Option<Vec<u8>>,
}

/// A response that came from the device itself.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DeviceAnswer {
    /// CoAP response code as a byte.
    pub code: u8,
    /// CoAP Content-Format, if it had one.
    pub content_format: Option<u16>,
    /// Max-Age in seconds, if it had one.
    pub max_age: Option<u32>,
    /// The body.
    pub body: Vec<u8>,
}

/// A token that waits for its device.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct OutstandingToken {
    /// The device it is for, if it is for one.
    pub device: Option<DeviceId>,
    /// Seconds until it expires.
    pub expires_in_secs: u64,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Failure {
    /// Not a device of this user.
    NoSuchDevice,
    /// Not a published resource of this device.
    NoSuchResource,
    /// The interface is not one of the link's.
    NoSuchInterface,
    /// Signed up, but not connected.
    DeviceOffline,
    /// Connected, but did not answer in time. An update may still have happened.
    DeviceTimedOut,
    /// The connection was lost while its answer was awaited. An update may still have happened.
    DeviceLost,
    /// The device answered something that is no CoAP response, or none that may be passed on.
    DeviceAnsweredBadly,
    /// The request is larger than the device takes.
    TooLargeForDevice,
    /// The answer is larger than a ring message.
    AnswerTooLarge,
    /// Not a subscription of this user and client to this.
    NoSuchSubscription,
    /// The user, or the device, has as many subscriptions as may be.
    TooManySubscriptions,
    /// The client subscribes more often than it may.
    SubscribesTooOften,
    /// The device belongs to somebody else.
    OwnedByAnother,
    /// A bound was reached: devices or tokens of the user, requests under way.
    Overloaded,
    /// The store refuses or is unreachable; nothing has changed.
    StoreUnavailable,
    /// This shard does not serve the user, or the partition.
    WrongShard,
    /// The grant that a command was made under has ended, or never was.
    GrantRevoked,
    /// The code or refresh token is unknown, used, expired or not the client's.
    InvalidGrant,
    /// More scopes than were granted.
    ScopeExceeded,
    /// No client, login or key of this name.
    NoSuchRecord,
    /// There is one already, or it has changed in the meantime.
    RecordChanged,
    /// The record is larger than they may be.
    RecordTooLarge,
}
