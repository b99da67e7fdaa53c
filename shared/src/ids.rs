//! Identifiers, parsed once and trusted afterwards.

use std::fmt;
use std::str::FromStr;

/// Text that is not a UUID in 8-4-4-4-12 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in 8-4-4-4-12 form")]
pub struct NotAUuid;

/// Length of a UUID as text.
pub const UUID_TEXT_LEN: usize = 36;

const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Reads a UUID in 8-4-4-4-12 form, in either case.
fn parse_uuid(text: &[u8]) -> Result<[u8; 16], NotAUuid> {
    if text.len() != UUID_TEXT_LEN || HYPHENS.iter().any(|&at| text[at] != b'-') {
        return Err(NotAUuid);
    }
    let mut bytes = [0u8; 16];
    let digits = text.iter().enumerate().filter(|(at, _)| !HYPHENS.contains(at));
    for (nth, (_, &digit)) in digits.enumerate() {
        let value = (digit as char).to_digit(16).ok_or(NotAUuid)? as u8;
        bytes[nth / 2] = bytes[nth / 2] << 4 | value;
    }
    Ok(bytes)
}

/// Writes a UUID in lower case.
fn format_uuid(bytes: &[u8; 16]) -> [u8; UUID_TEXT_LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; UUID_TEXT_LEN];
    let mut at = 0;
    for byte in bytes {
        if HYPHENS.contains(&at) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

/// A UUID as lower-case text, held in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UuidText([u8; UUID_TEXT_LEN]);

impl UuidText {
    /// The 36 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and hyphens are ASCII")
    }

    /// The 36 characters as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for UuidText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
        )]
        #[rkyv(derive(PartialEq, Eq))]
        pub struct $name([u8; 16]);

        impl $name {
            /// From the sixteen bytes of the UUID.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes of the UUID.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// From text in 8-4-4-4-12 form, in either case.
            pub fn parse(text: &[u8]) -> Result<Self, NotAUuid> {
                parse_uuid(text).map(Self)
            }

            /// The lower-case text.
            pub fn text(&self) -> UuidText {
                UuidText(format_uuid(&self.0))
            }

            /// A version 4 UUID made of these random bytes.
            pub fn from_random(mut bytes: [u8; 16]) -> Self {
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = NotAUuid;

            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                Self::parse(text.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.text().as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.text().as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_newtype! {
    /// A device id (`di`): the UUID of an OCF Device, server or client.
    DeviceId
}

uuid_newtype! {
    /// A user id (`uid`): who owns devices; `sub` of the user's tokens.
    UserId
}

uuid_newtype! {
    /// The cloud's own UUID (`sid`), in its certificate as `CN=uuid:<sid>`.
    CloudId
}

uuid_newtype! {
    /// What a user granted to an OAuth client: a link between two accounts.
    GrantId
}

uuid_newtype! {
    /// A subscription of a partner cloud (cloud reference 1.3).
    SubscriptionId
}

/// Number of a shard: one core of the gateway and all it owns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Longest href a link may have, in bytes (device reference 8.1).
pub const HREF_BYTES_MAX: usize = 256;

/// A path below a device, with exactly one leading slash; the key of a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Href(Box<str>);

/// Why a text is no href.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HrefError {
    /// Nothing after the leading slashes.
    #[error("href is empty")]
    Empty,
    /// More than [`HREF_BYTES_MAX`] bytes.
    #[error("href is longer than 256 bytes")]
    TooLong,
    /// A control character.
    #[error("href contains a control character")]
    Control,
}

impl Href {
    /// Normalises to exactly one leading slash.
    pub fn parse(text: &str) -> Result<Self, HrefError> {
        let path = text.trim_start_matches('/');
        if path.is_empty() {
            return Err(HrefError::Empty);
        }
        if path.len() + 1 > HREF_BYTES_MAX {
            return Err(HrefError::TooLong);
        }
        if path.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(HrefError::Control);
        }
        Ok(Self(format!("/{path}").into_boxed_str()))
    }

    /// The path, beginning with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The link's number in the directory: CRC-32 (IEEE) of the href (device reference 8.1).
    pub fn instance(&self) -> u32 {
        crc32fast::hash(self.0.as_bytes())
    }

    /// Security resources are never published (device reference 8.1).
    pub fn is_security_resource(&self) -> bool {
        self.0.starts_with("/oic/sec/") || &*self.0 == "/oic/sec"
    }
}

impl fmt::Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_in_either_case_and_prints_in_lower_case() {
        let id: DeviceId = "ABCDEF01-2222-4333-8444-55555555555F".parse().unwrap();
        assert_eq!(id.to_string(), "abcdef01-2222-4333-8444-55555555555f");
        assert_eq!(DeviceId::parse(id.text().as_bytes()), Ok(id));
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "abcdef01-2222-4333-8444-5555555555",
            "abcdef01-2222-4333-8444-5555555555555",
            "abcdef0122-22-4333-8444-55555555555f",
            "abcdef01-2222-4333-8444-55555555555g",
            "abcdef01+2222-4333-8444-55555555555f",
        ] {
            assert_eq!(text.parse::<UserId>(), Err(NotAUuid), "{text}");
        }
    }

    #[test]
    fn an_href_has_exactly_one_leading_slash() {
        assert_eq!(Href::parse("light/1").unwrap().as_str(), "/light/1");
        assert_eq!(Href::parse("//light/1").unwrap().as_str(), "/light/1");
        assert_eq!(Href::parse("///"), Err(HrefError::Empty));
        assert_eq!(Href::parse(&"x".repeat(256)), Err(HrefError::TooLong));
        assert_eq!(Href::parse("a\nb"), Err(HrefError::Control));
    }

    /// Device reference 18: `ins` by CRC-32.
    #[test]
    fn instance_numbers_are_the_crc_of_the_href() {
        for (href, instance) in [
            ("/oic/d", 136_750_592),
            ("/oic/p", 318_534_269),
            ("/light/1", 3_810_745_338),
            ("/oic/res", 3_074_522_274),
        ] {
            assert_eq!(Href::parse(href).unwrap().instance(), instance, "{href}");
        }
    }
}
