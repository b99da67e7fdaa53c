//! A single-producer single-consumer ring of messages in memory that another process can write to.
//!
//! ```text
//! control   published │ consumed │ asleep          each on cache lines of its own
//! data      │ length │ message, in words │ length │ message … │ free …     2^n bytes, a circle
//!           ▲ consumed                                     published ▲
//! ```
//!
//! Indices count bytes since the ring began and never go back; modulo the capacity they are places.
//! A message is a word with its length, then its bytes, filled up to whole words. It may go round the
//! end: it is written and read in two runs then, one copy in and one copy out all the same.
//!
//! **The other process is not trusted.** Each side keeps its own index in private memory. The other
//! side's index and each length are read once, into a local, and compared with what is possible
//! before they are used; anything else is a [`Corruption`]. What the bytes mean is not looked at
//! here: they are copied out first.
//!
//! **Racing with the other process is sound**: every access to shared memory, control or data, goes
//! through an atomic, data word by word with relaxed ordering. A value that changes under our hands
//! is an unexpected value, never undefined behaviour. It compiles to the plain moves of a copy.
//!
//! **Ordering**: the producer's release of `published` makes the words visible to the consumer that
//! acquires it; the consumer's release of `consumed`, behind its copy, gives them back.
//! **Sleep**: the consumer sets `asleep`, then looks at `published` again; the producer stores
//! `published`, then looks at `asleep`. A sequentially consistent fence stands between the two steps
//! of each, so at least one of them sees the other: no wake-up is lost. The producer takes the flag
//! away when it rings: one ring of the doorbell per sleep. Models checked by loom: `ring/models.rs`.

use super::message::MESSAGE_BYTES_MAX;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The unit of the data, in bytes: lengths, messages and indices are multiples of it.
pub(super) const WORD_BYTES: usize = 8;

/// A word of the ring's data.
#[cfg(not(loom))]
pub(super) type Word = AtomicU64;
#[cfg(loom)]
pub(super) use word::Word;

/// Alone on two cache lines, because processors fetch them in pairs.
#[repr(C, align(128))]
pub(super) struct Alone<T>(pub(super) T);

/// The indices and the flag. All zeros is the state of a new ring.
#[repr(C)]
pub(super) struct Control {
    /// Bytes that the producer has published since the beginning. Written by the producer.
    pub(super) published: Alone<AtomicU64>,
    /// Bytes that the consumer has done with since the beginning. Written by the consumer.
    pub(super) consumed: Alone<AtomicU64>,
    /// Not zero: the consumer sleeps, or is about to, until its doorbell rings. Written by both.
    asleep: Alone<AtomicU32>,
}

/// Where a ring lives.
pub(super) trait Memory {
    /// Its indices.
    fn control(&self) -> &Control;

    /// Its data: always the same slice, whose length is a power of two.
    fn words(&self) -> &[Word];
}

/// What the other side did that it can't have done by the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Corruption {
    /// An index that went back, or too far, or stands within a word.
    #[error("an index of the other side is impossible")]
    Index,
    /// A message that is longer than what was published, or than any may be.
    #[error("the length of a message is impossible")]
    Length,
    /// Bytes that are no archive of the expected message.
    #[error("a message does not validate")]
    Message,
}

/// Why a message can't be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// No room now.
    Full,
    /// No room ever.
    TooLarge,
    /// The consumer broke the rules.
    Corrupt(Corruption),
}

/// Bytes that a message of this many bytes takes, without its length.
const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(WORD_BYTES)
}

/// An index or distance within the ring as bytes: it has been compared with the capacity before.
const fn bytes(distance: u64) -> usize {
    distance as usize
}

/// The place of an index, counted in words.
fn place(words: &[Word], index: u64) -> usize {
    (bytes(index) / WORD_BYTES) & (words.len() - 1)
}

fn capacity(memory: &impl Memory) -> usize {
    let words = memory.words().len();
    debug_assert!(words.is_power_of_two() && words >= 2);
    words * WORD_BYTES
}

/// Longest message in a ring of this many bytes.
const fn message_bytes_max(capacity: usize) -> usize {
    let fits = capacity - WORD_BYTES;
    if fits < MESSAGE_BYTES_MAX { fits } else { MESSAGE_BYTES_MAX }
}

/// The writing end.
///
/// Always: `consumed ≤ published ≤ staged ≤ consumed + capacity`.
pub(super) struct Producer<M> {
    memory: M,
    capacity: usize,
    /// End of what is written.
    staged: u64,
    /// Our index, as the consumer sees it.
    published: u64,
    /// The consumer's index when it was last looked at.
    consumed: u64,
}

impl<M: Memory> Producer<M> {
    /// The writing end of a new ring.
    pub(super) fn new(memory: M) -> Self {
        let capacity = capacity(&memory);
        Self { memory, capacity, staged: 0, published: 0, consumed: 0 }
    }

    /// Writes a message behind those that are staged already.
    pub(super) fn stage(&mut self, message: &[u8]) -> Result<(), Refused> {
        if message.len() > message_bytes_max(self.capacity) {
            return Err(Refused::TooLarge);
        }
        let taken = WORD_BYTES + padded(message.len());
        if self.free() < taken {
            self.look().map_err(Refused::Corrupt)?;
            if self.free() < taken {
                return Err(Refused::Full);
            }
        }
        let words = self.memory.words();
        words[place(words, self.staged)].store(message.len() as u64, Ordering::Relaxed);
        let start = place(words, self.staged.wrapping_add(WORD_BYTES as u64));
        store(words, start, message);
        self.staged = self.staged.wrapping_add(taken as u64);
        Ok(())
    }

