//! Session tickets: resumption without state, with keys that all shards share, that rotate, and that
//! survive a restart (RFC 5077, RFC 8446 §4.6.1).
//!
//! ```text
//! │ key id 8 │ nonce 12 │ sealed session │ tag 16 │
//! ```
//!
//! A key makes tickets for one lifetime, and opens them for one more. Whoever has a key can pretend
//! to be any device whose ticket it sealed until then, and read TLS 1.2 sessions that were resumed
//! with it: keys are encrypted at rest and forgotten as early as possible.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use shared::time::UnixTime;

use crate::account::record::UnreadableRecord;
use crate::store::{NotOurs, SEAL_NONCE_BYTES, StoreKey};

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const PURPOSE: &str = "session tickets";

/// Keys that are kept: the one that makes tickets, and the one before.
const KEYS_KEPT: usize = 2;

/// One key.
#[derive(Clone)]
pub struct TicketKey {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
    created: UnixTime,
}

impl TicketKey {
    /// A new one, of random bytes.
    pub fn new(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES], created: UnixTime) -> Self {
        Self { id, secret, created }
    }

    /// Names it in the store and in tickets.
    pub fn id(&self) -> &[u8; ID_BYTES] {
        &self.id
    }

    /// What the store keeps.
    pub fn to_stored(&self, key: &StoreKey, nonce: [u8; SEAL_NONCE_BYTES]) -> Vec<u8> {
        let mut plain = self.created.0.to_be_bytes().to_vec();
        plain.extend_from_slice(&self.secret);
        key.seal(PURPOSE, &self.id, nonce, &plain)
    }

    /// Reads what the store keeps.
    pub fn from_stored(key: &StoreKey, id: &[u8], value: &[u8]) -> Result<Self, UnreadableRecord> {
        let id: [u8; ID_BYTES] = id.try_into().map_err(|_| UnreadableRecord)?;
        let plain = key.unseal(PURPOSE, &id, value).map_err(|NotOurs| UnreadableRecord)?;
        let (created, secret) = plain.split_first_chunk().ok_or(UnreadableRecord)?;
        let secret = secret.try_into().map_err(|_| UnreadableRecord)?;
        Ok(Self { id, secret, created: UnixTime(u64::from_be_bytes(*created)) })
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.secret);
        LessSafeKey::new(key.expect("the secret is as long as the key"))
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKey({:02x?}, of {})", self.id, self.created.0)
    }
}

/// The keys that are in use, the newest first.
#[derive(Clone, Debug, Default)]
pub struct TicketKeys(Vec<TicketKey>);

impl TicketKeys {
    /// Adds a key. Returns those that are not needed any more.
    pub fn add(&mut self, key: TicketKey) -> Vec<TicketKey> {
        self.0.push(key);
        self.0.sort_by_key(|key| std::cmp::Reverse(key.created));
        self.0.split_off(self.0.len().min(KEYS_KEPT))
    }

    /// Whether it is time for a new key.
    pub fn needs_new(&self, lifetime: Duration, now: UnixTime) -> bool {
        self.0.first().is_none_or(|newest| newest.created.plus_secs(lifetime.as_secs()) <= now)
    }

    /// What rustls makes and opens tickets with.
    pub fn ticketer(&self, lifetime: Duration) -> Arc<dyn ProducesTickets> {
        let keys = self.0.iter().map(|key| (key.id, key.cipher())).collect();
        Arc::new(Ticketer { keys, lifetime_secs: lifetime.as_secs().min(7 * 24 * 3600) as u32 })
    }
}

struct Ticketer {
    keys: Vec<([u8; ID_BYTES], LessSafeKey)>,
    lifetime_secs: u32,
}

impl std::fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticketer")
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        !self.keys.is_empty() && self.lifetime_secs > 0
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_secs
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (id, cipher) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(ID_BYTES + NONCE_LEN + plain.len() + 16);
        ticket.extend_from_slice(id);
        ticket.extend_from_slice(&nonce);
        let sealed_at = ticket.len();
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = cipher
            .seal_in_place_separate_tag(nonce, Aad::from(id), &mut ticket[sealed_at..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| known == id)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = cipher.open_in_place(nonce, Aad::from(id), &mut plain).ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIFETIME: Duration = Duration::from_secs(100);

    fn key(number: u8, created: u64) -> TicketKey {
        TicketKey::new([number; 8], [number; 32], UnixTime(created))
    }

    #[test]
    fn a_ticket_is_opened_by_the_key_that_made_it_and_by_the_next_generation() {
        let mut keys = TicketKeys::default();
        assert!(!keys.ticketer(LIFETIME).enabled());
        keys.add(key(1, 0));
        let ticket = keys.ticketer(LIFETIME).encrypt(b"session").unwrap();
        assert_eq!(keys.ticketer(LIFETIME).decrypt(&ticket).unwrap(), b"session");
        assert!(keys.add(key(2, 100)).is_empty());
        assert_eq!(keys.ticketer(LIFETIME).decrypt(&ticket).unwrap(), b"session");
        let forgotten = keys.add(key(3, 200));
        assert_eq!(forgotten[0].id(), &[1; 8]);
        assert_eq!(keys.ticketer(LIFETIME).decrypt(&ticket), None);
    }

    #[test]
    fn a_key_makes_tickets_for_one_lifetime() {
        let mut keys = TicketKeys::default();
        assert!(keys.needs_new(LIFETIME, UnixTime(0)));
        keys.add(key(1, 1000));
        assert!(!keys.needs_new(LIFETIME, UnixTime(1099)));
        assert!(keys.needs_new(LIFETIME, UnixTime(1100)));
    }

    #[test]
    fn a_key_survives_in_the_store_and_is_no_secret_there() {
        let store_key = StoreKey::from_bytes([9; 32]);
        let stored = key(5, 77).to_stored(&store_key, [1; 12]);
        assert!(!stored.windows(8).any(|window| window == [5; 8]));
        let read = TicketKey::from_stored(&store_key, &[5; 8], &stored).unwrap();
        assert_eq!((read.secret, read.created), ([5; 32], UnixTime(77)));
        assert!(TicketKey::from_stored(&store_key, &[6; 8], &stored).is_err());
    }

    proptest! {
        #[test]
        fn foreign_tickets_are_no_tickets(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut keys = TicketKeys::default();
            keys.add(key(1, 0));
            prop_assert_eq!(keys.ticketer(LIFETIME).decrypt(&bytes), None);
            let own_id = [&[1; 8][..], &bytes].concat();
            prop_assert_eq!(keys.ticketer(LIFETIME).decrypt(&own_id), None);
        }
    }
}
