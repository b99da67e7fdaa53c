//! The store key: the secret from which device tokens are derived and secrets at rest are encrypted.

use std::fmt;

/// Bytes of the store key.
pub const STORE_KEY_BYTES: usize = 32;

/// The store key. Losing it locks every device out; whoever has it can make tokens for every device.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey([u8; STORE_KEY_BYTES]);

impl StoreKey {
    /// From the bytes of the file, or random ones.
    pub const fn from_bytes(bytes: [u8; STORE_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for deriving from them.
    pub const fn as_bytes(&self) -> &[u8; STORE_KEY_BYTES] {
        &self.0
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
}
