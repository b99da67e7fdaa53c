//! Requests on their way to devices: who may ask, who has to wait, who is sent away.

use shared::channel::message::Failure;
use shared::coap::write::replace_token;
use shared::coap::{Request, ResponseType, Token};
use shared::time::Instant;

use super::translate::{self, Audience, OwnRequest};
use super::{Forward, Purpose, Queued, Router, Unanswered};
use crate::account::DeviceKey;
use crate::connection::ConnectionId;
use crate::connection::exchanges::ExchangeKey;
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::shard::wire::TooLarge;

/// Why a device cannot be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSent {
    /// It is not connected.
    Offline,
    /// Too many requests wait for it.
    QueueFull,
    /// The request is larger than it takes.
    TooLarge,
}

impl From<NotSent> for Reject {
    fn from(error: NotSent) -> Self {
        match error {
            NotSent::Offline => Self::unavailable("device is offline"),
            NotSent::QueueFull => Self::unavailable("too many requests wait for the device"),
            NotSent::TooLarge => {
                Self::new(ResponseType::RequestEntityTooLarge, "larger than the device takes")
            }
        }
    }
}

impl From<NotSent> for Failure {
    fn from(error: NotSent) -> Self {
        match error {
            NotSent::Offline => Self::DeviceOffline,
            NotSent::QueueFull => Self::Overloaded,
            NotSent::TooLarge => Self::TooLargeForDevice,
        }
    }
}

impl Router {
    /// Passes a client's request on (device reference 10.1, steps 8 and 9).
    pub fn forward(
        &mut self,
        client: ConnectionId,
        device: DeviceKey,
        request: &Request<'_>,
    ) -> Result<(), Reject> {
        self.check_client(client)?;
        let purpose = Purpose::Forward(Forward {
            client,
            token: request.token,
            accept: request.accept,
            no_response: request.no_response,
            device,
        });
        let until = self.now + self.timers.request;
        self.ask(device, purpose, until, |out, token| {
            translate::request(out, token, request, Audience::Client);
        })?;
        self.wire.request_begun(client);
        Ok(())
    }

    /// Whether a client may have one more request under way.
    pub fn check_client(&self, client: ConnectionId) -> Result<(), Reject> {
        let requests = self.wire.connections.get(client).map_or(0, |client| client.requests);
        if usize::from(requests) >= self.limits.requests_per_client_max {
            return Err(Reject::unavailable("too many requests under way"));
        }
        Ok(())
    }

    /// Sends a request of our own.
    pub fn ask_own(
        &mut self,
        device: DeviceKey,
        purpose: Purpose,
        until: Instant,
        request: &OwnRequest<'_>,
    ) -> Result<Option<ExchangeKey>, NotSent> {
        self.ask(device, purpose, until, |out, token| translate::own_request(out, token, request))
    }

    /// Sends a request to a device, or lets it wait for room. Returns the exchange if it was sent.
    pub fn ask(
        &mut self,
        device: DeviceKey,
        purpose: Purpose,
        until: Instant,
        write: impl FnOnce(&mut Vec<u8>, Token),
    ) -> Result<Option<ExchangeKey>, NotSent> {
        let connection = self.accounts[device].connection.ok_or(NotSent::Offline)?;
        let traffic = &mut self.accounts[device].traffic;
        if usize::from(traffic.in_flight) < self.limits.requests_per_device_max {
            return self.send(device, connection, purpose, until, write).map(Some);
        }
        let queue = traffic.queue.get_or_insert_default();
        if queue.len() >= self.limits.queued_requests_per_device_max {
            return Err(NotSent::QueueFull);
        }
        let mut message = Vec::new();
        write(&mut message, Token::from_u64(0));
        queue.push_back(Queued { message, purpose, until });
        Ok(None)
    }

