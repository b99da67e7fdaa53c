//! What a browser brings back: who has logged in, and that a form was ours.
//!
//! ```text
//! cookie  base64url( user 16 │ expires 8 │ revision 8 │ login name ) . base64url( HMAC-SHA256 )
//! ```
//!
//! Forms carry an HMAC over a cookie that only our pages set and over the request that they answer, so
//! nobody else can make a browser send one (RFC 6749 §10.12).

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shared::ids::UserId;
use subtle::ConstantTimeEq;

use super::keys::Keys;

/// Who has logged in. The prefix forbids everybody but this host to set it.
const SESSION: &str = "__Host-ocf-session";

/// Ties the form of the login page to the browser that got it.
const FORM: &str = "__Host-ocf-form";

/// Somebody who has logged in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Who.
    pub user: UserId,
    /// Under which name.
    pub name: String,
    /// Seconds since 1970.
    pub expires: u64,
    /// Of the login when it was: a new password ends what was begun with the old one.
    pub revision: u64,
}

/// What a form is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The login page.
    LogIn,
    /// The consent page.
    Consent,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::LogIn => b"log in\0",
            Self::Consent => b"consent\0",
        }
    }

    fn cookie(self) -> &'static str {
        match self {
            Self::LogIn => FORM,
            Self::Consent => SESSION,
        }
    }
}

fn mac(secret: &[u8; 32], label: &[u8], parts: [&str; 2]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    // No cookie contains a NUL.
    let mac = mac.chain_update(label).chain_update(parts[0]).chain_update([0]);
    mac.chain_update(parts[1]).finalize().into_bytes().into()
}

fn is_signed(keys: &Keys, signature: &[u8], label: &[u8], parts: [&str; 2]) -> bool {
    keys.iter().any(|key| mac(key.browser_secret(), label, parts).ct_eq(signature).into())
}

impl Session {
    /// The header that makes the browser remember it.
    pub fn set_cookie(&self, keys: &Keys, now: u64) -> (HeaderName, HeaderValue) {
        let mut payload = self.user.as_bytes().to_vec();
        payload.extend_from_slice(&self.expires.to_be_bytes());
        payload.extend_from_slice(&self.revision.to_be_bytes());
        payload.extend_from_slice(self.name.as_bytes());
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let signature = mac(keys.signing(now).browser_secret(), b"session\0", [&payload, ""]);
        let value = format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
        let seconds = self.expires.saturating_sub(now);
        set_cookie(SESSION, &value, &format!("; Max-Age={seconds}"))
    }

    /// Who the browser says has logged in, if we said so before.
    pub fn of(headers: &HeaderMap, keys: &Keys, now: u64) -> Option<Self> {
        let (payload, signature) = cookie(headers, SESSION)?.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !is_signed(keys, &signature, b"session\0", [payload, ""]) {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let (user, rest) = payload.split_first_chunk::<16>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (revision, name) = rest.split_first_chunk::<8>()?;
        let expires = u64::from_be_bytes(*expires);
        let name = String::from_utf8(name.to_vec()).ok()?;
        let (user, revision) = (UserId::from_bytes(*user), u64::from_be_bytes(*revision));
        (expires > now).then_some(Self { user, name, expires, revision })
    }
}

/// The header that gives a browser the cookie to which the login form is tied, and its value; the one
/// that it has stays, or a second open page would void the first.
pub fn form_cookie(
    headers: &HeaderMap,
    random: [u8; 16],
) -> (String, Option<(HeaderName, HeaderValue)>) {
    match cookie(headers, FORM) {
        Some(value) => (value.to_owned(), None),
        None => {
            let value = URL_SAFE_NO_PAD.encode(random);
            let header = set_cookie(FORM, &value, "");
            (value, Some(header))
        }
    }
}

/// The proof in a form that answers this request.
pub fn form_proof(keys: &Keys, now: u64, purpose: Purpose, cookie: &str, request: &str) -> String {
    let secret = keys.signing(now).browser_secret();
    URL_SAFE_NO_PAD.encode(mac(secret, purpose.label(), [cookie, request]))
}

/// Whether a form is ours, was shown to this browser, and answers this request.
pub fn is_our_form(
    headers: &HeaderMap,
    keys: &Keys,
    purpose: Purpose,
    request: &str,
    proof: &str,
) -> bool {
    let Some(cookie) = cookie(headers, purpose.cookie()) else { return false };
    let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else { return false };
    is_signed(keys, &proof, purpose.label(), [cookie, request]) && comes_from_us(headers)
}

/// The value of the session cookie, to which the consent form is tied.
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, SESSION)
}

/// Browsers that say where a request comes from must say that it was our page.
fn comes_from_us(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// The only cookie of this name.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';'));
    let mut values = pairs.filter_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

fn set_cookie(name: &str, value: &str, more: &str) -> (HeaderName, HeaderValue) {
    let line = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{more}");
    (SET_COOKIE, HeaderValue::from_str(&line).expect("base64url and constants"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::keys;

    fn brought_back(set: &(HeaderName, HeaderValue)) -> HeaderMap {
        let value = set.1.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&value).unwrap())])
    }

    fn session() -> Session {
        let user = UserId::from_bytes([7; 16]);
        Session { user, name: "anna@example.org".into(), expires: 2000, revision: 3 }
    }

    #[test]
    fn a_session_comes_back_until_it_expires_and_only_as_it_was() {
        let keys = keys::tests_keys(1);
        let set = session().set_cookie(&keys, 1000);
        let line = set.1.to_str().unwrap();
        assert!(line.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=1000"), "{line}");
        let headers = brought_back(&set);
        assert_eq!(Session::of(&headers, &keys, 1999), Some(session()));
        assert_eq!(Session::of(&headers, &keys, 2000), None);
        assert_eq!(Session::of(&headers, &keys::tests_keys(1), 1999), None, "another key");
        let value = session_cookie(&headers).unwrap();
        for at in (0..value.len()).step_by(5) {
            let mut changed = value.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let line = format!("{SESSION}={}", String::from_utf8(changed).unwrap());
            let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
            assert_eq!(Session::of(&headers, &keys, 1999), None);
        }
    }

    #[test]
    fn a_form_counts_once_for_what_it_was_shown_for() {
        let keys = keys::tests_keys(2);
        let (cookie, set) = form_cookie(&HeaderMap::new(), [5; 16]);
        let mut headers = brought_back(&set.unwrap());
        assert_eq!(form_cookie(&headers, [6; 16]), (cookie.clone(), None), "it stays");
        let proof = form_proof(&keys, 1000, Purpose::LogIn, &cookie, "client_id=a");
        let is_ours = |headers: &HeaderMap, purpose, request| {
            is_our_form(headers, &keys, purpose, request, &proof)
        };
        assert!(is_ours(&headers, Purpose::LogIn, "client_id=a"));
        assert!(!is_ours(&headers, Purpose::LogIn, "client_id=b"));
        assert!(!is_ours(&headers, Purpose::Consent, "client_id=a"));
        assert!(!is_ours(&HeaderMap::new(), Purpose::LogIn, "client_id=a"));
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        assert!(is_ours(&headers, Purpose::LogIn, "client_id=a"));
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(!is_ours(&headers, Purpose::LogIn, "client_id=a"));
    }

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        let line = format!("a=b; {FORM}=1; {FORM}=2");
        let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
        assert_eq!(cookie(&headers, FORM), None);
        assert_eq!(cookie(&headers, "a"), Some("b"));
    }
}
