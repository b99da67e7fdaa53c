//! Users who are deleted with everything that is theirs: devices with their links and sessions, claims,
//! tokens, codes, grants, subscriptions. Subscribers are told that theirs has ended, if they can be
//! reached: a departure does not wait for it.
//!
//! First it is written down that a user leaves, then what is theirs goes, piece by piece, and at last
//! what was written down. Whatever crashes in between, the next process goes on with it.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::channel::message::{Failure, Reply};
use shared::ids::UserId;
use shared::time::Instant;

use super::Shard;
use super::staging::{Change, Gate, Remover};
use crate::account::record;
use crate::authorization::edit::Edit;
use crate::command::ReplyTo;
use crate::events::{Ending, Stage as SubscriptionStage};

/// When what could not go is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Devices of a user that are being removed at a time.
const DEVICES_AT_ONCE: usize = 64;

/// Who may wait for the end of the same departure.
const WAITERS_MAX: usize = 16;

/// How far a departure has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It is being written down.
    Beginning,
    /// It is written down: what is theirs goes.
    Leaving,
    /// A commit about what is no device's is under way.
    Clearing,
}

struct Departure {
    stage: Stage,
    waiting: Vec<ReplyTo>,
}

/// The users who leave: none nearly always.
#[derive(Default)]
pub(super) struct Departures {
    users: BTreeMap<UserId, Departure>,
    due: Option<Instant>,
}

impl Departures {
    /// Whether a user leaves.
    pub(super) fn has(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }

    /// When to go on, whatever happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A departure that an earlier process has begun.
    pub(super) fn load(&mut self, user: UserId, now: Instant) {
        let departure = Departure { stage: Stage::Leaving, waiting: Vec::new() };
        self.users.insert(user, departure);
        self.due = Some(now);
    }
}

impl Shard {
    /// Begins a departure, or waits for the end of one that has begun.
    pub(super) fn delete_user(&mut self, to: ReplyTo, user: UserId) {
        if let Some(departure) = self.departures.users.get_mut(&user) {
            if departure.waiting.len() >= WAITERS_MAX {
                return self.answer(to, Reply::Failed(Failure::Overloaded));
            }
            return departure.waiting.push(to);
        }
        if self.check_commits().is_err() {
            return self.answer(to, Reply::Failed(Failure::Overloaded));
        }
        let departure = Departure { stage: Stage::Beginning, waiting: vec![to] };
        self.departures.users.insert(user, departure);
        let write = record::put_departure(user, self.now.unix);
        self.commit([write], Change::DepartureBegun(user), None);
    }

    /// It is written down that a user leaves, or was not.
    pub(super) fn departure_begun(&mut self, user: UserId, done: bool) {
        if !done {
            return self.end_departure(user, Reply::Failed(Failure::StoreUnavailable));
        }
        self.set_stage(user, Stage::Leaving);
    }

    fn set_stage(&mut self, user: UserId, stage: Stage) {
        if let Some(departure) = self.departures.users.get_mut(&user) {
            departure.stage = stage;
        }
    }

    fn end_departure(&mut self, user: UserId, reply: Reply) {
        let Some(departure) = self.departures.users.remove(&user) else { return };
        for to in departure.waiting {
            self.answer(to, reply.clone());
        }
    }

    /// Goes on with everybody who leaves: whenever something has been committed, and now and then.
    pub(super) fn go_on_leaving(&mut self) {
        if self.departures.users.is_empty() {
            self.departures.due = None;
            return;
        }
        let leaving = self.departures.users.iter();
        let leaving: Vec<UserId> = leaving
            .filter(|(_, departure)| departure.stage == Stage::Leaving)
            .map(|(user, _)| *user)
            .collect();
        for user in leaving {
            if self.check_commits().is_ok() {
                self.remove_what_is_left(user);
            }
        }
        let more = !self.departures.users.is_empty();
        self.departures.due = more.then(|| self.now.instant + AGAIN);
    }

