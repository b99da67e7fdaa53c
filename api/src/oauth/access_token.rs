//! Access tokens: JWTs that every process verifies by itself (RFC 9068, cloud reference 3.11).

use std::sync::Arc;

use dashmap::DashMap;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use shared::channel::authorization::Granted;
use shared::ids::{GrantId, UserId};
use shared::scope::Scopes;
use shared::time::UnixTime;

use super::keys::Key;
use crate::app::{App, Unfulfilled};
use crate::auth::{Caller, TokenDigest, expired_token, unknown_token};
use crate::problem::Problem;
use crate::router::unix_now;

/// How much the clocks of signer and verifier may differ.
const LEEWAY_SECS: u64 = 60;

/// Tokens whose signatures are remembered.
const VERIFIED_MAX: usize = 50_000;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// Whose devices.
    pub sub: UserId,
    /// Which API.
    pub aud: Audience,
    /// To whom it was given.
    pub client_id: String,
    /// What it allows.
    pub scope: ScopeClaim,
    /// Names the token.
    pub jti: String,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970.
    #[serde(default)]
    pub nbf: u64,
    /// Seconds since 1970.
    pub exp: u64,
    /// Under which grant; ours have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
}

/// One text or several (RFC 7519 §4.1.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// The usual form.
    One(String),
    /// The other one.
    Many(Vec<String>),
}

/// Space-separated text, or a list, which other issuers write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScopeClaim {
    /// The usual form.
    Text(String),
    /// The other one.
    List(Vec<String>),
}

impl ScopeClaim {
    /// The scopes that mean something here.
    pub fn scopes(&self) -> Scopes {
        match self {
            Self::Text(text) => Scopes::of_known(text.split(' ')),
            Self::List(list) => Scopes::of_known(list.iter().map(String::as_str)),
        }
    }
}

/// Whom a verifier trusts, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The only issuer.
    pub issuer: &'a str,
    /// This API.
    pub audience: &'a str,
}

/// Why a token is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// Its time is over.
    Expired,
    /// Anything else.
    Untrusted,
}

/// Verifies a token with the key that its header names. `None` and symmetric algorithms are refused.
pub fn verify(
    token: &str,
    trust: Trust<'_>,
    key: impl FnOnce(&str) -> Option<DecodingKey>,
) -> Result<Claims, Invalid> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Invalid::Untrusted);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Invalid::Untrusted)?;
    let key = header.kid.as_deref().and_then(key).ok_or(Invalid::Untrusted)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.leeway = LEEWAY_SECS;
    validation.validate_nbf = true;
    validation.set_audience(&[trust.audience]);
    validation.set_issuer(&[trust.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
        Ok(decoded) => Ok(decoded.claims),
        Err(error) => match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => Err(Invalid::Expired),
            _ => Err(Invalid::Untrusted),
        },
    }
}

/// Signs claims.
pub fn sign(claims: &Claims, key: &Key) -> Option<String> {
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("at+jwt".into());
    header.kid = Some(key.jwk.kid.clone());
    jsonwebtoken::encode(&header, claims, &key.encoding).ok()
}

/// A fresh token for what was granted.
pub async fn issue(app: &App, granted: &Granted) -> Result<String, Unfulfilled> {
    let keys = app.oauth.keys.today(app).await?;
    let config = &app.oauth.config;
    let now = unix_now().0;
    let jti = getrandom::u64().map_err(|_| Unfulfilled::Nonsense)?;
    let claims = Claims {
        iss: config.issuer.clone(),
        sub: granted.user,
        aud: Audience::One(config.audience().to_owned()),
        client_id: granted.client.clone(),
        scope: ScopeClaim::Text(granted.scopes.to_string()),
        jti: format!("{}-{jti:016x}", granted.grant),
        iat: now,
        nbf: now,
        exp: now + u64::from(config.access_token_secs),
        grant: Some(granted.grant),
    };
    sign(&claims, keys.signing(now)).ok_or(Unfulfilled::Nonsense)
}

