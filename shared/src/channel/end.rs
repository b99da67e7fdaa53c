//! The two ends of a channel: typed messages over a pair of rings, and what wakes the other side.

use std::marker::PhantomData;

use super::codec::{Message, TooLarge};
use super::doorbell::Doorbell;
use super::message::{CommandEnvelope, ReplyEnvelope};
use super::region::{Half, Halves};
use super::ring::{Consumer, Producer, Refused};
use super::{ChannelError, Corruption};

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The other side has not read what was sent before. Nothing waits: it is the caller who says
    /// "try again later".
    #[error("the ring is full")]
    Full,
    /// It is longer than [`MESSAGE_BYTES_MAX`](super::message::MESSAGE_BYTES_MAX) bytes.
    #[error("the message is larger than a ring takes")]
    TooLarge,
    /// The channel is lost.
    #[error(transparent)]
    Lost(#[from] ChannelError),
}

impl From<Refused> for SendError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Full,
            Refused::TooLarge => Self::TooLarge,
            Refused::Corrupt(how) => Self::Lost(ChannelError::Corrupt(how)),
        }
    }
}

/// Whether to wait for the doorbell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rest {
    /// Nothing is there, and the doorbell rings when something comes.
    Sleep,
    /// Something has come: look again.
    StayAwake,
}

/// Sends `Out`, receives `In`. The first error that loses the channel is the answer to everything
/// after it: the other side can't make good what it broke.
struct End<In, Out> {
    incoming: Consumer<Half>,
    outgoing: Producer<Half>,
    doorbell: Doorbell,
    /// Holds the message on its way into or out of the ring.
    buffer: Vec<u8>,
    lost: Option<ChannelError>,
    messages: PhantomData<fn(Out) -> In>,
}

impl<In: Message, Out: Message> End<In, Out> {
    fn new(incoming: Half, outgoing: Half, doorbell: Doorbell) -> Self {
        Self {
            incoming: Consumer::new(incoming),
            outgoing: Producer::new(outgoing),
            doorbell,
            buffer: Vec::new(),
            lost: None,
            messages: PhantomData,
        }
    }

    fn receive(&mut self) -> Result<Option<In>, ChannelError> {
        self.check()?;
        let received = match self.incoming.receive(&mut self.buffer) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => In::decode(bytes).ok_or(Corruption::Message),
            Err(how) => Err(how),
        };
        received.map(Some).map_err(|how| self.lose(ChannelError::Corrupt(how)))
    }

    fn send(&mut self, message: &Out) -> Result<(), SendError> {
        self.check()?;
        message.encode(&mut self.buffer).map_err(|TooLarge| SendError::TooLarge)?;
        self.outgoing.stage(&self.buffer).map_err(|refused| {
            let error = refused.into();
            if let SendError::Lost(how) = error {
                self.lose(how);
            }
            error
        })
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        self.check()?;
        if self.outgoing.publish() {
            self.doorbell.ring().map_err(|how| self.lose(how))?;
        }
        Ok(())
    }

    fn announce_sleep(&mut self) -> Result<Rest, ChannelError> {
        self.flush()?;
        match self.incoming.announce_sleep() {
            Ok(true) => Ok(Rest::Sleep),
            Ok(false) => Ok(Rest::StayAwake),
            Err(how) => Err(self.lose(ChannelError::Corrupt(how))),
        }
    }

    fn check(&self) -> Result<(), ChannelError> {
        self.lost.map_or(Ok(()), Err)
    }

    fn lose(&mut self, how: ChannelError) -> ChannelError {
        *self.lost.get_or_insert(how)
    }
}

/// The shard's end of the channel to one `api` process.
///
/// Per turn: [`next_command`](Self::next_command) until there is none or the turn's budget is spent,
/// [`send`](Self::send) what is ready, [`flush`](Self::flush) once. Before the shard waits:
/// [`announce_sleep`](Self::announce_sleep); after it has waited: [`wake`](Self::wake).
///
/// After an error of type [`ChannelError`] the end is of no more use: drop it.
pub struct GatewayEnd(End<CommandEnvelope, ReplyEnvelope>);

impl GatewayEnd {
    pub(super) fn new(halves: Halves, doorbell: Doorbell) -> Self {
        Self(End::new(halves.commands, halves.replies, doorbell))
    }

    /// The next command, if there is one.
    pub fn next_command(&mut self) -> Result<Option<CommandEnvelope>, ChannelError> {
        self.0.receive()
    }

    /// Stages a reply; it goes out with the next [`flush`](Self::flush).
    ///
    /// [`SendError::Full`] means that `api` does not read. The shard may try again later, but must
    /// bound what it keeps for it.
    pub fn send(&mut self, reply: &ReplyEnvelope) -> Result<(), SendError> {
        self.0.send(reply)
    }

    /// Shows all staged replies to `api`, and wakes it if it sleeps: one system call then, else none.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        self.0.flush()
    }

    /// Flushes, then asks to be woken when a command comes. To be called for every end before the
    /// shard waits; it must not wait when one of them says [`Rest::StayAwake`].
    pub fn announce_sleep(&mut self) -> Result<Rest, ChannelError> {
        self.0.announce_sleep()
    }

    /// The shard is awake: `api` need not ring. Costs nothing when no sleep was announced.
    pub fn wake(&mut self) {
        self.0.incoming.wake();
    }
}

/// The `api` process's end of the channel to one shard.
///
/// Sending and receiving as in [`GatewayEnd`], with one [`Bell`](super::Bell) for all shards.
///
/// After an error of type [`ChannelError`] the whole link is of no more use: drop it and connect
/// again.
pub struct ApiEnd(End<ReplyEnvelope, CommandEnvelope>);

impl ApiEnd {
    pub(super) fn new(halves: Halves, doorbell: Doorbell) -> Self {
        Self(End::new(halves.replies, halves.commands, doorbell))
    }

    /// The next reply, if there is one.
    pub fn next_reply(&mut self) -> Result<Option<ReplyEnvelope>, ChannelError> {
        self.0.receive()
    }

    /// Stages a command; it goes out with the next [`flush`](Self::flush).
    ///
    /// [`SendError::Full`] means that the shard has more to do than it can: answer 503.
    pub fn send(&mut self, command: &CommandEnvelope) -> Result<(), SendError> {
        self.0.send(command)
    }

    /// Shows all staged commands to the shard, and wakes it if it sleeps.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        self.0.flush()
    }

    /// Flushes, then asks to be woken when a reply comes. To be called for every end before the
    /// bell is waited for; nobody must wait when one of them says [`Rest::StayAwake`].
    pub fn announce_sleep(&mut self) -> Result<Rest, ChannelError> {
        self.0.announce_sleep()
    }

    /// This side is awake: the shard need not ring. Costs nothing when no sleep was announced.
    pub fn wake(&mut self) {
        self.0.incoming.wake();
    }
}
