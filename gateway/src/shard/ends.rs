//! How connections end, and what ends with them.

use shared::coap::signal;
use shared::time::Instant;

use super::Shard;
use super::input::Output;
use crate::account::DeviceKey;
use crate::connection::close::Closing;
use crate::connection::signaling::PING_TOKEN;
use crate::connection::tls::Transport;
use crate::connection::{CloseReason, Connection, ConnectionId, Phase};
use crate::limits::{FLUSH, LINGER, PONG, REPAIR, SEND, TOKEN_GRACE};
use crate::proxy::Unanswered;
use crate::seeded::{Bug, is_planted};
use crate::session::Session;

impl Shard {
    /// Ends a connection in good order: what is queued goes out, then the TLS goodbye, then the end.
    pub(super) fn finish(&mut self, id: ConnectionId, reason: CloseReason) {
        if self.router.wire.connections.get(id).is_none_or(Connection::has_said_goodbye) {
            return;
        }
        self.close_after(id, reason, FLUSH, true);
        self.router.wire.raw(id, |transport, out| transport.close_notify(out));
        let idle = self.router.wire.connections.get(id).is_some_and(|c| c.output.is_idle());
        if idle {
            self.end(id, reason, Closing::Orderly);
        }
    }

    /// The peer has said Release: the answers that it still waits for go out, then the connection
    /// ends (device reference 2.5).
    pub(super) fn on_release(&mut self, id: ConnectionId) {
        let reason = CloseReason::PeerReleased;
        if self.router.wire.connections.get(id).is_some_and(|c| c.requests > 0) {
            let longest = self.router.timers.request + LINGER;
            self.close_after(id, reason, longest, false);
        } else {
            self.finish(id, reason);
        }
    }

    /// Lets the peer close first, for so long. It is not served any more. Who has been told goodbye
    /// already is closed as that was meant.
    pub(super) fn close_after(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        linger: std::time::Duration,
        when_sent: bool,
    ) {
        if self.router.wire.connections.get(id).is_some_and(Connection::has_said_goodbye) {
            return;
        }
        self.leave(id, Unanswered::Lost);
        // Who has asked itself, or another device that ends with it, hears so before the goodbye.
        self.settle_unanswered();
        let until = self.now.instant + linger;
        self.router.wire.set_phase(id, Phase::Closing { until, when_sent, reason });
        self.schedule(id);
    }

    /// The peer has ended the stream of bytes, or the network has. One that was asked to go does so.
    pub(super) fn on_ended(&mut self, id: ConnectionId, orderly: bool) {
        let phase = self.router.wire.connections.get(id).map(|connection| connection.phase);
        let reason = match phase {
            Some(Phase::Closing { reason, .. }) => reason,
            _ if orderly => CloseReason::PeerCut,
            _ => CloseReason::PeerLost,
        };
        self.end(id, reason, Closing::Orderly);
    }

    /// Ends a connection now.
    pub(super) fn end(&mut self, id: ConnectionId, reason: CloseReason, how: Closing) {
        let device = match self.session(id) {
            Session::SignedIn(who) => {
                self.router.accounts.find_device(who.device()).map(|device| device.id)
            }
            Session::SignedOut => None,
        };
        self.leave(id, Unanswered::Lost);
        let Some(connection) = self.router.wire.remove(id) else { return };
        // A handshake that did not finish is reset: its peer keeps nothing waiting for us.
        let how = match connection.transport {
            Transport::Handshake(_) => {
                self.admission.end();
                Closing::Reset
            }
            _ => how,
        };
        self.deadlines.clear(id.index);
        self.repairs.clear(id);
        self.pacing.forget(id);
        self.counters.closed[reason as usize] += 1;
        self.outputs.push_back(Output::Close { connection: id, how });
        self.outputs.push_back(Output::Ended { peer: connection.peer, device, reason });
    }

    /// Ends the session of a connection, and everything that hangs on it: requests towards the
    /// device, observations in both directions. Links stay (device reference 4.6).
    pub(super) fn leave(&mut self, id: ConnectionId, why: Unanswered) {
        self.router.drop_client(id);
        self.router.wire.transfers.forget(id);
        let Session::SignedIn(who) = self.session(id) else { return };
        self.unwatch_all(who.user(), id);
        if let Some(connection) = self.router.wire.connections.get_mut(id) {
            connection.session = Session::SignedOut;
        }
        self.counters.sessions -= 1;
        let device = who.device();
        self.router.abandon_device(device, id, why);
        if self.router.accounts[device].connection == Some(id)
            && !is_planted(Bug::DevicesStayOnline)
        {
            self.router.accounts[device].connection = None;
            self.expiries.pause(device, self.now.instant);
            self.note_status(device);
        }
    }

    /// A device has come or gone: whoever is subscribed hears of it at the end of the turn.
    pub(super) fn note_status(&mut self, device: DeviceKey) {
        if !self.events.subscriptions.is_empty() {
            let origin = self.router.accounts.origin(device);
            self.events.touch(origin.user, origin.device);
        }
    }