/// What a token of ours says, if it is one, and is good.
pub async fn read(app: &App, token: &str) -> Result<Result<Claims, Invalid>, Unfulfilled> {
    let keys = app.oauth.keys.today(app).await?;
    let config = &app.oauth.config;
    let trust = Trust { issuer: &config.issuer, audience: config.audience() };
    Ok(verify(token, trust, |kid| keys.find(kid).map(|key| key.decoding.clone())))
}

/// Tokens that were verified, by digest, so that not every request costs a signature.
#[derive(Default)]
pub struct Verified(DashMap<TokenDigest, Arc<Caller>>);

impl Verified {
    fn find(&self, digest: &TokenDigest, now: UnixTime) -> Option<Arc<Caller>> {
        let known = self.0.get(digest)?.clone();
        known.expires().is_some_and(|at| at > now).then_some(known)
    }

    fn remember(&self, digest: TokenDigest, caller: Arc<Caller>, now: UnixTime) {
        if self.0.len() >= VERIFIED_MAX {
            self.0.retain(|_, known| known.expires().is_some_and(|at| at > now));
        }
        // As full as that of tokens that live, nothing is remembered: it only costs time.
        if self.0.len() < VERIFIED_MAX {
            self.0.insert(digest, caller);
        }
    }
}

/// Who holds this token.
pub async fn authenticate(app: &App, token: &[u8]) -> Result<Arc<Caller>, Problem> {
    let unavailable = |_| Problem::unavailable("the access token cannot be verified now");
    let (now, digest) = (unix_now(), TokenDigest::of(token));
    let caller = match app.oauth.verified.find(&digest, now) {
        Some(caller) => caller,
        None => {
            let token = std::str::from_utf8(token).map_err(|_| unknown_token())?;
            // What is no JWT at all is refused even when the keys cannot be asked for.
            jsonwebtoken::decode_header(token).map_err(|_| unknown_token())?;
            let claims = match read(app, token).await.map_err(unavailable)? {
                Ok(claims) => claims,
                Err(Invalid::Expired) => return Err(expired_token()),
                Err(Invalid::Untrusted) => return Err(unknown_token()),
            };
            let expires = Some(UnixTime(claims.exp));
            let scopes = claims.scope.scopes();
            let caller = Caller::new(claims.sub, claims.client_id, scopes, expires);
            let caller = Arc::new(caller.under(claims.grant));
            app.oauth.verified.remember(digest, caller.clone(), now);
            caller
        }
    };
    match app.oauth.clients.find(app, caller.client()).await.map_err(unavailable)? {
        Some(_) => Ok(caller),
        None => Err(unknown_token()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::keys::Jwk;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const KID: &str = "w7jBelNkELaP6AHAIc01exWWNzTuf7efgGXjPg4DLPA";
    const TRUST: Trust<'_> =
        Trust { issuer: "https://auth.provider.example", audience: "https://c2c.provider.example" };

    /// Cloud reference 7.4.
    const T1: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Inc3akJlbE5rRUxhUDZBSEFJYzAxZXhXV056VHVmN2VmZ0dYalBnNERMUEEifQ.eyJpc3MiOiJodHRwczovL2F1dGgucHJvdmlkZXIuZXhhbXBsZSIsInN1YiI6IjEyM2U0NTY3LWU4OWItMTJkMy1hNDU2LWQ2ZTMxM2I3MWQ5ZiIsImF1ZCI6Imh0dHBzOi8vYzJjLnByb3ZpZGVyLmV4YW1wbGUiLCJjbGllbnRfaWQiOiJjbGllbnQxMjMiLCJzY29wZSI6InI6KiB3Oiogb2ZmbGluZV9hY2Nlc3MiLCJqdGkiOiI2YTFmOWM1Mi0xYTlkLTRkMGItOGE1OC0yZjRhNmQwZjJmMTEiLCJpYXQiOjE1ODU3NTgwMDAsIm5iZiI6MTU4NTc1ODAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.drRnBGzQVHeWUVyyAXpJxAnPX_mV-b16aK6BLtZHHgTHTqN0VRg6aW3jlNRnyIszMsMnZe3Dr8ZlOfAjAPsYAw";
    const T2: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Inc3akJlbE5rRUxhUDZBSEFJYzAxZXhXV056VHVmN2VmZ0dYalBnNERMUEEifQ.eyJpc3MiOiJodHRwczovL2F1dGgucHJvdmlkZXIuZXhhbXBsZSIsInN1YiI6IjEyM2U0NTY3LWU4OWItMTJkMy1hNDU2LWQ2ZTMxM2I3MWQ5ZiIsImF1ZCI6Imh0dHBzOi8vYzJjLnByb3ZpZGVyLmV4YW1wbGUiLCJjbGllbnRfaWQiOiJjbGllbnQxMjMiLCJzY29wZSI6InI6KiB3Oiogb2ZmbGluZV9hY2Nlc3MiLCJqdGkiOiI2YTFmOWM1Mi0xYTlkLTRkMGItOGE1OC0yZjRhNmQwZjJmMTEiLCJpYXQiOjE1ODU3NTgwMDAsIm5iZiI6MTU4NTc1ODAwMCwiZXhwIjoxNTg1NzYxNjAwfQ.lvtLH1BT4n47jTuxzBUo6W8DefkB3Q_ityFepqQG8I5rjofKeQwn6cW9OzTjazeyRzw_SgFCvk0_NhYUme_KjQ";

    fn published(kid: &str) -> Option<DecodingKey> {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let x = decode("SpuxbEcraBPPN8uCtb3PQOY7gUexrPIRB_rsJf7KJKQ");
        let y = decode("FjEmj6VoV13kk1ActE3tQ_RlTksDWOM-4w72PLnB5l8");
        (kid == KID).then(|| Jwk::new(&x, &y).decoding_key().unwrap())
    }

    #[test]
    fn the_published_tokens_are_judged_as_expected() {
        let claims = verify(T1, TRUST, published).unwrap();
        assert_eq!(claims.sub.to_string(), "123e4567-e89b-12d3-a456-d6e313b71d9f");
        assert_eq!(claims.client_id, "client123");
        let scopes = Scopes::READ.union(Scopes::WRITE).union(Scopes::OFFLINE_ACCESS);
        assert_eq!(claims.scope.scopes(), scopes);
        assert_eq!(verify(T2, TRUST, published), Err(Invalid::Expired));
        let t3 = format!("{}g", T1.strip_suffix('w').unwrap());
        assert_eq!(verify(&t3, TRUST, published), Err(Invalid::Untrusted));
        let payload = T1.split('.').nth(1).unwrap();
        for header in [r#"{"alg":"none"}"#, &format!(r#"{{"alg":"none","kid":"{KID}"}}"#)] {
            let t4 = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(verify(&t4, TRUST, published), Err(Invalid::Untrusted));
        }
    }

    #[test]
    fn other_issuers_audiences_keys_and_texts_are_not_trusted() {
        for trust in [
            Trust { issuer: "https://auth.provider.example/", ..TRUST },
            Trust { audience: "https://other.example", ..TRUST },
        ] {
            assert_eq!(verify(T1, trust, published), Err(Invalid::Untrusted));
        }
        assert_eq!(verify(T1, TRUST, |_| None), Err(Invalid::Untrusted));
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for text in ["", ".", "..", "a.b.c", "opaque", &long] {
            assert_eq!(verify(text, TRUST, published), Err(Invalid::Untrusted), "{text}");
        }
    }

    #[test]
    fn a_symmetric_signature_with_the_public_key_as_secret_is_refused() {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(KID.into());
        let claims = verify(T1, TRUST, published).unwrap();
        let key = jsonwebtoken::EncodingKey::from_secret(b"SpuxbEcraBPPN8uCtb3PQOY7gUexrPIRB");
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(verify(&token, TRUST, published), Err(Invalid::Untrusted));
    }

    #[test]
    fn scopes_may_be_a_list() {
        let list: ScopeClaim = serde_json::from_str(r#"["r:*","user:email"]"#).unwrap();
        assert_eq!(list.scopes(), Scopes::READ);
    }
}
