//! The device side of the OCF Cloud.

pub mod config;
pub mod identity;
pub mod store;

#[cfg(feature = "io")]
pub mod certs;

#[cfg(feature = "io")]
pub mod io;
