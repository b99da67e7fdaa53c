//! Sign-off and other ways in which a device's account ends (device reference 5.2).

use shared::channel::message::{Failure, Reply};
use shared::coap::{Request, ResponseType};
use shared::ids::{DeviceId, UserId};
use shared::time::UnixTime;

use super::Shard;
use super::claims::EvictOutcome;
use super::dispatch::Flow;
use super::input::PeerMessage;
use super::staging::{Change, Gate, Remover};
use super::wire::Requester;
use crate::account::{record, rights, token};
use crate::connection::{CloseReason, ConnectionId};
use crate::limits::LINGER;
use crate::reject::Reject;
use crate::session::Session;

/// Sign-offs that are remembered, for those who did not get the answer.
const REMEMBERED_MAX: usize = 1024;

/// Sign-offs of late: repeated with the same token they are answered as the first time.
#[derive(Default)]
pub(super) struct SignedOff(std::collections::VecDeque<Past>);

struct Past {
    device: DeviceId,
    token_digest: [u8; 32],
    until: UnixTime,
}

impl SignedOff {
    fn remember(&mut self, device: DeviceId, token: &str, until: UnixTime) {
        if self.0.len() == REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Past { device, token_digest: token::digest(token), until });
    }

    fn remembers(&self, device: DeviceId, token: &str, now: UnixTime) -> bool {
        let digest = token::digest(token);
        self.0
            .iter()
            .any(|past| past.device == device && past.token_digest == digest && past.until > now)
    }
}

/// The query of a sign-off.
#[derive(Default)]
struct Query<'a> {
    device: Option<DeviceId>,
    user: Option<UserId>,
    access_token: Option<std::borrow::Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, Reject> {
        let mut query = Self::default();
        for (key, value) in request.decoded_query() {
            let malformed = |_| Reject::bad_request("malformed query");
            match key {
                "di" => query.device = Some(value.parse().map_err(malformed)?),
                "uid" => query.user = Some(value.parse().map_err(malformed)?),
                "accesstoken" => query.access_token = Some(value),
                _ => {}
            }
        }
        Ok(query)
    }
}

impl Shard {
    /// DELETE `/oic/sec/account`.
    pub(super) fn sign_off(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<Flow, Reject> {
        let query = Query::parse(request)?;
        let found = match self.session(id) {
            Session::SignedIn(who) => self.own_account(who.device(), &query)?,
            Session::SignedOut => match self.proven_account(id, requester, &query)? {
                Ok(found) => found,
                Err(flow) => return Ok(flow),
            },
        };
        let (user, device) = found;
        let gate = Gate::Account(user, device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate);
        }
        self.check_commits()?;
        self.staging.close(gate);
        self.commit_removal(user, device, Remover::Device(*requester), Vec::new());
        Ok(Flow::Next)
    }

    /// A signed-in device may remove itself and nobody else.
    fn own_account(
        &self,
        key: crate::account::DeviceKey,
        query: &Query<'_>,
    ) -> Result<(UserId, DeviceId), Reject> {
        let origin = self.router.accounts.origin(key);
        let names_it = query.device.is_none_or(|device| device == origin.device)
            && query.user.is_none_or(|user| user == origin.user)
            && query
                .access_token
                .as_deref()
                .is_none_or(|token| self.store_key.is_token(&origin, token::Kind::Access, token));
        if !names_it {
            return Err(Reject::unauthorized("not the session's").and_close());
        }
        Ok((origin.user, origin.device))
    }

    /// Without a session, device id and access token are needed.
    fn proven_account(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        query: &Query<'_>,
    ) -> Result<Result<(UserId, DeviceId), Flow>, Reject> {
        const REFUSED: Reject = Reject::unauthorized("invalid access token").and_close();
        let (Some(device), Some(presented)) = (query.device, query.access_token.as_deref()) else {
            return Err(Reject::bad_request("di and accesstoken are needed").and_close());
        };
        let partition = token::partition(presented).ok_or(REFUSED)?;
        if let Some(flow) = self.elsewhere(id, self.placement.shard_of(partition))? {
            return Ok(Err(flow));
        }
        self.check_binding(id, device)?;
        let accounts = &self.router.accounts;
        let Some(key) = accounts.device(device) else {
            if self.signed_off.remembers(device, presented, self.now.unix) {
                self.answer_sign_off(requester);
                return Ok(Err(Flow::Next));
            }
            return Err(REFUSED);
        };
        let user = accounts.origin(key).user;
        if query.user.is_some_and(|named| named != user) {
            return Err(REFUSED);
        }
        rights::check_access(accounts, &self.store_key, user, device, presented, self.now.unix)
            .map_err(Reject::and_close)?;
        Ok(Ok((user, device)))
    }

