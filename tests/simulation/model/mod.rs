//! What must be so: the model that the cloud is compared with after every step.
//!
//! [`records`] are the records as tables, durable and acknowledged; [`views`] what users may see at which
//! step; [`asked`] what is under way on a link; `answers` judges every message that leaves the cloud,
//! `replies` every reply to a command; [`facts`] what was acknowledged and must outlive every crash;
//! [`canary`] whose value is whose; `ending` is what must be so in the end.

mod answers;
pub(super) mod asked;
pub(super) mod canary;
mod ending;
pub(super) mod facts;
mod records;
mod replies;
pub(super) mod views;

use gateway::store::Batch;

use super::verdict::Invariant;
use facts::Facts;
use records::Records;
use views::Views;

/// What the cloud is compared with.
#[derive(Default)]
pub(super) struct Model {
    /// What would be there after a crash.
    pub(super) durable: Records,
    /// What the shards have been told is durable: exactly what anybody may see.
    pub(super) acknowledged: Records,
    pub(super) views: Views,
    pub(super) facts: Facts,
}

impl Model {
    /// A batch has become durable.
    pub(super) fn stored(&mut self, batch: &Batch) -> Result<(), (Invariant, String)> {
        self.durable.apply(batch);
        self.durable.check_owners(batch)
    }

    /// The shards are about to be told.
    pub(super) fn acknowledged(&mut self, batch: &Batch, step: u64) {
        let users = self.acknowledged.apply(batch);
        for user in users {
            self.views.note(user, &self.acknowledged, step);
        }
    }

    /// The gateway has started with what is durable.
    pub(super) fn started(&mut self, step: u64) {
        self.acknowledged = self.durable.clone();
        for user in self.acknowledged.users() {
            self.views.note(user, &self.acknowledged, step);
        }
        for user in self.views.users() {
            self.views.note(user, &self.acknowledged, step);
        }
    }
}
