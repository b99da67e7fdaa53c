//! Subscriptions of partner clouds, their numbers and their outboxes (cloud reference 5).
//!
//! ```text
//! change ─► shard: which subscriptions does it concern? ─► records in the commit of the change
//!                                                                │ durable
//!          outbox of each subscription, in order ◄───────────────┘
//!              │ one under way at a time
//!          couriers: which api process delivers what ─► attempt ─► outcome ─► the next, again, or the end
//! ```
//!
//! [`subscription`] is what was asked for and what waits, [`outbox`] the notifications of one
//! subscription, [`couriers`] who delivers, [`retry`] when it is tried again, [`record`] what the store
//! keeps; [`table`] finds subscriptions by whatever they are about. What happens when is decided in
//! `shard`.
//!
//! A notification gets its number when it is handed out: it is the count of those before it that have
//! been dealt with, which is written with the removal of each. So numbers have no gaps whatever the
//! store refuses, and a restart hands the same notification out under the same number.
//!
//! Nothing here is part of a device or of a connection: who has no subscriptions pays nothing.

pub mod couriers;
pub mod outbox;
pub mod record;
pub mod retry;
pub mod subscription;
pub mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shared::ids::{DeviceId, GrantId, SubscriptionId, UserId};

use crate::shard::agenda::Agenda;
use crate::store::Key;

pub use couriers::Couriers;
pub use outbox::{Appended, Outbox, Waiting};
pub use subscription::{Ending, Stage, Subscription, Way};
pub use table::Subscriptions;

/// Everything of this area that a shard has.
#[derive(Default)]
pub struct Events {
    /// The subscriptions.
    pub subscriptions: Subscriptions,
    /// Who delivers, and what is ready to be delivered.
    pub couriers: Couriers,
    /// Devices whose subscribers were told last that they are online, of users to whom somebody is
    /// subscribed.
    pub told_online: BTreeSet<(UserId, DeviceId)>,
    /// Devices that have come or gone in this turn.
    pub touched: Vec<(UserId, DeviceId)>,
    /// Grants that have ended, and whose subscriptions have to.
    pub revoked: VecDeque<GrantId>,
    /// Subscriptions that have to end because of something that was noticed in this turn.
    pub doomed: Vec<(SubscriptionId, Ending)>,
    /// Among them are those of whom some subscribers may have been told something else than others, or
    /// than is marked: they are told in any case.
    pub untold: BTreeSet<(UserId, DeviceId)>,
    /// Devices whose accounts are about to go: after that was told, nothing is told of them.
    pub leaving: BTreeSet<(UserId, DeviceId)>,
    /// Users of whom it is on its way to the store who has come and gone, in so many commits.
    pub telling: BTreeMap<UserId, usize>,
    /// Devices of theirs that have come or gone meanwhile: they are told of together.
    pub told_next: BTreeSet<(UserId, DeviceId)>,
    /// Devices whose coming or going could not be stored, and is told then.
    pub touch_again: Agenda<(UserId, DeviceId)>,
    /// Subscriptions with a representation that may be written now.
    pub to_write: Vec<SubscriptionId>,
    /// Subscriptions that are tried again then.
    pub retries: Agenda<SubscriptionId>,
    /// Deliveries that a process has kept for too long.
    pub leases: Agenda<SubscriptionId>,
    /// Devices whose subscribed resources are to be observed, and of which the present representation
    /// is asked for.
    pub to_watch: Vec<(DeviceId, Option<u32>)>,
    /// The same, later.
    pub watch_again: Agenda<DeviceId>,
    /// Subscriptions that wait until everything that was staged before them is durable.
    pub starting: Vec<SubscriptionId>,
    /// What the store holds that belongs to nothing, found when it was loaded.
    pub orphans: Vec<Key>,
    /// The store was loaded, and what it says has to be compared with what is.
    pub loaded: bool,
}

impl Events {
    /// When something is due.
    pub fn due(&self) -> Option<shared::time::Instant> {
        let agendas = [
            self.retries.next(),
            self.leases.next(),
            self.watch_again.next(),
            self.touch_again.next(),
        ];
        agendas.into_iter().flatten().min()
    }

    /// Whether this turn has left nothing to do.
    pub fn is_settled(&self) -> bool {
        self.touched.is_empty()
            && self.revoked.is_empty()
            && self.doomed.is_empty()
            && self.to_watch.is_empty()
            && self.to_write.is_empty()
            && self.orphans.is_empty()
    }

    /// Who has come or gone while something was on its way to the store is looked at now, if nothing of
    /// that user is any more.
    pub fn told(&mut self, user: UserId) {
        let Some(commits) = self.telling.get_mut(&user) else { return };
        *commits -= 1;
        if *commits > 0 {
            return;
        }
        self.telling.remove(&user);
        const FIRST: DeviceId = DeviceId::from_bytes([0; 16]);
        const LAST: DeviceId = DeviceId::from_bytes([0xff; 16]);
        let next: Vec<_> = self.told_next.range((user, FIRST)..=(user, LAST)).copied().collect();
        for known in next {
            self.told_next.remove(&known);
            self.touched.push(known);
        }
    }

    /// A device has come or gone.
    pub fn touch(&mut self, user: UserId, device: DeviceId) {
        if self.subscriptions.of_user(user).next().is_some() {
            self.touched.push((user, device));
        }
    }
}
