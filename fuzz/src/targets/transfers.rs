//! Requests in blocks and answers cut into them, for any number of peers that do anything, while time
//! goes by: what is kept is bounded, and nothing is kept of what is over.

use std::time::Duration;

use gateway::blockwise::transfers::{NotTaken, Taken};
use gateway::blockwise::{Expectation, Transfers, answer};
use gateway::connection::{ConnectionId, PeerCapabilities};
use shared::coap::{Block, CoapOption, Frame, Framed, Message, MessageWriter, Token};
use shared::time::Instant;

use crate::Choices;

const LIMIT: usize = 4096;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut now = Instant::START;
    let mut transfers = Transfers::new(now);
    while !choices.is_empty() {
        let id = ConnectionId { index: u32::from(choices.byte() % 3), generation: 0 };
        let key: Box<[u8]> = Box::from([choices.byte() % 4]);
        let token = Token::new(&[choices.byte() % 4]).expect("one byte");
        match choices.byte() % 8 {
            0..=2 => take(&mut transfers, id, key, &mut choices),
            3 => {
                let block2 = Some(Block::parse(choices.number() as u32 & 0xff));
                let until = (choices.byte() % 2 == 0).then_some(now + Duration::from_secs(20));
                let block1 = None;
                transfers.expect(id, Expectation { token, key, block2, block1, until });
            }
            4 => respond(&mut transfers, id, token, &mut choices),
            5 => {
                if let Some(answer) = transfers.take_answer(id, &key) {
                    transfers.keep(id, key, answer);
                }
            }
            6 => {
                now = now + Duration::from_secs(u64::from(choices.byte()));
                transfers.set_now(now);
                transfers.expire();
                assert!(transfers.due().is_none_or(|due| due > now));
            }
            _ => transfers.forget(id),
        }
        let (peers, bytes) = transfers.size();
        assert!(peers <= 3 && bytes <= 3 * 16 * LIMIT);
    }
    for index in 0..3 {
        transfers.forget(ConnectionId { index, generation: 0 });
    }
    assert_eq!(transfers.size(), (0, 0));
    assert_eq!(transfers.due(), None);
}

fn take(transfers: &mut Transfers, id: ConnectionId, key: Box<[u8]>, choices: &mut Choices<'_>) {
    let block = Block::parse(choices.number() as u32 & 0x7f);
    let payload = [choices.byte()].repeat(block.size());
    match transfers.take_block(id, key, block, &payload, LIMIT) {
        Ok(Taken::Whole(upload)) => {
            assert!(upload.body().len() <= LIMIT && upload.body().ends_with(&payload));
            if choices.byte() % 4 == 0 {
                transfers.put_back(id, upload);
            }
        }
        Ok(Taken::More) => assert!(block.more),
        Err(NotTaken::Bad(_) | NotTaken::Full) => {}
    }
}

fn respond(transfers: &mut Transfers, id: ConnectionId, token: Token, choices: &mut Choices<'_>) {
    let Some(expectation) = transfers.expectation(id, token).cloned() else { return };
    let mut whole = Vec::new();
    let mut message = MessageWriter::new(&mut whole, shared::coap::ResponseType::Content, token);
    if choices.byte() % 2 == 0 {
        message.option_uint(CoapOption::Observe.into(), 1);
    }
    message.payload(&[choices.byte()].repeat(choices.number() % LIMIT));
    message.finish();
    let limit = 64 + choices.number() % LIMIT;
    let capabilities = PeerCapabilities {
        max_message_size: Some(limit as u32),
        block_wise_transfer: true,
        has_said_csm: true,
    };
    let (parsed, payload_len) = (parse(&whole), parse(&whole).payload.len());
    match answer::cut(&parsed, &expectation, capabilities, limit) {
        answer::Outgoing::Whole(again) => assert_eq!(parse(&again).payload, parsed.payload),
        answer::Outgoing::Block(part, more) => {
            assert!(part.len() <= limit, "{} in {limit}", part.len());
            let part = parse(&part);
            let mut options = part.options;
            let block = options.find(|option| option.name() == CoapOption::Block2);
            let block = block.and_then(|option| option.uint(3)).map(Block::parse).expect("one");
            assert_eq!(block.more, more);
            assert_eq!(block.offset() + part.payload.len() < payload_len, more);
            transfers.keep(id, expectation.key, whole);
        }
        answer::Outgoing::Beyond => transfers.forget_expectation(id, token),
    }
}

fn parse(frame: &[u8]) -> Message<'_> {
    match Frame::parse(frame, usize::MAX) {
        Ok(Framed::Whole(frame, _)) => Message::parse(frame).expect("a message of ours is one"),
        other => panic!("a frame of ours is one: {other:?}"),
    }
}
