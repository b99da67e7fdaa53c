//! What the targets share: input as a stream of choices, and memory that is counted.

mod choices;
mod memory;

pub use choices::Choices;
pub use memory::bounded;
