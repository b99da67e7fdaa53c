//! No TLS, no CoAP: a message says in its first four bytes how long it is and how many bytes its
//! answer has.

use crate::Protocol;

const HEAD_BYTES: usize = 4;

/// What answers are made of.
static ANSWER: [u8; 1 << 16] = [0; 1 << 16];

/// The lowest floor.
pub(crate) struct Plain;

/// A message that has not come wholly.
#[derive(Default)]
pub(crate) struct Partial {
    head: [u8; HEAD_BYTES],
    received: usize,
}

impl Protocol for Plain {
    type Connection = Partial;

    fn open(&mut self) -> Partial {
        Partial::default()
    }

    fn receive(&mut self, partial: &mut Partial, bytes: &mut [u8], out: &mut Vec<u8>) -> bool {
        let mut bytes = &*bytes;
        while !bytes.is_empty() {
            while partial.received < HEAD_BYTES {
                let Some((&first, rest)) = bytes.split_first() else { return true };
                partial.head[partial.received] = first;
                partial.received += 1;
                bytes = rest;
            }
            let [a, b, c, d] = partial.head;
            let (len, answer) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let Some(missing) = usize::from(len).checked_sub(partial.received) else {
                return false;
            };
            let taken = missing.min(bytes.len());
            bytes = &bytes[taken..];
            partial.received += taken;
            if partial.received == usize::from(len) {
                partial.received = 0;
                out.extend_from_slice(&ANSWER[..usize::from(answer)]);
            }
        }
        true
    }
}
