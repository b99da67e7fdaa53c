//! One module per target; each has a function that takes one input, and panics when something does not
//! hold. What must hold stands at its top.

pub mod block;
pub mod cbor;
#[cfg(feature = "api")]
pub mod cbor_to_json;
pub mod certificate;
pub mod channel_messages;
pub mod channel_ring;
pub mod client_hello;
#[cfg(feature = "api")]
pub mod config_files;
pub mod discovery_query;
pub mod frame;
pub mod handshake;
#[cfg(feature = "api")]
pub mod http_request;
#[cfg(feature = "api")]
pub mod json_to_cbor;
pub mod message;
#[cfg(feature = "api")]
pub mod oauth_parameters;
pub mod publish;
pub mod record_layer;
pub mod ring_bookkeeping;
#[cfg(feature = "io")]
pub mod store_log;
pub mod stored_records;
pub mod tickets;
pub mod tokens;
pub mod transfers;

/// A target by its name.
pub struct Target {
    /// As `cargo fuzz` calls it, and the directory of its seeds.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "frame", run: frame::run },
    Target { name: "message", run: message::run },
    Target { name: "block", run: block::run },
    Target { name: "transfers", run: transfers::run },
    Target { name: "cbor", run: cbor::run },
    Target { name: "publish", run: publish::run },
    Target { name: "discovery_query", run: discovery_query::run },
    Target { name: "tokens", run: tokens::run },
    Target { name: "tickets", run: tickets::run },
    Target { name: "client_hello", run: client_hello::run },
    Target { name: "handshake", run: handshake::run },
    Target { name: "certificate", run: certificate::run },
    Target { name: "channel_messages", run: channel_messages::run },
    Target { name: "channel_ring", run: channel_ring::run },
    Target { name: "stored_records", run: stored_records::run },
    Target { name: "record_layer", run: record_layer::run },
    Target { name: "ring_bookkeeping", run: ring_bookkeeping::run },
    #[cfg(feature = "io")]
    Target { name: "store_log", run: store_log::run },
    #[cfg(feature = "api")]
    Target { name: "config_files", run: config_files::run },
    #[cfg(feature = "api")]
    Target { name: "json_to_cbor", run: json_to_cbor::run },
    #[cfg(feature = "api")]
    Target { name: "cbor_to_json", run: cbor_to_json::run },
    #[cfg(feature = "api")]
    Target { name: "http_request", run: http_request::run },
    #[cfg(feature = "api")]
    Target { name: "oauth_parameters", run: oauth_parameters::run },
];
