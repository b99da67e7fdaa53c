//! TLS session tickets and their keys in the store: only what we have sealed opens.

use std::sync::LazyLock;
use std::time::Duration;

use gateway::connection::tickets::{TicketKey, TicketKeys};
use gateway::store::StoreKey;
use rustls::server::ProducesTickets;
use shared::time::UnixTime;

use crate::{Choices, bounded};

struct Keys {
    ticketer: std::sync::Arc<dyn ProducesTickets>,
    ticket: Vec<u8>,
    store: StoreKey,
    stored: Vec<u8>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = TicketKey::new([1; 8], [2; 32], UnixTime(77));
    let store = StoreKey::from_bytes([9; 32]);
    let stored = key.to_stored(&store, [3; 12]);
    let mut keys = TicketKeys::default();
    keys.add(key);
    let ticketer = keys.ticketer(Duration::from_secs(100));
    let ticket = ticketer.encrypt(b"what a session is resumed from").expect("there is a key");
    Keys { ticketer, ticket, store, stored }
});

/// One input: how a good ticket and a good key are changed, or other bytes in their place.
pub fn run(data: &[u8]) {
    let keys = &*KEYS;
    let mut choices = Choices::new(data);
    let (ticket, stored) = match choices.byte() % 3 {
        0 => (choices.bytes(usize::MAX).to_vec(), data.to_vec()),
        1 => ([&[1; 8][..], choices.bytes(usize::MAX)].concat(), data.to_vec()),
        _ => (changed(&keys.ticket, choices), changed(&keys.stored, choices)),
    };
    let opened = bounded(ticket.len(), || keys.ticketer.decrypt(&ticket));
    assert_eq!(opened.is_some(), ticket == keys.ticket);
    let read = bounded(stored.len(), || TicketKey::from_stored(&keys.store, &[1; 8], &stored));
    assert_eq!(read.is_ok(), stored == keys.stored);
}

fn changed(good: &[u8], mut choices: Choices<'_>) -> Vec<u8> {
    let mut bytes = good.to_vec();
    while !choices.is_empty() {
        match choices.byte() % 4 {
            0 => bytes.truncate(choices.number() % (good.len() + 1)),
            1 => bytes.push(choices.byte()),
            _ => {
                let at = choices.number() % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= choices.byte();
                }
            }
        }
    }
    bytes
}
