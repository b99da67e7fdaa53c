//! What stands around every message of the shard channel.
#![expect(missing_docs, reason = "rkyv derives public resolvers without documentation")]

use super::message::{Command, Reply};
use crate::ids::UserId;

/// What `api` asks of the shard that owns a user.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct CommandEnvelope {
    /// Chosen by `api`, unique among its commands under way on this ring.
    pub request: u64,
    /// How long the caller is going to wait, in milliseconds. The shard gives up then.
    pub patience_ms: u32,
    /// Whose data it is about. The shard answers [`Failure::WrongShard`](super::message::Failure::WrongShard) for users of another.
    pub user: UserId,
    /// What to do.
    pub command: Command,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ReplyEnvelope {
    /// The command's number.
    pub request: u64,
    /// What came of it.
    pub reply: Reply,
}
