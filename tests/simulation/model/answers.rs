//! Every message that leaves the cloud, judged at the moment in which it does.

use gateway::account::rights;
use gateway::account::token::{self, Origin};
use shared::coap::ResponseType;
use shared::ids::{DeviceId, UserId};

use super::asked::{Asked, Observing, Target, Value, What};
use super::canary;
use crate::message::{Msg, member};
use crate::simulation::agenda::LinkId;
use crate::simulation::cloud::STORE_KEY;
use crate::simulation::peer::HREFS;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

/// Seconds by which the time of an answer may differ from that of its judgement.
const SLACK_SECS: u64 = 120;

impl Simulation {
    /// Judges a message. Returns what it answers, if that was asked once.
    pub(in crate::simulation) fn judge(
        &mut self,
        link: LinkId,
        message: &Msg,
        raw: &[u8],
    ) -> Option<What> {
        let user = self.links[link].user;
        if let Some(found) = canary::foreign(user, raw) {
            let seen = format!("user {user} hears {found}: {}", crate::describe(message));
            self.fail(Invariant::Isolation, seen);
        }
        match message.code.class() {
            0 => self.judge_request(link),
            7 if message.code.detail() == 3 => {
                let token = message.token.and_then(|token| token.as_u64())?;
                self.links[link].asked.remove(&token).map(|asked| asked.what)?;
            }
            7 => {}
            _ => return self.judge_answer(link, message),
        }
        None
    }

    fn judge_request(&mut self, link: LinkId) {
        if self.links[link].signed_in.is_none() {
            self.fail(
                Invariant::Consistency,
                format!("link {link} is asked before it is signed in"),
            );
        }
    }

    fn judge_answer(&mut self, link: LinkId, message: &Msg) -> Option<What> {
        let Some(token) = message.token.and_then(|token| token.as_u64()) else {
            if !self.links[link].babbles {
                let seen = "an answer has a token of another length";
                self.fail(Invariant::AnsweredOnce, seen.into());
            }
            return None;
        };
        let notifies = message.code == ResponseType::Content && message.observed().is_some();
        let is_observed = self.links[link].observing.contains_key(&token);
        if notifies && is_observed {
            self.judge_notification(link, token, message);
            // An observer who asks again gets a notification for an answer.
            let again = self.links[link].asked.get(&token);
            let again =
                again.is_some_and(|asked| matches!(asked.what, What::Watch | What::Observe { .. }));
            return again
                .then(|| self.links[link].asked.remove(&token))
                .flatten()
                .map(|it| it.what);
        }
        let Some(asked) = self.links[link].asked.remove(&token) else {
            if self.links[link].observing.remove(&token).is_none()
                && !self.links[link].more.remove(&token)
                && !self.links[link].babbles
            {
                let seen = format!("link {link}: nobody waits for {}", crate::describe(message));
                self.fail(Invariant::AnsweredOnce, seen);
            }
            return None;
        };
        if self.links[link].observing.remove(&token).is_some() {
            // It may have ended by itself while its end was asked for.
            self.links[link].more.insert(token);
        }
        if notifies {
            self.begin_observation(link, token, &asked.what, message);
        }
        self.model.facts.settle((link as u64, token));
        match asked.what {
            What::Foreign(_) => *self.counts.foreign.entry(message.code.byte()).or_default() += 1,
            What::Ask { .. } | What::Download(_) | What::Upload(_) => {
                *self.counts.own.entry(message.code.byte()).or_default() += 1;
            }
            _ => {}
        }
        self.judge_what(link, &asked, message);
        Some(asked.what)
    }

    fn begin_observation(&mut self, link: LinkId, token: u64, what: &What, message: &Msg) {
        let target = match *what {
            What::Observe { of, href } => Target::Resource { of, href, version: 0 },
            What::Watch => Target::Links(Vec::new()),
            _ => {
                let seen = format!("link {link}: Observe where nobody observes");
                return self.fail(Invariant::AnsweredOnce, seen);
            }
        };
        self.links[link].observing.insert(token, Observing { target, number: 0 });
        self.judge_notification(link, token, message);
    }

    fn judge_notification(&mut self, link: LinkId, token: u64, message: &Msg) {
        let user = self.users[self.links[link].user];
        let number = message.observed().unwrap_or_default();
        let Some(observing) = self.links[link].observing.get_mut(&token) else { return };
        let rises = number > observing.number;
        observing.number = number;
        match &mut observing.target {
            Target::Resource { of, href, version } => {
                let (of, href, before) = (*of, *href, *version);
                let Some(value) = Value::parse(&message.payload) else {
                    return self
                        .fail(Invariant::LatestState, "a notification without a value".into());
                };
                *version = value.version;
                if (value.peer, value.href) != (of, href) || value.version < before || !rises {
                    let seen = format!("link {link}: {value:?} of {of} {href} after {before}");
                    self.fail(Invariant::LatestState, seen);
                }
            }
            Target::Links(known) => {
                let links = hrefs_in(message);
                known.clone_from(&links);
                if !rises {
                    let seen = format!("link {link}: Observe does not rise");
                    return self.fail(Invariant::LatestState, seen);
                }
                // It shows what was so at some time; at the end it must be the present.
                self.judge_links(link, user, 0, &links);
            }
        }
    }

