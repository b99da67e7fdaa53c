//! What an end of the channel reads that the other side wrote, for the fuzz targets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::codec::Message;
use super::message::{CommandEnvelope, ReplyEnvelope};
use super::ring::heap::{self, Heap};
use super::ring::{Consumer, Corruption, Producer, Refused};

/// Reads a command, as a shard does.
pub fn decode_command(bytes: &[u8]) -> Option<CommandEnvelope> {
    CommandEnvelope::decode(bytes)
}

/// Reads a reply, as `api` does.
pub fn decode_reply(bytes: &[u8]) -> Option<ReplyEnvelope> {
    ReplyEnvelope::decode(bytes)
}

/// The archive of a command.
pub fn encode_command(command: &CommandEnvelope) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes).ok().map(|()| bytes)
}

/// The archive of a reply.
pub fn encode_reply(reply: &ReplyEnvelope) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    reply.encode(&mut bytes).ok().map(|()| bytes)
}

/// Both ends of a ring, and its memory, to which anybody may do anything.
pub struct Ring {
    heap: Arc<Heap>,
    producer: Producer<Arc<Heap>>,
    consumer: Consumer<Arc<Heap>>,
    buffer: Vec<u8>,
}

impl Ring {
    /// A new ring of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let heap = Heap::new(bytes);
        let (producer, consumer) = heap::ends(&heap);
        Self { heap, producer, consumer, buffer: Vec::new() }
    }

    /// Sends a message. False: there is no room, or never will be.
    pub fn send(&mut self, message: &[u8]) -> Result<bool, Corruption> {
        match self.producer.stage(message) {
            Ok(()) => {
                // Nobody sleeps here whom a doorbell would wake.
                let _wake = self.producer.publish();
                Ok(true)
            }
            Err(Refused::Corrupt(corruption)) => Err(corruption),
            Err(Refused::Full | Refused::TooLarge) => Ok(false),
        }
    }

    /// Receives the next message.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Corruption> {
        self.consumer.receive(&mut self.buffer)
    }

    /// The consumer goes to sleep, or sees that it must not.
    pub fn sleep(&mut self) -> Result<bool, Corruption> {
        self.consumer.announce_sleep()
    }

    /// Somebody writes an index of the producer's.
    pub fn set_published(&self, index: u64) {
        self.heap.control.published.0.store(index, Ordering::Relaxed);
    }

    /// Somebody writes an index of the consumer's.
    pub fn set_consumed(&self, index: u64) {
        self.heap.control.consumed.0.store(index, Ordering::Relaxed);
    }

    /// Somebody writes a word of the data.
    pub fn set_word(&self, at: usize, value: u64) {
        self.heap.words[at % self.heap.words.len()].store(value, Ordering::Relaxed);
    }
}
