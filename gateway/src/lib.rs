//! The device side of the OCF Cloud.

pub mod config;
pub mod identity;
pub mod store;
