//! Observation across the cloud: one observation on the device serves all who observe the same
//! resource (device reference 11, RFC 7641, RFC 8323 §7).
//!
//! ```text
//! client ─ register ─► observer ─┐
//! client ─ register ─► observer ─┼─► upstream ─ one GET with Observe ─► device
//! client ─ register ─► observer ─┘      latest ◄─────── notifications ──┘
//! ```
//!
//! [`registrations`] is the table; here is what registers, notifies and ends.

pub mod registrations;
pub mod target;

use shared::coap::{CoapOption, Code, MessageWriter, Request, Response, ResponseType, Token};

use crate::account::DeviceKey;
use crate::connection::ConnectionId;
use crate::limits::NOTIFICATION_FRESH;
use crate::proxy::answers::passable;
use crate::proxy::translate::{self, BadAnswer, ClientLeg, DeviceObserve, client_format};
use crate::proxy::{Purpose, Router, Unanswered};
use crate::reject::Reject;
use crate::shard::wire::{Requester, TooLarge};

pub use registrations::{Latest, Observations, Observer, ObserverKey, Upstream, UpstreamKey};
pub use target::Target;

/// What a deregistration came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deregistered {
    /// An observation, which has ended; the client has its answer.
    Ended,
    /// Nothing that could be ended or answered from what is known: it is a plain GET (RFC 7641 §3.6).
    PlainGet,
}

impl Router {
    /// A client registers, or registers again (device reference 11.1, 11.3).
    pub fn register(
        &mut self,
        client: ConnectionId,
        device: DeviceKey,
        request: &Request<'_>,
    ) -> Result<(), Reject> {
        let target = Target::of_request(request);
        if let Some(observer) = self.observer_of(client, request.token) {
            let upstream = self.observations.observer(observer).upstream;
            let known = self.observations.upstream(upstream);
            if known.device != device || known.target != target {
                return Err(Reject::bad_request("the token belongs to an observation"));
            }
            return self.show_state(observer, device, request);
        }
        self.check_client(client)?;
        self.check_observations(client, device)?;
        match self.observations.find(self.accounts[device].traffic.upstreams, &target) {
            Some(upstream) => {
                let observer = self.add_observer(upstream, client, request);
                self.show_state(observer, device, request)
            }
            None => self.observe_device(client, device, request, target),
        }
    }

    fn check_observations(&self, client: ConnectionId, device: DeviceKey) -> Result<(), Reject> {
        let count = self.wire.connections.get(client).map_or(0, |client| client.observation_count);
        if usize::from(count) >= self.limits.observations_per_client_max {
            return Err(Reject::unavailable("too many observations"));
        }
        let on_device = self.accounts[device].traffic.upstream_count;
        if usize::from(on_device) >= self.limits.observations_per_device_max {
            return Err(Reject::unavailable("too many observations on the device"));
        }
        Ok(())
    }

    fn observer_of(&self, client: ConnectionId, token: Token) -> Option<ObserverKey> {
        let first = self.wire.connections.get(client)?.observations;
        self.observations
            .of_client(first)
            .find(|&key| self.observations.observer(key).token == token)
    }

    /// The first observer of a resource: the device is asked.
    fn observe_device(
        &mut self,
        client: ConnectionId,
        device: DeviceKey,
        request: &Request<'_>,
        target: Target,
    ) -> Result<(), Reject> {
        let traffic = &mut self.accounts[device].traffic;
        let upstream = self.observations.add_upstream(device, target, &mut traffic.upstreams);
        traffic.upstream_count += 1;
        let until = self.now + self.timers.request;
        let asked = self.ask(device, Purpose::Observe(upstream), until, |out, token| {
            translate::request(out, token, request, DeviceObserve::Register);
        });
        match asked {
            Ok(exchange) => {
                if let Some(exchange) = exchange {
                    self.observations.set_exchange(upstream, exchange);
                }
                self.add_observer(upstream, client, request);
                Ok(())
            }
            Err(error) => {
                self.remove_upstream(upstream);
                Err(error.into())
            }
        }
    }

