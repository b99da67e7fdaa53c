//! Messages: options of any shape, as requests, responses and signals (RFC 7252 §3.1, RFC 8323 §5).
//!
//! What must hold: options come in the order of their numbers; a message written again from what was
//! understood reads as the same message.

use shared::coap::code::Kind;
use shared::coap::{Code, Frame, Framed, Message, MessageWriter, Request, Response, Signal, Token};

use crate::bounded;

/// One input: a code, the length of a token, then the body of a frame.
pub fn run(data: &[u8]) {
    let Some((&[code, token], body)) = data.split_first_chunk() else { return };
    let code = Code::from_byte(code);
    let token = Token::new(&[token; 8][..usize::from(token % 9)]).expect("at most eight bytes");
    let Ok(message) = bounded(body.len(), || Message::parse(Frame { code, token, body })) else {
        return;
    };
    let mut before = 0;
    for option in message.options {
        assert!(option.number >= before);
        before = option.number;
        let _ = (option.name(), option.is_critical(), option.uint(4), option.text());
    }
    understand(&message, body.len());
    let mut again = Vec::new();
    let mut writer = MessageWriter::new(&mut again, code, token);
    for option in message.options {
        writer.option(option.number, option.value);
    }
    writer.payload(message.payload);
    let len = writer.finish();
    let Ok(Framed::Whole(frame, whole)) = Frame::parse(&again, again.len()) else {
        panic!("a frame of ours is one");
    };
    assert_eq!((len, whole), (again.len(), again.len()));
    let second = Message::parse(frame).expect("a message of ours is one");
    assert_eq!((second.code, second.token, second.payload), (code, token, message.payload));
    assert!(second.options.eq(message.options));
}

fn understand(message: &Message<'_>, len: usize) {
    match message.code.kind() {
        Kind::Request(method) => bounded(len, || {
            let request = Request::parse(method, message);
            assert_eq!(request.path().count(), request.path_len);
            let _ = request.query().count();
            request.decoded_query().for_each(|(key, value)| {
                let _ = (key.len(), value.len());
            });
            let _ = (2..=5).filter(|class| request.suppresses(*class)).count();
        }),
        Kind::Response => {
            bounded(len, || Response::parse(message));
        }
        Kind::Signal(_) | Kind::UnknownSignal => {
            let _ = bounded(len, || Signal::parse(message));
        }
        Kind::UnknownMethod | Kind::Empty | Kind::Reserved => {}
    }
}