    fn remove_what_is_left(&mut self, user: UserId) {
        let tokens: Vec<[u8; 32]> =
            self.device_tokens.of_user(user).map(|(digest, _)| *digest).collect();
        let codes = self.authorization.codes.of_user(user);
        let codes = codes.map(|digest| (Gate::Code(digest), Edit::RemoveCode(user, digest)));
        let grants = self.authorization.grants.of_user(user);
        let grants = grants.map(|(id, _)| (Gate::Grant(id), Edit::RemoveGrant(user, id)));
        let all: Vec<_> = codes.chain(grants).collect();
        let granted = !all.is_empty();
        // What somebody else is changing at this moment goes the next time.
        let open = all.into_iter().filter(|(gate, _)| !self.staging.is_closed(*gate));
        let (gates, edits): (Vec<_>, Vec<_>) = open.unzip();
        if !tokens.is_empty() || !edits.is_empty() {
            self.clear(user, tokens, edits, gates);
        } else if !self.remove_devices(user) && !granted && !self.end_subscriptions(user) {
            self.forget_user(user);
        }
    }

    /// Ends those subscriptions that no grant of the user has ended; false if there are none.
    fn end_subscriptions(&mut self, user: UserId) -> bool {
        let all = self.events.subscriptions.of_user(user);
        let live = all.filter(|found| !matches!(found.stage, SubscriptionStage::Ending(_)));
        let live: Vec<_> = live.map(|found| found.id).collect();
        live.iter().for_each(|&id| self.doom(id, Ending::Revoked));
        !live.is_empty()
    }

    /// Removes what is no device's.
    fn clear(&mut self, user: UserId, tokens: Vec<[u8; 32]>, edits: Vec<Edit>, gates: Vec<Gate>) {
        for gate in &gates {
            self.staging.close(*gate);
        }
        let revoked = tokens.iter().map(|digest| record::delete_device_token(user, digest));
        let writes: Vec<_> = revoked.chain(edits.iter().map(Edit::write)).collect();
        self.set_stage(user, Stage::Clearing);
        self.commit(writes, Change::Cleared { user, tokens, edits }, gates);
    }

    /// Tokens, codes and grants of a user are gone, or are still there.
    pub(super) fn cleared(
        &mut self,
        user: UserId,
        tokens: &[[u8; 32]],
        edits: Vec<Edit>,
        done: bool,
    ) {
        self.set_stage(user, Stage::Leaving);
        if !done {
            return;
        }
        for digest in tokens {
            self.device_tokens.remove(digest);
        }
        for edit in edits {
            self.authorization.apply(edit);
        }
    }

    /// Removes some devices; false if there are none.
    fn remove_devices(&mut self, user: UserId) -> bool {
        let accounts = &self.router.accounts;
        let Some(key) = accounts.user(user) else { return false };
        let devices = &accounts[key].devices;
        let some: Vec<_> =
            devices.iter().take(DEVICES_AT_ONCE).map(|&device| accounts[device].id).collect();
        for &device in &some {
            let gate = Gate::Account(user, device);
            if !self.staging.is_closed(gate) && self.check_commits().is_ok() {
                self.staging.close(gate);
                self.commit_removal(user, device, Remover::Departure, Vec::new());
            }
        }
        !some.is_empty()
    }

    /// Nothing is left but the user.
    fn forget_user(&mut self, user: UserId) {
        self.set_stage(user, Stage::Clearing);
        let writes = [record::delete_user(user), record::delete_departure(user)];
        self.commit(writes, Change::Departed(user), None);
    }

    /// The user is gone, or is still there.
    pub(super) fn departed(&mut self, user: UserId, done: bool) {
        if !done {
            return self.set_stage(user, Stage::Leaving);
        }
        self.router.accounts.forget_user(user);
        self.counters.users_deleted += 1;
        self.end_departure(user, Reply::Done);
    }
}
