//! What a receiver's answer means (cloud reference 5.10).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use shared::channel::events::{Outcome, Trouble};
use shared::time::UnixTime;

/// What an answer that came now means.
pub(super) fn outcome(status: StatusCode, headers: &HeaderMap, now: UnixTime) -> Outcome {
    let why = Trouble::Status(status.as_u16());
    match status.as_u16() {
        200..=299 => Outcome::Accepted,
        410 => Outcome::Gone,
        408 | 425 | 429 | 500..=599 => {
            let after = headers.get(RETRY_AFTER);
            let retry_after_secs = after.and_then(|value| retry_after_secs(value, now));
            Outcome::Failed { why, retry_after_secs }
        }
        // Redirects are never followed.
        _ => Outcome::Refused { why },
    }
}

/// `Retry-After` in both its forms, seconds and a date (RFC 9110 §10.2.3). Whoever names a time that
/// has passed may be asked at once.
fn retry_after_secs(value: &HeaderValue, now: UnixTime) -> Option<u32> {
    let text = value.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(secs);
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH + Duration::from_secs(now.0);
    let secs = at.duration_since(now).unwrap_or_default().as_secs();
    Some(u32::try_from(secs).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(784_111_777);

    /// Cloud reference 5.10, row by row; cases 133, 142 to 145.
    #[test]
    fn an_answer_means_what_the_table_says() {
        let of =
            |status: u16| outcome(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), NOW);
        for status in [200, 202, 204] {
            assert_eq!(of(status), Outcome::Accepted, "{status}");
        }
        for status in [301, 307, 400, 401, 404, 413] {
            assert_eq!(of(status), Outcome::Refused { why: Trouble::Status(status) });
        }
        for status in [408, 425, 429, 500, 503, 599] {
            let why = Trouble::Status(status);
            assert_eq!(of(status), Outcome::Failed { why, retry_after_secs: None });
        }
        assert_eq!(of(410), Outcome::Gone);
    }

    #[test]
    fn a_receiver_says_when_to_come_again_in_seconds_or_with_a_date() {
        for (text, secs) in [
            ("30", Some(30)),
            (" 30 ", Some(30)),
            ("soon", None),
            ("-1", None),
            // RFC 9110 §5.6.7, the preferred form and the two old ones.
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(u32::MAX)),
            ("Sun, 06 Nov 1994", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let why = Trouble::Status(503);
            let failed = Outcome::Failed { why, retry_after_secs: secs };
            assert_eq!(outcome(StatusCode::SERVICE_UNAVAILABLE, &headers, NOW), failed, "{text}");
        }
    }
}
