//! The TLS record layer after the handshake, as plain data (RFC 5246 §6, RFC 8446 §5, §4.6.3, §6).
//!
//! ```text
//! rustls ── handshake ──► secrets ──► Records            keys and counters, nothing else
//! received bytes ──► Records::open  ──► text, in place │ goodbye │ what TLS itself wants answered
//! text in a buffer ──► Records::seal ──► records, in place
//! ```
//!
//! A TLS library keeps five to ten kilobytes per connection. After the handshake almost all of it is
//! for handshakes that will not come any more: there is no renegotiation, tickets have been sent. What
//! is left to do is small, and done here: protect records, follow key updates, obey alerts, and tell
//! a clean end from a cut stream. `docs/RECORD-LAYER.md` is the argument why this is safe.
//!
//! Reading order: [`suite`], [`keys`], `open`, `seal`, `posthandshake`, [`error`].
//!
//! Invariants:
//! - A nonce is used once per key: it is a function of the sequence number, which only rises, and a
//!   key is given up before its limit ([`suite::RECORDS_PER_KEY`]).
//! - Nothing that fails authentication has any effect but the end of the connection, and every
//!   failure to authenticate looks the same to the peer.
//! - Expanded keys live while a call of this module runs; secrets are wiped when they are replaced
//!   or dropped.

pub mod error;
pub mod keys;
mod open;
mod posthandshake;
mod seal;
pub mod suite;

#[cfg(test)]
mod tests;

pub use error::{Alert, RecordError};
pub use keys::{NotExtractable, TrafficSecrets};
pub use open::{Opened, Step};
pub use suite::{Side, Suite};

use keys::Direction;
use posthandshake::Reassembly;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 5;

/// Most text in one record (RFC 8446 §5.1).
pub const TEXT_BYTES_MAX: usize = 1 << 14;

/// Largest record that is accepted, header included. TLS 1.2 allows 2048 bytes of expansion.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + TEXT_BYTES_MAX + 2048;

/// Content types (RFC 8446 §B.1).
mod content {
    pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(super) const ALERT: u8 = 21;
    pub(super) const HANDSHAKE: u8 = 22;
    pub(super) const APPLICATION_DATA: u8 = 23;
}

/// Both directions of a connection whose handshake is over.
pub struct Records {
    read: Direction,
    write: Direction,
    suite: Suite,
    side: Side,
    state: State,
    temper: Temper,
    reassembly: Reassembly,
    /// The peer has asked for our next key: it is told before the next text (RFC 8446 §4.6.3).
    key_update_due: bool,
}

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Records go both ways.
    Open,
    /// The peer has said goodbye: what came before is complete, nothing may follow.
    PeerClosed,
}

/// How often the peer may still do what is allowed once in a while, but of which a flood would only
/// cost us. The counters are filled again by text, but for that of renegotiations: who was refused one
/// has no reason to ask again, and could not bear as many warnings as it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Temper {
    warnings: u8,
    renegotiations: u8,
    key_updates: u8,
    empty_records: u8,
}

impl Temper {
    const FULL: Self = Self { warnings: 4, renegotiations: 1, key_updates: 32, empty_records: 32 };

    fn refill(&mut self) {
        *self = Self { renegotiations: self.renegotiations, ..Self::FULL };
    }

    fn spend(counter: &mut u8) -> Result<(), RecordError> {
        *counter = counter.checked_sub(1).ok_or(RecordError::TooMuch)?;
        Ok(())
    }
}

impl Records {
    /// Whether the peer has ended the connection in order. A stream that ends without has been cut
    /// (RFC 8446 §6.1).
    pub fn peer_closed(&self) -> bool {
        self.state == State::PeerClosed
    }

    /// Bytes on the heap beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.read.heap_bytes() + self.write.heap_bytes()
    }

    /// Version and cipher suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }
}
