//! The words that tests are written in.
//!
//! For the real programs: [`processes`] starts them, [`rest`] and [`stations`] talk to them as partners,
//! devices and clients do, [`scripted`] as a device of few words, [`receiver`] gets events as partners do ([`ledger`], [`ordeal`]), [`browser`] and [`chromium`] as users who link them, [`wire`] as nobody should, [`tools`] finds programs of others.
//!
//! For the core without any of that:
//!
//! ```text
//! World ── shards (the real core), a store in memory, one clock
//!   ├─ User ── whose devices everything is about
//!   │    ├─ signed_in_device(), signed_in_client() ─► Peer          says exactly what the test tells it
//!   │    ├─ light(), client() ─► FussyDevice, FussyClient           behave as real stacks do
//!   │    └─ subscribed(target, types) ─► Subscriber                 gets events as `api` delivers them
//!   └─ command() ─► Reply                                           what an `api` process asks
//! ```
//!
//! [`simulation`] is the whole cloud again, under one clock and with everything that can go wrong.
//!
//! Everything is joined in memory: there are no sockets, nobody sleeps, time passes when the test says
//! so. Peers speak real TLS with the real acceptor. A simulated device that sees one of the rules of
//! device reference 1.3 broken fails the test, whatever that is about.
//!
//! Reading order: [`world`], [`user`], [`subscriber`], [`peer`], [`simulated`], [`message`], [`certificates`]; behind
//! them `state`, `socket`, `store` and `station`.

#![expect(clippy::unwrap_used, reason = "a test may panic, its words too")]

pub mod browser;
pub mod chromium;
pub mod ledger;
pub mod ordeal;
pub mod processes;
pub mod receiver;
pub mod rest;
pub mod scripted;
pub mod stations;
pub mod tools;
pub mod web;
pub mod wire;

pub mod world;

pub mod user;

pub mod subscriber;

pub mod peer;

pub mod simulated;

pub mod message;

pub mod certificates;

pub mod vectors;

#[path = "../simulation/mod.rs"]
pub mod simulation;

mod socket;
mod state;
mod station;
mod store;

pub use certificates::PKI;
pub use message::{CBOR, Msg, OCF_CBOR, delete, get, map, member, post, put, request};
pub use peer::{Peer, code, content, describe, link, plain};
pub use simulated::{FussyClient, FussyDevice};
pub use state::{EndedConnection, Moves};
pub use station::Account;
pub use store::Disk;
pub use subscriber::{FAILED, REFUSED, Subscriber, UNAVAILABLE, told};
pub use user::User;
pub use world::{ENDPOINT, Setup, World};
