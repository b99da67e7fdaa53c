//! Bearer token to [`Caller`]: who asks, and what the token allows (cloud reference 3.12, 3.13).
//!
//! Tokens of the [credentials file](crate::credentials), which bounds them, are looked up by their
//! digests; what is not found there was signed by our own authorization server
//! ([`crate::oauth::access_token`]), or is none.

use dashmap::DashMap;
use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use shared::channel::message::Subject;
use shared::ids::{GrantId, UserId};
use shared::scope::Scopes;
use shared::time::UnixTime;

use crate::hex;
use crate::problem::Problem;

/// SHA-256 of a token: what is kept instead of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of this token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// From 64 hexadecimal digits, in either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode_32(text).map(Self)
    }
}

/// Who asks: a client on behalf of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    user: UserId,
    client: Box<str>,
    scopes: Scopes,
    expires: Option<UnixTime>,
    grant: Option<GrantId>,
    operator: bool,
}

impl Caller {
    /// A client that holds a token of this user.
    pub fn new(
        user: UserId,
        client: impl Into<Box<str>>,
        scopes: Scopes,
        expires: Option<UnixTime>,
    ) -> Self {
        Self { user, client: client.into(), scopes, expires, grant: None, operator: false }
    }

    /// Whose token holds only as long as this grant stands.
    pub fn under(self, grant: Option<GrantId>) -> Self {
        Self { grant, ..self }
    }

    /// Who may also register clients and users. No token of the authorization server gives that.
    pub fn operating(self, operator: bool) -> Self {
        Self { operator, ..self }
    }

    /// Whose data it is about.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// What commands of this caller are about, and under what they are made.
    pub fn subject(&self) -> Subject {
        Subject::User { user: self.user, grant: self.grant }
    }

    /// Which client it is.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// When the token expires, if it does.
    pub fn expires(&self) -> Option<UnixTime> {
        self.expires
    }

    /// Refuses unless devices may be read.
    pub fn must_read(&self) -> Result<(), Problem> {
        if self.scopes.contain(Scopes::READ) { Ok(()) } else { Err(insufficient_scope()) }
    }

    /// Refuses unless resources may be updated, which takes both scopes (OP-22).
    pub fn must_update(&self) -> Result<(), Problem> {
        let both = Scopes::READ.union(Scopes::WRITE);
        if self.scopes.contain(both) { Ok(()) } else { Err(insufficient_scope()) }
    }

    /// Refuses unless it is a Mediator.
    pub fn must_mediate(&self) -> Result<(), Problem> {
        if self.scopes.contain(Scopes::MEDIATOR) {
            return Ok(());
        }
        Err(Problem::challenge(
            StatusCode::FORBIDDEN,
            "the token does not allow this",
            r#"Bearer realm="c2c", error="insufficient_scope", scope="mediator""#,
        ))
    }
}

impl Caller {
    /// Refuses unless it is an operator.
    pub fn must_operate(&self) -> Result<(), Problem> {
        if self.operator {
            return Ok(());
        }
        Err(Problem::challenge(
            StatusCode::FORBIDDEN,
            "the token is not an operator's",
            r#"Bearer realm="c2c", error="insufficient_scope""#,
        ))
    }
}

fn insufficient_scope() -> Problem {
    Problem::challenge(
        StatusCode::FORBIDDEN,
        "the token does not allow this",
        r#"Bearer realm="c2c", error="insufficient_scope", scope="r:* w:*""#,
    )
}

fn no_token() -> Problem {
    Problem::challenge(
        StatusCode::UNAUTHORIZED,
        "an access token is needed",
        r#"Bearer realm="c2c""#,
    )
}

/// The token was sent in two ways, twice, or where tokens do not belong.
pub(crate) fn misplaced_token() -> Problem {
    Problem::challenge(
        StatusCode::BAD_REQUEST,
        "the access token belongs in one Authorization header and nowhere else",
        r#"Bearer realm="c2c", error="invalid_request""#,
    )
}

/// Knows tokens.
#[derive(Debug, Default)]
pub struct Authenticator {
    known: DashMap<TokenDigest, Arc<Caller>>,
}

impl Authenticator {
    /// Exactly these tokens are known from now on.
    pub(crate) fn replace(&self, credentials: Vec<(TokenDigest, Caller)>) {
        let digests: std::collections::HashSet<_> =
            credentials.iter().map(|(digest, _)| *digest).collect();
        self.known.retain(|digest, _| digests.contains(digest));
        for (digest, caller) in credentials {
            self.known.insert(digest, Arc::new(caller));
        }
    }

    /// Who holds this token, if it is one of the file.
    pub fn find(&self, token: &[u8], now: UnixTime) -> Option<Result<Arc<Caller>, Problem>> {
        let caller = self.known.get(&TokenDigest::of(token))?.clone();
        let expired = caller.expires.is_some_and(|at| at <= now);
        Some(if expired { Err(expired_token()) } else { Ok(caller) })
    }
}

/// Nobody knows the token.
pub(crate) fn unknown_token() -> Problem {
    Problem::challenge(
        StatusCode::UNAUTHORIZED,
        "the access token is not valid",
        r#"Bearer realm="c2c", error="invalid_token", error_description="token unknown""#,
    )
}

