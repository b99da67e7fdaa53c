//! Devices that answer in blocks, or are asked in blocks (device reference 12).

use shared::coap::{Response, Token};

use super::{Purpose, Router, Unanswered};
use crate::blockwise::{self, Step};
use crate::connection::ConnectionId;
use crate::connection::exchanges::ExchangeKey;

impl Router {
    /// A device responds to a request that is kept because its answer may come in blocks.
    pub(super) fn respond_in_blocks(
        &mut self,
        key: ExchangeKey,
        connection: ConnectionId,
        response: &Response<'_>,
    ) {
        let purpose = self.exchanges.get(key).map(|exchange| &exchange.purpose);
        if matches!(purpose, Some(Purpose::Observe(_))) {
            // Whatever was on the way is of an older state.
            self.close_rest(key, connection);
            return match response.block2 {
                Some(block) if block.more && response.observe.is_some() => {
                    self.fetch_rest(key, connection, response);
                }
                _ => self.respond_whole(key, connection, response),
            };
        }
        match self.asked.step(key, response, self.limits.body_bytes_max) {
            Step::Pass => self.respond_whole(key, connection, response),
            Step::Ask(next) => self.write_next(key, connection, &next),
            Step::Whole(whole) => match blockwise::parse(&whole) {
                Some(message) => self.respond_whole(key, connection, &Response::parse(&message)),
                None => self.give_up(key, Unanswered::BadAnswer),
            },
            Step::Bad => self.give_up(key, Unanswered::BadAnswer),
        }
    }

    fn write_next(&mut self, key: ExchangeKey, connection: ConnectionId, next: &[u8]) {
        if self.wire.write_bounded(connection, |out| out.extend_from_slice(next)).is_err() {
            self.give_up(key, Unanswered::TooLarge);
        }
    }

    /// A notification is the first block of its body; the rest is asked for with a token of its own,
    /// because that of the observation belongs to notifications (RFC 7959 §2.6).
    fn fetch_rest(&mut self, of: ExchangeKey, connection: ConnectionId, response: &Response<'_>) {
        let Some(Purpose::Observe(upstream)) = self.exchanges.get(of).map(|e| &e.purpose) else {
            return;
        };
        let device = self.observations.upstream(*upstream).device;
        let observed = self.exchanges.token(of);
        let Some(peer) = self.wire.connections.get_mut(connection) else { return };
        let purpose = Purpose::Rest { device, observed };
        let until = self.now + self.timers.request;
        let (key, token) = self.exchanges.open(connection, &mut peer.exchanges, purpose, until);
        let in_flight = &mut self.accounts[device].traffic.in_flight;
        *in_flight = in_flight.saturating_add(1);
        let limit = self.limits.body_bytes_max;
        match self.asked.begin_rest(of, key, token, response, limit) {
            Some(next) => self.write_next(key, connection, &next),
            None => self.give_up(key, Unanswered::BadAnswer),
        }
    }

    /// Gives up what fetches the rest of an older notification.
    fn close_rest(&mut self, of: ExchangeKey, connection: ConnectionId) {
        let Some(rest) = self.asked.take_rest(of) else { return };
        if let Some(Purpose::Rest { device, .. }) = self.close_exchange(rest, connection) {
            self.make_room(device);
        }
    }

    /// The rest of a notification has come: all who observe are told, if the observation goes on.
    pub(super) fn rest_has_come(
        &mut self,
        connection: ConnectionId,
        observed: Token,
        response: &Response<'_>,
    ) {
        let of = self.exchanges.find(connection, observed);
        let Some(of) = of.filter(|_| response.observe.is_some()) else { return };
        // Taken out, so that it is not closed a second time under a key that is used again.
        self.asked.take_rest(of);
        if let Some(Purpose::Observe(upstream)) = self.exchanges.get(of).map(|e| &e.purpose) {
            self.notified(*upstream, response);
        }
    }
}
