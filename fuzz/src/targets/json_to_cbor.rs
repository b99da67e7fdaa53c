//! JSON of partners on its way to devices.
//!
//! What must hold: what is JSON for another parser is JSON here, if it is not refused for what devices
//! cannot take; what comes out is sound CBOR, and reads as JSON again.

use api::representation::{write_cbor, write_json};
use shared::ocf::cbor::{CborError, scan};

use crate::bounded;

/// One input.
pub fn run(data: &[u8]) {
    let mut cbor = Vec::new();
    let written = bounded(data.len(), || write_cbor(&mut cbor, data));
    if written.is_ok() {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok());
        // Partners may nest deeper than devices.
        assert!(matches!(scan(&cbor), Ok(()) | Err(CborError::TooDeep)));
        let mut json = Vec::new();
        if write_json(&mut json, &cbor).is_ok() {
            let mut again = Vec::new();
            assert!(write_cbor(&mut again, &json).is_ok());
            assert_eq!(again, cbor, "{}", String::from_utf8_lossy(&json));
        }
    }
}
