//! OCF payloads: CBOR maps with text keys (device reference 4.3).
//!
//! [`cbor`] stands before everything else: a body from outside is scanned by it (depth, duplicate
//! keys, end of input) before any decoder sees it. [`account`], [`link`] and [`device`] are the
//! bodies, each with its resource type.

pub mod account;
pub mod cbor;
pub mod device;
pub mod link;