    fn judge_what(&mut self, link: LinkId, asked: &Asked, message: &Msg) {
        let (user, device) =
            (self.users[self.links[link].user], self.peers[self.links[link].peer].di);
        let changed = message.code == ResponseType::Changed;
        match &asked.what {
            What::SignUp { token } if changed => {
                self.judge_pair(link, user, device, message, token)
            }
            What::SignUp { token } => {
                self.judge_refused_sign_up(link, user, device, message, token)
            }
            What::SignIn { .. } if changed => self.links[link].signed_in = Some(self.instant),
            // Observations end with the session, and nobody is told.
            What::SignOut if changed => self.links[link].observing.clear(),
            What::SignIn { access } => {
                self.judge_refused_sign_in(link, user, device, message, access)
            }
            What::Refresh { .. } if changed => self.judge_pair(link, user, device, message, ""),
            What::Refresh { refresh } => {
                self.judge_refused_refresh(link, user, device, message, refresh)
            }
            What::SignOff { account } if message.code == ResponseType::Deleted => {
                self.judge_end(user, device, *account);
            }
            What::Publish { hrefs, forever } if changed => {
                let paths: Vec<_> = hrefs.iter().map(|href| format!("/{device}{href}")).collect();
                let shown = self.model.views.since(user, asked.step, |view| {
                    paths.iter().all(|path| view.links.contains(path))
                });
                if !shown {
                    let seen = format!("link {link}: {hrefs:?} are acknowledged and not durable");
                    self.fail(Invariant::CommitFirst, seen);
                }
                if *forever {
                    self.model.facts.published(user, device, hrefs.clone(), asked.step);
                }
            }
            What::Discover if message.code == ResponseType::Content => {
                let links = hrefs_in(message);
                self.judge_links(link, user, asked.step, &links);
            }
            What::Ask { of, href, nonce } => self.judge_value(link, (*of, *href, *nonce), message),
            What::Download(download) => {
                if let Some(body) = download.whole_with(message) {
                    self.judge_body(link, (download.of, download.href, 0), &body);
                }
            }
            What::Upload(upload) if upload.rest.is_empty() => {
                self.judge_value(link, (upload.of, upload.href, upload.nonce), message);
            }
            What::Upload(upload)
                if message.code.is_success() && message.code != ResponseType::Continue =>
            {
                let seen = format!("link {link}: {upload:?} is carried out before it is whole");
                self.fail(Invariant::AnsweredOnce, seen);
            }
            // It may have been bought while the request was on its way.
            What::Foreign(of) if !is_refusal(message) && !self.sold.contains(of) => {
                let seen = format!("link {link}: {} of a foreign device", crate::describe(message));
                self.fail(Invariant::Isolation, seen);
            }
            _ => {}
        }
    }

    /// Links are those of one moment since a step: none that was not durable then, and all that were.
    fn judge_links(&mut self, link: LinkId, user: UserId, step: u64, links: &[String]) {
        let views = &self.model.views;
        if views.since(user, step, |view| view.links == links) {
            return;
        }
        let present = self.model.acknowledged.links_of(user);
        let invariant = match links.iter().all(|link| present.contains(link)) {
            true => Invariant::Durability,
            false => Invariant::CommitFirst,
        };
        self.fail(invariant, format!("link {link} is shown what was never so: {links:?}"));
    }

    /// The tokens that are given out are those of an account that is durable.
    fn judge_pair(
        &mut self,
        link: LinkId,
        user: UserId,
        device: DeviceId,
        message: &Msg,
        single_use: &str,
    ) {
        let access = message.member_text("accesstoken");
        let given = |(seed, generation): &([u8; 16], u32)| {
            let origin = Origin { user, device, seed: *seed, generation: *generation };
            rights::pair(&STORE_KEY, &origin).access == access
        };
        let Some((seed, _)) = self.model.views.pairs_of(user, device).find(given) else {
            let seen = format!("link {link}: tokens of an account that is not durable");
            return self.fail(Invariant::CommitFirst, seen);
        };
        self.links[link].seed = Some(seed);
        if !single_use.is_empty() {
            self.model.facts.signed_up(user, device, seed, self.instant);
        }
    }

