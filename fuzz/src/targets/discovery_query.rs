//! Queries of `/oic/res` and `/oic/rd`: escapes, filters, and what they let through.
//!
//! What must hold: what is kept for an observer is understood as what it came from.

use gateway::directory::query::{Pairs, Query};
use shared::coap::{
    CoapOption, Code, Frame, Framed, Message, MessageWriter, Request, RequestType, Token,
};

use crate::bounded_with;

/// One input: query options, one a line.
pub fn run(data: &[u8]) {
    let mut bytes = Vec::new();
    let mut message = MessageWriter::new(&mut bytes, RequestType::Get, Token::EMPTY);
    for line in data.split(|&byte| byte == b'\n').take(64) {
        message.named(CoapOption::UriQuery, &line[..line.len().min(255)]);
    }
    message.finish();
    let Ok(Framed::Whole(frame, _)) = Frame::parse(&bytes, bytes.len()) else { return };
    assert_eq!(frame.code, Code::from(RequestType::Get));
    let Ok(message) = Message::parse(frame) else { return };
    let request = Request::parse(RequestType::Get, &message);
    // Each of at most 64 pairs is held beside its texts.
    let query =
        bounded_with(4 * data.len() + 64 * 128, || Query::parse(request.decoded_query()).ok());
    let Some(query) = query else { return };
    let pairs = bounded_with(4 * data.len() + 64 * 128, || Pairs::of(request.decoded_query()));
    assert_eq!(Query::parse(pairs.iter()).ok(), Some(query));
}
