//! Changes on their way to the store: staged until they are durable.
//!
//! A change is written first and made afterwards. Until its commit is acknowledged, tables, observers
//! and answers see nothing of it; requests about the same thing wait behind its [`Gate`], bounded.

use std::collections::{BTreeMap, VecDeque};

use shared::channel::authorization::{AuthorizationCommand, RegistryCommand};
use shared::channel::message::{Command, Reply, Subject};
use shared::ids::{DeviceId, GrantId, ShardId, SubscriptionId, UserId};

use super::claims::ClaimingKey;
use super::input::{CommitId, PeerMessage};
use super::wire::Requester;
use crate::account::{Account, DeviceKey};
use crate::authorization::edit::Edit;
use crate::command::{Caller, ReplyTo};
use crate::connection::ConnectionId;
use crate::connection::tickets::TicketKey;
use crate::directory::Directory;
use crate::events::Appended;
use crate::limits::GATE_WAITERS_MAX;

/// What a staged change is about. Whoever wants to read or change the same waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Gate {
    /// The account of a device with a user, and the device's links.
    Account(UserId, DeviceId),
    /// The claim on a device id.
    Claim(DeviceId),
    /// What exists of a user beside devices.
    User(UserId),
    /// An authorization code, by its digest.
    Code([u8; 32]),
    /// What a user granted to a client.
    Grant(GrantId),
    /// An OAuth client, by the digest of its id.
    Client([u8; 32]),
    /// A login, by the digest of its name.
    Login([u8; 32]),
    /// The keys that sign access tokens.
    SigningKeys,
}

/// Who waits at a gate.
pub enum Waiter {
    /// A connection: its next request, and everything behind it.
    Connection(ConnectionId),
    /// A command of an `api` process.
    Command(Caller, Command),
    /// A command about codes and grants.
    Authorization(ReplyTo, Subject, AuthorizationCommand),
    /// A command about the cloud's records.
    Registry(ReplyTo, RegistryCommand),
    /// A message of another shard.
    Peer(ShardId, PeerMessage),
}

/// A change that becomes real when its commit is acknowledged.
pub enum Change {
    /// A device has signed up.
    SignUp {
        /// Who.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// The account it gets.
        account: Account,
        /// The single-use token that is used up.
        token_digest: [u8; 32],
        /// Who waits for the tokens.
        requester: Requester,
    },
    /// A device gets another pair of tokens.
    Refresh {
        /// Which device.
        device: DeviceKey,
        /// The account with its next generation.
        account: Account,
        /// Who waits for the tokens.
        requester: Requester,
    },
    /// An account changed in a way that nobody waits for: the change has been made already, and is
    /// made again when it is lost.
    Noted,
    /// A device has other links.
    Links {
        /// Which device.
        device: DeviceKey,
        /// Its links from now on.
        directory: Option<Directory>,
        /// Hrefs of the links that are gone.
        gone: Vec<String>,
        /// Who waits.
        requester: Requester,
        /// To a publish; none to an unpublish.
        published: Option<Echo>,
    },
    /// Links of a device have expired.
    Expired {
        /// Which device.
        device: DeviceKey,
        /// Its links from now on.
        directory: Option<Directory>,
        /// Hrefs of the links that are gone.
        gone: Vec<String>,
    },
    /// A device's account is gone, and with it everything that it had.
    Remove {
        /// Whose it was.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Single-use tokens for it that are revoked.
        tokens: Vec<[u8; 32]>,
        /// Who wanted it.
        by: Remover,
    },
    /// The claim on a device id has a new owner.
    Claim {
        /// The claim under way.
        claiming: ClaimingKey,
    },
    /// The claim on a device id is gone.
    Unclaim {
        /// Which device id.
        device: DeviceId,
    },
    /// A single-use token exists.
    Token {
        /// Whose.
        user: UserId,
        /// Its digest.
        digest: [u8; 32],
        /// What it is good for.
        record: crate::account::record::DeviceTokenRecord,
        /// Who asked for it.
        caller: Caller,
        /// The answer.
        reply: Reply,
    },
    /// There is a new key for session tickets.
    TicketKey(TicketKey),
    /// Single-use tokens have expired.
    TokensExpired(Vec<[u8; 32]>),
    /// A user exists without devices.
    User {
        /// Who.
        user: UserId,
        /// Who asked for it.
        caller: Caller,
    },
    /// It is written down that a user leaves.
    DepartureBegun(UserId),
    /// Tokens, codes and grants of a user who leaves are gone.
    Cleared {
        /// Who leaves.
        user: UserId,
        /// Single-use tokens, by digest.
        tokens: Vec<[u8; 32]>,
        /// Codes and grants.
        edits: Vec<Edit>,
    },
    /// A user has left.
    Departed(UserId),
    /// A subscription exists.
    Subscribed {
        /// Which.
        id: SubscriptionId,
        /// Who asked for it.
        caller: Caller,
    },
    /// A subscription has been ended.
    Unsubscribed {
        /// Who asked for it.
        caller: Caller,
    },
    /// Subscribers were told whether devices are online.
    Told {
        /// Whose devices.
        user: UserId,
        /// Which.
        devices: Vec<DeviceId>,
        /// Whether they are.
        online: bool,
    },
    /// The first notification of a subscription has been dealt with.
    DealtWith {
        /// Of which.
        id: SubscriptionId,
    },
    /// Nothing of a subscription is left.
    Forgotten {
        /// Which.
        id: SubscriptionId,
    },
    /// Codes, grants, or records of the cloud have changed.
    Authorization {
        /// How.
        edits: Vec<Edit>,
        /// The answer, if anybody asked for it.
        answer: Option<(ReplyTo, Reply)>,
    },
}

