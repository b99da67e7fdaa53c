//! Observe on the cloud's `/oic/res`: devices of the user come, go and publish (device reference 9.5).

use shared::coap::{CoapOption, Request, RequestType, ResponseType, Token};

use super::Shard;
use super::wire::{BodyFormat, Requester, TooLarge, write_format};
use crate::account::{Accounts, UserKey};
use crate::connection::ConnectionId;
use crate::directory::discovery::{self, Shape};
use crate::directory::query::{Pairs, Query};
use crate::observe::links::{Added, LinkObserver};
use crate::proxy::Router;
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::session::SignedIn;

/// Users whose observers are told in one turn: lists of links may be long, and others wait.
const USERS_PER_TURN: usize = 16;

/// What a token of a client belongs to while it observes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenOwner {
    /// Nothing that goes on.
    Nobody,
    /// An observation on a device.
    Resource,
    /// An observation of the user's links.
    Links,
}

impl Shard {
    /// Which observation a token of a client belongs to (device reference 11.3).
    pub(super) fn owner_of_token(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        token: Token,
    ) -> TokenOwner {
        let observes =
            self.router.wire.connections.get(id).is_some_and(|c| c.observation_count > 0);
        if !observes {
            TokenOwner::Nobody
        } else if self.router.is_observed_with(id, token) {
            TokenOwner::Resource
        } else if self.link_observers.find(who.user(), id, token).is_some() {
            TokenOwner::Links
        } else {
            TokenOwner::Nobody
        }
    }

    /// A client registers: it gets the links, and again whenever they change.
    pub(super) fn watch_links(
        &mut self,
        who: SignedIn,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<(), Reject> {
        let id = requester.connection;
        let pairs = Pairs::of(request.decoded_query());
        Query::parse(pairs.iter())?;
        if self.link_observers.find(who.user(), id, requester.token).is_none() {
            self.router.check_observations_of(id)?;
        }
        if self.link_observers.add(who.user(), requester, pairs, self.now.instant) == Added::New
            && let Some(connection) = self.router.wire.connections.get_mut(id)
        {
            connection.observation_count += 1;
        }
        let now = self.now.instant;
        let Some(observer) = self.link_observers.find(who.user(), id, requester.token) else {
            return Ok(());
        };
        let listener = self.router.wire.connections.get(id).map(|c| c.listener);
        let endpoint = self.settings.endpoint(listener);
        let body = body(&self.router.accounts, who.user(), observer, endpoint)?;
        let value = observer.tell_again(&body, now);
        let told = write_notification(&mut self.router, &observer.requester(), value, &body);
        if let Err(too_large) = told {
            self.unwatch_links(who.user(), requester);
            self.refuse_links(requester, too_large);
        }
        Ok(())
    }

    /// Ends the observation with this token, if there is one.
    pub(super) fn unwatch_links(&mut self, user: UserKey, requester: &Requester) {
        let Requester { connection, token, .. } = *requester;
        if self.link_observers.remove(user, connection, token) {
            self.forget_observations(connection, 1);
        }
    }

    /// Ends all observations of links of a client that leaves.
    pub(super) fn unwatch_all(&mut self, user: UserKey, client: ConnectionId) {
        if is_planted(Bug::LinkObserversAreKept) {
            return;
        }
        let count = self.link_observers.remove_client(user, client);
        self.forget_observations(client, count);
    }

    fn forget_observations(&mut self, client: ConnectionId, count: usize) {
        if let Some(connection) = self.router.wire.connections.get_mut(client) {
            connection.observation_count = connection
                .observation_count
                .saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
        }
    }

    /// Links of a user have changed: those who observe them are told, at most once in a second.
    pub(super) fn links_changed(&mut self, user: UserKey) {
        if !is_planted(Bug::LinkObserversAreNotTold) {
            self.link_observers.mark_stale(user);
        }
    }

    /// Tells those whose time has come.
    pub(super) fn tell_link_observers(&mut self) {
        let now = self.now.instant;
        for _ in 0..USERS_PER_TURN {
            let Some((user, observers)) = self.link_observers.take_due(now) else { return };
            let kept = observers.into_iter().filter_map(|it| self.tell_link_observer(user, it));
            let kept = kept.collect();
            self.link_observers.put_back(user, kept);
        }
    }

    /// Tells one observer what it does not know yet. Who cannot take it observes no longer.
    fn tell_link_observer(
        &mut self,
        user: UserKey,
        mut observer: LinkObserver,
    ) -> Option<LinkObserver> {
        let (now, requester) = (self.now.instant, observer.requester());
        let client = requester.connection;
        if !observer.is_due(now) {
            return Some(observer);
        }
        if self.router.wire.is_slow(client) {
            observer.put_off(now);
            return Some(observer);
        }
        let listener = self.router.wire.connections.get(client).map(|c| c.listener);
        let endpoint = self.settings.endpoint(listener);
        let body = body(&self.router.accounts, user, &observer, endpoint).ok()?;
        let Some(value) = observer.tell(&body, now) else { return Some(observer) };
        match write_notification(&mut self.router, &requester, value, &body) {
            Ok(()) => Some(observer),
            Err(too_large) => {
                self.forget_observations(client, 1);
                self.refuse_links(&requester, too_large);
                None
            }
        }
    }

    /// The links do not fit into a message that the client takes (device reference 12).
    pub(super) fn refuse_links(&mut self, requester: &Requester, too_large: TooLarge) {
        let text = format!("{too_large}: filter by rt, if or di");
        self.router.wire.explain(requester, ResponseType::InternalServerError, &text);
    }
}

/// What an observer is told.
fn body(
    accounts: &Accounts,
    user: UserKey,
    observer: &LinkObserver,
    endpoint: &discovery::Endpoint,
) -> Result<Vec<u8>, Reject> {
    let query = Query::parse(observer.query.iter())?;
    let shape = shape_of(observer.requester().format);
    let mut body = Vec::new();
    discovery::write(&mut body, links_of(accounts, user), &query, shape, endpoint);
    Ok(body)
}

fn write_notification(
    router: &mut Router,
    requester: &Requester,
    value: u32,
    body: &[u8],
) -> Result<(), TooLarge> {
    router.wire.answer_bounded(requester, ResponseType::Content, |message| {
        message.option_uint(CoapOption::Observe.into(), value);
        write_format(message, requester.format);
        message.payload(body);
    })
}

/// The links of all devices of a user, in the order of the devices' ids.
pub(super) fn links_of(
    accounts: &Accounts,
    user: UserKey,
) -> impl Iterator<Item = discovery::DeviceLinks<'_>> + Clone {
    accounts[user].devices.iter().filter_map(|&key| {
        let device = &accounts[key];
        device.directory.as_ref().map(|directory| (device.id, directory))
    })
}

/// How links are written for who accepts this.
pub(super) fn shape_of(format: BodyFormat) -> Shape {
    match format {
        BodyFormat::Ocf => Shape::Ocf,
        BodyFormat::Cbor => Shape::Old,
    }
}

/// Whether a request registers or deregisters: only then it may have the token of an observation.
pub(super) fn observes(request: &Request<'_>) -> bool {
    request.method == RequestType::Get && request.observe.is_some()
}
