//! Length and token framing of CoAP over TCP (RFC 8323 §3.2): bytes to [`Frame`], without a copy.
//!
//! ```text
//! │ Len TKL │ extended length │ code │ token │ options, 0xff, payload │
//!   4    4     0, 1, 2, 4 B     1 B    TKL B            L B
//! ```
//!
//! The announced length is compared with the limit before a byte of the message is waited for.

use super::code::Code;

/// Longest token of RFC 7252; longer ones need RFC 8974, which is not negotiated.
pub const TOKEN_BYTES_MAX: usize = 8;

/// The most that can stand before options and payload: length, extension, code, token.
pub const HEAD_BYTES_MAX: usize = 1 + 4 + 1 + TOKEN_BYTES_MAX;

/// A token of up to eight bytes, held in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token {
    len: u8,
    bytes: [u8; TOKEN_BYTES_MAX],
}

impl Token {
    /// The empty token.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; TOKEN_BYTES_MAX] };

    /// From at most eight bytes; none when there are more.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { len: bytes.len() as u8, bytes: [0; TOKEN_BYTES_MAX] };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    /// An eight-byte token, as everything that we originate carries: with it no frame of ours is
    /// shorter than the 7 bytes below which real devices hang (device reference 1.3, rule 2).
    pub const fn from_u64(value: u64) -> Self {
        Self { len: 8, bytes: value.to_be_bytes() }
    }

    /// The value of an eight-byte token.
    pub const fn as_u64(&self) -> Option<u64> {
        if self.len == 8 { Some(u64::from_be_bytes(self.bytes)) } else { None }
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One message, delimited but not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Method, response or signal.
    pub code: Code,
    /// Chosen by whoever sent the request.
    pub token: Token,
    /// Options, marker and payload: the L bytes that Len counts.
    pub body: &'a [u8],
}

/// What stands at the front of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framed<'a> {
    /// A whole frame, and how many bytes it took.
    Whole(Frame<'a>, usize),
    /// The beginning of a frame. `needed` is how many bytes there must be before it is worth
    /// looking again: the whole frame once its head is there.
    Partial {
        /// Bytes from the front of the buffer, always more than it holds.
        needed: usize,
    },
}

/// These bytes are not CoAP over TCP; the stream cannot be resynchronised (device reference 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Token length 9 to 15.
    #[error("token length {0}")]
    TokenLength(u8),
    /// The announced frame is larger than this end receives.
    #[error("message above {limit} bytes")]
    TooLarge {
        /// Bytes of the largest frame, head included.
        limit: usize,
    },
}

impl<'a> Frame<'a> {
    /// Looks at the front of `bytes`. `limit` bounds the whole frame, head included.
    pub fn parse(bytes: &'a [u8], limit: usize) -> Result<Framed<'a>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(Framed::Partial { needed: 1 });
        };
        let token_len = first & 0x0f;
        if usize::from(token_len) > TOKEN_BYTES_MAX {
            return Err(FrameError::TokenLength(token_len));
        }
        let extension = extension_len(first >> 4);
        let Some(length) = bytes.get(1..1 + extension) else {
            return Ok(Framed::Partial { needed: 1 + extension });
        };
        let body_len = body_len(first >> 4, length);
        let token_at = 1 + extension + 1;
        let body_at = token_at + usize::from(token_len);
        let total = body_len.saturating_add(body_at as u64);
        if total > limit as u64 {
            return Err(FrameError::TooLarge { limit });
        }
        let total = total as usize;
        let Some(frame) = bytes.get(..total) else {
            return Ok(Framed::Partial { needed: total });
        };
        let token = Token::new(&frame[token_at..body_at]).expect("its length was checked above");
        let code = Code::from_byte(frame[1 + extension]);
        Ok(Framed::Whole(Frame { code, token, body: &frame[body_at..] }, total))
    }
}

fn extension_len(nibble: u8) -> usize {
    match nibble {
        0..=12 => 0,
        13 => 1,
        14 => 2,
        _ => 4,
    }
}

fn body_len(nibble: u8, extension: &[u8]) -> u64 {
    let value = extension.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    match nibble {
        0..=12 => u64::from(nibble),
        13 => value + 13,
        14 => value + 269,
        _ => value + 65_805,
    }
}

/// Writes length and code for a body of `body_len` bytes; returns the bytes and how many they are.
/// There is exactly one encoding per length.
pub(super) fn encode_head(code: Code, token_len: u8, body_len: usize) -> ([u8; 6], usize) {
    debug_assert!(usize::from(token_len) <= TOKEN_BYTES_MAX);
    let mut head = [0u8; 6];
    let extension = match body_len {
        0..=12 => {
            head[0] = (body_len as u8) << 4;
            0
        }
        13..=268 => {
            head[0] = 13 << 4;
            head[1] = (body_len - 13) as u8;
            1
        }
        269..=65_804 => {
            head[0] = 14 << 4;
            head[1..3].copy_from_slice(&((body_len - 269) as u16).to_be_bytes());
            2
        }
        _ => {
            head[0] = 15 << 4;
            head[1..5].copy_from_slice(&((body_len - 65_805) as u32).to_be_bytes());
            4
        }
    };
    head[0] |= token_len;
    head[1 + extension] = code.byte();
    (head, extension + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 262_144;

    #[test]
    fn an_empty_buffer_needs_its_first_byte() {
        assert_eq!(Frame::parse(&[], LIMIT), Ok(Framed::Partial { needed: 1 }));
    }

    /// RFC 8323 §3.2, device reference 2.2.
    #[test]
    fn the_length_needed_is_known_as_soon_as_the_length_bytes_are_there() {
        assert_eq!(Frame::parse(&[0xd8], LIMIT), Ok(Framed::Partial { needed: 2 }));
        assert_eq!(Frame::parse(&[0xd8, 0x81], LIMIT), Ok(Framed::Partial { needed: 153 }));
        assert_eq!(Frame::parse(&[0xe8, 0x00], LIMIT), Ok(Framed::Partial { needed: 3 }));
    }

    /// Device reference 18, malformed input: announces 4 295 033 100 bytes.
    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_waited_for() {
        assert_eq!(
            Frame::parse(&[0xf8, 0xff, 0xff, 0xff, 0xff], LIMIT),
            Err(FrameError::TooLarge { limit: LIMIT })
        );
        let (head, len) = encode_head(Code::EMPTY, 0, LIMIT - 6);
        assert_eq!(Frame::parse(&head[..len], LIMIT), Ok(Framed::Partial { needed: LIMIT }));
        let (head, len) = encode_head(Code::EMPTY, 0, LIMIT - 5);
        assert!(Frame::parse(&head[..len], LIMIT).is_err());
    }

    #[test]
    fn token_lengths_above_eight_are_refused_at_the_first_byte() {
        for tkl in 9..=15 {
            assert_eq!(Frame::parse(&[tkl], LIMIT), Err(FrameError::TokenLength(tkl)));
        }
    }
}
