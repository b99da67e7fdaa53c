//! Requests whose bodies come in blocks, and those for the later blocks of an answer
//! (device reference 12, RFC 7959).
//!
//! Blocks are taken of whoever may be served: a body is whole before anything else is decided about
//! its request. What is asked of us in blocks is answered in blocks; a peer that has never spoken of
//! them gets none.

use shared::coap::block::BlockError;
use shared::coap::{Block, CoapOption, Request, RequestType, ResponseType};

use super::Shard;
use super::dispatch::{Flow, Route};
use super::wire::Requester;
use crate::blockwise::transfers::{NotTaken, Upload};
use crate::blockwise::{Expectation, Taken, key};
use crate::connection::ConnectionId;
use crate::limits::{OPEN_FRAME_BYTES_MAX, TRANSFER};
use crate::reject::Reject;
use crate::session::Session;

impl Shard {
    /// Whether a request has blocks, or its answer may.
    pub(super) fn concerns_blocks(&self, id: ConnectionId, request: &Request<'_>) -> bool {
        let connection = self.router.wire.connections.get(id);
        request.block1.is_some()
            || request.block2.is_some()
            || connection.is_some_and(|peer| peer.capabilities.block_wise_transfer)
    }

    /// Serves a request when its body is whole.
    pub(super) fn serve_in_blocks(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<Flow, Reject> {
        let may_be_served = match Route::of(request) {
            Route::Account | Route::Session | Route::TokenRefresh => true,
            _ => matches!(self.session(id), Session::SignedIn(_)),
        };
        // Nothing is kept for a request that is refused whatever its body is.
        if request.fault.is_some() || !may_be_served {
            return self.serve(id, requester, request);
        }
        let is_later = |block: &Block| block.number > 0;
        let later = request.block2.filter(is_later);
        if later.is_some() && request.block1.is_none_or(Block::is_whole) {
            if self.answer_later_block(id, request) {
                return Ok(Flow::Next);
            }
            // What has changed something cannot be asked for again.
            if request.method != RequestType::Get {
                let code = ResponseType::RequestEntityIncomplete;
                return Err(Reject::new(code, "the answer is not kept any more"));
            }
        }
        let in_blocks = request.block1.filter(|block| !block.is_whole());
        let upload = match in_blocks {
            None => None,
            Some(block) => match self.take_block(id, requester, request, block)? {
                Some(upload) => Some(upload),
                None => return Ok(Flow::Next),
            },
        };
        let expectation = Expectation {
            token: request.token,
            key: key::of_download(request),
            block2: request.block2,
            block1: in_blocks,
            until: Some(self.now.instant + self.router.timers.request + TRANSFER),
        };
        self.router.wire.transfers.expect(id, expectation);
        let whole = Request {
            payload: upload.as_ref().map_or(request.payload, Upload::body),
            block1: None,
            block2: None,
            // A later block is no part of an observation (RFC 7959 §2.6).
            observe: request.observe.filter(|_| later.is_none()),
            ..*request
        };
        let served = self.serve(id, requester, &whole);
        if let Ok(Flow::Park(_) | Flow::Wait | Flow::Move(_)) = served {
            self.router.wire.transfers.forget_expectation(id, request.token);
            if let Some(upload) = upload {
                self.router.wire.transfers.put_back(id, upload);
            }
        }
        served
    }

    /// Takes a block of a body. Returns the body when it is whole; else the block is answered.
    fn take_block(
        &mut self,
        id: ConnectionId,
        requester: &Requester,
        request: &Request<'_>,
        block: Block,
    ) -> Result<Option<Upload>, Reject> {
        let limit = match self.session(id) {
            Session::SignedIn(_) => self.router.limits.body_bytes_max,
            Session::SignedOut => OPEN_FRAME_BYTES_MAX,
        };
        let key = key::of_upload(request);
        let wire = &mut self.router.wire;
        match wire.transfers.take_block(id, key, block, request.payload, limit) {
            Ok(Taken::Whole(upload)) => Ok(Some(upload)),
            Ok(Taken::More) => {
                wire.answer(requester, ResponseType::Continue, |message| {
                    message.option_uint(CoapOption::Block1.into(), block.value());
                });
                Ok(None)
            }
            Err(NotTaken::Bad(error @ BlockError::TooLarge { limit })) => {
                self.counters.requests_refused += 1;
                let code = ResponseType::RequestEntityTooLarge;
                wire.answer(requester, code, |message| {
                    message.option_uint(CoapOption::Size1.into(), limit as u32);
                    message.payload(error.to_string().as_bytes());
                });
                Ok(None)
            }
            Err(NotTaken::Bad(error @ BlockError::Gap)) => {
                Err(Reject::because(ResponseType::RequestEntityIncomplete, error.to_string()))
            }
            Err(NotTaken::Bad(error @ BlockError::Length)) => {
                Err(Reject::because(ResponseType::BadRequest, error.to_string()))
            }
            Err(NotTaken::Full) => Err(Reject::unavailable("too many bodies come in blocks")),
        }
    }

    /// Answers a request for a later block from the answer that is kept. Returns whether one is.
    fn answer_later_block(&mut self, id: ConnectionId, request: &Request<'_>) -> bool {
        let key = key::of_download(request);
        let Some(answer) = self.router.wire.transfers.take_answer(id, &key) else { return false };
        let expectation = Expectation {
            token: request.token,
            key,
            block2: request.block2,
            block1: None,
            until: None,
        };
        let answered = self.router.wire.respond_in_blocks(id, &expectation, answer);
        if let Err(too_large) = answered {
            self.router.wire.refuse_too_large(&Requester::new(id, request.token), too_large);
        }
        true
    }
}
