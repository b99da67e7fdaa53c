//! What the packages of the OCF Cloud have in common: the vocabulary, never the I/O.
//!
//! ```text
//! bytes ─► coap::frame ─► coap::message ─► coap::request      CoAP over TCP (RFC 8323)
//!                                  payload ─► ocf::cbor ─► ocf::{account, link, device}
//! api ◄══ channel::message over channel::ring ══► gateway     one pair of rings per (api, shard)
//! ```
//!
//! Reading order: [`ids`], [`time`], [`placement`], [`scope`], [`coap`], [`ocf`], [`channel`], [`config`], then
//! `ring` (feature `ring`), the io_uring layer under the device sockets of gateway and swarm.
//!
//! Invariants: no clock is read and no random number drawn here. Parsing never panics, whatever the
//! bytes, and allocates nothing or at most a small multiple of its input. `unsafe` stands in
//! `channel/` and `ring/` only.

pub mod ids;
pub mod time;

pub mod placement;

pub mod scope;
pub mod secret;

pub mod coap;

pub mod ocf;

pub mod channel;

pub mod config;

#[cfg(feature = "ring")]
pub mod ring;

#[cfg(feature = "record")]
pub mod record;
