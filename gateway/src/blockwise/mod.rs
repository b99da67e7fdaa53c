//! Block-wise transfer, which ends here: bodies come and go in blocks on one leg, and whole in
//! between (device reference 12, RFC 7959, RFC 8323 §6).
//!
//! ```text
//! client ─ Block1 ─► transfers: uploads ──► whole request ──► asked ─ Block1 ─► device
//! client ◄─ Block2 ─ transfers: downloads ◄─ whole answer ◄── asked ◄─ Block2 ─ device
//! ```
//!
//! [`transfers`] is what is kept of those who ask us, [`answer`] cuts what they are told, [`asked`] is
//! what is kept of those whom we ask, [`key`] which requests are the same but for their blocks. All of
//! it is kept beside the connections and only while something is under way.

pub mod answer;
pub mod asked;
pub mod key;
pub mod transfers;

use shared::coap::option::encode_uint;
use shared::coap::{Block, CoapOption, Frame, Framed, Message, MessageWriter, Token};

pub use asked::{Asked, Step};
pub use transfers::{Expectation, Taken, Transfers};

/// An option that a message gets, with its value.
struct Added {
    number: u16,
    value: [u8; 8],
    len: usize,
}

impl Added {
    fn block(name: CoapOption, block: Block) -> Self {
        let (bytes, len) = encode_uint(block.value());
        let mut value = [0; 8];
        value[..len].copy_from_slice(&bytes[4 - len..]);
        Self { number: name.into(), value, len }
    }

    fn etag(value: [u8; 8]) -> Self {
        Self { number: CoapOption::ETag.into(), value, len: 8 }
    }
}

/// A message that this gateway has written.
pub(crate) fn parse(frame: &[u8]) -> Option<Message<'_>> {
    match Frame::parse(frame, usize::MAX) {
        Ok(Framed::Whole(frame, _)) => Message::parse(frame).ok(),
        _ => None,
    }
}

/// A message once more, with this token and this part of its payload: without its block options and
/// those that `keep` refuses, and with the options that are added.
fn rewrite(
    message: &Message<'_>,
    token: Token,
    keep: impl Fn(u16) -> bool,
    added: &[Added],
    payload: &[u8],
) -> Vec<u8> {
    let is_kept = |number: u16| {
        keep(number) && !matches!(number.into(), CoapOption::Block1 | CoapOption::Block2)
    };
    let mut options: Vec<(u16, &[u8])> = message
        .options
        .filter(|option| is_kept(option.number))
        .map(|option| (option.number, option.value))
        .chain(added.iter().map(|option| (option.number, &option.value[..option.len])))
        .collect();
    options.sort_by_key(|(number, _)| *number);
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(&mut out, message.code, token);
    for (number, value) in options {
        writer.option(number, value);
    }
    writer.payload(payload);
    writer.finish();
    out
}

/// What a message takes beside its payload and a block option: the longest block option, the marker,
/// and the longer length of a longer message.
const BLOCK_OVERHEAD_BYTES: usize = 5 + 1 + 4;

/// Bytes that are left for the payload of a message that is rewritten.
fn room(bare: &[u8], limit: usize) -> usize {
    limit.saturating_sub(bare.len() + BLOCK_OVERHEAD_BYTES)
}
