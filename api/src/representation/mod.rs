//! Representations: what a body is written in, and how one form becomes the other.
//!
//! ```text
//! Accept, Content-Type ─► media_type     which of the forms (cloud reference 2.4, 2.5)
//! device's CBOR ─► json                  reads (4.13)
//! consumer's JSON ─► cbor                updates (4.13)
//! our own objects ─► encoder             lists and devices in either form (4.3 to 4.5, 4.10)
//! ```
//!
//! Nothing here builds a tree: input is read once, output is appended to one buffer. Time and memory
//! are a small multiple of the input, and nesting is bounded by [`DEPTH_MAX`].

mod cbor;
mod encoder;
mod head;
mod json;
mod media_type;

pub use cbor::{JsonFault, write_cbor};
pub use encoder::Encoder;
pub use json::{CborFault, check, write_json};
pub use media_type::{MediaType, accepts_json, body_type, is_form, negotiate};

/// Deepest nesting of arrays, objects and tags (cloud reference 2.5).
pub const DEPTH_MAX: usize = 64;

/// What stands at the root of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A number, a text, a truth value or nothing.
    Scalar,
}

/// Whether two of these parts of `bytes` are the same. Sorts `parts`.
fn any_twice(bytes: &[u8], parts: &mut [(usize, usize)]) -> bool {
    if parts.len() < 2 {
        return false;
    }
    parts.sort_unstable_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
    parts.windows(2).any(|two| bytes[two[0].0..two[0].1] == bytes[two[1].0..two[1].1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// JSON values whose numbers survive the way through CBOR exactly.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 30, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..30).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..30)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_through_cbor_and_back_says_the_same(value in json()) {
            let mut cbor = Vec::new();
            write_cbor(&mut cbor, value.to_string().as_bytes()).unwrap();
            let mut json = Vec::new();
            write_json(&mut json, &cbor).unwrap();
            let mut again = Vec::new();
            write_cbor(&mut again, &json).unwrap();
            prop_assert_eq!(again, cbor);
        }

        #[test]
        fn cbor_that_was_made_from_json_is_well_formed_for_another_decoder(value in json()) {
            let mut cbor = Vec::new();
            write_cbor(&mut cbor, value.to_string().as_bytes()).unwrap();
            let mut rest = &cbor[..];
            let decoded: Value = ciborium::from_reader(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(decoded, value);
        }
    }
}
