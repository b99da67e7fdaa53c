//! What the store keeps of accounts, as rkyv archives, and where.

use rkyv::rancor;
use shared::ids::{DeviceId, UserId};
use shared::placement::PartitionId;
use shared::time::UnixTime;

use super::table::{Account, Repeatable};
use crate::directory::Directory;
use crate::store::{Key, Table, Write};

/// Seconds of an access token that never expires.
const NEVER: u64 = u64::MAX;

/// Row of a device in its user's partition.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DeviceRecord {
    /// See [`Account`].
    pub seed: [u8; 16],
    /// See [`Account`].
    pub generation: u32,
    /// See [`Account`].
    pub previous_counts: bool,
    /// Seconds since 1970; the largest number for never.
    pub expires: u64,
    /// Digest of the token of the sign-up, and until when it can be repeated.
    pub repeatable: Option<([u8; 32], u64)>,
    /// See [`Account`].
    pub key_digest: [u8; 32],
    /// Seconds since 1970.
    pub created: u64,
}

/// Row of a single-use token in its user's partition, under its digest.
#[derive(Clone, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct DeviceTokenRecord {
    /// The only device that may use it; the first that does when none.
    pub device: Option<DeviceId>,
    /// Seconds since 1970.
    pub expires: u64,
}

/// Row of a user that a Mediator has registered, or that leaves.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct UserRecord {
    /// Seconds since 1970: since when it is so.
    pub created: u64,
}

/// Row of a device id in the partition of its hash: the only user that may have the device.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ClaimRecord {
    /// The user.
    pub user: UserId,
}

/// A stored value that cannot be read: the store is damaged or from another version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stored record cannot be read: the state directory is damaged or from another version")]
pub struct UnreadableRecord;

macro_rules! bytes {
    ($($record:ty),*) => {$(
        impl $record {
            fn to_bytes(&self) -> Vec<u8> {
                rkyv::to_bytes::<rancor::Error>(self)
                    .expect("writing to memory cannot fail")
                    .into_vec()
            }

            /// Reads a stored value.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
                rkyv::from_bytes::<Self, rancor::Error>(bytes).map_err(|_| UnreadableRecord)
            }
        }
    )*};
}

bytes!(DeviceRecord, DeviceTokenRecord, UserRecord, ClaimRecord);

impl DeviceRecord {
    /// The account that this row holds.
    pub fn into_account(self) -> Account {
        Account {
            seed: self.seed,
            generation: self.generation,
            previous_counts: self.previous_counts,
            expires: (self.expires != NEVER).then_some(UnixTime(self.expires)),
            repeatable: self.repeatable.map(|(token_digest, until)| {
                Box::new(Repeatable { token_digest, until: UnixTime(until) })
            }),
            key_digest: self.key_digest,
            created: UnixTime(self.created),
        }
    }
}

/// Writes the account of a device.
pub fn put_device(user: UserId, device: DeviceId, account: &Account) -> Write {
    let record = DeviceRecord {
        seed: account.seed,
        generation: account.generation,
        previous_counts: account.previous_counts,
        expires: account.expires.map_or(NEVER, |at| at.0),
        repeatable: account.repeatable.as_ref().map(|r| (r.token_digest, r.until.0)),
        key_digest: account.key_digest,
        created: account.created.0,
    };
    Write { key: device_key(user, device), value: Some(record.to_bytes()) }
}

/// Removes the account of a device.
pub fn delete_device(user: UserId, device: DeviceId) -> Write {
    Write { key: device_key(user, device), value: None }
}

/// Writes a single-use token.
pub fn put_device_token(user: UserId, digest: &[u8; 32], record: &DeviceTokenRecord) -> Write {
    Write { key: token_key(user, digest), value: Some(record.to_bytes()) }
}

/// Removes a single-use token.
pub fn delete_device_token(user: UserId, digest: &[u8; 32]) -> Write {
    Write { key: token_key(user, digest), value: None }
}

/// Writes a registered user.
pub fn put_user(user: UserId, created: UnixTime) -> Write {
    let key = Key::new(PartitionId::of_user(user), Table::User, user.as_bytes());
    Write { key, value: Some(UserRecord { created: created.0 }.to_bytes()) }
}

/// Removes a registered user.
pub fn delete_user(user: UserId) -> Write {
    let key = Key::new(PartitionId::of_user(user), Table::User, user.as_bytes());
    Write { key, value: None }
}

/// Writes down that a user leaves.
pub fn put_departure(user: UserId, begun: UnixTime) -> Write {
    Write { key: departure_key(user), value: Some(UserRecord { created: begun.0 }.to_bytes()) }
}

/// The user has left.
pub fn delete_departure(user: UserId) -> Write {
    Write { key: departure_key(user), value: None }
}

/// Writes the claim of a user on a device id.
pub fn put_claim(device: DeviceId, user: UserId) -> Write {
    Write { key: claim_key(device), value: Some(ClaimRecord { user }.to_bytes()) }
}

/// Removes the claim on a device id.
pub fn delete_claim(device: DeviceId) -> Write {
    Write { key: claim_key(device), value: None }
}

fn departure_key(user: UserId) -> Key {
    Key::new(PartitionId::of_user(user), Table::Departure, user.as_bytes())
}

fn device_key(user: UserId, device: DeviceId) -> Key {
    let parts: [&[u8]; 2] = [user.as_bytes(), device.as_bytes()];
    Key::of_parts(PartitionId::of_user(user), Table::Device, &parts)
}

fn token_key(user: UserId, digest: &[u8; 32]) -> Key {
    let parts: [&[u8]; 2] = [user.as_bytes(), digest];
    Key::of_parts(PartitionId::of_user(user), Table::DeviceToken, &parts)
}

fn claim_key(device: DeviceId) -> Key {
    Key::new(PartitionId::of_device(device), Table::Claim, device.as_bytes())
}

/// The ids in a key of [`Table::Device`] or [`Table::Directory`].
pub fn parse_device_key(rest: &[u8]) -> Result<(UserId, DeviceId), UnreadableRecord> {
    let (user, device) = rest.split_first_chunk().ok_or(UnreadableRecord)?;
    let device = device.try_into().map_err(|_| UnreadableRecord)?;
    Ok((UserId::from_bytes(*user), DeviceId::from_bytes(device)))
}

/// User and digest in a key of [`Table::DeviceToken`].
pub fn parse_token_key(rest: &[u8]) -> Result<(UserId, [u8; 32]), UnreadableRecord> {
    let (user, digest) = rest.split_first_chunk().ok_or(UnreadableRecord)?;
    let digest = digest.try_into().map_err(|_| UnreadableRecord)?;
    Ok((UserId::from_bytes(*user), digest))
}

/// The device id in a key of [`Table::Claim`].
pub fn parse_claim_key(rest: &[u8]) -> Result<DeviceId, UnreadableRecord> {
    rest.try_into().map(DeviceId::from_bytes).map_err(|_| UnreadableRecord)
}

/// The user id in a key of [`Table::User`] or [`Table::Departure`].
pub fn parse_user_key(rest: &[u8]) -> Result<UserId, UnreadableRecord> {
    rest.try_into().map(UserId::from_bytes).map_err(|_| UnreadableRecord)
}

/// Writes the links of a device, or removes them.
pub fn put_directory(user: UserId, device: DeviceId, directory: Option<&Directory>) -> Write {
    let parts: [&[u8]; 2] = [user.as_bytes(), device.as_bytes()];
    let key = Key::of_parts(PartitionId::of_user(user), Table::Directory, &parts);
    Write { key, value: directory.map(|directory| directory.as_bytes().to_vec()) }
}
