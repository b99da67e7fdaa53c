//! The store key: the secret from which device tokens are derived and secrets at rest are encrypted.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the store key.
pub const STORE_KEY_BYTES: usize = 32;

/// Bytes of the nonce of a sealed secret.
pub const SEAL_NONCE_BYTES: usize = NONCE_LEN;

/// The store key. Losing it locks every device out; whoever has it can make tokens for every device.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey([u8; STORE_KEY_BYTES]);

/// A sealed secret that this key did not seal, or not for this purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a stored secret cannot be decrypted: it belongs to another store key")]
pub struct NotOurs;

impl StoreKey {
    /// From the bytes of the file, or random ones.
    pub const fn from_bytes(bytes: [u8; STORE_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for deriving from them.
    pub const fn as_bytes(&self) -> &[u8; STORE_KEY_BYTES] {
        &self.0
    }

    /// Encrypts a secret that can't be a digest, for one purpose and one place in the store.
    /// `nonce` is random, and stands in front of what is returned.
    pub fn seal(
        &self,
        purpose: &str,
        place: &[u8],
        nonce: [u8; SEAL_NONCE_BYTES],
        secret: &[u8],
    ) -> Vec<u8> {
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(secret);
        let tag = self
            .cipher(purpose)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut sealed[SEAL_NONCE_BYTES..],
            )
            .expect("secrets are short");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Decrypts what [`seal`](Self::seal) made for the same purpose and place.
    pub fn unseal(&self, purpose: &str, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOurs> {
        let (nonce, sealed) = sealed.split_first_chunk::<SEAL_NONCE_BYTES>().ok_or(NotOurs)?;
        let mut secret = sealed.to_vec();
        let len = self
            .cipher(purpose)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut secret)
            .map_err(|_| NotOurs)?
            .len();
        secret.truncate(len);
        Ok(secret)
    }

    /// Every purpose has a key of its own.
    fn cipher(&self, purpose: &str) -> LessSafeKey {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let key = mac.chain_update(b"ocf-cloud seal 1\0").chain_update(purpose).finalize();
        let key = UnboundKey::new(&AES_256_GCM, &key.into_bytes());
        LessSafeKey::new(key.expect("a SHA-256 is as long as the key"))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", StoreKey::from_bytes([7; 32])), "StoreKey(secret)");
    }

    #[test]
    fn a_sealed_secret_opens_with_the_same_key_purpose_and_place_only() {
        let key = StoreKey::from_bytes([7; 32]);
        let sealed = key.seal("tickets", b"place", [1; 12], b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key.unseal("tickets", b"place", &sealed).as_deref(), Ok(&b"secret"[..]));
        assert_eq!(key.unseal("signing", b"place", &sealed), Err(NotOurs));
        assert_eq!(key.unseal("tickets", b"other", &sealed), Err(NotOurs));
        let other = StoreKey::from_bytes([8; 32]);
        assert_eq!(other.unseal("tickets", b"place", &sealed), Err(NotOurs));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.unseal("tickets", b"place", &changed), Err(NotOurs));
            assert_eq!(key.unseal("tickets", b"place", &sealed[..at]), Err(NotOurs));
        }
    }
}
