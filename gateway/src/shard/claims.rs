//! Who owns a device id: claims in the partition of its hash, so that no id ever has two users.
//!
//! Invariant: a user has an account for a device id only while the claim names that user. So a claim
//! becomes durable before the account, and is removed after it. A claim without an account is what a
//! crash in between leaves; it is found out when somebody else wants the device id.
//!
//! ```text
//! user's shard ── Claim ──► id's shard ── Evict ──► shard of whoever claimed it before
//!              ◄─ Claimed ─            ◄─ Evicted ─
//! ```

use std::collections::BTreeMap;

use shared::channel::figures::TableMemory;
use shared::ids::{DeviceId, ShardId, UserId};

use super::Shard;
use super::input::{Output, PeerMessage};
use super::staging::{Change, Gate, Remover, Waiter};
use crate::account::record;
use crate::memory::ordered;
use crate::seeded::{Bug, is_planted};
use crate::slab::{Key, Slab};

/// Whether another user has to yield.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// Only if that user does not have the device any more.
    Refused,
    /// Yes: the device has proved its id, or the operator allows it (device reference 16, point 12).
    Granted,
    /// Nobody has to: it is only asked whether somebody else has the device.
    Inquiry,
}

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimOutcome {
    /// It is durable; for an inquiry: nobody else has the device.
    Granted,
    /// Somebody else has the device.
    OwnedByAnother,
    /// It cannot be said now.
    Unavailable,
}

/// What became of an eviction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EvictOutcome {
    /// That user has no account for the device.
    Gone,
    /// That user has, and keeps it.
    StillOwned,
    /// It cannot be said now.
    Busy,
}

/// Names a claim under way.
pub type ClaimingKey = Key<Claiming>;

/// A claim under way.
pub struct Claiming {
    from: ShardId,
    transaction: u64,
    device: DeviceId,
    user: UserId,
    takeover: Takeover,
}

/// The claims of this shard's partitions.
#[derive(Default)]
pub struct Claims {
    owners: BTreeMap<DeviceId, UserId>,
    under_way: Slab<Claiming>,
}

impl Claims {
    /// What they occupy.
    pub fn memory(&self) -> TableMemory {
        ordered::<(DeviceId, UserId)>("claims", self.owners.len())
    }

    /// A claim that was stored.
    pub fn load(&mut self, device: DeviceId, user: UserId) {
        self.owners.insert(device, user);
    }

    /// Who has claimed a device id.
    pub fn owner(&self, device: DeviceId) -> Option<UserId> {
        self.owners.get(&device).copied()
    }

    /// Number of claims.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Claims that wait for another shard or the store.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// No claims.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

impl Shard {
    /// Tells a shard something; oneself too.
    pub(super) fn tell(&mut self, to: ShardId, message: PeerMessage) {
        if to == self.id {
            self.on_peer(to, message);
        } else {
            self.outputs.push_back(Output::Peer { to, message });
        }
    }

    /// Another shard has something to say.
    pub(super) fn on_peer(&mut self, from: ShardId, message: PeerMessage) {
        match message {
            PeerMessage::Claim { transaction, device, user, takeover } => {
                self.on_claim(Claiming { from, transaction, device, user, takeover });
            }
            PeerMessage::Claimed { transaction, outcome } => {
                self.on_claimed(transaction, outcome);
            }
            PeerMessage::Evict { transaction, device, user, takeover } => {
                self.on_evict(from, transaction, device, user, takeover);
            }
            PeerMessage::Evicted { transaction, outcome } => {
                self.on_evicted(ClaimingKey::from_index(transaction as u32), outcome);
            }
            PeerMessage::TicketKeys(keys) => self.on_ticket_keys(&keys),
            PeerMessage::Unclaim { device, user } => self.on_unclaim(from, device, user),
        }
    }

    fn on_claim(&mut self, claiming: Claiming) {
        let gate = Gate::Claim(claiming.device);
        if self.staging.is_closed(gate) {
            let Claiming { from, transaction, device, user, takeover } = claiming;
            let message = PeerMessage::Claim { transaction, device, user, takeover };
            if self.staging.wait(gate, Waiter::Peer(from, message)).is_err() {
                self.answer_claim(from, transaction, ClaimOutcome::Unavailable);
            }
            return;
        }
        match self.claims.owner(claiming.device) {
            Some(owner) if owner != claiming.user => {
                self.staging.close(gate);
                let (device, takeover) = (claiming.device, claiming.takeover);
                let key = self.claims.under_way.insert(claiming);
                let transaction = u64::from(key.index());
                let to = self.placement.shard_of_user(owner);
                self.tell(to, PeerMessage::Evict { transaction, device, user: owner, takeover });
            }
            None if claiming.takeover != Takeover::Inquiry => {
                self.staging.close(gate);
                let key = self.claims.under_way.insert(claiming);
                self.commit_claim(key);
            }
            _ => self.answer_claim(claiming.from, claiming.transaction, ClaimOutcome::Granted),
        }
    }

