//! Bodies in blocks of any order, size and number (RFC 7959, RFC 8323 §6), against the simplest model:
//! the body as it would be.

use shared::coap::Block;
use shared::coap::block::{Assembly, BERT, cut, fitting_szx};

use crate::{Choices, bounded};

const LIMIT: usize = 2048;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut assembly = Assembly::default();
    let mut model: Vec<u8> = Vec::new();
    let mut sent = 0;
    while !choices.is_empty() {
        let value = (choices.number() as u32) << 8 | u32::from(choices.byte());
        let mut block = Block::parse(value & 0xff_ffff);
        assert_eq!(Block::parse(block.value()), block);
        // Mostly what continues the body: the rest of the choices would hardly ever.
        if choices.byte() % 4 != 0 {
            block.number = (model.len() / block.size()) as u32;
        }
        let len = match choices.byte() % 4 {
            0 => choices.number() % 3000,
            1 if block.szx == BERT => block.size() * 2,
            _ => block.size(),
        };
        let payload = [choices.byte()].repeat(len);
        sent += len;
        let pushed = bounded(sent, || assembly.push(block, &payload, LIMIT));
        if pushed.is_ok() {
            assert!(block.offset() == 0 || block.offset() == model.len());
            model.truncate(block.offset());
            model.extend_from_slice(&payload);
            assert!(model.len() <= LIMIT);
        }
        assert_eq!(assembly.as_slice(), model);
        comes_apart(&model, &mut choices);
    }
}

/// Whatever is cut comes together again.
fn comes_apart(body: &[u8], choices: &mut Choices<'_>) {
    let room = choices.number() % 3000;
    let Some(szx) = fitting_szx(choices.byte() % 8, room) else { return };
    let mut whole = Assembly::default();
    loop {
        let (block, range) = cut(body.len(), whole.len(), szx, room).expect("a block");
        assert!(range.len() <= room);
        whole.push(block, &body[range], LIMIT).expect("it continues the body");
        if !block.more {
            break;
        }
    }
    assert_eq!(whole.as_slice(), body);
}
