//! CBOR of devices: the scan that bounds it, the reader, the bodies of the security resources.
//!
//! What must hold: what the scan lets through can be read to its end and copied as it is understood;
//! nothing that it refuses is decoded.

use shared::ocf::account::{RefreshRequest, SessionRequest, SignUpRequest};
use shared::ocf::cbor::{Reader, Writer, decode, scan, transcode};

use crate::bounded;

/// One input.
pub fn run(data: &[u8]) {
    let scanned = bounded(data.len(), || scan(data));
    let mut reader = Reader::new(data);
    let skipped = bounded(data.len(), || reader.skip());
    if scanned.is_ok() {
        assert!(skipped.is_ok() && reader.is_at_end());
        let mut copy = Vec::with_capacity(4 * data.len());
        let transcoded = transcode(&mut Reader::new(data), &mut Writer(&mut copy));
        if transcoded.is_ok() {
            // A number of two bytes is written as one of eight.
            assert!(copy.len() <= 3 * data.len());
            assert_eq!(scan(&copy), Ok(()), "what is copied is as sound");
        }
    }
    let bodies = (
        bounded(data.len(), || decode::<SignUpRequest>(data)),
        bounded(data.len(), || decode::<SessionRequest>(data)),
        bounded(data.len(), || decode::<RefreshRequest>(data)),
    );
    if scanned.is_err() {
        assert!(bodies.0.is_err() && bodies.1.is_err() && bodies.2.is_err());
    }
}
