//! A peer: a device that others ask, and a client that asks others, both at once.
//!
//! [`entering`] is how it gets in (sign-up, sign-in, refresh), [`asking`] what it does when it is in,
//! [`serving`] how it answers, [`blocks`] both in blocks. It remembers what a real device stores, and nothing of its links.

mod asking;
mod blocks;
mod entering;
mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::coap::signal::SignalCode;
use shared::coap::{Code, Token};
use shared::ids::DeviceId;
use shared::time::Instant;

use super::agenda::{Event, LinkId};
use super::model::asked::{Asked, What};
use super::run::Simulation;
use super::verdict::Invariant;
use crate::message::Msg;

/// The resources that every device may have.
pub(super) const HREFS: [&str; 3] = ["/a", "/b", "/c"];

/// Nothing takes longer, with all the waiting that the cloud may impose: 20 seconds for a device that
/// is asked, 30 for whoever comes too often, a slow store and a slow network.
const LONGEST_ANSWER: Duration = Duration::from_secs(150);

/// How far a peer has come on its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Session {
    Out,
    /// It waits for the answer of a sign-up, sign-in or refresh.
    Entering,
    In,
}

/// What a device keeps on its flash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) uid: String,
    pub(super) access: String,
    pub(super) refresh: String,
    /// Which account that is, for the model.
    pub(super) seed: Option<[u8; 16]>,
}

/// A resource of a device.
#[derive(Default)]
pub(super) struct Resource {
    pub(super) version: u64,
    /// Tokens of the cloud's registrations, with the last value of Observe.
    pub(super) observers: BTreeMap<u64, u32>,
}

pub(super) struct Peer {
    pub(super) di: DeviceId,
    pub(super) user: usize,
    /// Its certificate proves its id.
    pub(super) proves_id: bool,
    /// It says that it can do block-wise transfer, and answers in blocks now and then.
    pub(super) takes_blocks: bool,
    /// The single-use token that a Mediator has given it.
    pub(super) token: Option<String>,
    /// It has no token and no account.
    pub(super) wants_token: bool,
    /// Somebody is getting it one.
    pub(super) awaits_token: bool,
    pub(super) stored: Option<Stored>,
    pub(super) link: Option<LinkId>,
    pub(super) session: Session,
    /// The access token was refused: it refreshes next.
    pub(super) refreshes: bool,
    pub(super) resources: Vec<Resource>,
    /// Numbers of requests that have reached it.
    pub(super) seen: BTreeSet<u64>,
    /// It has been in since the storm.
    pub(super) got_in: bool,
    /// It has its last links; nobody hears of it any more.
    pub(super) retired: bool,
    /// It does nothing before.
    not_before: Instant,
}

impl Peer {
    pub(super) fn new(di: DeviceId, user: usize, proves_id: bool, takes_blocks: bool) -> Self {
        Self {
            di,
            user,
            proves_id,
            takes_blocks,
            token: None,
            wants_token: true,
            awaits_token: false,
            stored: None,
            link: None,
            session: Session::Out,
            refreshes: false,
            resources: HREFS.iter().map(|_| Resource::default()).collect(),
            seen: BTreeSet::new(),
            got_in: false,
            retired: false,
            not_before: Instant::START,
        }
    }
}

impl Simulation {
    /// A peer does the next thing.
    pub(super) fn wake(&mut self, number: usize) {
        if self.peers[number].retired {
            return;
        }
        let pause = self.dice.time(Duration::from_millis(5), self.plan.pause);
        self.enter(self.instant + pause, Event::Wake { peer: number });
        if self.peers[number].not_before > self.instant {
            return;
        }
        let Some(link) = self.peers[number].link else { return self.connect(number) };
        if let Some((what, overdue)) = self.overdue(link) {
            if overdue {
                let seen = format!("link {link}: {what:?} is not answered");
                self.fail(Invariant::AnsweredOnce, seen);
            }
            // Whatever has become of it: a device begins anew.
            return self.leave(number, false);
        }
        match self.peers[number].session {
            Session::Out => self.enter_cloud(number, link),
            Session::Entering => {}
            Session::In => {
                self.peers[number].got_in |= !self.links[link].cut;
                self.act(number, link);
            }
        }
    }

