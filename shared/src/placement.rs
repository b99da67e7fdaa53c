//! User to partition to shard: pure functions that gateway and api compute alike.
//!
//! The hash is written into every store and every token, so it is fixed for ever.

use sha2::{Digest, Sha256};

use crate::ids::{DeviceId, ShardId, UserId};

/// Number of partitions; fixed for ever.
pub const PARTITIONS: u16 = 4096;

/// The alphabet of base64url (RFC 4648 §5).
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A slice of all users (and of all device ids); what moves between shards and hosts as a whole.
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
pub struct PartitionId(u16);

impl PartitionId {
    /// The partition with this number, if there is one.
    pub fn new(number: u16) -> Option<Self> {
        (number < PARTITIONS).then_some(Self(number))
    }

    /// The partition that holds everything of this user.
    pub fn of_user(user: UserId) -> Self {
        Self::hash(b"ocf-cloud user", user.as_bytes())
    }

    /// The partition that holds the claim on this device id.
    pub fn of_device(device: DeviceId) -> Self {
        Self::hash(b"ocf-cloud device", device.as_bytes())
    }

    fn hash(domain: &[u8], id: &[u8; 16]) -> Self {
        let digest = Sha256::new().chain_update(domain).chain_update(id).finalize();
        Self(u16::from_be_bytes([digest[0], digest[1]]) % PARTITIONS)
    }

    /// The partition of the few records that belong to the whole cloud.
    pub const CLOUD: Self = Self(0);

    /// Its number, below [`PARTITIONS`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// The two characters with which tokens say which partition knows them. They are no secret.
    pub fn routing(self) -> [char; 2] {
        [self.0 >> 6, self.0 & 63].map(|six| char::from(BASE64URL[usize::from(six)]))
    }

    /// The partition that the first two characters of a token name.
    pub fn of_token(token: &str) -> Option<Self> {
        let [first, second, ..] = *token.as_bytes() else { return None };
        let six = |character| BASE64URL.iter().position(|&known| known == character);
        Self::new(u16::try_from(six(first)? << 6 | six(second)?).ok()?)
    }

    /// All partitions in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }
}

/// Which shard serves which partition, for a given number of shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    shards: u16,
}

impl Placement {
    /// For this many shards; none when it is 0 or above [`PARTITIONS`].
    pub fn new(shards: u16) -> Option<Self> {
        (1..=PARTITIONS).contains(&shards).then_some(Self { shards })
    }

    /// Number of shards.
    pub fn shards(self) -> u16 {
        self.shards
    }

    /// The shard that serves this partition. Partitions of one shard are neighbours.
    pub fn shard_of(self, partition: PartitionId) -> ShardId {
        ShardId((u32::from(partition.0) * u32::from(self.shards) / u32::from(PARTITIONS)) as u16)
    }

    /// The shard that serves this user.
    pub fn shard_of_user(self, user: UserId) -> ShardId {
        self.shard_of(PartitionId::of_user(user))
    }

    /// The shard that keeps the claim on this device id.
    pub fn shard_of_device(self, device: DeviceId) -> ShardId {
        self.shard_of(PartitionId::of_device(device))
    }

    /// The partitions that this shard serves.
    pub fn partitions_of(self, shard: ShardId) -> impl Iterator<Item = PartitionId> {
        PartitionId::all().filter(move |&partition| self.shard_of(partition) == shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_exactly_one_shard_and_shards_differ_by_one_partition_at_most() {
        for shards in [1, 2, 3, 7, 64, 4096] {
            let placement = Placement::new(shards).unwrap();
            let sizes: Vec<_> =
                (0..shards).map(|s| placement.partitions_of(ShardId(s)).count()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), usize::from(PARTITIONS));
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
        assert_eq!(Placement::new(0), None);
        assert_eq!(Placement::new(4097), None);
    }

    /// The stored data depends on these values: they must never change.
    #[test]
    fn the_hash_is_fixed_for_ever() {
        let user: UserId = "77777777-7777-4777-8777-777777777777".parse().unwrap();
        let device: DeviceId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        assert_eq!(PartitionId::of_user(user).number(), 3008);
        assert_eq!(PartitionId::of_device(device).number(), 1294);
    }
}
