//! The device side of the OCF Cloud.

pub mod config;
pub mod identity;
pub mod store;

#[cfg(feature = "io")]
pub mod io;
