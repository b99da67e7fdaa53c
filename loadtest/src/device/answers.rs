//! What a device makes of the answers to its sign-up, sign-in, refresh and publish (device
//! reference 4.5, 15.1).

use ciborium::Value;
use shared::coap::{Code, ResponseType};
use shared::ids::UserId;
use shared::ocf::cbor::{self, Item, Reader};

/// How a device sorts the code of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Below 4.00.
    Success,
    /// 4.01.
    Unauthorized,
    /// 5.03 and 5.04: try again later, on the same connection.
    Later,
    /// Everything else is final.
    Final,
}

impl Verdict {
    pub(super) fn of(code: Code) -> Self {
        if code.class() < 4 {
            Self::Success
        } else if code == ResponseType::Unauthorized {
            Self::Unauthorized
        } else if code == ResponseType::ServiceUnavailable || code == ResponseType::GatewayTimeout {
            Self::Later
        } else {
            Self::Final
        }
    }
}

/// A code that can only come of trouble of the cloud's own: 5.xx, and 4.29.
pub(super) fn is_cloud_trouble(code: Code) -> bool {
    code.class() == 5 || (code.class() == 4 && code.detail() == 29)
}

/// The keys of an answer to sign-up, sign-in or refresh, as far as they are there and of the right
/// type.
#[derive(Default)]
pub(super) struct Keys {
    access_token: Option<Box<str>>,
    refresh_token: Option<Box<str>>,
    uid: Option<UserId>,
    expires_in: Option<i64>,
    pub(super) redirect_uri: Option<Box<str>>,
}

/// The name of a key that is missing or empty.
pub(super) type Missing = &'static str;

impl Keys {
    /// Nothing is found in what is no CBOR map.
    pub(super) fn parse(payload: &[u8]) -> Self {
        let mut keys = Self::default();
        let body: Option<Value> = cbor::decode(payload).ok();
        let entries = body.as_ref().and_then(Value::as_map);
        for (key, value) in entries.into_iter().flatten() {
            let text = || value.as_text().filter(|text| !text.is_empty()).map(Into::into);
            match key.as_text() {
                Some("accesstoken") => keys.access_token = text(),
                Some("refreshtoken") => keys.refresh_token = text(),
                Some("uid") => keys.uid = value.as_text().and_then(|uid| uid.parse().ok()),
                Some("expiresin") => {
                    keys.expires_in =
                        value.as_integer().and_then(|integer| i64::try_from(integer).ok());
                }
                Some("redirecturi") => keys.redirect_uri = text(),
                _ => {}
            }
        }
        keys
    }

    pub(super) fn access_token(&self) -> Result<&str, Missing> {
        self.access_token.as_deref().ok_or("accesstoken")
    }

    pub(super) fn refresh_token(&self) -> Result<&str, Missing> {
        self.refresh_token.as_deref().ok_or("refreshtoken")
    }

    pub(super) fn uid(&self) -> Result<UserId, Missing> {
        self.uid.ok_or("uid")
    }

    pub(super) fn expires_in(&self) -> Result<i64, Missing> {
        self.expires_in.ok_or("expiresin")
    }
}

/// The hrefs that the answer to a publish names together with an `ins`.
pub(super) fn published_hrefs(payload: &[u8]) -> Vec<String> {
    let Ok(body) = cbor::decode::<Value>(payload) else { return Vec::new() };
    let links = member(&body, "links").and_then(Value::as_array);
    links
        .into_iter()
        .flatten()
        .filter(|link| member(link, "ins").is_some_and(Value::is_integer))
        .filter_map(|link| member(link, "href")?.as_text().map(str::to_owned))
        .collect()
}

/// The value under a text key of a map.
pub(super) fn member<'v>(map: &'v Value, key: &str) -> Option<&'v Value> {
    let entry = map.as_map()?.iter().find(|(name, _)| name.as_text() == Some(key));
    entry.map(|(_, value)| value)
}

/// Whether a body has items that the parser of iotivity-lite misreads (device reference 4.3).
pub(super) fn has_unreadable_items(payload: &[u8]) -> bool {
    if cbor::scan(payload).is_err() {
        return false;
    }
    let mut reader = Reader::new(payload);
    while let Ok(item) = reader.next_item() {
        if matches!(item, Item::Null | Item::Simple(_) | Item::Tag(_)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_or_mistyped_key_is_a_missing_key() {
        let keys = Keys::parse(
            b"\xa3\x6baccesstoken\x60\x69expiresin\xfb\x40\xac\x20\x00\x00\x00\x00\x00\x63uid\x61x",
        );
        assert_eq!(keys.access_token(), Err("accesstoken"));
        assert_eq!(keys.refresh_token(), Err("refreshtoken"));
        assert_eq!(keys.uid(), Err("uid"));
        assert_eq!(keys.expires_in(), Err("expiresin"));
        assert_eq!(Keys::parse(b"\xa1\x69expiresin\x20").expires_in(), Ok(-1));
    }

    #[test]
    fn a_link_counts_as_published_with_href_and_ins() {
        // {"links": [{"href": "/a", "ins": 1}, {"href": "/b"}, {"ins": 2}]}
        let body =
            b"\xa1\x65links\x83\xa2\x64href\x62/a\x63ins\x01\xa1\x64href\x62/b\xa1\x63ins\x02";
        assert_eq!(published_hrefs(body), ["/a"]);
    }

    #[test]
    fn null_undefined_and_tags_are_noticed() {
        assert!(has_unreadable_items(b"\xa1\x61a\xf6"));
        assert!(has_unreadable_items(b"\xa1\x61a\xf7"));
        assert!(has_unreadable_items(b"\xc1\x01"));
        assert!(!has_unreadable_items(b"\xbf\x61a\x9f\x01\xff\xff"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let keys = Keys::parse(&body);
            let _ = (keys.access_token().is_ok(), published_hrefs(&body).len());
            has_unreadable_items(&body);
        }
    }
}
