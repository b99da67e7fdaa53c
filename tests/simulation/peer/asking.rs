//! What a peer does when it is in.

use ciborium::Value as Cbor;
use shared::coap::CoapOption;
use shared::coap::signal::SignalCode;

use super::{HREFS, Session, code};
use crate::message::{Msg, delete, get, map, post};
use crate::peer::link as link_of;
use crate::simulation::agenda::LinkId;
use crate::simulation::model::asked::{Asked, Target, What};
use crate::simulation::model::canary;
use crate::simulation::plan::Fault;
use crate::simulation::run::{Season, Simulation};

/// Stands for a Release among what is under way: it has no token, and no request has this one.
const RELEASE: u64 = 0;

impl Simulation {
    /// A signed-in peer does something.
    pub(super) fn act(&mut self, number: usize, link: LinkId) {
        match self.season {
            Season::Storm => self.act_in_storm(number, link),
            Season::Calm => {}
            Season::Audit => self.audit(number, link),
        }
    }

    fn act_in_storm(&mut self, number: usize, link: LinkId) {
        if self.dice.happens(self.rate(Fault::Cut)) {
            return self.cut(link);
        }
        if self.dice.happens(self.rate(Fault::Nonsense)) {
            return self.say_nonsense(link);
        }
        if self.dice.happens(self.rate(Fault::Sale)) {
            return self.sell(number);
        }
        match self.dice.below(100) {
            0..24 => self.ask_somebody(number, link),
            24..34 => self.observe_somebody(number, link),
            34..38 => self.unobserve(link),
            38..41 => _ = self.ask(link, What::Watch, get("/oic/res").observe(0)),
            41..53 => self.change(number, link),
            53..60 => self.publish(number, link),
            60..62 => self.unpublish(number, link),
            62..68 => _ = self.ask(link, What::Discover, get("/oic/res")),
            68..74 => self.ask_stranger(number, link),
            74..76 => self.refresh_early(number, link),
            76..77 => self.sign_out(number, link),
            77..78 => self.leave(number, true),
            78..79 => self.leave(number, false),
            79..80 => self.sign_off(number, link),
            80..83 => _ = self.ask(link, What::Ping, Msg::new(SignalCode::Ping.code())),
            83..84 => self.release(number, link),
            84..86 => self.ask_much(number, link),
            86..89 => self.ask_in_blocks(number, link),
            89..91 => self.upload(number, link),
            _ => {}
        }
    }

    /// A resource of somebody who has the same user: mostly one that is published by a peer that is in,
    /// now and then anything of anybody who has an account.
    pub(super) fn target(&mut self, number: usize) -> (usize, usize) {
        let user = self.peers[number].user;
        let friends = 0..self.peers.len();
        let is_friend = |&other: &usize| {
            let peer = &self.peers[other];
            peer.user == user && (peer.stored.is_some() || other == number)
        };
        let friends: Vec<_> = friends.filter(is_friend).collect();
        let anything = (*self.dice.pick(&friends), self.dice.below(HREFS.len()));
        if self.dice.below(8) == 0 {
            return anything;
        }
        let owner = self.users[user];
        let published: Vec<_> = friends
            .into_iter()
            .filter(|&friend| self.peers[friend].session == Session::In)
            .flat_map(|friend| {
                let links = self.model.acknowledged.hrefs_of(owner, self.peers[friend].di);
                let known = |href: &String| HREFS.iter().position(|known| known == href);
                links.iter().filter_map(known).map(move |href| (friend, href))
            })
            .collect();
        if published.is_empty() { anything } else { *self.dice.pick(&published) }
    }

    pub(super) fn ask_somebody(&mut self, number: usize, link: LinkId) {
        let (of, href) = self.target(number);
        self.ask_resource(link, of, href);
    }

    fn ask_resource(&mut self, link: LinkId, of: usize, href: usize) {
        let nonce = self.dice.number() >> 16;
        let canary = canary::of(self.links[link].user);
        let path = format!("/{}{}?c={canary}&q={nonce}", self.peers[of].di, HREFS[href]);
        let message = match self.dice.below(3) {
            0 => post(&path, map([("c", canary.into())])),
            _ => get(&path),
        };
        self.ask(link, What::Ask { of, href, nonce }, message);
    }

    /// Many requests before any answer.
    fn ask_much(&mut self, number: usize, link: LinkId) {
        let (of, href) = self.target(number);
        for _ in 0..self.dice.between(5, 100) {
            match self.dice.below(16) {
                0 => self.ask_stranger(number, link),
                1 => self.ask_somebody(number, link),
                _ => self.ask_resource(link, of, href),
            }
        }
    }

    /// Asks for a device that is not the user's, or none at all.
    fn ask_stranger(&mut self, number: usize, link: LinkId) {
        let other = self.dice.below(self.peers.len());
        let of = &self.peers[other];
        // Whoever has bought or lost a device lately may be right.
        let is_strange =
            self.peers.iter().all(|peer| peer.di != of.di || peer.user != self.peers[number].user)
                && self.model.acknowledged.owner(of.di) != Some(self.users[self.links[link].user]);
        if !is_strange || self.sold.contains(&of.di) {
            return;
        }
        let of = of.di;
        let path = format!("/{of}{}", HREFS[self.dice.below(HREFS.len())]);
        let message = match self.dice.below(3) {
            0 => get(&path).observe(0),
            1 => post(&path, map([("c", canary::of(self.links[link].user).into())])),
            _ => get(&path),
        };
        self.ask(link, What::Foreign(of), message);
    }

