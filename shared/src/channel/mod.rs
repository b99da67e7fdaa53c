//! The shard channel: what an `api` process and the shards of a gateway say to each other.
//!
//! ```text
//! api ── Unix socket ──► gateway     introduction: Welcome, then per shard a memfd and two doorbells
//! api ══ ring ══► shard              CommandEnvelope
//! api ◄══ ring ══ shard              ReplyEnvelope
//! ```
//!
//! Who speaks when: `api` sends a [`message::Command`] in a [`message::CommandEnvelope`] with a request number of its own; the shard
//! answers every command with exactly one [`message::Reply`] of the same number, in any order. There
//! is one pair of rings per (api process, shard), so neither side ever waits for a lock.
//!
//! What a lost link means: when the socket hangs up, the gateway drops the rings and forgets the
//! commands under way; `api` answers 503 to whoever waits and reconnects with back-off. Neither side
//! trusts the other's indices, lengths or bytes: a corrupt ring closes the channel and nothing else.

pub mod message;
