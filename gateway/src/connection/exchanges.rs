//! Our requests awaiting a response, by token.
//!
//! A token of ours is always eight bytes: the index of the exchange and a number that differs from
//! one exchange to the next, so that a late or invented response finds nothing. An exchange belongs to
//! one connection; a response that comes on another one finds nothing either.

use shared::channel::figures::TableMemory;
use shared::coap::Token;
use shared::time::Instant;

use super::ConnectionId;
use crate::proxy::Purpose;
use crate::shard::deadlines::Deadlines;
use crate::slab::{Key, Slab};

/// Names an exchange.
pub type ExchangeKey = Key<Exchange>;

/// A request of ours that has not been answered, or an observation that goes on.
pub struct Exchange {
    /// To whom the request went.
    pub connection: ConnectionId,
    /// On whose behalf, and what to do with the response.
    pub purpose: Purpose,
    serial: u32,
    next: Option<ExchangeKey>,
    previous: Option<ExchangeKey>,
}

/// The exchanges of a shard.
pub struct Exchanges {
    table: Slab<Exchange>,
    deadlines: Deadlines,
    serial: u32,
}

impl Exchanges {
    /// None yet. `serial` is where the numbers begin; random, so that tokens of a former life of the
    /// gateway mean nothing.
    pub fn new(serial: u32, now: Instant) -> Self {
        Self { table: Slab::default(), deadlines: Deadlines::new(now), serial }
    }

    /// Adds an exchange to those of a connection, whose first one is `first`.
    pub fn open(
        &mut self,
        connection: ConnectionId,
        first: &mut Option<ExchangeKey>,
        purpose: Purpose,
        until: Instant,
    ) -> (ExchangeKey, Token) {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let next = *first;
        let exchange = Exchange { connection, purpose, serial, next, previous: None };
        let key = self.table.insert(exchange);
        if let Some(next) = next {
            self.table[next].previous = Some(key);
        }
        *first = Some(key);
        self.deadlines.set(key.index(), until);
        (key, token(serial, key))
    }

    /// The exchange with this token, if it is one with this connection.
    pub fn find(&self, connection: ConnectionId, token: Token) -> Option<ExchangeKey> {
        let value = token.as_u64()?;
        let index = value as u32;
        let key = (index != u32::MAX).then(|| ExchangeKey::from_index(index))?;
        let exchange = self.table.get(key)?;
        let fits = exchange.connection == connection && exchange.serial == (value >> 32) as u32;
        fits.then_some(key)
    }

    /// Ends an exchange. `first` is the first one of its connection.
    pub fn close(&mut self, key: ExchangeKey, first: &mut Option<ExchangeKey>) -> Option<Exchange> {
        self.deadlines.clear(key.index());
        let exchange = self.table.remove(key)?;
        if let Some(next) = exchange.next {
            self.table[next].previous = exchange.previous;
        }
        match exchange.previous {
            Some(previous) => self.table[previous].next = exchange.next,
            None => *first = exchange.next,
        }
        Some(exchange)
    }

    /// The token of an exchange.
    pub fn token(&self, key: ExchangeKey) -> Token {
        token(self.table[key].serial, key)
    }

    /// The exchange goes on without a deadline.
    pub fn keep(&mut self, key: ExchangeKey) {
        self.deadlines.clear(key.index());
    }

    /// From now on the exchange is about something else, and has a new deadline.
    pub fn replace(&mut self, key: ExchangeKey, purpose: Purpose, until: Instant) {
        self.table[key].purpose = purpose;
        self.deadlines.set(key.index(), until);
    }

    /// The exchange.
    pub fn get(&self, key: ExchangeKey) -> Option<&Exchange> {
        self.table.get(key)
    }

    /// An exchange whose deadline has passed.
    pub fn next_due(&mut self, now: Instant) -> Option<ExchangeKey> {
        self.deadlines.next_due(now).map(ExchangeKey::from_index)
    }

    /// When [`next_due`](Self::next_due) is worth asking again.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// No exchanges.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What they occupy.
    pub fn memory(&self) -> Vec<TableMemory> {
        vec![self.table.memory("exchanges"), self.deadlines.memory("exchanges.deadlines")]
    }

    /// Number of exchanges.
    pub fn len(&self) -> usize {
        self.table.len()
    }
}

fn token(serial: u32, key: ExchangeKey) -> Token {
    Token::from_u64(u64::from(serial) << 32 | u64::from(key.index()))
}
