//! Keys as plain data: what a direction keeps between records, and how it is expanded for one.

use aws_lc_rs::aead::{LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{KeyType, Prk};
use rustls::{CipherSuite, ConnectionTrafficSecrets, ExtractedSecrets};
use zeroize::{Zeroize, Zeroizing};

use super::posthandshake::Reassembly;
use super::suite::{RECORDS_PER_KEY, Side, Suite};
use super::{RecordError, Records, State, Temper};

const AES_128_KEY_BYTES: usize = 16;
const KEY_BYTES_MAX: usize = 32;
const SECRET_BYTES_MAX: usize = 48;

/// One direction: its keys, and the number of the next record.
pub(super) struct Direction {
    keys: Keys,
    sequence: u64,
}

/// What a direction keeps. What the most frequent cipher takes for every record stands here; what is
/// rarely needed, or belongs to another cipher, is boxed.
enum Keys {
    Tls12Aes128 { key: [u8; AES_128_KEY_BYTES], iv: [u8; NONCE_LEN] },
    Tls13Aes128 { key: [u8; AES_128_KEY_BYTES], iv: [u8; NONCE_LEN], secret: Box<Secret256> },
    Large(Box<LargeKeys>),
}

/// From which the next key is derived, where the hash has 256 bits.
type Secret256 = [u8; 32];

struct LargeKeys {
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; NONCE_LEN],
    /// TLS 1.3: from which the next key is derived.
    secret: [u8; SECRET_BYTES_MAX],
}

impl Keys {
    fn new(suite: Suite, key: &[u8], iv: [u8; NONCE_LEN], secret: &[u8]) -> Self {
        match (suite, key.try_into(), Secret256::try_from(secret)) {
            (Suite::Tls12Aes128, Ok(key), _) => Self::Tls12Aes128 { key, iv },
            (Suite::Tls13Aes128, Ok(key), Ok(secret)) => {
                Self::Tls13Aes128 { key, iv, secret: Box::new(secret) }
            }
            _ => {
                let mut large =
                    LargeKeys { key: [0; KEY_BYTES_MAX], iv, secret: [0; SECRET_BYTES_MAX] };
                large.key[..key.len()].copy_from_slice(key);
                large.secret[..secret.len()].copy_from_slice(secret);
                Self::Large(Box::new(large))
            }
        }
    }

    /// Key and IV, of a suite whose keys they are.
    fn of_records(&self, suite: Suite) -> (&[u8], [u8; NONCE_LEN]) {
        match self {
            Self::Tls12Aes128 { key, iv } | Self::Tls13Aes128 { key, iv, .. } => (key, *iv),
            Self::Large(large) => (&large.key[..suite.aead().key_len()], large.iv),
        }
    }

    /// The secret behind them, which TLS 1.2 has not.
    fn secret(&self, suite: Suite) -> Option<&[u8]> {
        match self {
            Self::Tls13Aes128 { secret, .. } => Some(&secret[..]),
            Self::Large(large) if suite.is_tls13() => Some(&large.secret[..suite.secret_bytes()]),
            Self::Large(_) | Self::Tls12Aes128 { .. } => None,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        match self {
            Self::Tls12Aes128 { key, iv } => (key.zeroize(), iv.zeroize()),
            Self::Tls13Aes128 { key, iv, secret } => {
                secret.zeroize();
                (key.zeroize(), iv.zeroize())
            }
            Self::Large(keys) => {
                keys.secret.zeroize();
                (keys.key.zeroize(), keys.iv.zeroize())
            }
        };
    }
}

/// A key that is ready for records, for as long as a call runs.
pub(super) struct Expanded {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
}

impl Expanded {
    pub(super) fn key(&self) -> &LessSafeKey {
        &self.key
    }

    /// The nonce of a record: the IV and its number, RFC 8446 §5.3. In TLS 1.2 the last eight bytes of
    /// it are sent along (RFC 5288 §3), and those of our IV are random, as rustls began with them.
    pub(super) fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// The nonce of a TLS 1.2 record that carries the explicit part.
    pub(super) fn nonce_with(&self, explicit: &[u8; 8]) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(explicit);
        nonce
    }

    pub(super) fn unique(nonce: [u8; NONCE_LEN]) -> Nonce {
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Direction {
    /// Bytes of keys that do not stand in the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.keys {
            Keys::Tls12Aes128 { .. } => 0,
            Keys::Tls13Aes128 { .. } => size_of::<Secret256>(),
            Keys::Large(_) => size_of::<LargeKeys>(),
        }
    }

    fn new(suite: Suite, key: &[u8], iv: &[u8], secret: &[u8], sequence: u64) -> Self {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(iv);
        Self { keys: Keys::new(suite, key, nonce, secret), sequence }
    }

    /// Makes the key ready for records.
    pub(super) fn expand(&self, suite: Suite) -> Expanded {
        let (key, iv) = self.keys.of_records(suite);
        let key = UnboundKey::new(suite.aead(), key).expect("the key has the length of its suite");
        Expanded { key: LessSafeKey::new(key), iv }
    }

    /// The number of the next record.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// One more record has been protected or opened.
    pub(super) fn count(&mut self) {
        self.sequence += 1;
    }

    /// The key has protected as many records as it may.
    pub(super) fn is_used_up(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY
    }

    /// The key has been used so much that it should be replaced when there is occasion.
    pub(super) fn is_nearly_used_up(&self) -> bool {
        self.sequence >= RECORDS_PER_KEY - RECORDS_PER_KEY / 16
    }

