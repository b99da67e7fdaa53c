//! The cloud-to-cloud side of the OCF Cloud.
pub mod representation;
