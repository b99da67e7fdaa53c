//! The protected combinations of version, cipher and hash.

use aws_lc_rs::aead::{self, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305};
use aws_lc_rs::hkdf;

/// Records that one key protects before it is replaced or the connection ends. RFC 8446 §5.5 allows
/// 2^24.5 for AES-GCM.
pub const RECORDS_PER_KEY: u64 = 1 << 24;

/// A protocol version with its cipher (device reference 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// TLS 1.2, ECDHE, AES-128-GCM.
    Tls12Aes128,
    /// TLS 1.2, ECDHE, AES-256-GCM.
    Tls12Aes256,
    /// TLS 1.3, AES-128-GCM, SHA-256.
    Tls13Aes128,
    /// TLS 1.3, AES-256-GCM, SHA-384.
    Tls13Aes256,
    /// TLS 1.3, ChaCha20-Poly1305, SHA-256.
    Tls13ChaCha20,
}

/// Which end we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The cloud.
    Server,
    /// A device or client.
    Client,
}

impl Suite {
    /// TLS 1.3.
    pub fn is_tls13(self) -> bool {
        match self {
            Self::Tls12Aes128 | Self::Tls12Aes256 => false,
            Self::Tls13Aes128 | Self::Tls13Aes256 | Self::Tls13ChaCha20 => true,
        }
    }

    /// The cipher.
    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Tls12Aes128 | Self::Tls13Aes128 => &AES_128_GCM,
            Self::Tls12Aes256 | Self::Tls13Aes256 => &AES_256_GCM,
            Self::Tls13ChaCha20 => &CHACHA20_POLY1305,
        }
    }

    /// The hash that traffic secrets are derived with, in TLS 1.3.
    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Tls13Aes256 => hkdf::HKDF_SHA384,
            _ => hkdf::HKDF_SHA256,
        }
    }

    /// Bytes of a traffic secret, in TLS 1.3.
    pub(super) fn secret_bytes(self) -> usize {
        match self {
            Self::Tls13Aes256 => 48,
            _ => 32,
        }
    }

    /// Bytes between header and text: the explicit part of the nonce in TLS 1.2.
    pub(super) fn explicit_nonce_bytes(self) -> usize {
        if self.is_tls13() { 0 } else { 8 }
    }

    /// Bytes behind the text: the content type in TLS 1.3, and the tag.
    pub(super) fn trailer_bytes(self) -> usize {
        usize::from(self.is_tls13()) + self.aead().tag_len()
    }

    /// Bytes that a record has beyond its text.
    pub fn overhead_bytes(self) -> usize {
        super::HEADER_BYTES + self.explicit_nonce_bytes() + self.trailer_bytes()
    }
}
