//! Tokens that peers and partners present: whose they are, and that none is good but our own.

use gateway::account::token::{Kind, Origin, digest, partition};
use gateway::authorization::refresh_token::{self, Claim};
use gateway::store::StoreKey;
use shared::ids::{DeviceId, UserId};
use shared::placement::PartitionId;
use shared::secret::Secret;

use crate::bounded;

/// One input: a token, or what to do with a good one.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = StoreKey::from_bytes([7; 32]);
    let user = UserId::from_bytes([1; 16]);
    let origin =
        Origin { user, device: DeviceId::from_bytes([2; 16]), seed: [3; 16], generation: 4 };
    let own = key.token(&origin, Kind::Access);
    assert!(own.len() <= 50 && partition(&own) == Some(PartitionId::of_user(user)));
    // A good token with some of its characters replaced is good only if it is the same.
    let mut close = own.clone().into_bytes();
    for (at, byte) in data.iter().enumerate().take(close.len()) {
        if at % 2 == 0 && byte.is_ascii() {
            close[at] = *byte;
        }
    }
    let close = String::from_utf8(close).expect("ASCII");
    for presented in [text, &close] {
        let known = bounded(presented.len(), || partition(presented));
        let is_good = bounded(presented.len(), || key.is_token(&origin, Kind::Access, presented));
        assert!(!is_good || known.is_some());
        assert_eq!(is_good, presented == own);
        assert!(!key.is_token(&origin, Kind::Refresh, presented));
        let _ = digest(presented);
    }
    let presented = Secret::new(text.to_owned());
    if let Some(claim) = bounded(data.len(), || Claim::parse(&presented)) {
        let good = refresh_token::make(&key, user, claim.grant, claim.generation);
        assert_eq!(claim.is_made_for(&key, user), good.reveal() == text);
    }
}
