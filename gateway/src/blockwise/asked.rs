//! What is kept of requests to devices that may answer in blocks: the request, so that it can be
//! asked for the next one, and what has come.
//!
//! Most devices never send blocks and say so by sending no CSM (device reference 1.3, rule 1): nothing
//! is kept for them.

use std::borrow::Cow;

use hashbrown::HashMap;
use shared::coap::block::{self, Assembly};
use shared::coap::{Block, CoapOption, Message, Response, ResponseType, Token};

use super::{Added, parse, rewrite, room};
use crate::connection::PeerCapabilities;
use crate::connection::exchanges::ExchangeKey;
use crate::limits::TRANSFER_BYTES_MAX;

/// Memory of requests that is kept for later ones; what is larger is freed.
const SPARE_FRAMES_MAX: usize = 256;
const SPARE_FRAME_BYTES_MAX: usize = 1024;

/// A request to a device.
struct Request {
    /// All of it.
    frame: Vec<u8>,
    /// What has been sent of its body, if that goes in blocks.
    sending: Option<Sending>,
    /// What has come of its answer, if that comes in blocks.
    answer: Option<Answer>,
    /// Fetches the rest of the newest notification, if this is an observation.
    rest: Option<ExchangeKey>,
}

#[derive(Clone, Copy)]
struct Sending {
    sent: usize,
    szx: u8,
    limit: usize,
}

struct Answer {
    /// Code and options: the first block, whole.
    first: Vec<u8>,
    body: Assembly,
}

/// What follows a response.
pub enum Step {
    /// It is what it is.
    Pass,
    /// The device is asked for the next block, or sent it.
    Ask(Vec<u8>),
    /// It was the last block: this is the whole answer.
    Whole(Vec<u8>),
    /// It does not fit what came before it.
    Bad,
}

/// All of them, by exchange. Nothing is allocated for a request that is not cut, once there were as
/// many at a time.
#[derive(Default)]
pub struct Asked {
    requests: HashMap<u32, Request>,
    bytes: usize,
    /// Memory for frames.
    spare: Vec<Vec<u8>>,
}

impl Asked {
    /// Keeps the request that `write` appends. Returns what goes out first: all of it, or its first
    /// block.
    ///
    /// # Errors
    /// The length of the request, when it is larger than the device takes.
    pub fn begin(
        &mut self,
        key: ExchangeKey,
        capabilities: PeerCapabilities,
        limit: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Cow<'_, [u8]>, usize> {
        let mut frame = self.spare.pop().unwrap_or_default();
        write(&mut frame);
        if frame.len() <= limit {
            let request = Request { frame, sending: None, answer: None, rest: None };
            return Ok(Cow::Borrowed(&self.insert(key, request).frame));
        }
        let bytes = frame.len();
        let (first, sending) = begin_blocks(&frame, capabilities, limit).ok_or(bytes)?;
        self.insert(key, Request { frame, sending: Some(sending), answer: None, rest: None });
        Ok(Cow::Owned(first))
    }

    /// Keeps the request for the rest of a notification whose first block has come, and returns what
    /// goes out. `of` is the observation, `token` what is asked with.
    pub fn begin_rest(
        &mut self,
        of: ExchangeKey,
        key: ExchangeKey,
        token: Token,
        response: &Response<'_>,
        limit: usize,
    ) -> Option<Vec<u8>> {
        let message = parse(&self.requests.get(&of.index())?.frame)?;
        let keep = |number| CoapOption::from(number) != CoapOption::Observe;
        let frame = rewrite(&message, token, keep, &[], &[]);
        let mut request = Request { frame, sending: None, answer: None, rest: None };
        let step = request.take_block(response, response.block2?, limit);
        self.requests.get_mut(&of.index())?.rest = Some(key);
        self.insert(key, request);
        match step {
            Step::Ask(next) => Some(next),
            _ => None,
        }
    }

    /// Takes out what fetches the rest of an older notification.
    pub fn take_rest(&mut self, of: ExchangeKey) -> Option<ExchangeKey> {
        self.requests.get_mut(&of.index())?.rest.take()
    }

    /// Whether a request is kept.
    pub fn knows(&self, key: ExchangeKey) -> bool {
        !self.requests.is_empty() && self.requests.contains_key(&key.index())
    }

    /// A device responds to a request that is kept.
    pub fn step(&mut self, key: ExchangeKey, response: &Response<'_>, limit: usize) -> Step {
        let Some(request) = self.requests.get_mut(&key.index()) else { return Step::Pass };
        let others = self.bytes - request.bytes();
        let step = request.step(response, limit.min(TRANSFER_BYTES_MAX.saturating_sub(others)));
        self.bytes = others + request.bytes();
        step
    }