    fn send(
        &mut self,
        device: DeviceKey,
        connection: ConnectionId,
        purpose: Purpose,
        until: Instant,
        write: impl FnOnce(&mut Vec<u8>, Token),
    ) -> Result<ExchangeKey, NotSent> {
        let peer = self.wire.connections.get_mut(connection).ok_or(NotSent::Offline)?;
        let capabilities = peer.capabilities;
        let (key, token) = self.exchanges.open(connection, &mut peer.exchanges, purpose, until);
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            write(out, token);
            if is_planted(Bug::RequestsGoTwice) {
                out.extend_from_within(start..);
            }
        };
        let written = match capabilities.has_said_csm {
            false => self.wire.write_bounded(connection, write),
            true => self.write_in_blocks(key, connection, write),
        };
        match written {
            Ok(()) => {
                self.accounts[device].traffic.in_flight += 1;
                Ok(key)
            }
            Err(TooLarge { .. }) => {
                self.close_exchange(key, connection);
                Err(NotSent::TooLarge)
            }
        }
    }

    /// Sends a request to a device that may answer in blocks, or gets it in blocks.
    fn write_in_blocks(
        &mut self,
        key: ExchangeKey,
        connection: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooLarge> {
        let Some(peer) = self.wire.connections.get(connection) else { return Ok(()) };
        let capabilities = peer.capabilities;
        let limit = self.wire.message_bytes_max(connection);
        match self.asked.begin(key, capabilities, limit, write) {
            Ok(first) => self.wire.write_bounded(connection, |out| out.extend_from_slice(&first)),
            Err(bytes) => Err(TooLarge { bytes, limit }),
        }
    }

    /// Takes an exchange out of those of its connection.
    pub(crate) fn close_exchange(
        &mut self,
        key: ExchangeKey,
        connection: ConnectionId,
    ) -> Option<Purpose> {
        self.asked.forget(key);
        let peer = self.wire.connections.get_mut(connection)?;
        let exchange = self.exchanges.close(key, &mut peer.exchanges)?;
        Some(exchange.purpose)
    }

    /// A request to a device has ended: there is room for the next one.
    pub(crate) fn make_room(&mut self, device: DeviceKey) {
        let traffic = &mut self.accounts[device].traffic;
        debug_assert!(traffic.in_flight > 0, "every request under way ends once");
        traffic.in_flight = traffic.in_flight.saturating_sub(1);
        while let Some(Queued { mut message, purpose, until }) = self.next_queued(device) {
            let Some(connection) = self.accounts[device].connection else {
                self.unanswered.push_back((purpose, Unanswered::Lost));
                continue;
            };
            if until <= self.now {
                self.unanswered.push_back((purpose, Unanswered::TimedOut));
                continue;
            }
            let copy = purpose.clone();
            let sent = self.send(device, connection, purpose, until, |out, token| {
                replace_token(&mut message, token.as_u64().unwrap_or_default());
                out.extend_from_slice(&message);
            });
            match sent {
                Ok(key) => self.note_sent(&copy, key),
                Err(_) => self.unanswered.push_back((copy, Unanswered::TooLarge)),
            }
        }
    }

    fn next_queued(&mut self, device: DeviceKey) -> Option<Queued> {
        let traffic = &mut self.accounts[device].traffic;
        if usize::from(traffic.in_flight) >= self.limits.requests_per_device_max {
            return None;
        }
        let queued = traffic.queue.as_mut()?.pop_front();
        if queued.is_none() {
            traffic.queue = None;
        }
        queued
    }

    /// An observation that had to wait for room knows its exchange now.
    fn note_sent(&mut self, purpose: &Purpose, key: ExchangeKey) {
        if let Purpose::Observe(upstream) = purpose {
            self.observations.set_exchange(*upstream, key);
        }
    }

    /// Ends everything that is under way towards a device whose connection is gone or whose account
    /// is: nobody is left without an answer.
    pub fn abandon_device(&mut self, device: DeviceKey, connection: ConnectionId, why: Unanswered) {
        while let Some(key) =
            self.wire.connections.get(connection).and_then(|connection| connection.exchanges)
        {
            let Some(purpose) = self.close_exchange(key, connection) else { break };
            self.unanswered.push_back((purpose, why));
        }
        let traffic = &mut self.accounts[device].traffic;
        traffic.in_flight = 0;
        if let Some(queue) = traffic.queue.take() {
            self.unanswered.extend(queue.into_iter().map(|queued| (queued.purpose, why)));
        }
    }
}
