//! The device reference, executed.

mod authorization;
mod framing;
mod signaling;
mod smoke;
mod vectors;
