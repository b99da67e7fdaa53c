//! The device reference, executed.

mod framing;
mod signaling;
mod smoke;
mod vectors;
