//! The device side of the OCF Cloud.
