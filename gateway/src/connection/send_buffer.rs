//! What waits for the peer to read it: bounded, and sent so that real devices can take it.
//!
//! Messages are sealed into a buffer as they arise, a TLS record each. A send takes as many whole
//! records from the front as fit one TCP segment, or one record that is larger: a record header that
//! is split over two segments makes devices drop the connection (device reference 1.3, rule 15).
//! A buffer that is being sent belongs to the shell until it says that the send has ended; what
//! arises meanwhile goes to the next one. An idle connection has none.

use std::ops::Range;

use shared::channel::figures::TableMemory;
use shared::time::Instant;

use crate::limits::JOINED_SEND_BYTES_MAX;
use crate::memory::{allocated, table};

/// Buffers kept for later use; larger ones are freed.
const KEPT_BUFFER_BYTES_MAX: usize = 32 * 1024;
const KEPT_BUFFERS_MAX: usize = 4096;
const NEW_BUFFER_BYTES: usize = 1024;
const RECORD_HEADER_BYTES: usize = 5;

/// Send buffers that no connection needs at the moment.
#[derive(Default)]
pub struct SendBuffers {
    free: Vec<Vec<u8>>,
}

impl SendBuffers {
    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(NEW_BUFFER_BYTES))
    }

    /// What those occupy that nobody needs.
    pub fn memory(&self) -> TableMemory {
        let reserved: usize = self.free.iter().map(|buffer| allocated(buffer.capacity())).sum();
        let list = self.free.capacity() * size_of::<Vec<u8>>();
        table("send_buffers", self.free.len(), 0, reserved + list)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES_MAX && self.free.len() < KEPT_BUFFERS_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

/// The outgoing side of a connection.
#[derive(Default)]
pub struct Outgoing {
    /// Sealed, and not handed to the shell.
    filling: Vec<u8>,
    /// How much of the buffer that the shell has is sent or being sent.
    sending: Option<Sending>,
}

struct Sending {
    end: u32,
    since: Instant,
}

impl Outgoing {
    /// The buffer to which records are appended.
    pub fn buffer(&mut self, buffers: &mut SendBuffers) -> &mut Vec<u8> {
        if self.filling.capacity() == 0 {
            self.filling = buffers.take();
        }
        &mut self.filling
    }

    /// Gives a buffer back to which nothing was appended after all.
    pub fn put_back_unused(&mut self, buffers: &mut SendBuffers) {
        if self.filling.is_empty() && self.filling.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.filling));
        }
    }

    /// Bytes that wait behind the send that is under way.
    pub fn queued(&self) -> usize {
        self.filling.len()
    }

    /// Bytes that were taken for them.
    pub fn capacity(&self) -> usize {
        self.filling.capacity()
    }

    /// Everything has been sent.
    pub fn is_idle(&self) -> bool {
        self.sending.is_none() && self.filling.is_empty()
    }

    /// A send is under way since then.
    pub fn sending_since(&self) -> Option<Instant> {
        self.sending.as_ref().map(|sending| sending.since)
    }

    /// The next send, unless one is under way.
    pub fn next_send(&mut self, now: Instant) -> Option<(Vec<u8>, Range<usize>)> {
        if self.sending.is_some() || self.filling.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.filling);
        let end = send_end(&bytes, 0);
        self.sending = Some(Sending { end: end as u32, since: now });
        Some((bytes, 0..end))
    }

    /// The send has ended well. Returns the next one of the same buffer, or gives the buffer back.
    pub fn sent(
        &mut self,
        bytes: Vec<u8>,
        now: Instant,
        buffers: &mut SendBuffers,
    ) -> Option<(Vec<u8>, Range<usize>)> {
        let start = self.sending.take().map_or(bytes.len(), |sending| sending.end as usize);
        if start >= bytes.len() {
            buffers.give(bytes);
            return None;
        }
        let end = send_end(&bytes, start);
        self.sending = Some(Sending { end: end as u32, since: now });
        Some((bytes, start..end))
    }

    /// Takes what has not been handed to the shell, for a connection that ends.
    pub fn discard(&mut self, buffers: &mut SendBuffers) {
        buffers.give(std::mem::take(&mut self.filling));
    }
}

/// Where the send that begins at `start` ends: whole records while they fit one segment, but at
/// least one.
fn send_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while let Some(header) = bytes.get(end..end + RECORD_HEADER_BYTES) {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let next = end + RECORD_HEADER_BYTES + len;
        debug_assert!(next <= bytes.len(), "only whole records are queued");
        if next - start > JOINED_SEND_BYTES_MAX && end > start {
            break;
        }
        end = next;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(len: usize) -> Vec<u8> {
        let mut bytes = vec![23, 3, 3];
        bytes.extend_from_slice(&(len as u16).to_be_bytes());
        bytes.resize(len + 5, 0);
        bytes
    }

    fn sends(records: &[usize]) -> Vec<usize> {
        let mut buffers = SendBuffers::default();
        let mut outgoing = Outgoing::default();
        for &len in records {
            outgoing.buffer(&mut buffers).extend_from_slice(&record(len));
        }
        let mut sends = Vec::new();
        let mut next = outgoing.next_send(Instant::START);
        while let Some((bytes, range)) = next {
            sends.push(range.len());
            next = outgoing.sent(bytes, Instant::START, &mut buffers);
        }
        assert!(outgoing.is_idle());
        sends
    }

    /// Device reference 1.3, rule 15.
    #[test]
    fn records_are_joined_only_while_they_fit_one_segment() {
        assert_eq!(sends(&[100, 100, 100]), [315]);
        assert_eq!(sends(&[600, 600, 600]), [1210, 605]);
        assert_eq!(sends(&[16_000, 100, 100]), [16_005, 210]);
        assert_eq!(sends(&[100, 16_000]), [105, 16_005]);
    }

    #[test]
    fn a_buffer_that_was_not_needed_goes_back() {
        let mut buffers = SendBuffers::default();
        let mut outgoing = Outgoing::default();
        outgoing.buffer(&mut buffers);
        outgoing.put_back_unused(&mut buffers);
        assert_eq!((outgoing.filling.capacity(), buffers.free.len()), (0, 1));
        outgoing.buffer(&mut buffers).extend_from_slice(&record(10));
        outgoing.put_back_unused(&mut buffers);
        assert_eq!((outgoing.queued(), buffers.free.len()), (15, 0));
    }

    #[test]
    fn what_arises_during_a_send_waits_for_its_end() {
        let mut buffers = SendBuffers::default();
        let mut outgoing = Outgoing::default();
        outgoing.buffer(&mut buffers).extend_from_slice(&record(10));
        let (bytes, _) = outgoing.next_send(Instant::START).unwrap();
        outgoing.buffer(&mut buffers).extend_from_slice(&record(20));
        assert!(outgoing.next_send(Instant::START).is_none());
        assert_eq!(outgoing.queued(), 25);
        assert!(outgoing.sent(bytes, Instant::START, &mut buffers).is_none());
        assert_eq!(outgoing.next_send(Instant::START).unwrap().1, 0..25);
    }
}
