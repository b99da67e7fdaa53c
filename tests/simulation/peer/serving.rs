//! How a device answers what is asked of it.

use std::time::Duration;

use shared::coap::block::Block;
use shared::coap::{CoapOption, Code, RequestType, ResponseType, Token};

use super::blocks::cut;
use super::{HREFS, code};
use crate::message::Msg;
use crate::peer::{content, plain};
use crate::simulation::agenda::{Event, Late, LinkId};
use crate::simulation::model::asked::Value;
use crate::simulation::model::canary;
use crate::simulation::plan::Fault;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

impl Simulation {
    pub(super) fn serve(&mut self, number: usize, link: LinkId, request: &Msg) {
        // Everything that the cloud asks has a token of eight bytes.
        let Some((token, number_of_it)) = request.token.and_then(|it| Some((it, it.as_u64()?)))
        else {
            return self.fail(Invariant::Consistency, "a device gets a short token".into());
        };
        let nonce =
            request.queries().iter().find_map(|query| query.strip_prefix("q=")?.parse().ok());
        let wanted = request.number(CoapOption::Block2).map(Block::parse);
        let is_later = wanted.is_some_and(|block| block.number > 0);
        if let Some(nonce) = nonce
            && !is_later
            && !self.peers[number].seen.insert(nonce)
        {
            self.fail(Invariant::AnsweredOnce, format!("peer {number} is asked {nonce} twice"));
        }
        let href = HREFS.iter().position(|href| *href == request.path());
        let Some(href) = href else {
            return self.respond(link, Msg { token: Some(token), ..plain(ResponseType::NotFound) });
        };
        let observe = request.number(CoapOption::Observe);
        let bad = observe.is_none() && self.dice.happens(self.rate(Fault::BadDevice));
        if request.code == Code::from(RequestType::Post) {
            self.peers[number].resources[href].version += 1;
            self.notify(number, link, href);
        }
        let mut answer =
            content(self.value(number, link, href, nonce.unwrap_or_default()).as_slice());
        answer.token = Some(token);
        if request.code == Code::from(RequestType::Post) {
            answer.code = ResponseType::Changed.into();
        }
        match observe {
            Some(0) => {
                self.peers[number].resources[href].observers.insert(number_of_it, 1);
                answer = answer.observe(1);
            }
            Some(_) => _ = self.peers[number].resources[href].observers.remove(&number_of_it),
            None if request.code == Code::from(RequestType::Get) => {
                let begins = self.peers[number].takes_blocks && self.dice.below(4) == 0;
                let wanted = wanted.or(begins.then_some(Block { number: 0, more: false, szx: 1 }));
                if let Some(wanted) = wanted {
                    answer = cut(answer, wanted, self.peers[number].resources[href].version);
                }
            }
            None => {}
        }
        match bad {
            true => self.respond_badly(link, answer, (href, nonce.unwrap_or_default())),
            false => self.respond(link, answer),
        }
    }

    fn value(&self, number: usize, link: LinkId, href: usize, nonce: u64) -> Vec<u8> {
        let version = self.peers[number].resources[href].version;
        let canary = canary::of(self.links[link].user);
        Value { canary, peer: number, href, version, nonce }.body()
    }

    fn respond(&mut self, link: LinkId, answer: Msg) {
        self.say(link, &answer);
    }

    /// Late, twice, with nothing in it, or not at all.
    fn respond_badly(&mut self, link: LinkId, answer: Msg, (href, nonce): (usize, u64)) {
        match self.dice.below(5) {
            0 => {}
            1 => {
                self.say(link, &answer);
                self.say(link, &answer);
            }
            2 => {
                let delay = self.dice.time(Duration::from_secs(1), Duration::from_secs(25));
                let Some(token) = answer.token else { return };
                let late = Late { token, code: answer.code, href, nonce };
                self.enter(self.instant + delay, Event::Answer { link, late });
            }
            3 => self.say(link, &Msg { token: answer.token, ..plain(ResponseType::Forbidden) }),
            _ => self.say(link, &Msg { token: answer.token, ..Msg::new(code(1, 0)) }),
        }
    }

    /// An answer that was put off.
    pub(in crate::simulation) fn answer_late(&mut self, link: LinkId, late: Late) {
        let number = self.links[link].peer;
        if self.peers[number].link == Some(link) {
            let body = self.value(number, link, late.href, late.nonce);
            let answer =
                Msg { token: Some(late.token), code: late.code, ..content(body.as_slice()) };
            self.say(link, &answer);
        }
    }

    /// Tells everybody who observes a resource.
    pub(super) fn notify(&mut self, number: usize, link: LinkId, href: usize) {
        let body = self.value(number, link, href, 0);
        let mut tokens = Vec::new();
        for (token, count) in &mut self.peers[number].resources[href].observers {
            *count += 1;
            tokens.push((*token, *count));
        }
        for (token, count) in tokens {
            let notification = content(body.as_slice()).observe(count);
            self.say(link, &Msg { token: Some(Token::from_u64(token)), ..notification });
        }
    }
}
