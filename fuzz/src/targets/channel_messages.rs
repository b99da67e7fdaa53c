//! Commands and replies of the shard channel: any bytes, which the other process may have written.
//!
//! What must hold: what is read, written again and read is the same.

use shared::channel::fuzzing::{decode_command, decode_reply, encode_command, encode_reply};

use crate::bounded;

/// One input.
pub fn run(data: &[u8]) {
    if let Some(command) = bounded(data.len(), || decode_command(data))
        && let Some(bytes) = encode_command(&command)
    {
        assert_eq!(decode_command(&bytes), Some(command));
    }
    if let Some(reply) = bounded(data.len(), || decode_reply(data))
        && let Some(bytes) = encode_reply(&reply)
    {
        // A double that is no number is not equal to itself: the bytes are.
        let again = decode_reply(&bytes).and_then(|reply| encode_reply(&reply));
        assert_eq!(again, Some(bytes));
    }
}