    /// Shows everything staged to the consumer. True: it sleeps, ring its doorbell.
    #[must_use]
    pub(super) fn publish(&mut self) -> bool {
        if self.staged == self.published {
            return false;
        }
        let control = self.memory.control();
        control.published.0.store(self.staged, Ordering::Release);
        self.published = self.staged;
        fence(Ordering::SeqCst);
        let asleep = &control.asleep.0;
        asleep.load(Ordering::Relaxed) != 0 && asleep.swap(0, Ordering::Relaxed) != 0
    }

    fn free(&self) -> usize {
        self.capacity - bytes(self.staged.wrapping_sub(self.consumed))
    }

    /// Reads the consumer's index.
    fn look(&mut self) -> Result<(), Corruption> {
        let consumed = self.memory.control().consumed.0.load(Ordering::Acquire);
        let unread = self.published.wrapping_sub(consumed);
        let unread_before = self.published.wrapping_sub(self.consumed);
        if unread > unread_before || !consumed.is_multiple_of(WORD_BYTES as u64) {
            return Err(Corruption::Index);
        }
        self.consumed = consumed;
        Ok(())
    }
}

/// Writes bytes, the last word filled up with zeros, beginning at a place and going round the end.
fn store(words: &[Word], start: usize, from: &[u8]) {
    let (front, back) = from.split_at(from.len().min((words.len() - start) * WORD_BYTES));
    store_run(&words[start..], front);
    store_run(words, back);
}

fn store_run(words: &[Word], from: &[u8]) {
    let (whole, rest) = from.as_chunks::<WORD_BYTES>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if let (Some(word), false) = (words.get(whole.len()), rest.is_empty()) {
        let mut last = [0; WORD_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// The reading end.
///
/// Always: `consumed ≤ published ≤ consumed + capacity`.
pub(super) struct Consumer<M> {
    memory: M,
    capacity: usize,
    /// Our index, as the producer sees it.
    consumed: u64,
    /// The producer's index when it was last looked at.
    published: u64,
    /// Whether we have set the flag and not taken it away; the producer may have.
    announced: bool,
}

impl<M: Memory> Consumer<M> {
    /// The reading end of a new ring.
    pub(super) fn new(memory: M) -> Self {
        let capacity = capacity(&memory);
        Self { memory, capacity, consumed: 0, published: 0, announced: false }
    }

    /// Copies the next message, if there is one, to the front of `buffer`, which grows to the
    /// longest message seen and is not cleared in between.
    pub(super) fn receive<'b>(
        &mut self,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, Corruption> {
        if !self.is_pending()? {
            return Ok(None);
        }
        let words = self.memory.words();
        let length = words[place(words, self.consumed)].load(Ordering::Relaxed);
        if length > message_bytes_max(self.capacity) as u64 {
            return Err(Corruption::Length);
        }
        let length = length as usize;
        let taken = WORD_BYTES + padded(length);
        if taken > bytes(self.unread()) {
            return Err(Corruption::Length);
        }
        if buffer.len() < padded(length) {
            buffer.resize(padded(length), 0);
        }
        let start = place(words, self.consumed.wrapping_add(WORD_BYTES as u64));
        load(words, start, &mut buffer[..padded(length)]);
        self.consumed = self.consumed.wrapping_add(taken as u64);
        self.memory.control().consumed.0.store(self.consumed, Ordering::Release);
        Ok(Some(&buffer[..length]))
    }

    /// Says that this side is about to wait for its doorbell. False: do not, there are messages.
    pub(super) fn announce_sleep(&mut self) -> Result<bool, Corruption> {
        self.announced = true;
        // A swap, as in `publish`: it stands in one order with the producer's.
        self.memory.control().asleep.0.swap(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let pending = self.is_pending()?;
        if pending {
            self.wake();
        }
        Ok(!pending)
    }

    /// Says that this side looks by itself again: nobody needs to ring.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.announced) {
            self.memory.control().asleep.0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether there is a message, as far as the producer's index goes.
    fn is_pending(&mut self) -> Result<bool, Corruption> {
        if self.unread() == 0 {
            let published = self.memory.control().published.0.load(Ordering::Acquire);
            let unread = published.wrapping_sub(self.consumed);
            if unread > self.capacity as u64 || !published.is_multiple_of(WORD_BYTES as u64) {
                return Err(Corruption::Index);
            }
            self.published = published;
        }
        Ok(self.unread() != 0)
    }

    fn unread(&self) -> u64 {
        self.published.wrapping_sub(self.consumed)
    }
}

/// Reads whole words, beginning at a place and going round the end.
fn load(words: &[Word], start: usize, into: &mut [u8]) {
    let (front, back) = into.split_at_mut(into.len().min((words.len() - start) * WORD_BYTES));
    load_run(&words[start..], front);
    load_run(words, back);
}

fn load_run(words: &[Word], into: &mut [u8]) {
    for (bytes, word) in into.as_chunks_mut::<WORD_BYTES>().0.iter_mut().zip(words) {
        *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
    }
}

#[cfg(loom)]
mod word;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod heap;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod models;