    fn on_evicted(&mut self, key: ClaimingKey, outcome: EvictOutcome) {
        let Some(claiming) = self.claims.under_way.get(key) else { return };
        let answer = match (outcome, claiming.takeover) {
            (EvictOutcome::Gone, Takeover::Inquiry) => ClaimOutcome::Granted,
            (EvictOutcome::Gone, _) => return self.commit_claim(key),
            (EvictOutcome::StillOwned, _) => ClaimOutcome::OwnedByAnother,
            (EvictOutcome::Busy, _) => ClaimOutcome::Unavailable,
        };
        self.end_claim(key, answer);
    }

    fn commit_claim(&mut self, key: ClaimingKey) {
        let claiming = &self.claims.under_way[key];
        let write = record::put_claim(claiming.device, claiming.user);
        let gate = Gate::Claim(claiming.device);
        self.commit([write], Change::Claim { claiming: key }, Some(gate));
    }

    /// The commit of a claim has ended.
    pub(super) fn claim_committed(&mut self, key: ClaimingKey, done: bool) {
        let Some(claiming) = self.claims.under_way.remove(key) else { return };
        let outcome = if done {
            self.claims.owners.insert(claiming.device, claiming.user);
            ClaimOutcome::Granted
        } else {
            ClaimOutcome::Unavailable
        };
        self.answer_claim(claiming.from, claiming.transaction, outcome);
    }

    /// A claim ends without a commit.
    fn end_claim(&mut self, key: ClaimingKey, outcome: ClaimOutcome) {
        let Some(claiming) = self.claims.under_way.remove(key) else { return };
        self.answer_claim(claiming.from, claiming.transaction, outcome);
        self.reopen(Gate::Claim(claiming.device));
        if is_planted(Bug::ClaimsAreKept) {
            self.claims.under_way.insert(claiming);
        }
    }

    fn answer_claim(&mut self, to: ShardId, transaction: u64, outcome: ClaimOutcome) {
        self.tell(to, PeerMessage::Claimed { transaction, outcome });
    }

    /// Somebody else wants a device that this shard's user may have. Never waits: the user's own
    /// request might be waiting for the same claim.
    fn on_evict(
        &mut self,
        from: ShardId,
        transaction: u64,
        device: DeviceId,
        user: UserId,
        takeover: Takeover,
    ) {
        let gate = Gate::Account(user, device);
        let owned = self.router.accounts.device_of_user(user, device).is_some()
            && !is_planted(Bug::ClaimsDoNotEvict);
        let outcome = match (owned, takeover) {
            _ if self.staging.is_closed(gate) => EvictOutcome::Busy,
            (false, _) => EvictOutcome::Gone,
            (true, Takeover::Refused | Takeover::Inquiry) => EvictOutcome::StillOwned,
            (true, Takeover::Granted) => {
                self.staging.close(gate);
                self.commit_removal(user, device, Remover::Peer(from, transaction), Vec::new());
                return;
            }
        };
        self.tell(from, PeerMessage::Evicted { transaction, outcome });
    }

    /// An account is gone, and with it the reason for the claim.
    fn on_unclaim(&mut self, from: ShardId, device: DeviceId, user: UserId) {
        let gate = Gate::Claim(device);
        if self.staging.is_closed(gate) {
            // When too many wait, the claim stays; it is found out when somebody wants the device.
            let message = PeerMessage::Unclaim { device, user };
            let _ = self.staging.wait(gate, Waiter::Peer(from, message));
            return;
        }
        if self.claims.owner(device) == Some(user) {
            self.staging.close(gate);
            self.commit([record::delete_claim(device)], Change::Unclaim { device }, Some(gate));
        }
    }

    /// The commit of a removed claim has ended.
    pub(super) fn unclaim_committed(&mut self, device: DeviceId, done: bool) {
        if done {
            self.claims.owners.remove(&device);
        }
    }
}
