//! The targets of fuzzing, and what they share: input as a stream of choices, memory that is counted.
//!
//! `cargo fuzz run NAME` runs one under the fuzzer; the workspace's tests run all of them over their
//! seeds and some thousand changed ones.

mod choices;
#[cfg(feature = "api")]
mod clients;
mod memory;
pub mod targets;

pub use choices::Choices;
pub use memory::{bounded, bounded_with};
