//! The shard's ends of the channels to `api` processes.

use std::collections::{BTreeMap, VecDeque};

use shared::channel::message::{CommandEnvelope, Failure, Reply, ReplyEnvelope};
use shared::channel::{ChannelError, GatewayEnd, Rest, SendError};

use crate::shard::ChannelId;

/// Commands that are taken from one channel in a turn.
const COMMANDS_PER_TURN: usize = 64;

/// Replies kept for an `api` process that does not read. Beyond it the channel is closed.
const BACKLOG_MAX: usize = 4096;

struct Channel {
    end: GatewayEnd,
    backlog: VecDeque<ReplyEnvelope>,
}

/// All channels of a shard.
#[derive(Default)]
pub struct Channels {
    open: BTreeMap<ChannelId, Channel>,
}

impl Channels {
    /// A process has been introduced.
    pub fn open(&mut self, id: ChannelId, end: GatewayEnd) {
        self.open.insert(id, Channel { end, backlog: VecDeque::new() });
    }

    /// A process is gone, or its channel cannot go on.
    pub fn close(&mut self, id: ChannelId) {
        self.open.remove(&id);
    }

    /// Takes commands, a few from each channel. While a process does not read its replies, none are
    /// taken from it. Returns the channels that are lost.
    pub fn take(&mut self, commands: &mut Vec<(ChannelId, CommandEnvelope)>) -> Vec<Lost> {
        self.each(|id, channel| channel.take(id, commands))
    }

    /// Sends a reply; replies for channels that are gone are dropped.
    pub fn reply(&mut self, id: ChannelId, reply: ReplyEnvelope) -> Option<Lost> {
        let channel = self.open.get_mut(&id)?;
        channel.reply(reply).err().map(|cause| Lost { id, cause })
    }

    /// Shows the other sides what was sent.
    pub fn flush(&mut self) -> Vec<Lost> {
        self.each(|_, channel| channel.end.flush().map_err(Cause::from))
    }

    fn each(
        &mut self,
        mut act: impl FnMut(ChannelId, &mut Channel) -> Result<(), Cause>,
    ) -> Vec<Lost> {
        let results = self.open.iter_mut().map(|(&id, channel)| (id, act(id, channel)));
        results.filter_map(|(id, result)| result.err().map(|cause| Lost { id, cause })).collect()
    }

    /// Whether the shard may sleep: nothing has come, and everybody knows that it has to be woken.
    pub fn announce_sleep(&mut self) -> bool {
        // Everybody is told, even when somebody has something: waking costs nothing.
        let rests = self.open.values_mut().map(|channel| match channel.end.announce_sleep() {
            Ok(Rest::Sleep) => channel.backlog.is_empty(),
            // What is wrong with the channel comes out at its next use.
            Ok(Rest::StayAwake) | Err(_) => false,
        });
        rests.fold(true, |all, one| all & one)
    }

    /// The shard is awake.
    pub fn wake(&mut self) {
        for channel in self.open.values_mut() {
            channel.end.wake();
        }
    }
}

impl Channel {
    fn take(
        &mut self,
        id: ChannelId,
        commands: &mut Vec<(ChannelId, CommandEnvelope)>,
    ) -> Result<(), Cause> {
        self.send_backlog()?;
        for _ in 0..COMMANDS_PER_TURN {
            if !self.backlog.is_empty() {
                break;
            }
            match self.end.next_command()? {
                Some(command) => commands.push((id, command)),
                None => break,
            }
        }
        Ok(())
    }

    fn reply(&mut self, reply: ReplyEnvelope) -> Result<(), Cause> {
        if self.backlog.len() >= BACKLOG_MAX {
            return Err(Cause::NotReading);
        }
        self.backlog.push_back(reply);
        self.send_backlog()
    }

    fn send_backlog(&mut self) -> Result<(), Cause> {
        while let Some(reply) = self.backlog.pop_front() {
            match self.end.send(&reply) {
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.backlog.push_front(reply);
                    break;
                }
                Err(SendError::TooLarge) => {
                    // Lists are paged below the bound; what a device answers may still exceed it.
                    let request = reply.request;
                    let reply = Reply::Failed(Failure::AnswerTooLarge);
                    self.backlog.push_front(ReplyEnvelope { request, reply });
                }
                Err(SendError::Lost(cause)) => return Err(cause.into()),
            }
        }
        Ok(())
    }
}

/// A channel that cannot go on.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub id: ChannelId,
    /// Why.
    pub cause: Cause,
}

/// Why a channel cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The other side broke the rules, or is gone.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The other side does not take its replies.
    #[error("the api process does not read its replies")]
    NotReading,
}