    /// The account of a device is gone: so is everything of it. Its connection, if it is not the one
    /// that waits for an answer, is closed.
    pub(super) fn forget_device(&mut self, key: DeviceKey, keep_connection: Option<ConnectionId>) {
        if let Some(connection) = self.router.accounts[key].connection {
            self.leave(connection, Unanswered::Removed);
            if Some(connection) != keep_connection {
                self.finish(connection, CloseReason::DeviceRemoved);
            }
        }
        self.settle_unanswered();
        self.expiries.forget(key);
        self.router.accounts.remove_device(key);
    }

    /// After 4.01 to a sign-in the device refreshes on the same connection, after a publish that
    /// failed it might publish again: it has a few seconds.
    pub(super) fn close_unless_mended(&mut self, id: ConnectionId) {
        let until = self.now.instant + REPAIR;
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        match connection.phase {
            Phase::Open { .. } => {
                connection.phase = Phase::Open { until };
                self.schedule(id);
            }
            Phase::SignedIn => self.repairs.set(id, until),
            Phase::Handshake { .. } | Phase::Moving { .. } | Phase::Closing { .. } => {}
        }
    }

    /// Closes those who have not mended what was wrong.
    fn close_unmended(&mut self) {
        while let Some(id) = self.repairs.next_due(self.now.instant) {
            self.finish(id, CloseReason::Refused);
        }
    }

    /// A request on a security resource shows that the peer is getting on (device reference 17).
    pub(super) fn postpone_sign_in_limit(&mut self, id: ConnectionId) {
        let until = self.now.instant + self.router.timers.not_signed_in;
        if let Some(connection) = self.router.wire.connections.get_mut(id)
            && let Phase::Open { .. } = connection.phase
        {
            connection.phase = Phase::Open { until };
            self.schedule(id);
        }
    }

    /// Sets the deadline of a connection to what its state says.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        if let Some(connection) = self.router.wire.connections.get(id) {
            let due = connection.due(&self.router.timers);
            let due = self.token_expiry(id).map_or(due, |expiry| due.min(expiry));
            self.deadlines.set(id.index, due);
        }
    }

    /// When the session of a connection ends because its token has expired, grace included.
    fn token_expiry(&self, id: ConnectionId) -> Option<Instant> {
        let Session::SignedIn(who) = self.session(id) else { return None };
        let expires = self.router.accounts[who.device()].account.expires?;
        let ends = expires.plus_secs(TOKEN_GRACE.as_secs());
        let left = std::time::Duration::from_secs(ends.secs_after(self.now.unix));
        Some(self.now.instant + left)
    }

    /// Does what is due on connections.
    pub(super) fn on_tick(&mut self) {
        while let Some(index) = self.deadlines.next_due(self.now.instant) {
            if let Some(id) = self.router.wire.connections.occupant(index) {
                self.on_due(id);
            }
        }
        self.router.expire_requests();
        self.router.wire.transfers.expire();
        self.expire_device_tokens();
        self.expire_grants();
        if self.departures.due().is_some_and(|due| due <= self.now.instant) {
            self.go_on_leaving();
        }
        self.renew_ticket_key();
        self.go_on_renewing();
        self.expire_links();
        self.tell_link_observers();
        self.close_unmended();
        self.refuse_late();
        self.tick_events();
        self.go_on_after_waiting();
    }

    fn on_due(&mut self, id: ConnectionId) {
        let now = self.now.instant;
        let Some(connection) = self.router.wire.connections.get(id) else { return };
        let timers = &self.router.timers;
        let stalled = connection.output.sending_since().is_some_and(|since| since + SEND <= now);
        if stalled {
            return self.end(id, CloseReason::NotReading, Closing::Reset);
        }
        match connection.phase {
            Phase::Handshake { until } if until <= now => {
                self.end(id, CloseReason::HandshakeTimedOut, Closing::Reset);
            }
            Phase::Open { until } if until <= now => self.finish(id, CloseReason::NotSignedIn),
            Phase::Closing { until, reason, when_sent } if until <= now => match when_sent {
                true => self.end(id, reason, Closing::Reset),
                false => self.finish(id, reason),
            },
            // Whether it arrives is not for this shard to say any more.
            Phase::Moving { .. } if connection.is_gone() => {}
            Phase::SignedIn | Phase::Moving { .. } if connection.heard + timers.idle <= now => {
                self.finish(id, CloseReason::Idle);
            }
            Phase::SignedIn => self.on_session_due(id),
            _ => self.schedule(id),
        }
    }

    fn on_session_due(&mut self, id: ConnectionId) {
        let now = self.now.instant;
        if self.token_expiry(id).is_some_and(|expiry| expiry <= now) {
            return self.finish(id, CloseReason::TokenExpired);
        }
        let timers = &self.router.timers;
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return };
        match connection.pinged {
            // Anything that came in since is as good as a Pong.
            Some(pinged) if connection.heard >= pinged => connection.pinged = None,
            Some(pinged) if pinged + PONG <= now => {
                return self.finish(id, CloseReason::PingLost);
            }
            Some(_) => {}
            None if connection.heard + timers.ping_after <= now => {
                connection.pinged = Some(now);
                self.router.wire.write(id, |out| signal::write_ping(out, PING_TOKEN));
            }
            None => {}
        }
        self.schedule(id);
    }
}
