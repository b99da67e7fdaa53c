//! What waits for the shard of a device id to answer.

use shared::ids::{DeviceId, UserId};

use super::wire::Requester;
use crate::command::Caller;
use crate::identity::PeerIdentity;
use crate::slab::{Key, Slab};

/// Names a transaction.
pub(super) type TransactionKey = Key<Transaction>;

/// The transactions of a shard.
pub(super) type Transactions = Slab<Transaction>;

/// Something that needs a claim first.
pub(super) enum Transaction {
    /// A device signs up.
    SignUp(SignUp),
    /// A Mediator asks for a token for a device that may be somebody else's.
    DeviceToken {
        /// Who asks.
        caller: Caller,
        /// The device.
        device: DeviceId,
    },
}

/// A sign-up whose token is right.
pub(super) struct SignUp {
    /// Who waits.
    pub(super) requester: Requester,
    /// Whose device it is going to be.
    pub(super) user: UserId,
    /// The device.
    pub(super) device: DeviceId,
    /// Digest of the single-use token.
    pub(super) digest: [u8; 32],
    /// What the peer's certificate proves.
    pub(super) identity: PeerIdentity,
}
