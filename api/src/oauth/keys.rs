//! The keys that sign access tokens: fetched from the shard of partition 0, made there anew when the
//! newest is old, published before they are used (RFC 7517, cloud reference 3.11).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::channel::authorization::{RegistryCommand, SigningKey};
use shared::channel::message::Reply;

use crate::app::{App, Unfulfilled};
use crate::router::unix_now;

/// How long the keys are taken for what the shard has.
const FRESH: Duration = Duration::from_secs(60);

/// A key is published for so long before it signs, so that every verifier knows it.
const PUBLISHED_BEFORE_SECS: u64 = 600;

/// A public key as verifiers read it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    r#use: &'static str,
    alg: &'static str,
    /// Its name.
    pub kid: String,
    x: String,
    y: String,
}

impl Jwk {
    /// A P-256 key of these coordinates, named by its thumbprint (RFC 7638).
    pub fn new(x: &[u8], y: &[u8]) -> Self {
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Self { kty: "EC", crv: "P-256", r#use: "sig", alg: "ES256", kid, x, y }
    }

    /// What verifies signatures.
    pub fn decoding_key(&self) -> Option<DecodingKey> {
        DecodingKey::from_ec_components(&self.x, &self.y).ok()
    }
}

/// A key that signs.
pub struct Key {
    created: u64,
    /// Its public part.
    pub jwk: Jwk,
    /// Signs.
    pub encoding: EncodingKey,
    /// Verifies.
    pub decoding: DecodingKey,
    browser_secret: [u8; 32],
}

impl Key {
    fn of(stored: &SigningKey) -> Option<Self> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &stored.pkcs8).ok()?;
        let jwk = jwk_of(&pair)?;
        let decoding = jwk.decoding_key()?;
        let secret = Hmac::<Sha256>::new_from_slice(&stored.pkcs8).ok()?;
        let secret = secret.chain_update(b"ocf-cloud browser sessions 1").finalize();
        Some(Self {
            created: stored.created,
            jwk,
            encoding: EncodingKey::from_ec_der(&stored.pkcs8),
            decoding,
            browser_secret: secret.into_bytes().into(),
        })
    }

    /// What signs things that a browser brings back.
    pub fn browser_secret(&self) -> &[u8; 32] {
        &self.browser_secret
    }
}

fn jwk_of(pair: &EcdsaKeyPair) -> Option<Jwk> {
    // An uncompressed point (SEC 1 §2.3.3).
    let point = pair.public_key().as_ref().strip_prefix(&[4])?;
    let (x, y) = point.split_at_checked(32)?;
    Some(Jwk::new(x, y))
}

/// A new key, as it is stored.
fn generate(created: u64) -> Option<SigningKey> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).ok()?;
    Some(SigningKey { id: jwk_of(&pair)?.kid, created, pkcs8: pkcs8.as_ref().to_vec() })
}

/// The keys of one moment, the newest first; at least one.
pub struct Keys(Vec<Key>);

impl Keys {
    fn of(stored: &[SigningKey]) -> Option<Self> {
        let keys: Vec<_> = stored.iter().map(Key::of).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that signs now: the newest that everybody has had time to learn of.
    pub fn signing(&self, now: u64) -> &Key {
        let known = self.0.iter().find(|key| key.created + PUBLISHED_BEFORE_SECS <= now);
        known.unwrap_or_else(|| self.0.last().expect("there is at least one"))
    }

    /// The key of this name.
    pub fn find(&self, kid: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.jwk.kid == kid)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}

/// The keys, kept fresh.
pub struct KeyRing {
    known: RwLock<Option<(Arc<Keys>, Instant)>>,
    renewal_secs: u64,
}

impl KeyRing {
    /// Makes a new key after so many days.
    pub fn new(days: u32) -> Self {
        Self { known: RwLock::new(None), renewal_secs: u64::from(days) * 24 * 3600 }
    }

    /// The keys of today. When they cannot be asked for, those that were known last.
    pub async fn today(&self, app: &App) -> Result<Arc<Keys>, Unfulfilled> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((keys, asked)) = &known
            && asked.elapsed() < FRESH
        {
            return Ok(keys.clone());
        }
        match (self.ask(app).await, known) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some((keys.clone(), Instant::now()));
                Ok(keys)
            }
            (Err(_), Some((keys, _))) => Ok(keys),
            (Err(error), None) => Err(error),
        }
    }

    async fn ask(&self, app: &App) -> Result<Keys, Unfulfilled> {
        let mut stored = signing_keys(app, RegistryCommand::ReadSigningKeys).await?;
        let now = unix_now().0;
        let newest = stored.first();
        if newest.is_none_or(|key| key.created + self.renewal_secs <= now) {
            let newest = newest.map(|key| key.id.clone());
            let key = generate(now).ok_or(Unfulfilled::Nonsense)?;
            stored = signing_keys(app, RegistryCommand::AddSigningKey { key, newest }).await?;
        }
        Keys::of(&stored).ok_or(Unfulfilled::Nonsense)
    }
}

async fn signing_keys(app: &App, command: RegistryCommand) -> Result<Vec<SigningKey>, Unfulfilled> {
    match app.ask_registry(command).await? {
        Reply::SigningKeys(keys) => Ok(keys),
        _ => Err(Unfulfilled::Nonsense),
    }
}

#[cfg(test)]
pub(super) fn tests_keys(count: u64) -> Keys {
    let stored: Vec<_> = (0..count).rev().filter_map(generate).collect();
    Keys::of(&stored).expect("these are keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloud reference 7.4: the key set's own name.
    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let x = decode("SpuxbEcraBPPN8uCtb3PQOY7gUexrPIRB_rsJf7KJKQ");
        let y = decode("FjEmj6VoV13kk1ActE3tQ_RlTksDWOM-4w72PLnB5l8");
        assert_eq!(Jwk::new(&x, &y).kid, "w7jBelNkELaP6AHAIc01exWWNzTuf7efgGXjPg4DLPA");
    }

    #[test]
    fn a_new_key_signs_only_when_it_has_been_published() {
        let stored = [generate(1000).unwrap(), generate(500).unwrap()];
        let keys = Keys::of(&stored).unwrap();
        assert_eq!(keys.signing(1599).jwk.kid, stored[1].id);
        assert_eq!(keys.signing(1600).jwk.kid, stored[0].id);
        assert_eq!(keys.signing(0).jwk.kid, stored[1].id, "somebody has to");
        assert!(keys.find(&stored[1].id).is_some() && keys.find("x").is_none());
    }

    #[test]
    fn the_published_part_has_no_private_member() {
        let stored = generate(1).unwrap();
        let keys = Keys::of(std::slice::from_ref(&stored)).unwrap();
        let json = serde_json::to_value(&keys.signing(1).jwk).unwrap();
        let members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}
