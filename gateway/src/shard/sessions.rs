//! Sign-up, sign-in, sign-out, token refresh: what they do to a connection (device reference 5 to 7).
//!
//! A user lives on one shard. The first request that names a user decides where the connection
//! belongs; see `moves`.

use shared::coap::ResponseType;
use shared::ids::{DeviceId, UserId};
use shared::ocf::account::{
    RefreshRequest, RefreshResponse, SessionRequest, SessionResponse, SignUpRequest, SignUpResponse,
};
use shared::ocf::cbor;

use super::Shard;
use super::claims::{ClaimOutcome, Takeover};
use super::dispatch::Flow;
use super::input::{Output, PeerMessage, Receive};
use super::pacing::Wants;
use super::staging::{Change, Gate};
use super::transactions::{SignUp, Transaction, TransactionKey};
use super::wire::Requester;
use crate::account::rights::{self, Refreshed, expires_in, expiry};
use crate::account::token::Kind;
use crate::account::{Account, DeviceKey, Presented, Repeatable, record, token};
use crate::config::{ManufacturerKeys, Takeover as TakeoverPolicy, TokenLifetime};
use crate::connection::{CloseReason, ConnectionId, Phase};
use crate::identity::PeerIdentity;
use crate::limits::MOVES_MAX;
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::session::{Session, SignedIn};

/// Sign-in is answered 2.04 with this to a sign-out: an empty map.
const EMPTY_MAP: &[u8] = &[0xa0];

fn bad_body(error: cbor::CborError) -> Reject {
    Reject::because(ResponseType::BadRequest, error.to_string()).and_close()
}

fn user_id(text: &str) -> Result<UserId, Reject> {
    text.parse().map_err(|_| Reject::bad_request("uid is not a UUID").and_close())
}

fn device_id(text: &str) -> Result<DeviceId, Reject> {
    text.parse().map_err(|_| Reject::bad_request("di is not a UUID").and_close())
}

/// Whom a sign-in or sign-out names, and with which proof.
struct Named<'a> {
    user: UserId,
    device: DeviceId,
    presented: &'a str,
}

impl<'a> Named<'a> {
    fn of(request: &'a SessionRequest) -> Result<Self, Reject> {
        let missing = || Reject::bad_request("uid, di and accesstoken are needed").and_close();
        Ok(Self {
            user: user_id(request.uid.as_deref().ok_or_else(missing)?)?,
            device: device_id(request.di.as_deref().ok_or_else(missing)?)?,
            presented: request.access_token.as_deref().ok_or_else(missing)?,
        })
    }
}

