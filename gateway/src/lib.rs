//! The device side of the OCF Cloud as a library: the core, without sockets, files or clocks.
pub mod account;
pub mod command;
pub mod config;
pub mod connection;
pub mod directory;
pub mod identity;
pub mod limits;
pub mod observe;
pub mod proxy;
pub mod reject;
pub mod session;
pub mod shard;
pub mod slab;
pub mod store;

#[cfg(feature = "io")]
pub mod certs;

#[cfg(feature = "io")]
pub mod io;