/// The answer to a publish.
pub struct Echo {
    /// Its body.
    pub body: Vec<u8>,
    /// The numbers of the links that were named.
    pub named: Vec<u32>,
}

impl Change {
    /// The peer that waits for an answer to it, if one does.
    pub fn requester(&self) -> Option<&Requester> {
        match self {
            Self::SignUp { requester, .. }
            | Self::Refresh { requester, .. }
            | Self::Links { requester, .. }
            | Self::Remove { by: Remover::Device(requester), .. } => Some(requester),
            Self::Remove {
                by: Remover::Command(_) | Remover::Peer(..) | Remover::Departure,
                ..
            }
            | Self::Noted
            | Self::Expired { .. }
            | Self::Claim { .. }
            | Self::Unclaim { .. }
            | Self::Token { .. }
            | Self::TicketKey(_)
            | Self::TokensExpired(_)
            | Self::User { .. }
            | Self::DepartureBegun(_)
            | Self::Cleared { .. }
            | Self::Departed(_)
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Told { .. }
            | Self::DealtWith { .. }
            | Self::Forgotten { .. }
            | Self::Authorization { .. } => None,
        }
    }
}

/// Who wanted a device removed.
pub enum Remover {
    /// The device itself, by signing off.
    Device(Requester),
    /// A Mediator or an operator.
    Command(Caller),
    /// The shard of the device id, for another user.
    Peer(ShardId, u64),
    /// Its user leaves.
    Departure,
}

/// A change, and what it tells subscribers.
pub struct Staged {
    /// What becomes real.
    pub change: Change,
    /// Behind which others wait.
    pub gates: Vec<Gate>,
    /// Notifications in the same commit.
    pub appended: Vec<Appended>,
}

/// The changes under way, and who waits behind them.
#[derive(Default)]
pub struct Staging {
    last: u64,
    staged: BTreeMap<CommitId, Staged>,
    gates: BTreeMap<Gate, VecDeque<Waiter>>,
}

/// No more can wait behind this gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyWaiters;

impl Staging {
    /// Changes under way.
    pub fn len(&self) -> usize {
        self.staged.len()
    }

    /// No changes under way.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Gates that are closed.
    pub fn gates(&self) -> usize {
        self.gates.len()
    }

    /// Whether a gate is closed.
    pub fn is_closed(&self, gate: Gate) -> bool {
        self.gates.contains_key(&gate)
    }

    /// Whether one more can wait at a closed gate.
    pub fn has_room(&self, gate: Gate) -> bool {
        self.gates.get(&gate).is_some_and(|waiters| waiters.len() < GATE_WAITERS_MAX)
    }

    /// Closes a gate that is open.
    pub fn close(&mut self, gate: Gate) {
        let before = self.gates.insert(gate, VecDeque::new());
        debug_assert!(before.is_none(), "a gate is closed by one change at a time");
    }

    /// Lets somebody wait at a closed gate.
    pub fn wait(&mut self, gate: Gate, waiter: Waiter) -> Result<(), TooManyWaiters> {
        let waiters = self.gates.get_mut(&gate).ok_or(TooManyWaiters)?;
        if waiters.len() >= GATE_WAITERS_MAX {
            return Err(TooManyWaiters);
        }
        waiters.push_back(waiter);
        Ok(())
    }

    /// Opens a gate. Those who waited go on in their order.
    pub fn open(&mut self, gate: Gate) -> VecDeque<Waiter> {
        self.gates.remove(&gate).unwrap_or_default()
    }

    /// Stages a change behind gates that are closed already.
    pub fn stage(&mut self, change: Change, gates: Vec<Gate>, appended: Vec<Appended>) -> CommitId {
        debug_assert!(gates.iter().all(|gate| self.is_closed(*gate)));
        self.last += 1;
        let commit = CommitId(self.last);
        self.staged.insert(commit, Staged { change, gates, appended });
        commit
    }

    /// Takes a change whose commit has ended.
    pub fn take(&mut self, commit: CommitId) -> Option<Staged> {
        self.staged.remove(&commit)
    }

    /// The commit that was staged last.
    pub fn last(&self) -> CommitId {
        CommitId(self.last)
    }

    /// Whether a commit has ended, and all before it.
    pub fn is_over(&self, commit: CommitId) -> bool {
        self.staged.first_key_value().is_none_or(|(&oldest, _)| oldest > commit)
    }
}
