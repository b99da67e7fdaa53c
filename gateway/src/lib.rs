//! The device side of the OCF Cloud: the core as a library, and the shell around it.
//!
//! ```text
//! device ─TCP─► io ─bytes─► connection: tls ► frame ► message         no lock, no await below io
//!                                │ signal      │ request       │ response
//!                                ▼             ▼               ▼
//!                            signaling   shard::dispatch   exchanges ► proxy ► whoever asked
//!                                account │ directory │ observe │ proxy
//!                                              │ Response, Reject
//! device ◄─TCP─ io ◄─bytes─ send_buffer ◄──────┘
//! api ══ rings ══ io::channels ══ command
//! ```
//!
//! [`shard::Shard`] is the whole core of one CPU core: it opens no sockets, reads no clock, draws no
//! random numbers. `io` (feature `io`) is the shell. Reading order: [`shard`], [`connection`],
//! [`account`], [`directory`], [`proxy`], [`blockwise`], [`observe`], [`authorization`], [`events`],
//! [`command`], [`store`], then `io`.
//!
//! Invariants: a user lives on exactly one shard; no request crosses from one user to another
//! ([`account::Accounts::device_of`] is the wall); a change is seen only when it is durable
//! ([`shard::staging`]); no device id ever has two users ([`shard::claims`]).

pub mod account;
pub mod authorization;
pub mod blockwise;
pub mod command;
pub mod config;
pub mod connection;
pub mod directory;
pub mod events;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod observe;
pub mod proxy;
pub mod reject;
pub mod seeded;
pub mod session;
pub mod shard;
pub mod slab;
pub mod split_index;
pub mod store;

#[cfg(feature = "io")]
pub mod certs;

#[cfg(feature = "io")]
pub mod io;
