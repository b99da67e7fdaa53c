//! Clients that ask in blocks, and devices that answer in blocks (RFC 7959).

use shared::coap::block::Block;
use shared::coap::{CoapOption, ResponseType};

use super::HREFS;
use crate::message::{Msg, get, map, post};
use crate::simulation::agenda::LinkId;
use crate::simulation::model::asked::{Download, Upload, What};
use crate::simulation::model::canary;
use crate::simulation::run::Simulation;

/// Blocks of 16 or 32 bytes: a value takes some of them.
const SZX_MAX: u64 = 1;

impl Simulation {
    /// Asks for a resource, and wants the answer in blocks.
    pub(super) fn ask_in_blocks(&mut self, number: usize, link: LinkId) {
        let (of, href) = self.target(number);
        let szx = self.dice.between(0, SZX_MAX) as u8;
        self.ask_for_block(link, Download { of, href, szx, body: Vec::new(), tag: Vec::new() });
    }

    fn ask_for_block(&mut self, link: LinkId, download: Download) {
        let path = format!("/{}{}", self.peers[download.of].di, HREFS[download.href]);
        let number = (download.body.len() >> (4 + download.szx)) as u32;
        let block = Block { number, more: false, szx: download.szx };
        let message = get(&path).uint(CoapOption::Block2.into(), block.value());
        self.ask(link, What::Download(download), message);
    }

    /// Changes a resource with a body that goes in blocks.
    pub(super) fn upload(&mut self, number: usize, link: LinkId) {
        let (of, href) = self.target(number);
        let canary = canary::of(self.links[link].user);
        let body = map([("c", canary.into()), ("filling", "0123456789".repeat(5).into())]);
        let rest = post("/", body).payload;
        let (nonce, szx) = (self.dice.number() >> 16, self.dice.between(0, SZX_MAX) as u8);
        self.send_block(link, Upload { of, href, nonce, szx, number: 0, rest });
    }

    fn send_block(&mut self, link: LinkId, mut upload: Upload) {
        let Upload { of, href, nonce, szx, number, ref mut rest } = upload;
        let after = rest.split_off(rest.len().min(16 << szx));
        let payload = std::mem::replace(rest, after);
        let block = Block { number, more: !rest.is_empty(), szx };
        let path = format!("/{}{}?q={nonce}", self.peers[of].di, HREFS[href]);
        let message = post(&path, payload).uint(CoapOption::Block1.into(), block.value());
        upload.number += 1;
        self.ask(link, What::Upload(upload), message);
    }

    /// A block has been answered: the next one follows.
    pub(super) fn go_on_in_blocks(&mut self, link: LinkId, what: &What, message: &Msg) {
        match what {
            What::Download(download) if download.goes_on(message) => {
                let mut download = download.clone();
                download.take(message);
                self.ask_for_block(link, download);
            }
            What::Upload(upload) if message.code == ResponseType::Continue => {
                self.send_block(link, upload.clone());
            }
            _ => {}
        }
    }
}

/// The block of an answer that is asked for. Blocks of another version are no part of the same answer.
pub(super) fn cut(mut answer: Msg, wanted: Block, version: u64) -> Msg {
    let from = wanted.offset().min(answer.payload.len());
    let to = (from + wanted.size()).min(answer.payload.len());
    let more = to < answer.payload.len();
    answer.payload = answer.payload[from..to].to_vec();
    let tag = version.to_be_bytes();
    let answer = answer.named(CoapOption::ETag, tag);
    answer.uint(CoapOption::Block2.into(), Block { more, ..wanted }.value())
}
