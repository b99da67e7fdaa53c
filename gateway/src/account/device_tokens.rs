//! Single-use tokens that wait for their devices, by digest.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::{DeviceId, UserId};
use shared::time::UnixTime;

use super::record::DeviceTokenRecord;

/// How often a token may be presented by a device that it is not for (device reference 16, point 11).
const WRONG_DEVICE_MAX: u8 = 5;

struct Outstanding {
    user: UserId,
    record: DeviceTokenRecord,
    wrong_devices: u8,
    /// A sign-up of this device with it is under way.
    taken_by: Option<DeviceId>,
}

/// What a presented token is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presented {
    /// Sign-up of this device for this user. `bound`: the token was issued for exactly this device.
    Valid {
        /// Who is joined.
        user: UserId,
        /// Issued for exactly this device.
        bound: bool,
    },
    /// Issued for another device; it stays valid for that one.
    OtherDevice,
    /// Another device is signing up with it: whether it is used up will be known soon.
    Taken,
    /// Unknown, used or expired.
    Unknown,
}

/// The outstanding tokens of a shard's users.
#[derive(Default)]
pub struct DeviceTokens {
    by_digest: BTreeMap<[u8; 32], Outstanding>,
    by_user: BTreeSet<(UserId, [u8; 32])>,
    by_expiry: BTreeSet<(u64, [u8; 32])>,
}

impl DeviceTokens {
    /// Adds a token. The caller has bounded how many a user has.
    pub fn insert(&mut self, user: UserId, digest: [u8; 32], record: DeviceTokenRecord) {
        self.remove(&digest);
        self.by_user.insert((user, digest));
        self.by_expiry.insert((record.expires, digest));
        self.by_digest
            .insert(digest, Outstanding { user, record, wrong_devices: 0, taken_by: None });
    }

    /// A device presents a token.
    pub fn present(&mut self, digest: &[u8; 32], device: DeviceId, now: UnixTime) -> Presented {
        let Some(token) = self.by_digest.get_mut(digest) else { return Presented::Unknown };
        if token.record.expires <= now.0 || token.wrong_devices >= WRONG_DEVICE_MAX {
            return Presented::Unknown;
        }
        match token.record.device {
            Some(bound) if bound != device => {
                token.wrong_devices += 1;
                Presented::OtherDevice
            }
            _ if token.taken_by.is_some_and(|other| other != device) => Presented::Taken,
            bound => Presented::Valid { user: token.user, bound: bound.is_some() },
        }
    }

    /// A sign-up of this device with it begins: nobody else may begin one.
    pub fn take(&mut self, digest: &[u8; 32], device: DeviceId) {
        if let Some(token) = self.by_digest.get_mut(digest) {
            token.taken_by = Some(device);
        }
    }

    /// The sign-up with it has failed: others may try.
    pub fn release(&mut self, digest: &[u8; 32]) {
        if let Some(token) = self.by_digest.get_mut(digest) {
            token.taken_by = None;
        }
    }

    /// Whether a token has neither been used nor revoked.
    pub fn is_known(&self, digest: &[u8; 32]) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// Takes a token out.
    pub fn remove(&mut self, digest: &[u8; 32]) -> Option<DeviceTokenRecord> {
        let token = self.by_digest.remove(digest)?;
        self.by_user.remove(&(token.user, *digest));
        self.by_expiry.remove(&(token.record.expires, *digest));
        Some(token.record)
    }

    /// The tokens of a user, expired ones included, in the order of their digests.
    pub fn of_user(&self, user: UserId) -> impl Iterator<Item = (&[u8; 32], &DeviceTokenRecord)> {
        let range = (user, [0; 32])..=(user, [0xff; 32]);
        self.by_user.range(range).map(|(_, digest)| (digest, &self.by_digest[digest].record))
    }

    /// Tokens that have expired, the oldest first.
    pub fn expired(&self, now: UnixTime) -> impl Iterator<Item = (UserId, [u8; 32])> {
        let expired = self.by_expiry.range(..=(now.0, [0xff; 32]));
        expired.map(|(_, digest)| (self.by_digest[digest].user, *digest))
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// No tokens.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }
}