    /// A request that a device has waited for too long, and whether it may say so.
    fn overdue(&self, link: LinkId) -> Option<(What, bool)> {
        let known = &self.links[link];
        let asked = known.asked.values().find(|asked| {
            let patience = match asked.what {
                What::SignUp { .. } | What::SignIn { .. } | What::Refresh { .. } => 60,
                _ => LONGEST_ANSWER.as_secs(),
            };
            self.instant.since(asked.at) > Duration::from_secs(patience)
        })?;
        let too_long = self.instant.since(asked.at) > LONGEST_ANSWER;
        // Behind half a message everything is its other half.
        Some((asked.what.clone(), too_long && known.is_open() && !known.babbles))
    }

    fn connect(&mut self, number: usize) {
        let peer = &self.peers[number];
        if peer.stored.is_none() && peer.token.is_none() {
            self.peers[number].wants_token = !self.peers[number].awaits_token;
        } else if self.cloud.is_up() {
            let link = self.open(number);
            self.peers[number].link = Some(link);
            let csm = csm(self.peers[number].takes_blocks);
            self.say(link, &csm);
        }
    }

    /// A peer's link is over for it.
    pub(super) fn leave(&mut self, number: usize, orderly: bool) {
        if let Some(link) = self.peers[number].link.take() {
            self.hang_up(link, orderly);
        }
        self.forget_link(number);
    }

    fn forget_link(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.session = Session::Out;
        for resource in &mut peer.resources {
            resource.observers.clear();
        }
    }

    /// A peer hears that its link has ended.
    pub(super) fn gone(&mut self, link: LinkId) {
        self.links[link].left = true;
        let number = self.links[link].peer;
        if self.peers[number].link == Some(link) {
            self.peers[number].link = None;
            self.forget_link(number);
        }
    }

    /// A peer does nothing for a while.
    fn pause(&mut self, number: usize, least: u64, most: u64) {
        let pause = self.dice.time(Duration::from_secs(least), Duration::from_secs(most));
        self.peers[number].not_before = self.instant + pause;
    }

    /// A peer asks something. Returns the token.
    fn ask(&mut self, link: LinkId, what: What, message: Msg) -> u64 {
        let token = self.links[link].next_token();
        self.ask_with(link, token, what, message);
        token
    }

    fn ask_with(&mut self, link: LinkId, token: u64, what: What, mut message: Msg) {
        self.counts.requests += 1;
        message.token = Some(Token::from_u64(token));
        let peer = self.links[link].peer;
        self.tell(format_args!("link {link} peer {peer} > {what:?}"));
        let asked = Asked { what, at: self.instant, step: self.step };
        self.links[link].asked.insert(token, asked);
        self.say(link, &message);
    }

    /// A message of the cloud reaches its peer.
    pub(super) fn hear(&mut self, link: LinkId, message: &Msg, what: Option<What>) {
        let number = self.links[link].peer;
        if self.peers[number].link != Some(link) {
            return;
        }
        match message.code.class() {
            0 => self.serve(number, link, message),
            7 if message.code == SignalCode::Ping.code() => {
                let pong = Msg { token: message.token, ..Msg::new(SignalCode::Pong.code()) };
                self.say(link, &pong);
            }
            7 if message.code == SignalCode::Release.code() => {
                self.leave(number, true);
                self.pause(number, 1, 5);
            }
            7 => {}
            _ => {
                if let Some(what) = what {
                    self.entered(number, link, &what, message);
                }
            }
        }
    }
}

/// A peer that takes large messages, and perhaps blocks.
fn csm(takes_blocks: bool) -> Msg {
    let csm = Msg::new(SignalCode::Csm.code()).token(&[]).uint(2, 1 << 20);
    if takes_blocks { csm.option(4, []) } else { csm }
}

/// A code by its class and detail.
fn code(class: u8, detail: u8) -> Code {
    Code::from_byte(class << 5 | detail)
}