    fn observe_somebody(&mut self, number: usize, link: LinkId) {
        let (of, href) = self.target(number);
        let path = format!("/{}{}", self.peers[of].di, HREFS[href]);
        self.ask(link, What::Observe { of, href }, get(&path).observe(0));
    }

    fn unobserve(&mut self, link: LinkId) {
        let running: Vec<_> = self.links[link].observing.keys().copied().collect();
        let running: Vec<_> = running
            .into_iter()
            .filter(|token| !self.links[link].asked.contains_key(token))
            .collect();
        if running.is_empty() {
            return;
        }
        let token = *self.dice.pick(&running);
        let (what, path) = match &self.links[link].observing[&token].target {
            Target::Resource { of, href, .. } => {
                (What::Unobserve, format!("/{}{}", self.peers[*of].di, HREFS[*href]))
            }
            Target::Links(_) => (What::Unwatch, "/oic/res".into()),
        };
        self.ask_with(link, token, what, get(&path).observe(1));
    }

    /// A resource of the peer changes by itself.
    fn change(&mut self, number: usize, link: LinkId) {
        let href = self.dice.below(HREFS.len());
        self.peers[number].resources[href].version += 1;
        self.notify(number, link, href);
    }

    /// One request about its links at a time.
    fn changes_links(&self, link: LinkId) -> bool {
        let about_links = |asked: &Asked| {
            matches!(asked.what, What::Publish { .. } | What::Unpublish | What::SignOff { .. })
        };
        self.links[link].asked.values().any(about_links)
    }

    pub(super) fn publish(&mut self, number: usize, link: LinkId) {
        if self.changes_links(link) {
            return;
        }
        let hrefs: Vec<String> =
            HREFS.into_iter().filter(|_| self.dice.below(2) == 0).map(String::from).collect();
        if hrefs.is_empty() {
            return;
        }
        let forever = self.dice.below(4) > 0;
        let ttl: u64 = if forever { 0 } else { self.dice.between(2, 60) };
        let resource_type = format!("x.{}", canary::of(self.links[link].user));
        let links = hrefs.iter().map(|href| link_of(href, &resource_type)).collect();
        let di = self.peers[number].di;
        let body = map([
            ("di", di.to_string().into()),
            ("ttl", ttl.into()),
            ("links", Cbor::Array(links)),
        ]);
        if !forever {
            let user = self.users[self.links[link].user];
            self.model.facts.doubt_links(user, di, Some(&hrefs), self.step);
        }
        self.ask(link, What::Publish { hrefs, forever }, post("/oic/rd", body));
    }

    fn unpublish(&mut self, number: usize, link: LinkId) {
        if self.changes_links(link) {
            return;
        }
        let user = self.users[self.links[link].user];
        self.model.facts.doubt_links(user, self.peers[number].di, None, self.step);
        self.ask(link, What::Unpublish, delete("/oic/rd"));
    }

    fn sign_off(&mut self, number: usize, link: LinkId) {
        if self.changes_links(link) {
            return;
        }
        let account = self.peers[number].stored.as_ref().and_then(|stored| stored.seed);
        let token = self.ask(link, What::SignOff { account }, delete("/oic/sec/account"));
        self.model.facts.doubt(self.peers[number].di, (link as u64, token), self.instant);
    }

    fn release(&mut self, number: usize, link: LinkId) {
        let release = Msg::new(SignalCode::Release.code()).token(&[]);
        self.say(link, &release);
        // The cloud closes the connection (RFC 8323 §5.5): until then it owes an answer.
        let asked = Asked { what: What::Release, at: self.instant, step: self.step };
        self.links[link].asked.insert(RELEASE, asked);
        self.pause(number, 1, 5);
        self.peers[number].session = Session::Entering;
    }

    /// The device is somebody else's from now on.
    fn sell(&mut self, number: usize) {
        let user = self.dice.below(self.users.len());
        let di = self.peers[number].di;
        let is_twin = self.peers.iter().filter(|peer| peer.di == di).count() > 1;
        if user == self.peers[number].user || is_twin {
            return;
        }
        self.tell(format_args!("peer {number} is sold to user {user}"));
        self.leave(number, true);
        let peer = &mut self.peers[number];
        self.sold.insert(di);
        (peer.user, peer.stored, peer.token, peer.refreshes) = (user, None, None, false);
    }

    /// What no decoder expects.
    fn say_nonsense(&mut self, link: LinkId) {
        self.links[link].babbles = true;
        match self.dice.below(5) {
            0 => {
                let bytes: [u8; 24] = self.dice.bytes();
                self.say_bytes(link, &bytes);
            }
            1 => self.say(link, &Msg::new(code(0, 0)).token(&[])),
            2 => self.say(link, &Msg::new(code(2, 5)).token(&[9; 8])),
            3 => {
                let message = get("/oic/res").named(CoapOption::ProxyUri, "coap://nowhere");
                self.ask(link, What::Other, message);
            }
            _ => _ = self.ask(link, What::Other, post("/oic/rd", vec![0xff; 40])),
        }
    }

    /// Looks at everything once, when nothing goes wrong any more.
    fn audit(&mut self, number: usize, link: LinkId) {
        if self.audited.insert(number) {
            self.ask(link, What::Discover, get("/oic/res"));
            self.ask_somebody(number, link);
        }
    }
}
