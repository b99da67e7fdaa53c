//! Bounds and timers that nobody should change; those that an operator may are in
//! [`config::Limits`](crate::config::Limits) and [`config::Timers`](crate::config::Timers).

use std::time::Duration;

use shared::record::RECORD_BYTES_MAX;

/// Bytes of a frame before sign-in (device reference 17): a sign-up has less than 1 KiB.
pub const OPEN_FRAME_BYTES_MAX: usize = 4096;

/// Most bytes of handshake that a peer may have outstanding. A chain of certificates is the longest
/// part of it.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Longest diagnostic text in an answer (device reference 4.5).
pub const DIAGNOSTIC_BYTES_MAX: usize = 100;

/// How often a connection may move between shards before it is signed in.
pub const MOVES_MAX: u8 = 4;

/// Requests that may wait for the same staged change.
pub const GATE_WAITERS_MAX: usize = 8;

/// Codes of one user that are kept, exchanged or not.
pub const CODES_PER_USER_MAX: usize = 32;

/// Longest life of a code (RFC 6749 §4.1.2).
pub const CODE_LIFETIME_SECS_MAX: u64 = 600;

/// How long a code that was exchanged is remembered, so that whoever presents it again is noticed.
pub const CODE_REMEMBERED_SECS: u64 = 3600;

/// Grants of one user.
pub const GRANTS_PER_USER_MAX: usize = 256;

/// Grants of one user to one client: beyond that the one that was not used for the longest time ends.
pub const GRANTS_PER_CLIENT_MAX: usize = 16;

/// A grant ends when it was not used for so long (cloud reference 3.8).
pub const GRANT_UNUSED_SECS: u64 = 180 * 24 * 3600;

/// How long the refresh token before the newest one is good (cloud reference 3.8).
pub const REFRESH_OVERLAP_SECS: u64 = 60;

/// Clients of the cloud.
pub const CLIENTS_MAX: usize = 10_000;

/// Logins of the cloud.
pub const LOGINS_MAX: usize = 1_000_000;

/// Bytes of a client or login.
pub const REGISTRY_RECORD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a client's id and of a redirect URI in codes and grants.
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// See [`CLIENT_ID_BYTES_MAX`].
pub const REDIRECT_URI_BYTES_MAX: usize = 2048;

/// Entries of one notification (cloud reference 5.5).
pub const NOTIFICATION_ENTRIES_MAX: usize = 1000;

/// Entries of a notification that is written again because there are more: each time all of it is.
pub const MERGED_ENTRIES_MAX: usize = 250;

/// Bytes of one notification, well below a message of the shard channel.
pub const NOTIFICATION_BYTES_MAX: usize = 256 * 1024;

/// Bytes of notifications in the commit of one change, well below a batch of the store.
pub const NEWS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a subscription's URL, and of its other texts.
pub const EVENTS_URL_BYTES_MAX: usize = 2048;

/// How long a process may keep a delivery without a word about it.
pub const DELIVERY_LEASE: Duration = Duration::from_secs(60);

/// Until a subscribed resource that could not be observed is tried again.
pub const WATCH_AGAIN: Duration = Duration::from_secs(30);

/// Until something about subscriptions that the store has refused is tried again.
pub const STORE_AGAIN: Duration = Duration::from_secs(5);

/// Changes of a shard that may be on their way to the store.
pub const COMMITS_MAX: usize = 65_536;

/// Bytes of the last known representations of one device.
pub const PROJECTION_BYTES_MAX: usize = 64 * 1024;

/// Bodies that one peer has on the way to us in blocks, and answers that it has on the way from us.
pub const TRANSFERS_PER_PEER_MAX: usize = 8;

/// Requests and observations of one peer that takes blocks, whose answers may have to be cut.
pub const EXPECTATIONS_PER_PEER_MAX: usize = 512;

/// Bytes of all bodies of a shard that come or go in blocks, in each direction.
pub const TRANSFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records are joined in one send only while the whole stays below this many bytes, the smallest
/// segment that IPv6 guarantees: a record header split over two segments makes devices drop the
/// connection (device reference 1.3, rule 15).
pub const JOINED_SEND_BYTES_MAX: usize = 1220;

/// For the Pong to our Ping (device reference 17).
pub const PONG: Duration = Duration::from_secs(10);

/// How old a notification may be to answer an observer who joins (device reference 17).
pub const NOTIFICATION_FRESH: Duration = Duration::from_secs(5);

/// After an answer that ends the connection, for the peer to close it first (device reference 5.2).
pub const LINGER: Duration = Duration::from_secs(1);

/// After 4.01 to a sign-in or a failed publish, for the device to mend it on the same connection
/// (device reference 6.1).
pub const REPAIR: Duration = Duration::from_secs(5);

/// Beyond the expiry of an access token on a live session (device reference 4.6).
pub const TOKEN_GRACE: Duration = Duration::from_secs(30);

/// For the next block of a body, or the request for the next one of an answer: the connection is
/// reliable, so only a peer that has given up lets it pass.
pub const TRANSFER: Duration = Duration::from_secs(30);

/// A send that makes no progress for so long ends the connection.
pub const SEND: Duration = Duration::from_secs(30);

/// For what is queued to go out before a connection is closed.
pub const FLUSH: Duration = Duration::from_secs(2);

const _: () = assert!(HANDSHAKE_BYTES_MAX > 2 * RECORD_BYTES_MAX);
const _: () = assert!(OPEN_FRAME_BYTES_MAX > 1152, "RFC 8323's base value is the least");
const _: () = assert!(LINGER.as_secs() < FLUSH.as_secs());
