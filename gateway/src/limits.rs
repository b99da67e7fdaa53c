//! Every bound of a shard, and every timer (device reference 17).
//!
//! What an operator may change is a field; what nobody may is a constant. The relations between
//! bounds are checked while compiling or by [`Limits::check`].

use std::time::Duration;

/// Largest TLS record we accept: 2^14 bytes of text, 2048 of expansion (RFC 5246 §6.2.3), header.
pub const RECORD_BYTES_MAX: usize = (1 << 14) + 2048 + 5;

/// Most bytes of handshake that a peer may have outstanding. A chain of certificates is the longest
/// part of it.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Longest diagnostic text in an answer (device reference 4.5).
pub const DIAGNOSTIC_BYTES_MAX: usize = 100;

/// How often a connection may move between shards before it is signed in.
pub const MOVES_MAX: u8 = 4;

/// Requests that may wait for the same staged change.
pub const GATE_WAITERS_MAX: usize = 8;

/// What a peer without a CSM is assumed to receive, in bytes of payload (device reference 2.7).
pub const ASSUMED_PEER_MESSAGE_BYTES: usize = 7168;

/// Records are joined in one send only while the whole stays below this many bytes, the smallest
/// segment that IPv6 guarantees: a record header split over two segments makes devices drop the
/// connection (device reference 1.3, rule 15).
pub const JOINED_SEND_BYTES_MAX: usize = 1220;

const _: () = assert!(HANDSHAKE_BYTES_MAX > 2 * RECORD_BYTES_MAX);
const _: () = assert!(ASSUMED_PEER_MESSAGE_BYTES > 1152, "RFC 8323's base value is the least");

/// The bounds of one shard that its operator may change.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Connections, signed in or not.
    pub connections_max: u32,
    /// Connections that have not finished their TLS handshake.
    pub handshakes_max: u32,
    /// Bytes of a frame before sign-in.
    pub open_message_bytes_max: usize,
    /// Bytes of a frame after sign-in; told to the peer in our CSM.
    pub message_bytes_max: usize,
    /// Bytes queued towards one peer beyond the message that is being sent.
    pub send_queue_bytes_max: usize,
    /// Requests under way towards one device.
    pub device_requests_max: u8,
    /// Requests waiting for room among those.
    pub device_queue_max: usize,
    /// Requests under way of one client.
    pub client_requests_max: u16,
    /// Observations of one client.
    pub client_observations_max: u16,
    /// Observations on one device.
    pub device_observations_max: u16,
    /// Links of one device.
    pub device_links_max: usize,
    /// Bytes of the links of one device.
    pub device_links_bytes_max: usize,
    /// Devices of one user.
    pub user_devices_max: usize,
    /// Single-use tokens of one user that were neither used nor expired.
    pub user_tokens_max: usize,
    /// Bytes of the last known representations of one device.
    pub projection_bytes_max: usize,
    /// Commits under way.
    pub commits_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            handshakes_max: 10_000,
            open_message_bytes_max: 4096,
            message_bytes_max: 262_144,
            send_queue_bytes_max: 65_536,
            device_requests_max: 16,
            device_queue_max: 64,
            client_requests_max: 64,
            client_observations_max: 256,
            device_observations_max: 64,
            device_links_max: 512,
            device_links_bytes_max: 65_536,
            user_devices_max: 10_000,
            user_tokens_max: 1000,
            projection_bytes_max: 65_536,
            commits_max: 65_536,
        }
    }
}

/// The timers of one shard.
#[derive(Clone, PartialEq, Debug)]
pub struct Timers {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the first request on a security resource.
    pub first_request: Duration,
    /// From the last request on a security resource, while not signed in.
    pub open: Duration,
    /// Without inbound bytes, until we send a Ping.
    pub ping_after: Duration,
    /// Without inbound bytes, until we close.
    pub idle: Duration,
    /// For the Pong.
    pub pong: Duration,
    /// For the answer to a routed request.
    pub routed_request: Duration,
    /// How old a notification may be to answer an observer who joins.
    pub notification_fresh: Duration,
    /// After an answer that ends the connection, for the peer to close it first.
    pub linger: Duration,
    /// After 4.01 to a sign-in or a failed publish, for the device to repair it on the same
    /// connection.
    pub repair: Duration,
    /// How long the single-use token of a sign-up is answered again.
    pub sign_up_repeat: Duration,
    /// Grace beyond the expiry of an access token on a live session.
    pub token_grace: Duration,
    /// A send that makes no progress for this long ends the connection.
    pub send: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(30),
            open: Duration::from_secs(90),
            ping_after: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            pong: Duration::from_secs(10),
            routed_request: Duration::from_secs(20),
            notification_fresh: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            repair: Duration::from_secs(5),
            sign_up_repeat: Duration::from_secs(3600),
            token_grace: Duration::from_secs(30),
            send: Duration::from_secs(30),
        }
    }
}
