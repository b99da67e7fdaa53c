//! Links, and the body that publishes them (`oic.wk.rd`; device reference 8).

use serde::{Deserialize, Serialize};

/// Policy bit: may be discovered.
pub const DISCOVERABLE: u64 = 1;
/// Policy bit: may be observed.
pub const OBSERVABLE: u64 = 2;
/// What a link without a policy is taken for.
pub const DEFAULT_POLICY: u64 = DISCOVERABLE | OBSERVABLE;

/// The `p` member of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Policy {
    /// Bit mask: 1 discoverable, 2 observable, 4 pushable.
    #[serde(default)]
    pub bm: u64,
}

/// `rel` is one relation or several.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Relation {
    /// As iotivity-lite publishes it.
    One(String),
    /// As the core schema allows.
    Many(Vec<String>),
}

/// A number as JSON knows it: CBOR tells integers from floats, stacks write either.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Of any width.
    Integer(i64),
    /// Of any width.
    Float(f64),
}

impl Number {
    /// The number as a double.
    pub fn as_double(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// A link as a device publishes it. Local endpoints (`eps`) are not read: they are never shown.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
pub struct Link {
    /// Local path.
    pub href: String,
    /// Resource types.
    #[serde(rename = "rt")]
    pub resource_types: Vec<String>,
    /// Interfaces (`if`).
    #[serde(rename = "if")]
    pub interfaces: Vec<String>,
    /// Policy; [`DEFAULT_POLICY`] when absent.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The device's own number, a hint only: the directory assigns its own.
    #[serde(rename = "ins", default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u64>,
    /// `ocf://<di>`, rarely published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// Relation; `hosts` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rel: Option<Relation>,
    /// Human-readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Media types.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_types: Option<Vec<String>>,
    /// Position, described.
    #[serde(rename = "tag-pos-desc", default, skip_serializing_if = "Option::is_none")]
    pub tag_pos_desc: Option<String>,
    /// Position, three coordinates.
    #[serde(rename = "tag-pos-rel", default, skip_serializing_if = "Option::is_none")]
    pub tag_pos_rel: Option<[Number; 3]>,
    /// Function.
    #[serde(rename = "tag-func-desc", default, skip_serializing_if = "Option::is_none")]
    pub tag_func_desc: Option<String>,
    /// Location.
    #[serde(rename = "tag-locn", default, skip_serializing_if = "Option::is_none")]
    pub tag_locn: Option<String>,
}

/// POST `/oic/rd`.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub struct PublishRequest {
    /// Must be the session's.
    pub di: String,
    /// Device name.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds; 0 or absent without limit. Negative is an error.
    #[serde(default, alias = "lt", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// At least one.
    pub links: Vec<Link>,
}
