//! The device reference, executed.

mod smoke;
mod vectors;