    /// Whether the device itself hears this: what still goes out on links that it has left decides
    /// nothing.
    fn concerns_device(&self, link: LinkId) -> bool {
        self.links[link].is_open() && self.peers[self.links[link].peer].link == Some(link)
    }

    fn judge_refused_sign_up(
        &mut self,
        link: LinkId,
        user: UserId,
        device: DeviceId,
        message: &Msg,
        single_use: &str,
    ) {
        if message.code != ResponseType::Unauthorized || !self.concerns_device(link) {
            return;
        }
        let digest = token::digest(single_use);
        let now = self.clock.latest(self.instant).plus_secs(SLACK_SECS);
        let records = &self.model.acknowledged;
        let is_good = records.tokens.get(&digest).is_some_and(|(of, record)| {
            *of == user && record.device.is_none_or(|only| only == device) && record.expires > now.0
        });
        let was_used_by_it = records.accounts.get(&(user, device)).is_some_and(|account| {
            let repeatable = account.repeatable.as_ref();
            repeatable.is_some_and(|past| past.token_digest == digest && past.until > now)
        });
        if is_good || was_used_by_it {
            let seen = format!("{device} cannot sign up with a token that is good");
            self.fail(Invariant::NoLockout, seen);
        }
    }

    fn judge_refused_sign_in(
        &mut self,
        link: LinkId,
        user: UserId,
        device: DeviceId,
        message: &Msg,
        access: &str,
    ) {
        if message.code != ResponseType::Unauthorized || !self.concerns_device(link) {
            return;
        }
        let now = self.clock.latest(self.instant).plus_secs(SLACK_SECS);
        let Some(account) = self.model.acknowledged.accounts.get(&(user, device)) else { return };
        let origin = Origin { user, device, seed: account.seed, generation: account.generation };
        let lives = account.expires.is_none_or(|at| at > now);
        if lives && rights::pair(&STORE_KEY, &origin).access == access {
            self.fail(
                Invariant::NoLockout,
                format!("{device} cannot sign in with the newest token"),
            );
        }
    }

    fn judge_refused_refresh(
        &mut self,
        link: LinkId,
        user: UserId,
        device: DeviceId,
        message: &Msg,
        refresh: &str,
    ) {
        if message.code != ResponseType::Unauthorized || !self.concerns_device(link) {
            return;
        }
        let peer = &self.peers[self.links[link].peer];
        let Some(stored) = peer.stored.as_ref().filter(|stored| stored.refresh == refresh) else {
            return;
        };
        let account = self.model.acknowledged.accounts.get(&(user, device));
        if account.is_some_and(|account| Some(account.seed) == stored.seed) {
            let seen = format!("{device} cannot refresh with the token that it stored last");
            self.fail(Invariant::NoLockout, seen);
        }
    }

    /// A sign-off is acknowledged: that account is gone.
    fn judge_end(&mut self, user: UserId, device: DeviceId, ended: Option<[u8; 16]>) {
        let account = self.model.acknowledged.accounts.get(&(user, device));
        if account.is_some_and(|account| Some(account.seed) == ended) {
            self.fail(
                Invariant::CommitFirst,
                format!("{device} is signed off before it is durable"),
            );
        }
    }

    /// An answer of a device is of the resource that was asked, and to this very question.
    fn judge_value(&mut self, link: LinkId, (of, href, nonce): (usize, usize, u64), message: &Msg) {
        if !message.code.is_success() {
            return;
        }
        self.judge_body(link, (of, href, nonce), &message.payload);
    }

    fn judge_body(&mut self, link: LinkId, (of, href, nonce): (usize, usize, u64), body: &[u8]) {
        let user = self.links[link].user;
        if let Some(found) = canary::foreign(user, body) {
            return self.fail(Invariant::Isolation, format!("user {user} gets {found} in blocks"));
        }
        let value = Value::parse(body);
        let right = value
            .as_ref()
            .is_some_and(|value| (value.peer, value.href, value.nonce) == (of, href, nonce));
        if !right {
            let seen = format!("link {link} asks {of}{} {nonce} and gets {value:?}", HREFS[href]);
            self.fail(Invariant::AnsweredOnce, seen);
        }
    }
}

/// Of a device that is not there, or of who has no session any more.
fn is_refusal(message: &Msg) -> bool {
    message.code == ResponseType::NotFound || message.code == ResponseType::Unauthorized
}

/// The links in an answer of `/oic/res`, in their order.
fn hrefs_in(message: &Msg) -> Vec<String> {
    let value = message.cbor();
    let links = value.as_array().map_or(&[][..], Vec::as_slice);
    let href = |link| member(link, "href").and_then(|href| href.as_text()).map(str::to_owned);
    links.iter().filter_map(href).collect()
}
