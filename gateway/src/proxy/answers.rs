//! Responses of devices, and requests that got none.

use shared::channel::message::{DeviceAnswer, Failure, MESSAGE_BYTES_MAX, Reply};
use shared::coap::request::{CBOR, OCF_CBOR};
use shared::coap::{Code, Response, ResponseType, Token};

use super::translate::{self, BadAnswer, ClientLeg, client_format};
use super::{Forward, Purpose, Router, Unanswered};
use crate::account::DeviceKey;
use crate::connection::ConnectionId;
use crate::connection::exchanges::ExchangeKey;
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::session::Session;
use crate::shard::wire::Requester;

/// Room that an answer's envelope takes in a message of the shard channel.
const ENVELOPE_BYTES: usize = 1024;

impl Router {
    /// A device responds. Responses that nobody waits for are late or invented: they are ignored.
    /// Returns whether somebody waited.
    pub fn respond(
        &mut self,
        connection: ConnectionId,
        token: Token,
        response: &Response<'_>,
    ) -> bool {
        let Some(key) = self.exchanges.find(connection, token) else { return false };
        match self.asked.knows(key) {
            true => self.respond_in_blocks(key, connection, response),
            false => self.respond_whole(key, connection, response),
        }
        true
    }

    /// A device responds with all that it has to say. The exchange is one with this connection.
    pub(super) fn respond_whole(
        &mut self,
        key: ExchangeKey,
        connection: ConnectionId,
        response: &Response<'_>,
    ) {
        // An observation keeps its exchange; everything else ends with its response.
        if let Some(Purpose::Observe(upstream)) = self.exchanges.get(key).map(|e| &e.purpose) {
            return self.notified(*upstream, response);
        }
        let Some(purpose) = self.close_exchange(key, connection) else { return };
        let device = match purpose {
            Purpose::Forward(forward) => {
                self.answer_client(&forward, response);
                forward.device
            }
            Purpose::Command { channel, request, device, projects } => {
                self.project(device, projects, response);
                self.reply(channel, request, device_answer(response));
                device
            }
            Purpose::Fetch { gather, device, instance } => {
                self.project(device, Some(instance), response);
                self.fetched(gather, device);
                device
            }
            Purpose::Join { observer, serial, device } => {
                self.joined(observer, serial, response);
                device
            }
            Purpose::Sample { device, instance } => {
                self.project(device, Some(instance), response);
                if self.is_representation(response) {
                    self.sample(device, Some(instance), response);
                } else {
                    self.unwatched.push(self.accounts[device].id);
                }
                device
            }
            Purpose::Rest { device, observed } => {
                self.rest_has_come(connection, observed, response);
                device
            }
            Purpose::Absorb { device } => device,
            Purpose::Observe(_) => unreachable!("observations were sorted out above"),
        };
        self.make_room(device);
    }

    fn answer_client(&mut self, forward: &Forward, response: &Response<'_>) {
        self.wire.request_ended(forward.client);
        let requester = forward.requester();
        if requester.suppresses(response.code) || !self.may_hear(forward) {
            return;
        }
        let device = self.accounts[forward.device].id;
        match passable(response, forward.accept) {
            Ok(format) => {
                let leg = ClientLeg { token: forward.token, accept: forward.accept, observe: None };
                let written = self.wire.respond(forward.client, forward.token, |out| {
                    translate::response(out, device, response, &leg, format);
                });
                if let Err(too_large) = written {
                    self.wire.refuse_too_large(&requester, too_large);
                }
                if is_planted(Bug::AnswersComeTwice) {
                    self.wire.refuse(&requester, &Unanswered::BadAnswer.into());
                }
            }
            Err(BadAnswer) => self.wire.refuse(&requester, &Unanswered::BadAnswer.into()),
        }
    }

    /// Whether the client is still of the user of the device that it asked: a connection may have been
    /// signed out of and in for somebody else meanwhile.
    fn may_hear(&self, forward: &Forward) -> bool {
        let session = self.wire.connections.get(forward.client).map(|client| client.session);
        match session {
            Some(Session::SignedIn(who)) => who.user() == self.accounts[forward.device].user,
            Some(Session::SignedOut) => true,
            None => false,
        }
    }