    fn add_observer(
        &mut self,
        upstream: UpstreamKey,
        client: ConnectionId,
        request: &Request<'_>,
    ) -> ObserverKey {
        let mut first = None;
        let connection = self.wire.connections.get_mut(client);
        let list = match connection {
            Some(connection) => {
                connection.observation_count += 1;
                &mut connection.observations
            }
            None => &mut first,
        };
        self.observations.add_observer(upstream, client, request.token, request.accept, list)
    }

    /// An observer of a running observation gets the present state: from the last notification if it
    /// is fresh, otherwise from the device. One of an observation that is being registered waits.
    fn show_state(
        &mut self,
        observer: ObserverKey,
        device: DeviceKey,
        request: &Request<'_>,
    ) -> Result<(), Reject> {
        let upstream = self.observations.observer(observer).upstream;
        let upstream = self.observations.upstream(upstream);
        if !upstream.running {
            return Ok(());
        }
        let latest = upstream.latest.as_ref();
        if latest.is_some_and(|latest| self.now.since(latest.seen) <= NOTIFICATION_FRESH) {
            self.send_latest(observer);
            return Ok(());
        }
        let serial = self.observations.observer(observer).serial;
        let until = self.now + self.timers.request;
        let purpose = Purpose::Join { observer, serial, device };
        let asked = self.ask(device, purpose, until, |out, token| {
            translate::request(out, token, request, DeviceObserve::None);
        });
        if let Err(error) = asked {
            self.drop_observer(observer);
            return Err(error.into());
        }
        Ok(())
    }

    /// The device gave the present state for an observer who joins.
    pub(crate) fn joined(&mut self, key: ObserverKey, serial: u32, response: &Response<'_>) {
        let Some(observer) = self.observations.current(key, serial) else { return };
        let upstream = observer.upstream;
        if !response.code.is_success() {
            self.send_response(key, response, Observed::No);
            self.drop_observer(key);
            return;
        }
        if let Some(latest) = Latest::of(response, self.now) {
            self.observations.set_latest(upstream, latest);
        }
        self.send_response(key, response, Observed::Yes);
    }

    /// The device did not give the present state.
    pub(crate) fn not_joined(&mut self, key: ObserverKey, serial: u32, why: Unanswered) {
        if let Some(observer) = self.observations.current(key, serial) {
            let requester = observer.requester();
            self.drop_observer(key);
            self.wire.refuse(&requester, &why.into());
        }
    }

    /// A response on an observation: the first answer, a notification, or its end.
    pub(crate) fn notified(&mut self, key: UpstreamKey, response: &Response<'_>) {
        let upstream = self.observations.upstream(key);
        let (first, device) = (!upstream.running, upstream.device);
        let (instance, exchange) = (upstream.target.instance(), upstream.exchange);
        let goes_on = response.code.is_success() && response.observe.is_some();
        if let Err(BadAnswer) = passable(response, None) {
            self.close_upstream_exchange(key);
            self.end_upstream(key, &Unanswered::BadAnswer.into());
        } else if goes_on {
            self.observations.set_running(key);
            if let Some(exchange) = exchange {
                self.exchanges.keep(exchange);
            }
            self.project(device, instance, response);
            self.observations.update_latest(key, response, self.now);
            self.tell_observers(key, response, Observed::Yes);
        } else {
            self.close_upstream_exchange(key);
            self.project(device, instance, response);
            self.tell_observers(key, response, Observed::No);
            self.end_quietly(key);
        }
        if first {
            self.make_room(device);
        }
    }

    fn tell_observers(&mut self, key: UpstreamKey, response: &Response<'_>, observed: Observed) {
        let mut next = self.observations.upstream(key).observers;
        while let Some(observer) = next {
            next = self.observations.observer(observer).next_of_upstream();
            let client = self.observations.observer(observer).client;
            // Who is behind with reading gets the newest state later: it is state, not events.
            let later = observed == Observed::Yes
                && self.wire.is_slow(client)
                && self.observations.upstream(key).latest.is_some();
            if later {
                self.observations.mark_stale(observer);
            } else {
                self.send_response(observer, response, observed);
            }
        }
    }