    fn answer_sign_off(&mut self, requester: &Requester) {
        self.router.wire.answer(requester, ResponseType::Deleted, |_| {});
        self.close_after(requester.connection, CloseReason::DeviceRemoved, LINGER, false);
    }

    /// Stages the end of an account, behind its closed gate.
    pub(super) fn commit_removal(
        &mut self,
        user: UserId,
        device: DeviceId,
        by: Remover,
        tokens: Vec<[u8; 32]>,
    ) {
        let writes =
            [record::delete_device(user, device), record::put_directory(user, device, None)];
        let revoked = tokens.iter().map(|digest| record::delete_device_token(user, digest));
        let writes: Vec<_> = writes.into_iter().chain(revoked).collect();
        let news = self.news_of_removal(user, device);
        self.events.leaving.insert((user, device));
        let change = Change::Remove { user, device, tokens, by };
        self.commit_with(writes, change, Some(Gate::Account(user, device)), news);
    }

    /// The end of an account is durable, or was refused.
    pub(super) fn removal_committed(
        &mut self,
        user: UserId,
        device: DeviceId,
        tokens: &[[u8; 32]],
        by: &Remover,
        done: bool,
    ) {
        self.events.leaving.remove(&(user, device));
        if !done {
            self.events.touch(user, device);
        }
        if done {
            for digest in tokens {
                self.device_tokens.remove(digest);
            }
            self.events.untold.remove(&(user, device));
            self.events.told_online.remove(&(user, device));
            if let Some(key) = self.router.accounts.device_of_user(user, device) {
                self.remove_account(user, device, key, by);
            }
        }
        match (by, done) {
            (Remover::Device(requester), true) => self.answer_sign_off(requester),
            (Remover::Device(requester), false) => {
                self.router.wire.refuse(requester, &Reject::unavailable("try again"));
            }
            (Remover::Command(caller), true) => {
                self.router.reply(caller.channel, caller.request, Reply::Done);
            }
            (Remover::Command(caller), false) => {
                let failed = Reply::Failed(Failure::StoreUnavailable);
                self.router.reply(caller.channel, caller.request, failed);
            }
            // Whoever waits for the departure is told when all of it is done.
            (Remover::Departure, _) => {}
            (Remover::Peer(shard, transaction), done) => {
                let outcome = if done { EvictOutcome::Gone } else { EvictOutcome::Busy };
                let transaction = *transaction;
                self.tell(*shard, PeerMessage::Evicted { transaction, outcome });
            }
        }
    }

    fn remove_account(
        &mut self,
        user: UserId,
        device: DeviceId,
        key: crate::account::DeviceKey,
        by: &Remover,
    ) {
        self.counters.sign_offs += 1;
        let origin = self.router.accounts.origin(key);
        let access = self.store_key.token(&origin, token::Kind::Access);
        let until = self.now.unix.plus_secs(self.router.timers.sign_up_repeat.as_secs());
        self.signed_off.remember(device, &access, until);
        let keep = match by {
            Remover::Device(requester) => Some(requester.connection),
            Remover::Command(_) | Remover::Peer(..) | Remover::Departure => None,
        };
        let owner = self.router.accounts[key].user;
        self.forget_device(key, keep);
        if self.router.accounts.user(user) == Some(owner) {
            self.links_changed(owner);
        }
        if !matches!(by, Remover::Peer(..)) {
            let to = self.placement.shard_of_device(device);
            self.tell(to, PeerMessage::Unclaim { device, user });
        }
    }
}
