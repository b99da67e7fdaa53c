//! Handshake messages after the handshake: key updates, and those that are refused or passed over.

use super::RecordError;
use super::suite::{Side, Suite};

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

const HEAD_BYTES: usize = 4;

/// A message that has not come to its end. Only heads are kept: no message has a body that matters
/// but a key update, and that is one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Reassembly {
    head: [u8; HEAD_BYTES],
    have: u8,
    /// Bytes of the body that are still to come, once the head is complete.
    body_left: u16,
}

/// What a message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// The peer writes with its next key from now on.
    NewReadKey {
        /// And wants us to do the same.
        answer: bool,
    },
    /// The peer wants another handshake, which TLS 1.2 lets us refuse with a warning.
    Renegotiation,
}

impl Reassembly {
    pub(super) fn is_under_way(&self) -> bool {
        self.have > 0
    }

    /// Takes bytes of handshake messages, at most to the end of one. Returns what the message asks
    /// for once it is complete, and how many bytes it took.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        suite: Suite,
        side: Side,
    ) -> Result<(Option<Wish>, usize), RecordError> {
        let have = usize::from(self.have);
        let head_bytes = (HEAD_BYTES - have).min(bytes.len());
        self.head[have..have + head_bytes].copy_from_slice(&bytes[..head_bytes]);
        self.have += head_bytes as u8;
        if usize::from(self.have) < HEAD_BYTES {
            return Ok((None, head_bytes));
        }
        if have < HEAD_BYTES {
            let len = u32::from_be_bytes([0, self.head[1], self.head[2], self.head[3]]);
            self.body_left = checked(self.head[0], len, suite, side)?;
        }
        let body = &bytes[head_bytes..];
        let body_bytes = usize::from(self.body_left).min(body.len());
        self.body_left -= body_bytes as u16;
        let used = head_bytes + body_bytes;
        if self.body_left > 0 {
            return Ok((None, used));
        }
        self.have = 0;
        let wish = match self.head[0] {
            KEY_UPDATE => match body[..body_bytes] {
                [0] => Some(Wish::NewReadKey { answer: false }),
                [1] => Some(Wish::NewReadKey { answer: true }),
                _ => return Err(RecordError::Malformed),
            },
            CLIENT_HELLO | HELLO_REQUEST => Some(Wish::Renegotiation),
            _ => None,
        };
        Ok((wish, used))
    }
}

/// The length of a message, if it may come from that side after the handshake. What is passed over, a
/// ticket or the hello of a refused renegotiation, is as long as 16 bits can say at most.
fn checked(kind: u8, len: u32, suite: Suite, side: Side) -> Result<u16, RecordError> {
    match (kind, suite.is_tls13(), side) {
        (KEY_UPDATE, true, _) if len == 1 => Ok(1),
        (KEY_UPDATE, true, _) => Err(RecordError::Malformed),
        (NEW_SESSION_TICKET, true, Side::Client) | (CLIENT_HELLO, false, Side::Server) => {
            u16::try_from(len).map_err(|_| RecordError::Unexpected)
        }
        (HELLO_REQUEST, false, Side::Client) if len == 0 => Ok(0),
        _ => Err(RecordError::Unexpected),
    }
}
