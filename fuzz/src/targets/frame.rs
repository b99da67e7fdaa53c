//! Frames as they come from a peer, cut anywhere: lengths, tokens, partial reads (RFC 8323 §3.2).
//!
//! What must hold: a partial frame needs more than there is, and never more than the limit; a whole
//! frame written again is the same bytes.

use shared::coap::{Frame, Framed, Message, MessageWriter};

use crate::bounded;

const LIMIT: usize = 4096;

/// One input.
pub fn run(data: &[u8]) {
    let mut rest = data;
    loop {
        match bounded(rest.len(), || Frame::parse(rest, LIMIT)) {
            Ok(Framed::Whole(frame, len)) => {
                assert!(len <= LIMIT);
                if let Ok(message) = Message::parse(frame) {
                    assert_eq!(written_again(&message), rest[..len], "there is one encoding");
                }
                rest = &rest[len..];
            }
            Ok(Framed::Partial { needed }) => {
                assert!(needed > rest.len() && needed <= LIMIT + 5);
                return;
            }
            Err(_) => return,
        }
    }
}

fn written_again(message: &Message<'_>) -> Vec<u8> {
    let mut again = Vec::new();
    let mut writer = MessageWriter::new(&mut again, message.code, message.token);
    for option in message.options {
        writer.option(option.number, option.value);
    }
    writer.payload(message.payload);
    writer.finish();
    again
}