    /// Sends a device's response to an observer.
    fn send_response(&mut self, key: ObserverKey, response: &Response<'_>, observed: Observed) {
        let observe = match observed {
            Observed::Yes => Some(self.observations.count(key)),
            Observed::No => None,
        };
        let observer = self.observations.observer(key);
        let (client, requester) = (observer.client, observer.requester());
        let leg = ClientLeg { token: observer.token, accept: observer.accept, observe };
        let device = self.observations.upstream(observer.upstream).device;
        let device = self.accounts[device].id;
        match client_format(response.content_format, leg.accept) {
            Ok(format) => {
                let written = self.wire.write_bounded(client, |out| {
                    translate::response(out, device, response, &leg, format);
                });
                self.end_if_too_large(key, &requester, written);
            }
            Err(BadAnswer) => {
                self.wire.refuse(&requester, &Unanswered::BadAnswer.into());
                self.drop_observer(key);
            }
        }
    }

    /// Sends the last notification to an observer.
    fn send_latest(&mut self, key: ObserverKey) {
        let observe = Some(self.observations.count(key));
        let observer = self.observations.observer(key);
        let (client, requester) = (observer.client, observer.requester());
        let leg = ClientLeg { token: observer.token, accept: observer.accept, observe };
        let upstream = observer.upstream;
        let Some(latest) = self.observations.upstream(upstream).latest.as_ref() else { return };
        let format = client_format(latest.format, leg.accept).unwrap_or(latest.format);
        let written = self.wire.write_bounded(client, |out| {
            translate::kept_response(out, &leg, latest.code, format, &latest.body);
        });
        self.end_if_too_large(key, &requester, written);
    }

    fn end_if_too_large(
        &mut self,
        key: ObserverKey,
        requester: &Requester,
        written: Result<(), TooLarge>,
    ) {
        if let Err(too_large) = written {
            self.drop_observer(key);
            self.wire.refuse_too_large(requester, too_large);
        }
    }

    /// A client has read what was sent: it gets the newest states that it has missed.
    pub fn catch_up(&mut self, client: ConnectionId) {
        let Some(connection) = self.wire.connections.get(client) else { return };
        if connection.observations.is_none() || self.wire.is_slow(client) {
            return;
        }
        let stale: Vec<_> = self
            .observations
            .of_client(connection.observations)
            .filter(|&key| self.observations.observer(key).stale)
            .collect();
        for observer in stale {
            self.observations.mark_fresh(observer);
            self.send_latest(observer);
        }
    }

    /// A client deregisters (device reference 11.5). The token decides, not the path.
    pub fn deregister(&mut self, client: ConnectionId, request: &Request<'_>) -> Deregistered {
        let Some(observer) = self.observer_of(client, request.token) else {
            return Deregistered::PlainGet;
        };
        let known = self.observations.observer(observer);
        let leg = ClientLeg { token: known.token, accept: known.accept, observe: None };
        let latest = self.observations.upstream(known.upstream).latest.clone();
        self.drop_observer(observer);
        let Some(latest) = latest else { return Deregistered::PlainGet };
        let format = client_format(latest.format, leg.accept).unwrap_or(latest.format);
        self.wire.write(client, |out| {
            translate::kept_response(out, &leg, latest.code, format, &latest.body);
        });
        Deregistered::Ended
    }

    /// Ends all observations of a client that is gone or has signed out.
    pub fn drop_client(&mut self, client: ConnectionId) {
        while let Some(observer) =
            self.wire.connections.get(client).and_then(|connection| connection.observations)
        {
            self.drop_observer(observer);
        }
    }

    /// Takes an observer out. The last one takes the observation on the device with it.
    fn drop_observer(&mut self, key: ObserverKey) {
        let client = self.observations.observer(key).client;
        let mut none = None;
        let list = match self.wire.connections.get_mut(client) {
            Some(connection) => {
                connection.observation_count = connection.observation_count.saturating_sub(1);
                &mut connection.observations
            }
            None => &mut none,
        };
        let observer = self.observations.remove_observer(key, list);
        if self.observations.upstream(observer.upstream).observers.is_none() {
            self.cancel_upstream(observer.upstream);
        }
    }

