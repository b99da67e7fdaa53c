//! What the cloud gave at sign-up and since, in one small piece of memory.
//!
//! ```text
//! │ uid 16 │ expiresin 8 │ length of the access token 4 │ access token, refresh token
//! ```
//!
//! Tokens of base64url characters, as most clouds give them, take six bits a character.

use shared::ids::UserId;

/// An account, as the device keeps it.
pub(in crate::device) struct Account(Box<[u8]>);

const UID: std::ops::Range<usize> = 0..16;
const EXPIRES_IN: std::ops::Range<usize> = 16..24;
const ACCESS_LEN: std::ops::Range<usize> = 24..28;
const HEAD_BYTES: usize = ACCESS_LEN.end;

/// Bits of the length that tell how the tokens are kept: packed, and with room for a character more
/// than there are.
const PACKED: u32 = 1 << 31;
const ROOM_FOR_ONE: u32 = 1 << 30;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Account {
    /// What the cloud has answered.
    pub(in crate::device) fn new(
        uid: UserId,
        access: &str,
        refresh: &str,
        expires_in: i64,
    ) -> Self {
        let both = [access, refresh].concat();
        let room_for_one = if both.len() % 4 == 3 { ROOM_FOR_ONE } else { 0 };
        let (tokens, how) = match pack(both.as_bytes()) {
            Some(packed) => (packed, PACKED | room_for_one),
            None => (both.into_bytes(), 0),
        };
        let access_len = access.len() as u32 | how;
        let mut kept = Vec::with_capacity(HEAD_BYTES + tokens.len());
        kept.extend_from_slice(uid.as_bytes());
        kept.extend_from_slice(&expires_in.to_be_bytes());
        kept.extend_from_slice(&access_len.to_be_bytes());
        kept.extend_from_slice(&tokens);
        Self(kept.into())
    }

    /// The user.
    pub(in crate::device) fn uid(&self) -> UserId {
        UserId::from_bytes(self.at(UID))
    }

    /// As the cloud said it last: seconds, -1 for ever.
    pub(in crate::device) fn expires_in(&self) -> i64 {
        i64::from_be_bytes(self.at(EXPIRES_IN))
    }

    /// The cloud has said it anew.
    pub(super) fn set_expires_in(&mut self, expires_in: i64) {
        self.0[EXPIRES_IN].copy_from_slice(&expires_in.to_be_bytes());
    }

    /// Access and refresh token.
    pub(in crate::device) fn tokens(&self) -> (String, String) {
        let access_len = u32::from_be_bytes(self.at(ACCESS_LEN));
        let kept = &self.0[HEAD_BYTES..];
        let mut both = if access_len & PACKED == 0 { kept.to_vec() } else { unpack(kept) };
        if access_len & ROOM_FOR_ONE != 0 {
            both.pop();
        }
        let mut access = String::from_utf8(both).expect("it was made of two strings");
        let refresh = access.split_off((access_len & !(PACKED | ROOM_FOR_ONE)) as usize);
        (access, refresh)
    }

    fn at<const N: usize>(&self, range: std::ops::Range<usize>) -> [u8; N] {
        self.0[range].try_into().expect("the head is always there")
    }
}

/// Six bits a character; none if a character is of another alphabet.
fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity((text.len() * 6).div_ceil(8));
    for four in text.chunks(4) {
        let mut bits = 0;
        for (at, character) in four.iter().enumerate() {
            let value = ALPHABET.iter().position(|one| one == character)?;
            bits |= (value as u32) << (26 - 6 * at);
        }
        packed.extend_from_slice(&bits.to_be_bytes()[..(four.len() * 6).div_ceil(8)]);
    }
    Some(packed)
}

/// All characters for which there is room.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(packed.len() * 8 / 6);
    for three in packed.chunks(3) {
        let mut bytes = [0; 4];
        bytes[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bytes);
        let characters = three.len() * 8 / 6;
        text.extend((0..characters).map(|at| ALPHABET[(bits >> (26 - 6 * at)) as usize % 64]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_account_gives_back_what_it_was_given(
            uid: [u8; 16],
            access in "[A-Za-z0-9_-]{0,60}|.{0,60}",
            refresh in "[A-Za-z0-9_-]{0,60}|.{0,60}",
            expires_in: i64,
            later: i64,
        ) {
            let mut account = Account::new(UserId::from_bytes(uid), &access, &refresh, expires_in);
            prop_assert_eq!(account.expires_in(), expires_in);
            account.set_expires_in(later);
            prop_assert_eq!(account.uid(), UserId::from_bytes(uid));
            prop_assert_eq!(account.expires_in(), later);
            prop_assert_eq!(account.tokens(), (access, refresh));
        }
    }

    /// Swarms have very many of them.
    #[test]
    fn an_account_with_tokens_of_this_cloud_takes_96_bytes() {
        let token = "AA".to_owned() + &"x".repeat(43);
        assert_eq!(Account::new(UserId::from_bytes([1; 16]), &token, &token, -1).0.len(), 96);
    }
}
