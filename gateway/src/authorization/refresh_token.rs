//! Refresh tokens: how they look, how they are made, how they are recognised.
//!
//! ```text
//! │ 2 characters │ 70 characters                                                   │
//!   partition      grant id 16 bytes │ generation 4 │ HMAC-SHA256 32, in base64url
//! ```
//!
//! They are derived from the store key, so nothing secret of them is on the disk, and a token of any
//! earlier generation is still recognised as what it was: used a second time, it ends its grant.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shared::ids::{GrantId, UserId};
use shared::placement::PartitionId;
use shared::secret::Secret;

use crate::store::StoreKey;

const GRANT_BYTES: usize = 16;
const NAMED_BYTES: usize = GRANT_BYTES + 4;
const BYTES: usize = NAMED_BYTES + 32;

/// What a token says of itself; proven by [`is_made_for`](Self::is_made_for).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    partition: PartitionId,
    /// Which grant.
    pub grant: GrantId,
    /// Counts the refreshes of the grant.
    pub generation: u32,
    mac: [u8; 32],
}

/// Makes the token of a generation of a grant.
pub fn make(key: &StoreKey, user: UserId, grant: GrantId, generation: u32) -> Secret {
    let mut bytes = [0; BYTES];
    bytes[..GRANT_BYTES].copy_from_slice(grant.as_bytes());
    bytes[GRANT_BYTES..NAMED_BYTES].copy_from_slice(&generation.to_be_bytes());
    bytes[NAMED_BYTES..]
        .copy_from_slice(&mac(key, user, grant, generation).finalize().into_bytes());
    let mut token: String = PartitionId::of_user(user).routing().into_iter().collect();
    URL_SAFE_NO_PAD.encode_string(bytes, &mut token);
    Secret::new(token)
}

fn mac(key: &StoreKey, user: UserId, grant: GrantId, generation: u32) -> Hmac<Sha256> {
    let mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(b"ocf-cloud grant refresh token 1\0")
        .chain_update(user.as_bytes())
        .chain_update(grant.as_bytes())
        .chain_update(generation.to_be_bytes())
}

impl Claim {
    /// What a text says, if it has the form of a token.
    pub fn parse(token: &Secret) -> Option<Self> {
        let token = token.reveal();
        let partition = PartitionId::of_token(token)?;
        let mut bytes = [0; BYTES];
        let secret = token.as_bytes().get(2..)?;
        if URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes) != Ok(BYTES) {
            return None;
        }
        let (grant, rest) = bytes.split_first_chunk::<GRANT_BYTES>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            partition,
            grant: GrantId::from_bytes(*grant),
            generation: u32::from_be_bytes(*generation),
            mac: rest.try_into().ok()?,
        })
    }

    /// Whether the token was made by us for a grant of this user. In constant time.
    pub fn is_made_for(&self, key: &StoreKey, user: UserId) -> bool {
        self.partition == PartitionId::of_user(user)
            && mac(key, user, self.grant, self.generation).verify_slice(&self.mac).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USER: UserId = UserId::from_bytes([1; 16]);
    const GRANT: GrantId = GrantId::from_bytes([2; 16]);

    #[test]
    fn a_token_proves_its_user_grant_and_generation() {
        let key = StoreKey::from_bytes([3; 32]);
        let token = make(&key, USER, GRANT, 7);
        assert_eq!(PartitionId::of_token(token.reveal()), Some(PartitionId::of_user(USER)));
        let claim = Claim::parse(&token).unwrap();
        assert_eq!((claim.grant, claim.generation), (GRANT, 7));
        assert!(claim.is_made_for(&key, USER));
        assert!(!claim.is_made_for(&StoreKey::from_bytes([4; 32]), USER));
        assert!(!claim.is_made_for(&key, UserId::from_bytes([9; 16])));
        assert!(!Claim { generation: 8, ..claim }.is_made_for(&key, USER));
    }

    #[test]
    fn a_changed_token_is_none_of_ours() {
        let key = StoreKey::from_bytes([3; 32]);
        let token = make(&key, USER, GRANT, 7);
        for at in 0..token.reveal().len() {
            let mut changed = token.reveal().as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = Secret::new(String::from_utf8(changed).unwrap());
            let ours = Claim::parse(&changed).is_some_and(|claim| claim.is_made_for(&key, USER));
            assert!(!ours, "position {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,90}") {
            let _ = Claim::parse(&Secret::new(text));
        }
    }
}
