//! The cloud-to-cloud side of the OCF Cloud: an HTTPS API through which a user's other clouds and apps
//! see and control the user's devices.
//!
//! ```text
//! consumer ─TLS─► server ─► trace ─► router: auth, route ─► devices │ resources │ mediator
//!                                                                   │ Command
//!                                     shard of the user ◄═ ring ═ shards
//! consumer ◄──── Problem │ body ◄── representation ◄── devices │ resources │ mediator ◄═ Reply
//! ```
//!
//! Reading order: [`config`]; [`server`], connections; [`trace`], what goes around every request;
//! [`router`], [`auth`] (with [`credentials`]) and [`route`], who asks for what; [`devices`],
//! [`resources`], [`mediator`] and [`subscriptions`], the answers; [`webhooks`], events on their way to
//! consumers; [`oauth`], the authorization server, with its
//! [`pages`], and [`operators`], who register clients and users; [`docs`], what developers read;
//! [`representation`], JSON and CBOR; [`problem`], every failure; [`shards`], the way to the gateway.
//!
//! Invariants: nothing of a user is kept here, so the process may crash, restart and be many. Every
//! request is answered within its time limit, whatever devices, shards and consumers do. A caller only
//! ever asks the shard of its own user. Memory is bounded by the limits of the configuration.

pub mod config;
pub mod log;

pub mod server;
pub mod trace;

pub mod auth;
pub mod credentials;
pub mod route;
pub mod router;

pub mod docs;
pub mod oauth;
pub mod operators;
pub mod pages;

pub mod app;
pub mod devices;
pub mod health;
pub mod mediator;
pub mod query;
pub mod resources;
pub mod subscriptions;

pub mod body;
mod hex;
pub mod problem;
pub mod representation;

pub mod shards;
pub mod webhooks;

pub use server::{Server, run};
