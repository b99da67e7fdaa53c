//! The floor of requests: the token of the request in a record is copied into an answer that is the
//! same for all, the answer sealed. No users, no routes, no limits.

use anyhow::{Context, Result};
use benches::messages::{self, FIRST_TOKEN};
use shared::coap::code::Kind;
use shared::coap::{Frame, Framed, ResponseType};
use shared::record::{Records, TEXT_BYTES_MAX};

use crate::talk::{Talk, Tls};

/// All connections have this in common.
pub(crate) struct Answers {
    tls: Tls,
    /// The answer, with [`FIRST_TOKEN`].
    answer: Vec<u8>,
    /// Where the token stands in it.
    token_at: usize,
}

impl Answers {
    /// Answers with this body.
    pub(crate) fn new(tls: Tls, body: &[u8]) -> Result<Self> {
        let mut answer = Vec::new();
        messages::answer(&mut answer, ResponseType::Content, FIRST_TOKEN, body);
        let token = FIRST_TOKEN.as_bytes();
        let token_at = answer.windows(token.len()).position(|bytes| bytes == token);
        let token_at = token_at.context("the answer has its token")?;
        Ok(Self { tls, answer, token_at })
    }

    /// A connection that was accepted.
    pub(crate) fn open(&self) -> Talk {
        self.tls.open()
    }

    /// Takes bytes in, appends what goes out. False when the connection has to end.
    pub(crate) fn receive(&self, talk: &mut Talk, bytes: &mut [u8], out: &mut Vec<u8>) -> bool {
        let answer = |records: &mut Records, text: &[u8], out: &mut Vec<u8>| {
            self.answer_all(records, text, out);
        };
        self.tls.receive(talk, bytes, out, answer)
    }

    /// Answers the requests in a record. Devices begin none in one and end it in another.
    fn answer_all(&self, records: &mut Records, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Ok(Framed::Whole(frame, len)) = Frame::parse(rest, text.len()) {
            rest = &rest[len..];
            let token = frame.token.as_bytes();
            if !matches!(frame.code.kind(), Kind::Request(_)) || token.len() != 8 {
                continue;
            }
            let (first, rest) = self.answer.split_at(self.answer.len().min(TEXT_BYTES_MAX));
            // A key is used up after more requests than a benchmark sends on one connection.
            let _ = records.seal(out, |out| {
                let token_at = out.len() + self.token_at;
                out.extend_from_slice(first);
                out[token_at..token_at + token.len()].copy_from_slice(token);
                true
            });
            // What does not fit one record goes into more, each as full as it can be.
            for part in rest.chunks(TEXT_BYTES_MAX) {
                let _ = records.seal(out, |out| {
                    out.extend_from_slice(part);
                    true
                });
            }
        }
    }
}