/// The token was good once.
pub(crate) fn expired_token() -> Problem {
    Problem::challenge(
        StatusCode::UNAUTHORIZED,
        "the access token has expired",
        r#"Bearer realm="c2c", error="invalid_token", error_description="token expired""#,
    )
}

/// The token of a request, which stands where tokens belong.
pub(crate) fn token_of(request: &Parts) -> Result<&[u8], Problem> {
    if request.uri.query().is_some_and(names_token) {
        return Err(misplaced_token());
    }
    bearer(&request.headers)
}

/// The token of the only `Authorization` line.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(no_token()),
        (Some(_), Some(_)) => return Err(misplaced_token()),
        (Some(line), None) => line.as_bytes(),
    };
    let (scheme, token) = line.split_at_checked(b"bearer ".len()).ok_or_else(no_token)?;
    let token = token.trim_ascii();
    let malformed = token.is_empty() || token.iter().any(u8::is_ascii_whitespace);
    if malformed || !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(no_token());
    }
    Ok(token)
}

/// Whether a query or a form has a token in it.
pub(crate) fn names_token(pairs: &str) -> bool {
    form_urlencoded::parse(pairs.as_bytes()).any(|(name, _)| name == "access_token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Request};
    use axum::response::IntoResponse;

    const USER: &str = "77777777-7777-4777-8777-777777777777";

    fn caller(scopes: &[&str], expires: Option<u64>) -> Caller {
        let scopes = Scopes::of_known(scopes.iter().copied());
        Caller::new(USER.parse().unwrap(), "partner", scopes, expires.map(UnixTime))
    }

    fn authenticator() -> Authenticator {
        let known = Authenticator::default();
        known.replace(vec![
            (TokenDigest::of(b"good"), caller(&["r:*"], None)),
            (TokenDigest::of(b"old"), caller(&["r:*"], Some(100))),
        ]);
        known
    }

    /// As the router asks, without the authorization server behind it.
    fn authenticate(
        known: &Authenticator,
        request: &Parts,
        now: UnixTime,
    ) -> Result<Arc<Caller>, Problem> {
        known.find(token_of(request)?, now).unwrap_or_else(|| Err(unknown_token()))
    }

    fn request(uri: &str, lines: &[&str]) -> Parts {
        let mut request = Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        for line in lines {
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        request.into_parts().0
    }

    fn refusal(uri: &str, lines: &[&str]) -> (u16, String) {
        let refused = authenticate(&authenticator(), &request(uri, lines), UnixTime(100));
        let response = refused.unwrap_err().into_response();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        (response.status().as_u16(), challenge)
    }

    /// Cloud reference 3.13, row by row.
    #[test]
    fn a_request_is_refused_as_the_table_says() {
        let plain = r#"Bearer realm="c2c""#;
        let invalid_request = r#"Bearer realm="c2c", error="invalid_request""#;
        let unknown =
            r#"Bearer realm="c2c", error="invalid_token", error_description="token unknown""#;
        let expired =
            r#"Bearer realm="c2c", error="invalid_token", error_description="token expired""#;
        for (uri, lines, status, challenge) in [
            ("/", &[][..], 401, plain),
            ("/", &["Basic Z29vZDo="], 401, plain),
            ("/", &["Bearer"], 401, plain),
            ("/", &["Bearer "], 401, plain),
            ("/", &["Bearer good good"], 401, plain),
            ("/", &["good"], 401, plain),
            ("/", &["Bearer good", "Bearer good"], 400, invalid_request),
            ("/?access_token=good", &[], 400, invalid_request),
            ("/?a=b&access%5Ftoken=good", &["Bearer good"], 400, invalid_request),
            ("/", &["Bearer bad"], 401, unknown),
            ("/", &["Bearer Good"], 401, unknown),
            ("/", &["Bearer old"], 401, expired),
        ] {
            assert_eq!(refusal(uri, lines), (status, challenge.to_owned()), "{uri} {lines:?}");
        }
    }

    #[test]
    fn the_scheme_may_be_in_any_case() {
        for line in ["Bearer good", "bearer good", "BEARER   good "] {
            let known = authenticate(&authenticator(), &request("/?x", &[line]), UnixTime(0));
            assert_eq!(known.unwrap().client(), "partner", "{line}");
        }
    }

    /// Cloud reference 3.12; cases 60 to 63.
    #[test]
    fn scopes_are_compared_as_whole_names() {
        for (scopes, read, update) in [
            (&["r:*"][..], true, false),
            (&["w:*"], false, false),
            (&["r:*", "w:*"], true, true),
            (&["user:email"], false, false),
            (&["r:deviceinformation:*", "R:*", "r:* w:*", "r:"], false, false),
        ] {
            let caller = caller(scopes, None);
            assert_eq!(caller.must_read().is_ok(), read, "{scopes:?}");
            assert_eq!(caller.must_update().is_ok(), update, "{scopes:?}");
        }
    }

    #[test]
    fn a_token_that_is_no_longer_listed_stops_working() {
        let known = authenticator();
        known.replace(vec![(TokenDigest::of(b"new"), caller(&[], None))]);
        let ask = |line| authenticate(&known, &request("/", &[line]), UnixTime(0)).is_ok();
        assert!(ask("Bearer new"));
        assert!(!ask("Bearer good"));
    }
}
