//! Who observes the links of a user: Observe on the cloud's own `/oic/res` (device reference 9.5).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use shared::coap::Token;
use shared::time::Instant;

use super::registrations::next_value;
use crate::account::UserKey;
use crate::connection::ConnectionId;
use crate::directory::query::Pairs;
use crate::shard::agenda::Agenda;
use crate::shard::wire::{BodyFormat, Requester};

/// An observer is told at most once in this time, however much changes.
const BETWEEN: Duration = Duration::from_secs(1);

/// A client's observation of the links of its user.
pub struct LinkObserver {
    client: ConnectionId,
    token: Token,
    format: BodyFormat,
    /// Its filter.
    pub query: Pairs,
    /// Links have changed since it was told.
    stale: bool,
    told: Instant,
    /// Of what it was told.
    digest: u64,
    counter: u32,
}

impl LinkObserver {
    /// To whom notifications go.
    pub fn requester(&self) -> Requester {
        Requester { format: self.format, ..Requester::new(self.client, self.token) }
    }

    fn is(&self, client: ConnectionId, token: Token) -> bool {
        self.client == client && self.token == token
    }

    fn due(&self) -> Option<Instant> {
        self.stale.then(|| self.told + BETWEEN)
    }

    /// It is told this now. Returns the value of Observe: 1, 2, 3, ... (device reference 11.2); none
    /// when it knows this already.
    pub fn tell(&mut self, body: &[u8], now: Instant) -> Option<u32> {
        self.stale = false;
        let digest = digest(body);
        if self.counter > 0 && digest == self.digest {
            return None;
        }
        Some(self.count(digest, now))
    }

    /// It asks again, and is told whether it knows or not.
    pub fn tell_again(&mut self, body: &[u8], now: Instant) -> u32 {
        self.stale = false;
        self.count(digest(body), now)
    }

    fn count(&mut self, digest: u64, now: Instant) -> u32 {
        (self.digest, self.told) = (digest, now);
        self.counter = next_value(self.counter);
        self.counter
    }
}

/// A user's answer against the user's own former one: nothing is won by a collision.
fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

/// All who observe links, by the index of their user's key.
#[derive(Default)]
pub struct LinkObservers {
    users: BTreeMap<u32, Vec<LinkObserver>>,
    agenda: Agenda<u32>,
}

impl LinkObservers {
    /// Adds an observer, which has been told nothing yet, or gives it another filter.
    pub fn add(
        &mut self,
        user: UserKey,
        requester: &Requester,
        query: Pairs,
        now: Instant,
    ) -> Added {
        let observers = self.users.entry(user.index()).or_default();
        let known = observers.iter_mut().find(|it| it.is(requester.connection, requester.token));
        if let Some(observer) = known {
            observer.format = requester.format;
            observer.query = query;
            return Added::Again;
        }
        observers.push(LinkObserver {
            client: requester.connection,
            token: requester.token,
            format: requester.format,
            query,
            stale: false,
            told: now,
            digest: 0,
            counter: 0,
        });
        Added::New
    }

    /// Takes an observer out.
    pub fn remove(&mut self, user: UserKey, client: ConnectionId, token: Token) -> bool {
        self.retain(user, |observer| !observer.is(client, token)) > 0
    }

    /// Takes all observers of a client out. Returns how many they were.
    pub fn remove_client(&mut self, user: UserKey, client: ConnectionId) -> usize {
        self.retain(user, |observer| observer.client != client)
    }

    fn retain(&mut self, user: UserKey, keep: impl Fn(&LinkObserver) -> bool) -> usize {
        let index = user.index();
        let Some(observers) = self.users.get_mut(&index) else { return 0 };
        let before = observers.len();
        observers.retain(keep);
        let gone = before - observers.len();
        if observers.is_empty() {
            self.users.remove(&index);
            self.agenda.clear(index);
        }
        gone
    }

    /// The observer that a client has with this token.
    pub fn find(
        &mut self,
        user: UserKey,
        client: ConnectionId,
        token: Token,
    ) -> Option<&mut LinkObserver> {
        self.users.get_mut(&user.index())?.iter_mut().find(|it| it.is(client, token))
    }

    /// Links of a user have changed.
    pub fn mark_stale(&mut self, user: UserKey) {
        if let Some(observers) = self.users.get_mut(&user.index()) {
            observers.iter_mut().for_each(|observer| observer.stale = true);
            self.schedule(user.index());
        }
    }

    fn schedule(&mut self, index: u32) {
        let observers = self.users.get(&index).into_iter().flatten();
        if let Some(at) = observers.filter_map(LinkObserver::due).min() {
            self.agenda.set(index, at);
        }
    }

    /// A user whose observers are to be told; they are taken out until they come back by
    /// [`put_back`](Self::put_back).
    pub fn take_due(&mut self, now: Instant) -> Option<(UserKey, Vec<LinkObserver>)> {
        loop {
            let index = self.agenda.next_due(now)?;
            if let Some(observers) = self.users.remove(&index) {
                return Some((UserKey::from_index(index), observers));
            }
        }
    }

    /// Those who go on observing.
    pub fn put_back(&mut self, user: UserKey, observers: Vec<LinkObserver>) {
        if !observers.is_empty() {
            self.users.insert(user.index(), observers);
            self.schedule(user.index());
        }
    }

    /// When the next observer is to be told.
    pub fn next(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Number of observers.
    pub fn len(&self) -> usize {
        self.users.values().map(Vec::len).sum()
    }

    /// Nobody observes.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl LinkObserver {
    /// Whether it is time to tell it.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// It cannot be told now: later.
    pub fn put_off(&mut self, now: Instant) {
        self.told = now;
    }
}

/// Whether an observer is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is.
    New,
    /// It has registered before with the same token.
    Again,
}