    /// A request is over.
    pub fn forget(&mut self, key: ExchangeKey) {
        let Some(request) = self.requests.remove(&key.index()) else { return };
        self.bytes -= request.bytes();
        let mut frame = request.frame;
        if frame.capacity() <= SPARE_FRAME_BYTES_MAX && self.spare.len() < SPARE_FRAMES_MAX {
            frame.clear();
            self.spare.push(frame);
        }
    }

    /// Number of requests that are kept, and the bytes of them and of their answers.
    pub fn size(&self) -> (usize, usize) {
        (self.requests.len(), self.bytes)
    }

    fn insert(&mut self, key: ExchangeKey, request: Request) -> &Request {
        self.bytes += request.bytes();
        self.requests.entry(key.index()).insert(request).into_mut()
    }
}

/// The first block of a request that is larger than the device takes, if it takes blocks.
fn begin_blocks(
    frame: &[u8],
    capabilities: PeerCapabilities,
    limit: usize,
) -> Option<(Vec<u8>, Sending)> {
    if !capabilities.block_wise_transfer {
        return None;
    }
    let message = parse(frame)?;
    let bare = rewrite(&message, message.token, |_| true, &[], &[]);
    let szx = block::fitting_szx(capabilities.szx_max(), room(&bare, limit))?;
    let mut sending = Sending { sent: 0, szx, limit };
    Some((sending.next(&message)?, sending))
}

impl Request {
    fn bytes(&self) -> usize {
        let answer = self.answer.as_ref();
        self.frame.len() + answer.map_or(0, |answer| answer.first.len() + answer.body.len())
    }

    fn step(&mut self, response: &Response<'_>, limit: usize) -> Step {
        if response.code == ResponseType::Continue {
            return self.send_next(response.block1);
        }
        self.sending = None;
        let code_fits = response.code.is_success();
        match response.block2 {
            Some(block) if code_fits && (self.answer.is_some() || !block.is_whole()) => {
                self.take_block(response, block, limit)
            }
            // A whole answer in the middle of another one is none; an error is what it says.
            _ if code_fits && self.answer.is_some() => Step::Bad,
            _ => Step::Pass,
        }
    }

    /// The device has taken a block, and may want smaller ones (RFC 7959 §2.3).
    fn send_next(&mut self, acknowledged: Option<Block>) -> Step {
        let (Some(sending), Some(message)) = (&mut self.sending, parse(&self.frame)) else {
            return Step::Bad;
        };
        if let Some(block) = acknowledged {
            sending.szx = sending.szx.min(block.szx);
        }
        sending.next(&message).map_or(Step::Bad, Step::Ask)
    }

    fn take_block(&mut self, response: &Response<'_>, block: Block, limit: usize) -> Step {
        let Some(message) = parse(&self.frame) else { return Step::Bad };
        if self.answer.is_none() {
            let first = Message {
                code: response.code,
                token: message.token,
                options: response.options,
                payload: &[],
            };
            let first = rewrite(&first, message.token, |_| true, &[], &[]);
            self.answer = Some(Answer { first, body: Assembly::default() });
        }
        let Some(answer) = &mut self.answer else { return Step::Bad };
        let Some(first) = parse(&answer.first) else { return Step::Bad };
        let begun = answer.body.is_empty();
        if begun != (block.number == 0)
            || first.code != response.code
            || etag(&first) != etag_of(response)
            || answer.body.push(block, response.payload, limit).is_err()
        {
            return Step::Bad;
        }
        if !block.more {
            let whole = rewrite(&first, first.token, |_| true, &[], answer.body.as_slice());
            return Step::Whole(whole);
        }
        let number = u32::try_from(answer.body.len() / block.size()).unwrap_or(u32::MAX);
        let next = Block { number, more: false, szx: block.szx };
        let next = Added::block(CoapOption::Block2, next);
        let keep = |number| !is_about_body(number);
        Step::Ask(rewrite(&message, message.token, keep, &[next], &[]))
    }
}

impl Sending {
    /// The next block of a request.
    fn next(&mut self, message: &Message<'_>) -> Option<Vec<u8>> {
        let bare = rewrite(message, message.token, |_| true, &[], &[]);
        let room = room(&bare, self.limit);
        let (block, range) = block::cut(message.payload.len(), self.sent, self.szx, room)?;
        self.sent = range.end;
        let added = [Added::block(CoapOption::Block1, block)];
        Some(rewrite(message, message.token, |_| true, &added, &message.payload[range]))
    }
}

/// Options that say what the body of a request is: requests for the later blocks of an answer have
/// none.
fn is_about_body(number: u16) -> bool {
    number == shared::coap::option::OCF_CONTENT_VERSION
        || CoapOption::from(number) == CoapOption::ContentFormat
}

fn etag<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let mut options = message.options;
    options.find(|option| option.name() == CoapOption::ETag).map(|option| option.value)
}

fn etag_of<'a>(response: &Response<'a>) -> Option<&'a [u8]> {
    let mut options = response.options;
    options.find(|option| option.name() == CoapOption::ETag).map(|option| option.value)
}
