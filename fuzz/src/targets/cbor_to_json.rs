//! CBOR of devices on its way to partners.
//!
//! What must hold: what comes out is JSON for another parser, and at most eight bytes for each that
//! goes in.

use api::representation::{check, write_json};

use crate::bounded_with;

/// What a byte may become is told by the function: `\u0000` and a growing buffer around it.
const PER_BYTE: usize = 24;

/// One input.
pub fn run(data: &[u8]) {
    let allowed = PER_BYTE * data.len();
    let mut json = Vec::new();
    let written = bounded_with(allowed, || write_json(&mut json, data));
    assert_eq!(bounded_with(allowed, || check(data)).is_ok(), written.is_ok());
    match written {
        Ok(_) => {
            assert!(json.len() <= 8 * data.len());
            let read = serde_json::from_slice::<serde::de::IgnoredAny>(&json);
            assert!(read.is_ok(), "{}", String::from_utf8_lossy(&json));
        }
        Err(_) => assert!(json.is_empty()),
    }
}
