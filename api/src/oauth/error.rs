//! Why an endpoint of clients refuses (RFC 6749 §5.2, RFC 7009 §2.2.1).

use axum::http::header::{CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::channel::message::Failure;

use crate::app::Unfulfilled;

/// An error with its code and a sentence for the developer of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
    challenge: bool,
}

impl OauthError {
    const fn new(status: StatusCode, error: &'static str, description: &'static str) -> Self {
        Self { status, error, description, challenge: false }
    }

    /// A parameter is missing, repeated or malformed.
    pub const fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// The client is unknown, or has not proven who it is. `tried_basic`: it used HTTP Basic, so it is
    /// answered in kind.
    pub const fn invalid_client(tried_basic: bool) -> Self {
        let error = Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "the client is unknown, or its secret is wrong",
        );
        Self { challenge: tried_basic, ..error }
    }

    /// The code or refresh token is of no use.
    pub const fn invalid_grant() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            "the code or token is unknown, used, expired, or of another client, or what came with it is wrong",
        )
    }

    /// More than was granted.
    pub const fn invalid_scope() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", "the scope was not granted")
    }

    /// A grant type that there is not.
    pub const fn unsupported_grant_type() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            "authorization_code or refresh_token",
        )
    }

    /// Our trouble; worth another try.
    pub const fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the service cannot say now; try again",
        )
    }
}

impl From<Unfulfilled> for OauthError {
    fn from(unfulfilled: Unfulfilled) -> Self {
        match unfulfilled {
            Unfulfilled::Failed(Failure::InvalidGrant | Failure::GrantRevoked) => {
                Self::invalid_grant()
            }
            Unfulfilled::Failed(Failure::ScopeExceeded) => Self::invalid_scope(),
            Unfulfilled::Failed(_) | Unfulfilled::Unanswered(_) | Unfulfilled::Nonsense => {
                Self::unavailable()
            }
        }
    }
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    error_description: &'static str,
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = Body { error: self.error, error_description: self.description };
        let mut response = json(self.status, &body);
        let headers = response.headers_mut();
        if self.challenge {
            let basic = HeaderValue::from_static(r#"Basic realm="c2c""#);
            headers.insert(WWW_AUTHENTICATE, basic);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// An answer that nobody may keep.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("texts and numbers have JSON");
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
