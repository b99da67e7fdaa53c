//! `Event-Signature` (cloud reference 5.7): HMAC-SHA-256 over five headers and the body, joined by
//! colons, with the bytes of the signing secret as the key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What is signed of a notification: the headers as they are sent, and the body.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `Content-Type`; empty if there is none.
    pub content_type: &'a str,
    /// `Event-Type`.
    pub event_type: &'a str,
    /// `Subscription-ID`.
    pub subscription_id: &'a str,
    /// `Sequence-Number`.
    pub sequence_number: &'a str,
    /// `Event-Timestamp`.
    pub timestamp: &'a str,
    /// The bytes of the body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn mac(&self, secret: &str) -> [u8; 32] {
        let key = secret.as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        for header in [
            self.content_type,
            self.event_type,
            self.subscription_id,
            self.sequence_number,
            self.timestamp,
        ] {
            mac.update(header.as_bytes());
            mac.update(b":");
        }
        mac.update(self.body);
        mac.finalize().into_bytes().into()
    }

    /// The signature: 64 hexadecimal digits in lower case.
    pub fn signature(&self, secret: &str) -> String {
        let mac = self.mac(secret);
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the signature, in either case. How long that takes tells nothing.
    pub fn is_signed(&self, secret: &str, signature: &str) -> bool {
        let Some(presented) = from_hex(signature) else { return false };
        self.mac(secret).ct_eq(&presented).into()
    }
}

/// Exactly 64 hexadecimal digits, in either case.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |nth: usize| (pair[nth] as char).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}