    /// Goes on to the next key of TLS 1.3 (RFC 8446 §7.2).
    pub(super) fn update(&mut self, suite: Suite) -> Result<(), RecordError> {
        let secret = self.keys.secret(suite).ok_or(RecordError::Unexpected)?;
        let next = expand_label(suite, secret, b"traffic upd", suite.secret_bytes());
        let (key, iv) = key_and_iv(suite, &next);
        *self = Self::new(suite, &key, &iv, &next, 0);
        Ok(())
    }
}

/// Key and IV of a traffic secret (RFC 8446 §7.3).
fn key_and_iv(suite: Suite, secret: &[u8]) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
    let key = expand_label(suite, secret, b"key", suite.aead().key_len());
    (key, expand_label(suite, secret, b"iv", NONCE_LEN))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
fn expand_label(suite: Suite, secret: &[u8], label: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = (len as u16).to_be_bytes();
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let info = [&length[..], &label_length, PREFIX, label, &[0]];
    let mut out = Zeroizing::new(vec![0; len]);
    Prk::new_less_safe(suite.hkdf(), secret)
        .expand(&info, Length(len))
        .and_then(|okm| okm.fill(&mut out))
        .expect("no TLS key is longer than HKDF can make it");
    out
}

/// The traffic secrets of TLS 1.3, as rustls tells them through its key log.
#[derive(Default)]
pub struct TrafficSecrets {
    client: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
}

impl TrafficSecrets {
    /// Takes one line of the key log, if it is one of the two.
    pub fn take(&mut self, label: &str, secret: &[u8]) {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => self.client = Zeroizing::new(secret.to_vec()),
            "SERVER_TRAFFIC_SECRET_0" => self.server = Zeroizing::new(secret.to_vec()),
            _ => {}
        }
    }

    /// Takes those over that are there.
    pub fn add(&mut self, mut other: Self) {
        if !other.client.is_empty() {
            self.client = std::mem::take(&mut other.client);
        }
        if !other.server.is_empty() {
            self.server = std::mem::take(&mut other.server);
        }
    }

    /// Whether a label is one of the two.
    pub fn wants(label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// What rustls negotiated cannot be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the negotiated cipher suite cannot be taken over by the record layer")]
pub struct NotExtractable;

impl Records {
    /// Takes a connection over from rustls: the secrets and sequence numbers that it extracted, and
    /// for TLS 1.3 the traffic secrets of its key log.
    pub fn take_over(
        side: Side,
        suite: CipherSuite,
        extracted: ExtractedSecrets,
        traffic: &TrafficSecrets,
    ) -> Result<Self, NotExtractable> {
        let suite = match suite {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Suite::Tls12Aes128,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Suite::Tls12Aes256,
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Suite::Tls13Aes128,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Suite::Tls13Aes256,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Suite::Tls13ChaCha20,
            _ => return Err(NotExtractable),
        };
        let (read_secret, write_secret) = match side {
            Side::Server => (&traffic.client, &traffic.server),
            Side::Client => (&traffic.server, &traffic.client),
        };
        Ok(Self {
            read: direction(suite, extracted.rx, read_secret)?,
            write: direction(suite, extracted.tx, write_secret)?,
            suite,
            side,
            state: State::Open,
            temper: Temper::FULL,
            reassembly: Reassembly::default(),
            key_update_due: false,
        })
    }

    /// Two ends of one connection with keys made of `seed`, for tests and simulations that begin
    /// behind the handshake.
    pub fn pair(suite: Suite, seed: [u8; 32]) -> (Self, Self) {
        let secret = |label: &[u8]| expand_label(suite, &seed, label, suite.secret_bytes());
        Self::ends(suite, &secret(b"client"), &secret(b"server"))
    }

    /// Server and client of a connection, from the traffic secrets of both directions.
    pub(super) fn ends(suite: Suite, client: &[u8], server: &[u8]) -> (Self, Self) {
        let end = |side, read: &[u8], write: &[u8]| {
            let direction = |secret: &[u8]| {
                let (key, iv) = key_and_iv(suite, secret);
                Direction::new(suite, &key, &iv, secret, 0)
            };
            Self {
                read: direction(read),
                write: direction(write),
                suite,
                side,
                state: State::Open,
                temper: Temper::FULL,
                reassembly: Reassembly::default(),
                key_update_due: false,
            }
        };
        (end(Side::Server, client, server), end(Side::Client, server, client))
    }
}

fn direction(
    suite: Suite,
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
    secret: &[u8],
) -> Result<Direction, NotExtractable> {
    let (key, iv) = match &secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => return Err(NotExtractable),
    };
    if key.len() != suite.aead().key_len() || iv.len() != NONCE_LEN {
        return Err(NotExtractable);
    }
    if !suite.is_tls13() {
        return Ok(Direction::new(suite, key, iv, &[], sequence));
    }
    // Both ways of learning the keys must agree, or the first key update would lose the peer.
    if secret.len() != suite.secret_bytes() {
        return Err(NotExtractable);
    }
    let (derived_key, derived_iv) = key_and_iv(suite, secret);
    if derived_key[..] != *key || derived_iv[..] != *iv {
        return Err(NotExtractable);
    }
    Ok(Direction::new(suite, key, iv, secret, sequence))
}

#[cfg(test)]
impl Direction {
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}
