//! What must be so: the model that the cloud is compared with after every step.
//!
//! [`records`] are the records as tables, durable and acknowledged; [`views`] what users may see at which
//! step; [`asked`] what is under way on a link; `answers` judges every message that leaves the cloud,
//! `replies` every reply to a command; [`facts`] what was acknowledged and must outlive every crash;
//! [`canary`] whose value is whose; [`outboxes`] what subscriptions tell, `events` judges every
//! notification that leaves the cloud, and hears what its receiver does; [`consents`] what was granted and
//! has ended; `ending` is what must be so in
//! the end.

mod answers;
pub(super) mod asked;
pub(super) mod canary;
pub(super) mod consents;
mod ending;
pub(super) mod events;
pub(super) mod facts;
mod outboxes;
mod records;
mod replies;
pub(super) mod views;

use gateway::store::{Batch, Key, Table};
use shared::ids::GrantId;

use super::verdict::Invariant;
use consents::Consents;
use events::Receivers;
use facts::Facts;
use records::Records;
use views::Views;

/// The grant that a record is about.
fn grant_named_by(key: &Key) -> Option<GrantId> {
    let id = key.rest().get(16..).filter(|_| key.table() == Table::Grant)?;
    id.try_into().map(GrantId::from_bytes).ok()
}

/// What the cloud is compared with.
#[derive(Default)]
pub(super) struct Model {
    /// What would be there after a crash.
    pub(super) durable: Records,
    /// What the shards have been told is durable: exactly what anybody may see.
    pub(super) acknowledged: Records,
    pub(super) views: Views,
    pub(super) facts: Facts,
    pub(super) receivers: Receivers,
    pub(super) consents: Consents,
}

impl Model {
    /// A batch has become durable.
    pub(super) fn stored(&mut self, batch: &Batch) -> Result<(), (Invariant, String)> {
        let users = self.durable.apply(batch);
        self.durable.check_owners(batch)?;
        let receivers = &self.receivers;
        self.durable.check_told(&users, |id| receivers.is_unwanted(id))
    }

    /// The shards are about to be told.
    pub(super) fn acknowledged(&mut self, batch: &Batch, step: u64) {
        let users = self.acknowledged.apply(batch);
        let gone = batch.writes().iter().filter(|write| write.value.is_none());
        self.consents.end(gone.filter_map(|write| grant_named_by(&write.key)), step);
        for user in users {
            self.views.note(user, &self.acknowledged, step);
        }
    }

    /// The gateway has started with what is durable.
    pub(super) fn started(&mut self, step: u64) {
        let before = std::mem::replace(&mut self.acknowledged, self.durable.clone());
        let grants = &self.acknowledged.grants;
        let gone = before.grants.into_keys().filter(|grant| !grants.contains_key(grant));
        self.consents.end(gone, step);
        for user in self.acknowledged.users() {
            self.views.note(user, &self.acknowledged, step);
        }
        for user in self.views.users() {
            self.views.note(user, &self.acknowledged, step);
        }
    }
}
