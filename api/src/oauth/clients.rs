//! Registered clients: found, and made to prove who they are (RFC 6749 §2.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dashmap::DashMap;
use sha2::{Digest, Sha256};
use shared::channel::authorization::{ClientRecord, ClientSecret, RegistryCommand};
use shared::channel::message::{Failure, Reply};
use subtle::ConstantTimeEq;

use super::error::OauthError;
use super::parameters::Parameters;
use crate::app::{App, Unfulfilled};

/// How long a client is taken for what it was.
const FRESH: Duration = Duration::from_secs(30);

/// Clients that are remembered, and names that are no clients.
const REMEMBERED_MAX: usize = 10_000;

/// Longest `client_id`, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 128;

struct Known {
    client: Option<Arc<ClientRecord>>,
    asked: Instant,
}

/// The clients that were asked for of late.
#[derive(Default)]
pub struct Clients(DashMap<String, Known>);

impl Clients {
    /// The client of this id, if there is one and it may do anything.
    pub async fn find(
        &self,
        app: &App,
        id: &str,
    ) -> Result<Option<Arc<ClientRecord>>, Unfulfilled> {
        Ok(self.registered(app, id).await?.filter(|client| client.enabled))
    }

    /// The client of this id, if there is one, whether it may do anything or not.
    pub async fn registered(
        &self,
        app: &App,
        id: &str,
    ) -> Result<Option<Arc<ClientRecord>>, Unfulfilled> {
        if id.len() > CLIENT_ID_BYTES_MAX {
            return Ok(None);
        }
        if let Some(known) = self.0.get(id)
            && known.asked.elapsed() < FRESH
        {
            return Ok(known.client.clone());
        }
        let client = match app.ask_registry(RegistryCommand::ReadClient { id: id.into() }).await {
            Ok(Reply::Client(client)) => Some(Arc::new(client)),
            Err(Unfulfilled::Failed(Failure::NoSuchRecord)) => None,
            Ok(_) => return Err(Unfulfilled::Nonsense),
            Err(error) => return Err(error),
        };
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, known| known.asked.elapsed() < FRESH);
        }
        if self.0.len() < REMEMBERED_MAX {
            let known = Known { client: client.clone(), asked: Instant::now() };
            self.0.insert(id.into(), known);
        }
        Ok(client)
    }

    /// A client has changed: it is asked for again.
    pub fn forget(&self, id: &str) {
        self.0.remove(id);
    }
}

/// Id and secret, and how they came.
struct Credentials {
    id: String,
    secret: String,
    basic: bool,
}

/// The client that sent a request, if it has proven who it is. Both ways are accepted, one at a time.
pub async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    form: &Parameters,
) -> Result<Arc<ClientRecord>, OauthError> {
    let given = credentials(headers, form)?;
    let refused = OauthError::invalid_client(given.basic);
    let client = app.oauth.clients.find(app, &given.id).await?.ok_or(refused)?;
    if client.secrets.iter().any(|secret| is_secret(secret, &given.secret)) {
        return Ok(client);
    }
    // The secret may have been replaced a moment ago.
    app.oauth.clients.forget(&given.id);
    let client = app.oauth.clients.find(app, &given.id).await?.ok_or(refused)?;
    if client.secrets.iter().any(|secret| is_secret(secret, &given.secret)) {
        return Ok(client);
    }
    tracing::info!(target: "api::audit", client = client.id, "client authentication failed");
    Err(refused)
}

fn credentials(headers: &HeaderMap, form: &Parameters) -> Result<Credentials, OauthError> {
    const TWICE: OauthError = OauthError::invalid_request("the client authenticates in two ways");
    let of_form = |name| form.get(name).map_err(|_| TWICE);
    let (id, secret) = (of_form("client_id")?, of_form("client_secret")?);
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next(), id, secret) {
        (Some(_), Some(_), ..) | (Some(_), _, _, Some(_)) => Err(TWICE),
        (Some(line), None, id, None) => {
            let refused = OauthError::invalid_client(true);
            let basic = basic(line.as_bytes()).ok_or(refused)?;
            // A client id beside the header is superfluous, but must not say something else.
            if id.is_some_and(|id| id != basic.id) { Err(TWICE) } else { Ok(basic) }
        }
        (None, _, Some(id), Some(secret)) => {
            Ok(Credentials { id: id.into(), secret: secret.into(), basic: false })
        }
        (None, ..) => Err(OauthError::invalid_client(false)),
    }
}

/// HTTP Basic with form-encoded parts (RFC 6749 §2.3.1).
fn basic(line: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = line.split_at_checked(b"basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let decode = |part: &str| {
        // What stands before `=` in a form is decoded like what stands behind it.
        form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned())
    };
    Some(Credentials { id: decode(id)?, secret: decode(secret)?, basic: true })
}

/// Whether this is the secret, in constant time.
pub fn is_secret(kept: &ClientSecret, presented: &str) -> bool {
    digest(&kept.salt, presented).ct_eq(&kept.digest).into()
}

/// What is kept of a secret.
pub fn digest(salt: &[u8; 16], secret: &str) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(secret).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (AUTHORIZATION, HeaderValue::from_str(line).unwrap()));
        HeaderMap::from_iter(lines)
    }

    fn given(line: &str) -> Option<(String, String)> {
        basic(line.as_bytes()).map(|given| (given.id, given.secret))
    }

    /// Cloud reference 7.3.
    #[test]
    fn basic_credentials_are_form_encoded() {
        let expected = Some(("client123".into(), "1234567890ABCDEF".into()));
        assert_eq!(given("Basic Y2xpZW50MTIzOjEyMzQ1Njc4OTBBQkNERUY="), expected);
        assert_eq!(given("basic Y2xpZW50MTIzOjEyMzQ1Njc4OTBBQkNERUY="), expected);
        let encoded = STANDARD.encode("a%3Ab:c+d%2B");
        assert_eq!(given(&format!("Basic {encoded}")), Some(("a:b".into(), "c d+".into())));
        for line in ["Basic", "Basic !", "Bearer abc", "Basic YWJj", "Basic Og=="] {
            assert_eq!(given(line), None, "{line}");
        }
    }

    #[test]
    fn a_client_authenticates_in_exactly_one_way() {
        let good = "Basic Y2xpZW50MTIzOjEyMzQ1Njc4OTBBQkNERUY=";
        let both = Parameters::parse("client_id=client123&client_secret=x");
        let id = Parameters::parse("client_id=client123");
        let other = Parameters::parse("client_id=other");
        let none = Parameters::default();
        assert!(credentials(&headers(&[good]), &none).is_ok_and(|given| given.basic));
        assert!(credentials(&headers(&[good]), &id).is_ok());
        assert!(credentials(&headers(&[]), &both).is_ok_and(|given| !given.basic));
        for (lines, form) in
            [(&[good][..], &both), (&[good], &other), (&[good, good], &none), (&[], &id)]
        {
            assert!(credentials(&headers(lines), form).is_err());
        }
    }

    #[test]
    fn a_secret_is_recognised_by_its_salted_digest() {
        let kept = ClientSecret { salt: [1; 16], digest: digest(&[1; 16], "secret"), created: 0 };
        assert!(is_secret(&kept, "secret"));
        assert!(!is_secret(&kept, "secreT"));
        assert!(!is_secret(&ClientSecret { salt: [2; 16], ..kept }, "secret"));
    }
}