    /// Deregisters at the device, with the token of the registration: real devices need the same one.
    /// The answer is absorbed.
    fn cancel_upstream(&mut self, key: UpstreamKey) {
        let upstream = self.observations.upstream(key);
        let (device, exchange) = (upstream.device, upstream.exchange);
        let target = upstream.target.clone();
        let was_running = upstream.running;
        self.remove_upstream(key);
        let Some(exchange) = exchange else {
            // It never got as far as the device.
            if let Some(queue) = &mut self.accounts[device].traffic.queue {
                queue.retain(|queued| !matches!(queued.purpose, Purpose::Observe(k) if k == key));
            }
            return;
        };
        let Some(connection) = self.accounts[device].connection else { return };
        let until = self.now + self.timers.request;
        let token = self.exchanges.token(exchange);
        self.exchanges.replace(exchange, Purpose::Absorb { device }, until);
        if was_running {
            self.accounts[device].traffic.in_flight =
                self.accounts[device].traffic.in_flight.saturating_add(1);
        }
        self.wire.write(connection, |out| target.write_deregistration(out, token));
    }

    fn close_upstream_exchange(&mut self, key: UpstreamKey) {
        let upstream = self.observations.upstream(key);
        let connection = self.accounts[upstream.device].connection;
        if let (Some(exchange), Some(connection)) = (upstream.exchange, connection) {
            self.close_exchange(exchange, connection);
        }
    }

    /// Ends an observation for all who observe: they get this code, without Observe
    /// (device reference 11.4). What the device is told is the caller's business.
    pub fn end_upstream(&mut self, key: UpstreamKey, reject: &Reject) {
        let mut next = self.observations.upstream(key).observers;
        while let Some(observer) = next {
            next = self.observations.observer(observer).next_of_upstream();
            let requester = self.observations.observer(observer).requester();
            self.wire.refuse(&requester, reject);
        }
        self.end_quietly(key);
    }

    /// Ends an observation without a word to those who observe.
    fn end_quietly(&mut self, key: UpstreamKey) {
        while let Some(observer) = self.observations.upstream(key).observers {
            let client = self.observations.observer(observer).client;
            let mut none = None;
            let list = match self.wire.connections.get_mut(client) {
                Some(connection) => {
                    connection.observation_count = connection.observation_count.saturating_sub(1);
                    &mut connection.observations
                }
                None => &mut none,
            };
            self.observations.remove_observer(observer, list);
        }
        self.remove_upstream(key);
    }

    fn remove_upstream(&mut self, key: UpstreamKey) {
        let device = self.observations.upstream(key).device;
        let traffic = &mut self.accounts[device].traffic;
        traffic.upstream_count = traffic.upstream_count.saturating_sub(1);
        self.observations.remove_upstream(key, &mut traffic.upstreams);
    }

    /// Ends the observations on resources that a device does not publish any more, there as well as
    /// here (device reference 11.4).
    pub fn end_unpublished(&mut self, device: DeviceKey, hrefs: &[String]) {
        let first = self.accounts[device].traffic.upstreams;
        let ended: Vec<_> = self
            .observations
            .of_device(first)
            .filter(|&key| {
                let target = &self.observations.upstream(key).target;
                hrefs.iter().any(|href| target.is_path(href))
            })
            .collect();
        for key in ended {
            let mut next = self.observations.upstream(key).observers;
            while let Some(observer) = next {
                next = self.observations.observer(observer).next_of_upstream();
                let requester = self.observations.observer(observer).requester();
                self.wire.refuse(&requester, &Reject::not_found());
            }
            // The last observer that goes deregisters at the device.
            while let Some(observer) =
                self.observations.find_upstream(key).and_then(|upstream| upstream.observers)
            {
                self.drop_observer(observer);
            }
        }
    }
}

/// Whether an answer belongs to an observation that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Observed {
    Yes,
    No,
}

impl Latest {
    /// What is kept of a response; nothing when it is no representation, or too large to keep.
    fn of(response: &Response<'_>, seen: shared::time::Instant) -> Option<Self> {
        let mut latest =
            Self { code: Code::from(ResponseType::Content), format: None, body: Vec::new(), seen };
        latest.set(response, seen).then_some(latest)
    }
}

impl Target {
    fn write_deregistration(&self, out: &mut Vec<u8>, token: Token) {
        let mut message = MessageWriter::new(out, shared::coap::RequestType::Get, token);
        message.named(CoapOption::Observe, &[1]);
        self.write_options(&mut message);
        message.finish();
    }
}
