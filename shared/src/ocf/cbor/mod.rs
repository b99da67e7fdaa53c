//! CBOR with bounds (RFC 8949): a scan that untrusted bodies must pass, a reader that borrows, a
//! writer that emits only what device stacks understand.

mod reader;
mod scan;
#[cfg(test)]
mod tests;
mod transcode;
mod writer;

pub use reader::{Item, Reader};
pub use scan::{DEPTH_MAX, scan};
pub use transcode::transcode;
pub use writer::Writer;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not one acceptable CBOR item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CborError {
    /// The bytes end in the middle of an item.
    #[error("the body ends in the middle of an item")]
    CutShort,
    /// Bytes follow the item.
    #[error("the body goes on after its end")]
    TrailingBytes,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested too deep")]
    TooDeep,
    /// A map has the same key twice.
    #[error("a key occurs twice")]
    DuplicateKey,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A reserved length, a break out of place, a string inside a string of another kind.
    #[error("malformed CBOR")]
    Malformed,
    /// A map key that is itself made of parts (array, map, tag or a string in chunks).
    #[error("a map key is neither a number nor plain text")]
    BadKey,
    /// Well-formed, but not the value that was asked for. Says what is missing or wrong.
    #[error("a required key is missing or has the wrong type")]
    WrongShape,
}
/// Scans a body and decodes it into a value. Unknown keys are ignored.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    scan(bytes)?;
    ciborium::from_reader(bytes).map_err(|_| CborError::WrongShape)
}

/// Encodes a value of ours: definite lengths, shortest integers. The value must not hold floats,
/// nulls or mixed arrays, which device stacks misread (device reference 4.3).
pub fn encode(out: &mut Vec<u8>, value: &impl Serialize) {
    ciborium::into_writer(value, out)
        .expect("writing to memory cannot fail, and our types are plain");
}