    /// Keeps a representation that a device gave of a resource without a query.
    pub(crate) fn project(
        &mut self,
        device: DeviceKey,
        instance: Option<u32>,
        response: &Response<'_>,
    ) {
        let Some(instance) = instance else { return };
        if self.is_representation(response) {
            let projection = self.accounts[device].traffic.projection.get_or_insert_default();
            projection.put(instance, response.payload, self.now);
        }
    }

    /// Whether a response is a representation that is kept.
    pub(crate) fn is_representation(&self, response: &Response<'_>) -> bool {
        response.code == ResponseType::Content
            && response.bad_option.is_none()
            && matches!(response.content_format, None | Some(OCF_CBOR | CBOR))
            && (1..=self.limits.representation_bytes_max).contains(&response.payload.len())
    }

    /// Sees to a request that ended without a response.
    pub fn settle_unanswered(&mut self, purpose: Purpose, why: Unanswered) {
        match purpose {
            Purpose::Forward(forward) => {
                self.wire.request_ended(forward.client);
                if why == Unanswered::TimedOut && is_planted(Bug::TimeoutsAreSilent) {
                    return;
                }
                self.wire.refuse(&forward.requester(), &Reject::from(why));
            }
            Purpose::Command { channel, request, .. } => {
                self.reply(channel, request, Reply::Failed(Failure::from(why)));
            }
            Purpose::Fetch { gather, device, .. } => self.fetched(gather, device),
            Purpose::Observe(upstream) => self.end_upstream(upstream, &Reject::from(why)),
            Purpose::Join { observer, serial, .. } => self.not_joined(observer, serial, why),
            Purpose::Sample { device, .. } => {
                let device = self.accounts.find_device(device).map(|device| device.id);
                self.unwatched.extend(device);
            }
            Purpose::Rest { .. } | Purpose::Absorb { .. } => {}
        }
    }

    /// Ends requests whose time is up. Their tokens mean nothing from then on, so a late response
    /// finds nobody.
    pub fn expire_requests(&mut self) {
        while let Some(key) = self.exchanges.next_due(self.now) {
            self.give_up(key, Unanswered::TimedOut);
        }
    }

    /// A device answers with something that is no response. Returns whether somebody waited.
    pub fn respond_badly(&mut self, connection: ConnectionId, token: Token) -> bool {
        let found = self.exchanges.find(connection, token);
        if let Some(key) = found {
            self.give_up(key, Unanswered::BadAnswer);
        }
        found.is_some()
    }

    /// Ends a request that gets no response, or none that is one.
    pub(super) fn give_up(&mut self, key: ExchangeKey, why: Unanswered) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        // The device may have registered the observation all the same: it is told to forget it.
        if let Purpose::Observe(upstream) = exchange.purpose {
            return self.call_off(upstream, &Reject::from(why));
        }
        let connection = exchange.connection;
        let Some(purpose) = self.close_exchange(key, connection) else { return };
        let device = purpose.device();
        self.settle_unanswered(purpose, why);
        if let Some(device) = device {
            self.make_room(device);
        }
    }
}

impl Forward {
    fn requester(&self) -> Requester {
        let no_response = self.no_response;
        Requester { no_response, ..Requester::new(self.client, self.token) }
    }
}

/// Whether a client may get this response, and in which format (device reference 10.3).
pub(crate) fn passable(
    response: &Response<'_>,
    accept: Option<u16>,
) -> Result<Option<u16>, BadAnswer> {
    let more_blocks = response.block2.is_some_and(|block| !block.is_whole());
    if response.bad_option.is_some() || more_blocks {
        return Err(BadAnswer);
    }
    client_format(response.content_format, accept)
}

fn device_answer(response: &Response<'_>) -> Reply {
    if response.payload.len() > MESSAGE_BYTES_MAX - ENVELOPE_BYTES {
        return Reply::Failed(Failure::AnswerTooLarge);
    }
    match passable(response, None) {
        Ok(content_format) => Reply::Device(DeviceAnswer {
            code: Code::byte(response.code),
            content_format,
            max_age: response.max_age,
            body: response.payload.to_vec(),
        }),
        Err(BadAnswer) => Reply::Failed(Failure::DeviceAnsweredBadly),
    }
}