impl Shard {
    /// POST `/oic/sec/account`.
    pub(super) fn sign_up(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        body: &[u8],
    ) -> Result<Flow, Reject> {
        const REFUSED: Reject = Reject::unauthorized("invalid access token").and_close();
        let request: SignUpRequest = cbor::decode(body).map_err(bad_body)?;
        let device = device_id(&request.di)?;
        if request.access_token.is_empty() {
            return Err(Reject::bad_request("accesstoken is empty").and_close());
        }
        let provider = request.auth_provider.as_deref().unwrap_or_default();
        if !provider.is_empty() && provider != self.settings.cloud.provider {
            return Err(Reject::unauthorized("unknown authprovider").and_close());
        }
        let partition = token::partition(&request.access_token).ok_or(REFUSED)?;
        if let Some(flow) = self.elsewhere(id, self.placement.shard_of(partition))? {
            return Ok(flow);
        }
        let identity = self.check_binding(id, device)?;
        let digest = token::digest(&request.access_token);
        let (user, issued_for_it) = match self.device_tokens.present(&digest, device, self.now.unix)
        {
            Presented::Valid { user, bound } => (user, bound),
            Presented::OtherDevice => return Err(REFUSED),
            Presented::Taken => return Err(Reject::unavailable("the token is in use")),
            Presented::Unknown => {
                let key = self.repeated_sign_up(device, &digest, &identity).ok_or(REFUSED)?;
                if let Some(flow) = self.pace_device(id, device, Wants::SignUp)? {
                    return Ok(flow);
                }
                self.answer_sign_up(requester, key);
                return Ok(Flow::Next);
            }
        };
        let gate = Gate::Account(user, device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate);
        }
        self.check_room(user, device)?;
        if let Some(flow) = self.pace_device(id, device, Wants::SignUp)? {
            return Ok(flow);
        }
        self.staging.close(gate);
        self.device_tokens.take(&digest, device);
        let takeover = match identity.bound_device().is_some() {
            true => Takeover::Granted,
            false if issued_for_it && self.takeover_allowed() => Takeover::Granted,
            false => Takeover::Refused,
        };
        let sign_up = SignUp { requester: *requester, user, device, digest, identity };
        self.router.wire.request_begun(id);
        let key = self.transactions.insert(Transaction::SignUp(sign_up));
        let to = self.placement.shard_of_device(device);
        let transaction = u64::from(key.index());
        self.tell(to, PeerMessage::Claim { transaction, device, user, takeover });
        Ok(Flow::Next)
    }

    /// The account of a sign-up that is repeated because its answer was lost (device reference 1.3,
    /// rule 12).
    fn repeated_sign_up(
        &self,
        device: DeviceId,
        digest: &[u8; 32],
        identity: &PeerIdentity,
    ) -> Option<DeviceKey> {
        let key = self.router.accounts.device(device)?;
        let account = &self.router.accounts[key].account;
        let lost = is_planted(Bug::SignUpsCannotBeRepeated);
        let repeatable = account.repeatable.as_ref().filter(|_| !lost)?;
        let same = repeatable.token_digest == *digest
            && repeatable.until > self.now.unix
            && account.key_digest == identity.key_digest;
        same.then_some(key)
    }

    /// Room for one more device of a user, and for one more commit.
    fn check_room(&self, user: UserId, device: DeviceId) -> Result<(), Reject> {
        self.check_commits()?;
        let accounts = &self.router.accounts;
        let Some(key) = accounts.user(user) else { return Ok(()) };
        let full = accounts[key].devices.len() >= self.router.limits.devices_per_user_max;
        if full && accounts.device_of(key, device).is_none() {
            return Err(Reject::unavailable("the user has too many devices"));
        }
        Ok(())
    }

    /// The shard of the device id has answered.
    pub(super) fn on_sign_up_claimed(&mut self, sign_up: SignUp, outcome: ClaimOutcome) {
        let connection = sign_up.requester.connection;
        match outcome {
            // The user is being deleted, or was since the sign-up began.
            ClaimOutcome::Granted if !self.is_still_wanted(&sign_up) => {
                let (device, user) = (sign_up.device, sign_up.user);
                self.refuse_sign_up(&sign_up, &Reject::unavailable("try again"));
                if self.router.accounts.device_of_user(user, device).is_none() {
                    let to = self.placement.shard_of_device(device);
                    self.tell(to, PeerMessage::Unclaim { device, user });
                }
            }
            ClaimOutcome::Granted => self.commit_sign_up(sign_up),
            ClaimOutcome::OwnedByAnother => {
                let text = "the device belongs to somebody else";
                let reject = Reject::new(ResponseType::Forbidden, text).and_close();
                self.refuse_sign_up(&sign_up, &reject);
            }
            ClaimOutcome::Unavailable => {
                self.refuse_sign_up(&sign_up, &Reject::unavailable("try again"));
            }
        }
        self.router.wire.request_ended(connection);
    }

    fn is_still_wanted(&self, sign_up: &SignUp) -> bool {
        !self.departures.has(sign_up.user) && self.device_tokens.is_known(&sign_up.digest)
    }

    fn commit_sign_up(&mut self, sign_up: SignUp) {
        let SignUp { requester, user, device, digest, identity } = sign_up;
        let account = self.new_account(&digest, &identity);
        let writes = [
            record::put_device(user, device, &account),
            record::delete_device_token(user, &digest),
        ];
        let news = self.news_of_sign_up(user, device);
        let written = usize::from(is_planted(Bug::AccountsAreNotWritten));
        let writes = writes.into_iter().skip(written);
        let change = Change::SignUp { user, device, account, token_digest: digest, requester };
        self.commit_with(writes, change, Some(Gate::Account(user, device)), news);
    }

    fn refuse_sign_up(&mut self, sign_up: &SignUp, reject: &Reject) {
        self.device_tokens.release(&sign_up.digest);
        self.refuse(&sign_up.requester, reject);
        self.reopen(Gate::Account(sign_up.user, sign_up.device));
    }

    fn new_account(&mut self, digest: &[u8; 32], identity: &PeerIdentity) -> Account {
        let mut seed = [0; 16];
        self.random.fill(&mut seed);
        let repeat_secs = self.router.timers.sign_up_repeat.as_secs();
        Account {
            seed,
            generation: 1,
            previous_counts: false,
            expires: expiry(self.lifetime(identity), self.now.unix),
            repeatable: Some(Box::new(Repeatable {
                token_digest: *digest,
                until: self.now.unix.plus_secs(repeat_secs),
            })),
            key_digest: identity.key_digest,
            created: self.now.unix,
        }
    }

    /// Whether a token that was made for a device moves it away from another user.
    pub(super) fn takeover_allowed(&self) -> bool {
        self.settings.cloud.takeover == TakeoverPolicy::Allow
    }

    fn lifetime(&self, identity: &PeerIdentity) -> TokenLifetime {
        match identity.bound_device() {
            Some(_) => self.settings.cloud.identity_token,
            None => self.settings.cloud.manufacturer_token,
        }
    }

    /// A sign-up is durable.
    pub(super) fn signed_up(&mut self, key: DeviceKey, requester: &Requester) {
        self.counters.sign_ups += 1;
        if let Some(older) = self.router.accounts[key].connection
            && older != requester.connection
        {
            self.finish(older, CloseReason::Superseded);
        }
        self.answer_sign_up(requester, key);
    }

    fn answer_sign_up(&mut self, requester: &Requester, key: DeviceKey) {
        let origin = self.router.accounts.origin(key);
        let pair = rights::pair(&self.store_key, &origin);
        let expires = self.router.accounts[key].account.expires;
        let mut body = Vec::with_capacity(256);
        let response = SignUpResponse {
            access_token: pair.access,
            refresh_token: pair.refresh,
            uid: origin.user.to_string(),
            expires_in: expires_in(expires, self.now.unix),
            redirect_uri: self.settings.cloud.redirect.clone(),
        };
        cbor::encode(&mut body, &response);
        self.router.wire.answer_security(requester, &body);
    }

    /// POST `/oic/sec/session`.
    pub(super) fn session_request(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        body: &[u8],
    ) -> Result<Flow, Reject> {
        let request: SessionRequest = cbor::decode(body).map_err(bad_body)?;
        match request.login {
            true => self.sign_in(id, requester, &request),
            false => self.sign_out(id, requester, &request),
        }
    }

    fn sign_in(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &SessionRequest,
    ) -> Result<Flow, Reject> {
        let named = Named::of(request)?;
        if let Session::SignedIn(who) = self.session(id)
            && self.router.accounts[who.device()].id != named.device
        {
            return Err(Reject::unauthorized("signed in as another device").and_close());
        }
        let key = match self.prove(id, &named)? {
            Ok(key) => key,
            Err(flow) => return Ok(flow),
        };
        if let Some(flow) = self.pace_device(id, named.device, Wants::SignIn)? {
            return Ok(flow);
        }
        self.bind(id, key);
        let expires = self.router.accounts[key].account.expires;
        let mut body = Vec::with_capacity(32);
        let expires_in = expires_in(expires, self.now.unix);
        cbor::encode(&mut body, &SessionResponse { expires_in });
        self.router.wire.answer_security(requester, &body);
        Ok(Flow::Next)
    }

    /// Whether the token that is presented is the device's; if that can be said here and now.
    fn prove(
        &mut self,
        id: ConnectionId,
        named: &Named<'_>,
    ) -> Result<Result<DeviceKey, Flow>, Reject> {
        let &Named { user, device, presented } = named;
        if !rights::routes_to(presented, user) {
            return Err(Reject::unauthorized("invalid access token").and_close_unless_mended());
        }
        if let Some(flow) = self.elsewhere(id, self.placement.shard_of_user(user))? {
            return Ok(Err(flow));
        }
        let identity = self.check_binding(id, device)?;
        let gate = Gate::Account(user, device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate).map(Err);
        }
        let (accounts, now) = (&self.router.accounts, self.now.unix);
        let key = rights::check_access(accounts, &self.store_key, user, device, presented, now)
            .map_err(Reject::and_close_unless_mended)?;
        self.check_key(key, &identity)?;
        Ok(Ok(key))
    }

    /// A device may come with another key, which is worth a line in the log; but not with one that no
    /// authority ties to its id, where the operator pins keys (device reference 16, point 34).
    fn check_key(&mut self, key: DeviceKey, identity: &PeerIdentity) -> Result<(), Reject> {
        let device = &self.router.accounts[key];
        if device.account.key_digest == identity.key_digest {
            return Ok(());
        }
        let is_pinned = self.settings.cloud.manufacturer_keys == ManufacturerKeys::Pin;
        if is_pinned && identity.bound_device().is_none() {
            return Err(Reject::unauthorized("another key than at sign-up").and_close());
        }
        self.outputs.push_back(Output::KeyChanged { device: device.id });
        Ok(())
    }

    /// The connection is the device's session from now on; the newest one wins.
    fn bind(&mut self, id: ConnectionId, key: DeviceKey) {
        self.counters.sign_ins += 1;
        match self.router.accounts[key].connection {
            Some(same) if same == id => {}
            Some(older) => self.finish(older, CloseReason::Superseded),
            None => {}
        }
        self.settle_unanswered();
        let user = self.router.accounts[key].user;
        self.note_token_used(key);
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        if connection.session == Session::SignedOut {
            self.counters.sessions += 1;
        }
        connection.session = Session::SignedIn(SignedIn::new(key, user));
        connection.phase = Phase::SignedIn;
        connection.pinged = None;
        let settled = std::mem::replace(&mut connection.settled, true);
        self.router.accounts[key].connection = Some(id);
        self.expiries.start(key, self.now.instant);
        self.note_status(key);
        let device = self.router.accounts[key].id;
        if !self.events.subscriptions.watches(device).is_empty() {
            self.events.to_watch.push((device, None));
        }
        if !settled {
            self.outputs.push_back(Output::Receive { connection: id, how: Receive::Many });
        }
        self.schedule(id);
    }

    /// The first use of a pair proves that its answer arrived: neither the sign-up nor the refresh
    /// before can be repeated any more.
    fn note_token_used(&mut self, key: DeviceKey) {
        let origin = self.router.accounts.origin(key);
        let account = &mut self.router.accounts[key].account;
        if account.repeatable.is_none() && !account.previous_counts {
            return;
        }
        account.repeatable = None;
        account.previous_counts = false;
        let write = record::put_device(origin.user, origin.device, account);
        self.commit([write], Change::Noted, None);
    }

    fn sign_out(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &SessionRequest,
    ) -> Result<Flow, Reject> {
        match self.session(id) {
            Session::SignedIn(who) => {
                let origin = self.router.accounts.origin(who.device());
                let matches = |text: &Option<String>, id: &str| {
                    text.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(id))
                };
                if !matches(&request.uid, &origin.user.text())
                    || !matches(&request.di, &origin.device.text())
                {
                    return Err(Reject::unauthorized("not the session's").and_close());
                }
                let presented = request.access_token.as_deref();
                if presented.is_some_and(|it| !self.store_key.is_token(&origin, Kind::Access, it)) {
                    return Err(Reject::unauthorized("invalid access token"));
                }
                self.leave(id, crate::proxy::Unanswered::Lost);
                let until = self.now.instant + self.router.timers.not_signed_in;
                self.router.wire.set_phase(id, Phase::Open { until });
                self.schedule(id);
            }
            Session::SignedOut => {
                let named = Named::of(request).map_err(|_| Reject::bad_request("not signed in"))?;
                if let Err(flow) = self.prove(id, &named)? {
                    return Ok(flow);
                }
            }
        }
        self.router.wire.answer_security(requester, EMPTY_MAP);
        Ok(Flow::Next)
    }

    /// POST `/oic/sec/tokenrefresh`.
    pub(super) fn refresh(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        body: &[u8],
    ) -> Result<Flow, Reject> {
        let request: RefreshRequest = cbor::decode(body).map_err(bad_body)?;
        let (user, device) = (user_id(&request.uid)?, device_id(&request.di)?);
        if !rights::routes_to(&request.refresh_token, user) {
            return Err(Reject::unauthorized("invalid refresh token").and_close());
        }
        if let Some(flow) = self.elsewhere(id, self.placement.shard_of_user(user))? {
            return Ok(flow);
        }
        let identity = self.check_binding(id, device)?;
        let gate = Gate::Account(user, device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate);
        }
        let refreshed = rights::check_refresh(
            &self.router.accounts,
            &self.store_key,
            user,
            device,
            &request.refresh_token,
            self.lifetime(&identity),
            self.now.unix,
        )?;
        let (Refreshed::Again(key) | Refreshed::New(key, _)) = &refreshed;
        self.check_key(*key, &identity)?;
        match refreshed {
            Refreshed::Again(key) => self.answer_refresh(requester, key),
            Refreshed::New(key, account) => {
                self.check_commits()?;
                self.staging.close(gate);
                let write = record::put_device(user, device, &account);
                if is_planted(Bug::TokensComeBeforeTheirCommit) {
                    self.router.accounts[key].account = account;
                    self.answer_refresh(requester, key);
                    self.commit([write], Change::Noted, Some(gate));
                    return Ok(Flow::Next);
                }
                let change = Change::Refresh { device: key, account, requester: *requester };
                self.commit([write], change, Some(gate));
            }
        }
        Ok(Flow::Next)
    }

    /// A refresh is durable, or its answer was lost.
    pub(super) fn answer_refresh(&mut self, requester: &Requester, key: DeviceKey) {
        self.counters.refreshes += 1;
        let origin = self.router.accounts.origin(key);
        let pair = rights::pair(&self.store_key, &origin);
        let expires = self.router.accounts[key].account.expires;
        let mut body = Vec::with_capacity(160);
        let response = RefreshResponse {
            access_token: pair.access,
            refresh_token: pair.refresh,
            expires_in: expires_in(expires, self.now.unix),
        };
        cbor::encode(&mut body, &response);
        self.router.wire.answer_security(requester, &body);
        // A live session takes over the new expiry at once.
        if let Some(connection) = self.router.accounts[key].connection {
            self.schedule(connection);
        }
    }

    /// Where a request of another shard's user goes: the connection moves there, unless it has been
    /// signed in here, or has moved too often.
    pub(super) fn elsewhere(
        &mut self,
        id: ConnectionId,
        shard: shared::ids::ShardId,
    ) -> Result<Option<Flow>, Reject> {
        if shard == self.id {
            return Ok(None);
        }
        let Some(connection) = self.router.wire.connections.get(id) else {
            return Ok(Some(Flow::Stop));
        };
        if connection.settled || connection.moves >= MOVES_MAX {
            self.finish(id, CloseReason::WrongShard);
            return Ok(Some(Flow::Stop));
        }
        if self.is_stopping() {
            return Err(Reject::unavailable("the cloud is restarting"));
        }
        Ok(Some(Flow::Move(shard)))
    }

    /// A certificate that proves a device id speaks for no other device (device reference 3.3).
    pub(super) fn check_binding(
        &self,
        id: ConnectionId,
        device: DeviceId,
    ) -> Result<PeerIdentity, Reject> {
        let connection = self.router.wire.connections.get(id);
        let verified = connection.and_then(|connection| connection.identity.as_deref());
        let Some(identity) = verified.map(|verified| verified.peer) else {
            return Err(Reject::unauthorized("no certificate").and_close());
        };
        match identity.bound_device() {
            Some(bound) if bound != device => {
                Err(Reject::unauthorized("the certificate is another device's").and_close())
            }
            _ => Ok(identity),
        }
    }

    /// A request waits at a closed gate, if not too many do.
    pub(super) fn wait_at(&self, gate: Gate) -> Result<Flow, Reject> {
        if self.staging.has_room(gate) {
            return Ok(Flow::Park(gate));
        }
        Err(Reject::unavailable("too many requests about the same device"))
    }

    /// Takes a transaction whose claim has been answered.
    pub(super) fn on_claimed(&mut self, transaction: u64, outcome: ClaimOutcome) {
        let key = TransactionKey::from_index(transaction as u32);
        match self.transactions.remove(key) {
            Some(Transaction::SignUp(sign_up)) => self.on_sign_up_claimed(sign_up, outcome),
            Some(Transaction::DeviceToken { caller, device }) => {
                self.on_device_inquired(caller, device, outcome);
            }
            None => {}
        }
    }
}
