//! A ring of the shard channel whose other side may write anything at any time.
//!
//! What must hold: as long as nobody breaks the rules, what comes out is what went in, in order; and
//! whoever breaks them is noticed or does no harm.

use std::collections::VecDeque;

use shared::channel::fuzzing::Ring;

use crate::Choices;

const BYTES: usize = 256;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut ring = Ring::new(BYTES);
    let mut sent: VecDeque<Vec<u8>> = VecDeque::new();
    let mut honest = true;
    while !choices.is_empty() {
        match choices.byte() % 16 {
            0..=5 => {
                let message = choices.some(100);
                match ring.send(message) {
                    Ok(true) => sent.push_back(message.to_vec()),
                    Ok(false) => {}
                    Err(_) => assert!(!honest, "nobody has broken a rule"),
                }
            }
            6..=11 => match ring.receive() {
                Ok(received) => {
                    assert!(received.is_none_or(|message| message.len() <= BYTES));
                    if honest {
                        assert_eq!(received, sent.pop_front().as_deref());
                    }
                }
                Err(_) => assert!(!honest, "nobody has broken a rule"),
            },
            12 => {
                if let (Ok(sleeps), true) = (ring.sleep(), honest) {
                    assert_eq!(sleeps, sent.is_empty());
                }
            }
            13 => {
                honest = false;
                ring.set_published(index(&mut choices));
            }
            14 => {
                honest = false;
                ring.set_consumed(index(&mut choices));
            }
            _ => {
                honest = false;
                let value = index(&mut choices);
                ring.set_word(usize::from(choices.byte()), value);
            }
        }
    }
}

/// Indices and lengths near what they could be, or anywhere.
fn index(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() % 4 {
        0 => u64::from(choices.byte()),
        1 => u64::from(choices.byte()) * 8,
        2 => u64::MAX - u64::from(choices.byte()),
        _ => choices.number() as u64 * 0x1_0001_0001,
    }
}
