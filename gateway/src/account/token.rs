//! Device tokens: how they look, how they are made, how they are compared.
//!
//! ```text
//! │ 2 characters  │ 43 characters                    │   45 in all, at most 50 fit real devices
//!   partition       secret, 32 bytes in base64url
//! ```
//!
//! The first part is no secret: it tells which partition, and so which shard, knows the token. The
//! secret of the pair that a device is given is derived from the store key, so that a repeated
//! request after a lost answer yields the same pair, and nothing secret is on disk in clear. The
//! single-use tokens of Mediators are random and stored as digests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use shared::ids::{DeviceId, UserId};
use shared::placement::PartitionId;

use crate::store::StoreKey;

const SECRET_BYTES: usize = 32;
const SECRET_CHARACTERS: usize = 43;
const ROUTING_CHARACTERS: usize = 2;

/// Characters of a token of ours. Real devices leave longer ones than 50 out of their sign-off
/// (device reference 5.1).
pub const TOKEN_CHARACTERS: usize = ROUTING_CHARACTERS + SECRET_CHARACTERS;

const _: () = assert!(TOKEN_CHARACTERS <= 50);

/// Which of the pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Signs in.
    Access,
    /// Is exchanged for the next pair.
    Refresh,
}

/// What the tokens of one generation are derived from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Drawn at sign-up, so that tokens of a former account of the same device are void.
    pub seed: [u8; 16],
    /// Counts the refreshes since then.
    pub generation: u32,
}

impl StoreKey {
    fn mac(&self, origin: &Origin, kind: Kind) -> Hmac<Sha256> {
        let kind: &[u8] = match kind {
            Kind::Access => b"ocf-cloud device access token 1\0",
            Kind::Refresh => b"ocf-cloud device refresh token 1\0",
        };
        let mac =
            Hmac::<Sha256>::new_from_slice(self.as_bytes()).expect("HMAC takes keys of any length");
        mac.chain_update(kind)
            .chain_update(origin.user.as_bytes())
            .chain_update(origin.device.as_bytes())
            .chain_update(origin.seed)
            .chain_update(origin.generation.to_be_bytes())
    }

    /// Makes a token.
    pub fn token(&self, origin: &Origin, kind: Kind) -> String {
        let secret = self.mac(origin, kind).finalize().into_bytes();
        text(PartitionId::of_user(origin.user), &secret.into())
    }

    /// Whether this is the token, in constant time.
    pub fn is_token(&self, origin: &Origin, kind: Kind, presented: &str) -> bool {
        parse(presented).is_some_and(|(partition, secret)| {
            partition == PartitionId::of_user(origin.user)
                && self.mac(origin, kind).verify_slice(&secret).is_ok()
        })
    }
}

/// Makes a single-use token for a user out of 32 random bytes.
pub fn single_use(user: UserId, random: &[u8; SECRET_BYTES]) -> String {
    text(PartitionId::of_user(user), random)
}

/// What is stored of a token instead of the token.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The partition that knows this token; none when it is no token of ours.
pub fn partition(token: &str) -> Option<PartitionId> {
    parse(token).map(|(partition, _)| partition)
}

fn text(partition: PartitionId, secret: &[u8; SECRET_BYTES]) -> String {
    let mut token = String::with_capacity(TOKEN_CHARACTERS);
    token.extend(partition.routing());
    URL_SAFE_NO_PAD.encode_string(secret, &mut token);
    token
}

fn parse(token: &str) -> Option<(PartitionId, [u8; SECRET_BYTES])> {
    let partition = PartitionId::of_token(token)?;
    let (_, secret) = token.as_bytes().split_at_checked(ROUTING_CHARACTERS)?;
    if secret.len() != SECRET_CHARACTERS {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    // 43 characters are 32 bytes; the two spare bits must be zero, so every token has one form.
    let decoded = URL_SAFE_NO_PAD.decode_slice_unchecked(secret, &mut bytes);
    (decoded == Ok(SECRET_BYTES)).then_some((partition, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(generation: u32) -> Origin {
        Origin {
            user: "77777777-7777-4777-8777-777777777777".parse().unwrap(),
            device: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
            seed: [3; 16],
            generation,
        }
    }

    #[test]
    fn a_token_routes_to_its_users_partition_and_fits_real_devices() {
        let token = StoreKey::from_bytes([1; 32]).token(&origin(1), Kind::Access);
        assert_eq!(token.len(), 45);
        assert_eq!(partition(&token), Some(PartitionId::of_user(origin(1).user)));
        for number in 0..4096 {
            let id = PartitionId::new(number).unwrap();
            assert_eq!(partition(&text(id, &[255; 32])), Some(id));
        }
    }

    #[test]
    fn each_pair_differs_and_is_recognised_only_as_itself() {
        let key = StoreKey::from_bytes([1; 32]);
        let access = key.token(&origin(1), Kind::Access);
        assert!(key.is_token(&origin(1), Kind::Access, &access));
        assert!(!key.is_token(&origin(1), Kind::Refresh, &access));
        assert!(!key.is_token(&origin(2), Kind::Access, &access));
        assert!(!StoreKey::from_bytes([2; 32]).is_token(&origin(1), Kind::Access, &access));
        assert!(!key.is_token(&origin(1), Kind::Access, &access[1..]));
    }

    #[test]
    fn another_routing_part_makes_another_token() {
        let key = StoreKey::from_bytes([1; 32]);
        let token = key.token(&origin(1), Kind::Access);
        let elsewhere = format!("AA{}", &token[2..]);
        assert_ne!(elsewhere, token);
        assert!(!key.is_token(&origin(1), Kind::Access, &elsewhere));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,60}") {
            let _ = partition(&text);
        }
    }
}
