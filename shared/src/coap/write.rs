//! Messages to bytes, appended to a send buffer in one pass.
//!
//! The length of a frame stands before its body, but is known only after it. The writer therefore
//! leaves room for the most frequent head (one extension byte: bodies of 13 to 268 bytes) and moves
//! the body by the difference in the other cases.

use super::code::Code;
use super::frame::{Token, encode_head};
use super::option::{OCF_CONTENT_VERSION, OCF_VERSION_1_0_0, encode_uint};
use super::request::OCF_CBOR;
use coap_lite::CoapOption;

/// Length, one extension byte, code.
const HEAD_GUESS: usize = 3;

/// A message being written. Options must come in the order of their numbers. Nothing is complete
/// before [`finish`](Self::finish).
#[must_use = "a message is complete only after finish()"]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    code: Code,
    token_len: u8,
    last_option: u16,
    payload_at: Option<usize>,
}

impl<'b> MessageWriter<'b> {
    /// Begins a message at the end of `out`.
    pub fn new(out: &'b mut Vec<u8>, code: impl Into<Code>, token: Token) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_GUESS]);
        out.extend_from_slice(token.as_bytes());
        let token_len = token.as_bytes().len() as u8;
        Self { out, start, code: code.into(), token_len, last_option: 0, payload_at: None }
    }

    /// Appends an option. Its number must not be below the last one's.
    pub fn option(&mut self, number: u16, value: &[u8]) -> &mut Self {
        debug_assert!(number >= self.last_option, "options go in the order of their numbers");
        debug_assert!(self.payload_at.is_none(), "options go before the payload");
        let (delta, delta_extension) = encode_nibble(usize::from(number - self.last_option));
        let (len, len_extension) = encode_nibble(value.len());
        self.out.push(delta << 4 | len);
        self.out.extend_from_slice(delta_extension.as_slice());
        self.out.extend_from_slice(len_extension.as_slice());
        self.out.extend_from_slice(value);
        self.last_option = number;
        self
    }

    /// Appends an option by name.
    pub fn named(&mut self, name: CoapOption, value: &[u8]) -> &mut Self {
        self.option(name.into(), value)
    }

    /// Appends an option with an unsigned value, in its shortest form.
    pub fn option_uint(&mut self, number: u16, value: u32) -> &mut Self {
        let (bytes, len) = encode_uint(value);
        self.option(number, &bytes[4 - len..])
    }

    /// Appends one Uri-Path option per segment.
    pub fn path<'s>(&mut self, segments: impl IntoIterator<Item = &'s str>) -> &mut Self {
        for segment in segments {
            self.named(CoapOption::UriPath, segment.as_bytes());
        }
        self
    }

    /// Appends Content-Format 10000 and its version 1.0.0, as every OCF body of ours has them.
    pub fn ocf_content(&mut self) -> &mut Self {
        self.option_uint(CoapOption::ContentFormat.into(), u32::from(OCF_CBOR));
        self.option_uint(OCF_CONTENT_VERSION, u32::from(OCF_VERSION_1_0_0))
    }

    /// Appends the payload; nothing at all when it is empty.
    pub fn payload(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.payload_with(|out| out.extend_from_slice(bytes));
        }
    }

    /// Lets `write` append the payload in place. When it appends nothing, there is none.
    pub fn payload_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        debug_assert!(self.payload_at.is_none(), "a message has one payload");
        self.out.push(0xff);
        let payload_at = self.out.len();
        let result = write(self.out);
        if self.out.len() == payload_at {
            self.out.pop();
        } else {
            self.payload_at = Some(payload_at);
        }
        result
    }

    /// Completes the head. Returns how many bytes the message takes at the end of the buffer.
    pub fn finish(self) -> usize {
        let body_len = self.out.len() - self.start - HEAD_GUESS - usize::from(self.token_len);
        let (head, head_len) = encode_head(self.code, self.token_len, body_len);
        if head_len == HEAD_GUESS {
            self.out[self.start..self.start + HEAD_GUESS].copy_from_slice(&head[..HEAD_GUESS]);
        } else {
            let head = head[..head_len].iter().copied();
            self.out.splice(self.start..self.start + HEAD_GUESS, head);
        }
        self.out.len() - self.start
    }
}

/// The extension of a delta or length nibble.
struct Extension {
    bytes: [u8; 2],
    len: usize,
}

impl Extension {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[2 - self.len..]
    }
}

fn encode_nibble(value: usize) -> (u8, Extension) {
    let (nibble, rest, len) = match value {
        0..=12 => (value as u8, 0, 0),
        13..=268 => (13, value - 13, 1),
        _ => (14, value - 269, 2),
    };
    debug_assert!(rest <= usize::from(u16::MAX), "options are at most 65 804 bytes long");
    (nibble, Extension { bytes: (rest as u16).to_be_bytes(), len })
}

/// Gives a whole frame with an eight-byte token another one.
pub fn replace_token(frame: &mut [u8], token: u64) {
    let extension = match frame.first().map(|first| (first >> 4, first & 0x0f)) {
        Some((13, 8)) => 1,
        Some((14, 8)) => 2,
        Some((15, 8)) => 4,
        Some((0..=12, 8)) => 0,
        _ => return,
    };
    let token_at = 1 + extension + 1;
    if let Some(place) = frame.get_mut(token_at..token_at + 8) {
        place.copy_from_slice(&token.to_be_bytes());
    }
}
