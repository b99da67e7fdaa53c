//! Problem: status, headers and body of every failure (cloud reference 2.7, 2.8; RFC 9457).
//!
//! What a consumer reads here is a fixed sentence of ours: nothing internal, nothing that a device
//! said, and what it can do about it.

use std::borrow::Cow;

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::channel::message::Failure;
use shared::coap::Code;

/// Seconds after which an offline device is worth another try.
const OFFLINE_RETRY_SECS: u32 = 60;
/// Seconds after which a device that did not answer is worth another try.
const SLOW_RETRY_SECS: u32 = 10;
/// Seconds after which an overload or a restart of a part may be over.
const BUSY_RETRY_SECS: u32 = 2;
/// What a CoAP response without Max-Age is taken for (RFC 7252 §5.10.5).
const MAX_AGE_DEFAULT_SECS: u32 = 60;

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    retry_after_secs: Option<u32>,
    allow: Option<&'static str>,
    challenge: Option<&'static str>,
}

/// What a request was going to do, where that decides how its failure is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// Nothing has happened if it failed.
    Read,
    /// It may have happened although it failed.
    Update,
}

impl Problem {
    /// A failure with this sentence for the consumer.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { status, detail, retry_after_secs: None, allow: None, challenge: None }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405, with the methods that there are.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = "this path does not have that method";
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "application/json or application/vnd.ocf+cbor")
    }

    /// 415.
    pub fn unsupported_media_type(supported: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, supported)
    }

    /// 401, 403 or 400 because of the token (cloud reference 3.13).
    pub fn challenge(status: StatusCode, detail: &'static str, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..Self::new(status, detail) }
    }

    /// 500: a mistake of ours. What it was is in the log.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service made a mistake")
    }

    /// 503: more than we can do at once.
    pub fn overloaded() -> Self {
        Self::unavailable("too many requests are under way")
    }

    /// 503.
    pub fn unavailable(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(BUSY_RETRY_SECS)
    }

    /// 504: we did not get done in time.
    pub fn too_slow(intent: Intent) -> Self {
        Self::gateway_timeout("there was no answer in time", intent)
    }

    fn gateway_timeout(what: &'static str, intent: Intent) -> Self {
        let detail = match intent {
            Intent::Read => Cow::Borrowed(what),
            Intent::Update => format!("{what}; the update may still have happened").into(),
        };
        Self::new(StatusCode::GATEWAY_TIMEOUT, detail).retry_after(SLOW_RETRY_SECS)
    }

    /// 413.
    pub fn too_large(detail: &'static str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 502: what the device sent is no representation.
    pub fn unreadable_answer() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "the device's answer is not a valid representation")
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn retry_after(self, secs: u32) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// Why a shard did not carry out a command.
    pub fn of_failure(failure: Failure, intent: Intent) -> Self {
        match failure {
            Failure::NoSuchDevice => Self::not_found("no such device"),
            Failure::NoSuchResource => Self::not_found("no such resource"),
            Failure::NoSuchInterface => {
                Self::bad_request("the resource does not have the interface that `if` names")
            }
            Failure::DeviceOffline => {
                // It was not even asked.
                Self::gateway_timeout("the device is offline", Intent::Read)
                    .retry_after(OFFLINE_RETRY_SECS)
            }
            Failure::DeviceTimedOut => {
                Self::gateway_timeout("the device did not answer in time", intent)
            }
            Failure::DeviceLost => {
                Self::gateway_timeout("the connection to the device was lost", intent)
            }
            Failure::DeviceAnsweredBadly => {
                Self::new(StatusCode::BAD_GATEWAY, "the device's answer makes no sense")
            }
            Failure::TooLargeForDevice => {
                Self::too_large("the body is larger than the device takes")
            }
            Failure::AnswerTooLarge => {
                Self::new(StatusCode::BAD_GATEWAY, "the answer is larger than can be passed on")
            }
            Failure::NoSuchSubscription => Self::not_found("no such subscription"),
            Failure::TooManySubscriptions => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "there are too many subscriptions")
                    .retry_after(OFFLINE_RETRY_SECS)
            }
            Failure::SubscribesTooOften => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many subscriptions were asked for in a second",
            )
            .retry_after(BUSY_RETRY_SECS),
            Failure::OwnedByAnother => {
                Self::new(StatusCode::CONFLICT, "the device belongs to somebody else")
            }
            Failure::Overloaded => Self::overloaded(),
            Failure::StoreUnavailable => {
                Self::unavailable("the store is unavailable; nothing has changed")
            }
            Failure::WrongShard => Self::unavailable("the user is being moved"),
            Failure::GrantRevoked => Self::challenge(
                StatusCode::UNAUTHORIZED,
                "the access token has been revoked",
                r#"Bearer realm="c2c", error="invalid_token", error_description="token revoked""#,
            ),
            Failure::NoSuchRecord => Self::not_found("no such record"),
            Failure::RecordChanged => {
                Self::new(StatusCode::CONFLICT, "it exists, or has changed in the meantime")
            }
            Failure::RecordTooLarge => Self::too_large("the record is too large"),
            // Nobody but the authorization server asks for these.
            Failure::InvalidGrant | Failure::ScopeExceeded => Self::internal(),
        }
    }

    /// What a device's refusal becomes, none if it is a success (cloud reference 4.11).
    pub fn of_device(code: Code, max_age_secs: Option<u32>, intent: Intent) -> Option<Self> {
        let status = match (code.class(), code.detail()) {
            // 2.03 answers a validation and 2.31 a block, neither of which anybody asked for.
            (2, 3 | 31) => StatusCode::BAD_GATEWAY,
            (2, _) => return None,
            (4, 1 | 3) => StatusCode::FORBIDDEN,
            (4, 4) => StatusCode::NOT_FOUND,
            (4, 5) => StatusCode::METHOD_NOT_ALLOWED,
            (4, 6 | 8) => StatusCode::BAD_GATEWAY,
            (4, 9) => StatusCode::CONFLICT,
            (4, 12) => StatusCode::PRECONDITION_FAILED,
            (4, 13) => StatusCode::PAYLOAD_TOO_LARGE,
            (4, 15) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // Unknown codes mean what the first of their class does (RFC 7252 §5.9).
            (4, _) => StatusCode::BAD_REQUEST,
            (5, 1) => StatusCode::NOT_IMPLEMENTED,
            (5, 3) => StatusCode::SERVICE_UNAVAILABLE,
            (5, 4) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let problem = Self::new(status, format!("the device answered {code}"));
        Some(match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                // The resource has the other of the two methods of this path.
                let allow = if intent == Intent::Read { "POST" } else { "GET" };
                Self { allow: Some(allow), ..problem }
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                problem.retry_after(max_age_secs.unwrap_or(MAX_AGE_DEFAULT_SECS))
            }
            StatusCode::GATEWAY_TIMEOUT => problem.retry_after(SLOW_RETRY_SECS),
            _ => problem,
        })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&body).expect("texts and a number have JSON");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(secs) = self.retry_after_secs {
            headers.insert(RETRY_AFTER, secs.into());
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::coap::ResponseType;

    /// Cloud reference 4.11, row by row.
    #[test]
    fn a_coap_answer_becomes_the_http_answer_of_the_table() {
        for (class, detail, http) in [
            (2, 1, 200),
            (2, 2, 200),
            (2, 3, 502),
            (2, 4, 200),
            (2, 5, 200),
            (2, 31, 502),
            (4, 0, 400),
            (4, 1, 403),
            (4, 2, 400),
            (4, 3, 403),
            (4, 4, 404),
            (4, 5, 405),
            (4, 6, 502),
            (4, 8, 502),
            (4, 9, 409),
            (4, 12, 412),
            (4, 13, 413),
            (4, 15, 415),
            (4, 29, 400),
            (5, 0, 502),
            (5, 1, 501),
            (5, 2, 502),
            (5, 3, 503),
            (5, 4, 504),
            (5, 5, 502),
            (5, 30, 502),
            (0, 1, 502),
            (7, 1, 502),
        ] {
            let code = Code::from_byte(class << 5 | detail);
            let problem = Problem::of_device(code, None, Intent::Update);
            let status = problem.map_or(200, |problem| problem.status.as_u16());
            assert_eq!(status, http, "{code}");
        }
    }

    #[test]
    fn max_age_becomes_retry_after() {
        let unavailable = Code::from(ResponseType::ServiceUnavailable);
        let of = |age| Problem::of_device(unavailable, age, Intent::Read).unwrap().retry_after_secs;
        assert_eq!(of(Some(7)), Some(7));
        assert_eq!(of(None), Some(60));
    }

    #[test]
    fn a_405_says_which_method_there_is() {
        let code = Code::from(ResponseType::MethodNotAllowed);
        let of = |intent| Problem::of_device(code, None, intent).unwrap().allow;
        assert_eq!(of(Intent::Update), Some("GET"));
        assert_eq!(of(Intent::Read), Some("POST"));
    }
}
