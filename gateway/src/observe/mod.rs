//! Observation across the cloud: one observation on the device serves all who observe the same
//! resource (device reference 11, RFC 7641, RFC 8323 §7).
//!
//! ```text
//! client ─ register ─► observer ─┐
//! client ─ register ─► observer ─┼─► upstream ─ one GET with Observe ─► device
//! client ─ register ─► observer ─┘      latest ◄─────── notifications ──┘
//! ```
//!
//! [`registrations`] is the table; here is what registers, notifies and ends. [`subscribed`] are
//! resources to which partner clouds are subscribed: one more who observes. [`links`] are those who
//! observe the cloud's own `/oic/res`.

pub mod links;
pub mod registrations;
mod subscribed;
pub mod target;

use shared::coap::{CoapOption, Code, MessageWriter, Request, Response, ResponseType, Token};

use crate::account::DeviceKey;
use crate::connection::ConnectionId;
use crate::limits::NOTIFICATION_FRESH;
use crate::proxy::answers::passable;
use crate::proxy::translate::{self, Audience, BadAnswer, ClientLeg, client_format};
use crate::proxy::{Purpose, Router, Unanswered};
use crate::reject::Reject;
use crate::seeded::{Bug, is_planted};
use crate::shard::wire::{Requester, TooLarge};

pub use registrations::{Latest, Observations, Observer, ObserverKey, Upstream, UpstreamKey};
pub use subscribed::Sample;
pub use target::Target;

/// What a deregistration came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deregistered {
    /// An observation, which has ended; the client has its answer.
    Ended,
    /// Nothing that could be ended or answered from what is known: it is a plain GET (RFC 7641 §3.6).
    PlainGet,
}

/// A token belongs to one observation at a time (device reference 11.3).
pub const TOKEN_IN_USE: Reject = Reject::bad_request("the token belongs to an observation");

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
                return Err(TOKEN_IN_USE);
            }
            return self.show_state(observer, device, request);
        }
        self.check_client(client)?;
        self.check_observations_of(client)?;
        match self.observations.find(self.accounts[device].traffic.upstreams, &target) {
            Some(upstream) => {
                let observer = self.add_observer(upstream, client, request);
                self.show_state(observer, device, request)
            }
            None => self.observe_device(client, device, request, target),
        }
    }

    pub(crate) fn check_observations_of(&self, client: ConnectionId) -> Result<(), Reject> {
        let count = self.wire.connections.get(client).map_or(0, |client| client.observation_count);
        if usize::from(count) >= self.limits.observations_per_client_max {
            return Err(Reject::unavailable("too many observations"));
        }
        Ok(())
    }

    fn check_observations_on(&self, device: DeviceKey) -> Result<(), Reject> {
        let count = self.accounts[device].traffic.upstream_count;
        if usize::from(count) >= self.limits.observations_per_device_max {
            return Err(Reject::unavailable("too many observations on the device"));
        }
        Ok(())
    }

    /// Whether a token of a client belongs to an observation of its, so that nothing else may have
    /// it (device reference 11.3).
    pub fn is_observed_with(&self, client: ConnectionId, token: Token) -> bool {
        self.observer_of(client, token).is_some()
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
        self.check_observations_on(device)?;
        let traffic = &mut self.accounts[device].traffic;
        let upstream = self.observations.add_upstream(device, target, &mut traffic.upstreams);
        traffic.upstream_count += 1;
        let until = self.now + self.timers.request;
        let asked = self.ask(device, Purpose::Observe(upstream), until, |out, token| {
            translate::request(out, token, request, Audience::Registration);
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
            translate::request(out, token, request, Audience::Observers);
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
        if passable(response, None).is_err() {
            return self.not_joined(key, serial, Unanswered::BadAnswer);
        }
        if !response.code.is_success() {
            let observer = self.take_observer(key);
            self.send_last(&observer, response);
            return self.cancel_unobserved(observer.upstream);
        }
        self.observations.update_latest(upstream, response, self.now);
        self.send_notification(key, response);
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
        let instance = upstream.target.instance();
        if passable(response, None).is_err() {
            return self.call_off(key, &Unanswered::BadAnswer.into());
        }
        self.project(device, instance, response);
        if self.observations.upstream(key).subscribed {
            self.sample(device, instance, response);
        }
        if response.code.is_success() && response.observe.is_some() {
            self.observations.set_running(key);
            if let Some(exchange) = self.observations.upstream(key).exchange {
                self.exchanges.keep(exchange);
            }
            self.observations.update_latest(key, response, self.now);
            self.tell_observers(key, response);
        } else {
            self.close_upstream_exchange(key);
            while let Some(observer) = self.next_observer(key) {
                self.send_last(&observer, response);
            }
            self.remove_upstream(key);
        }
        if first {
            self.make_room(device);
        }
    }

    fn tell_observers(&mut self, key: UpstreamKey, response: &Response<'_>) {
        let is_kept = self.observations.upstream(key).latest.is_some();
        let mut next = self.observations.upstream(key).observers;
        while let Some(observer) = next {
            next = self.observations.observer(observer).next_of_upstream();
            if is_planted(Bug::OneObserverIsTold) {
                next = None;
            }
            let client = self.observations.observer(observer).client;
            // Who is behind with reading gets the newest state later: it is state, not events.
            if is_kept && self.wire.is_slow(client) {
                self.observations.mark_stale(observer);
            } else {
                self.send_notification(observer, response);
            }
        }
    }

    /// Sends a device's response to an observer who goes on observing.
    fn send_notification(&mut self, key: ObserverKey, response: &Response<'_>) {
        let observe = Some(self.observations.count(key));
        self.observations.mark_fresh(key);
        let observer = self.observations.observer(key);
        let (client, requester) = (observer.client, observer.requester());
        let leg = ClientLeg { token: observer.token, accept: observer.accept, observe };
        let device = self.observations.upstream(observer.upstream).device;
        let device = self.accounts[device].id;
        match client_format(response.content_format, leg.accept) {
            Ok(format) => {
                let written = self.wire.respond(client, leg.token, |out| {
                    translate::response(out, device, response, &leg, format);
                });
                self.end_if_too_large(key, &requester, written);
            }
            Err(BadAnswer) => {
                self.drop_observer(key);
                self.wire.refuse(&requester, &Unanswered::BadAnswer.into());
            }
        }
    }

    /// Sends a device's response to somebody who has observed until now.
    fn send_last(&mut self, observer: &Observer, response: &Response<'_>) {
        let leg = ClientLeg { token: observer.token, accept: observer.accept, observe: None };
        let device = self.observations.upstream(observer.upstream).device;
        let device = self.accounts[device].id;
        match client_format(response.content_format, leg.accept) {
            Ok(format) => {
                let written = self.wire.respond(observer.client, observer.token, |out| {
                    translate::response(out, device, response, &leg, format);
                });
                if let Err(too_large) = written {
                    self.wire.refuse_too_large(&observer.requester(), too_large);
                }
            }
            Err(BadAnswer) => {
                self.wire.refuse(&observer.requester(), &Unanswered::BadAnswer.into());
            }
        }
    }

    /// Sends the last notification to an observer.
    fn send_latest(&mut self, key: ObserverKey) {
        let observe = Some(self.observations.count(key));
        self.observations.mark_fresh(key);
        let observer = self.observations.observer(key);
        let (client, requester) = (observer.client, observer.requester());
        let leg = ClientLeg { token: observer.token, accept: observer.accept, observe };
        let upstream = observer.upstream;
        let Some(latest) = self.observations.upstream(upstream).latest.as_ref() else { return };
        let format = client_format(latest.format, leg.accept).unwrap_or(latest.format);
        let written = self.wire.respond(client, leg.token, |out| {
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
            self.send_latest(observer);
        }
    }

    /// A client deregisters (device reference 11.5). The token decides, not the path.
    pub fn deregister(&mut self, client: ConnectionId, request: &Request<'_>) -> Deregistered {
        let Some(observer) = self.observer_of(client, request.token) else {
            return Deregistered::PlainGet;
        };
        let known = self.observations.observer(observer);
        let requester = known.requester();
        let leg = ClientLeg { token: known.token, accept: known.accept, observe: None };
        let latest = self.observations.upstream(known.upstream).latest.clone();
        self.drop_observer(observer);
        let Some(latest) = latest else { return Deregistered::PlainGet };
        let format = client_format(latest.format, leg.accept).unwrap_or(latest.format);
        let written = self.wire.respond(client, leg.token, |out| {
            translate::kept_response(out, &leg, latest.code, format, &latest.body);
        });
        if let Err(too_large) = written {
            self.wire.refuse_too_large(&requester, too_large);
        }
        Deregistered::Ended
    }

    /// Ends all observations of a client that is gone or has signed out. One that has had no answer to
    /// its registration yet gets one: it may stay connected.
    pub fn drop_client(&mut self, client: ConnectionId) {
        while let Some(observer) =
            self.wire.connections.get(client).and_then(|connection| connection.observations)
        {
            let known = self.observations.observer(observer);
            if !known.is_answered() {
                let requester = known.requester();
                self.wire.refuse(&requester, &Reject::unavailable("the session has ended"));
            }
            self.drop_observer(observer);
        }
    }

    /// Takes an observer out. The last one takes the observation on the device with it.
    fn drop_observer(&mut self, key: ObserverKey) {
        let observer = self.take_observer(key);
        self.cancel_unobserved(observer.upstream);
    }

    /// Takes an observer out of the lists of its client and of what it observes.
    fn take_observer(&mut self, key: ObserverKey) -> Observer {
        let client = self.observations.observer(key).client;
        let mut none = None;
        let list = match self.wire.connections.get_mut(client) {
            Some(connection) => {
                connection.observation_count = connection.observation_count.saturating_sub(1);
                &mut connection.observations
            }
            None => &mut none,
        };
        self.observations.remove_observer(key, list)
    }

    /// Takes the next observer out of those of an observation that ends.
    fn next_observer(&mut self, key: UpstreamKey) -> Option<Observer> {
        let next = self.observations.upstream(key).observers?;
        Some(self.take_observer(next))
    }

    fn cancel_unobserved(&mut self, key: UpstreamKey) {
        let upstream = self.observations.upstream(key);
        if upstream.observers.is_none() && !upstream.subscribed {
            self.cancel_upstream(key);
        }
    }

    /// Deregisters at the device, with the token of the registration: real devices need the same one.
    /// The answer is absorbed. Nobody observes any more.
    fn cancel_upstream(&mut self, key: UpstreamKey) {
        let upstream = self.observations.upstream(key);
        let (device, exchange) = (upstream.device, upstream.exchange);
        let target = upstream.target.clone();
        let was_running = upstream.running;
        self.remove_upstream(key);
        let (Some(exchange), Some(connection)) = (exchange, self.accounts[device].connection)
        else {
            // It never got as far as the device, or the device is gone.
            return;
        };
        let until = self.now + self.timers.request;
        let token = self.exchanges.token(exchange);
        self.asked.forget(exchange);
        self.exchanges.replace(exchange, Purpose::Absorb { device }, until);
        if was_running {
            let in_flight = &mut self.accounts[device].traffic.in_flight;
            *in_flight = in_flight.saturating_add(1);
        }
        self.wire.write(connection, |out| target.write_deregistration(out, token));
    }

    fn close_upstream_exchange(&mut self, key: UpstreamKey) {
        let device = self.observations.upstream(key).device;
        let connection = self.accounts[device].connection;
        if let (Some(exchange), Some(connection)) =
            (self.observations.take_exchange(key), connection)
        {
            self.close_exchange(exchange, connection);
        }
    }

    /// Ends an observation that the device knows nothing of any more, or never has: all who observe
    /// get this code, without Observe (device reference 11.4).
    pub(crate) fn end_upstream(&mut self, key: UpstreamKey, reject: &Reject) {
        self.refuse_observers(key, reject);
        self.remove_upstream(key);
    }

    /// Ends an observation for all who observe, and at the device.
    pub(crate) fn call_off(&mut self, key: UpstreamKey, reject: &Reject) {
        self.refuse_observers(key, reject);
        self.cancel_upstream(key);
    }

    fn refuse_observers(&mut self, key: UpstreamKey, reject: &Reject) {
        while let Some(observer) = self.next_observer(key) {
            self.wire.refuse(&observer.requester(), reject);
        }
    }

    /// Takes out an observation that nobody observes, and its registration if that still waits.
    fn remove_upstream(&mut self, key: UpstreamKey) {
        let upstream = self.observations.upstream(key);
        let (device, subscribed) = (upstream.device, upstream.subscribed);
        if subscribed {
            self.unwatched.push(self.accounts[device].id);
        }
        let traffic = &mut self.accounts[device].traffic;
        traffic.upstream_count = traffic.upstream_count.saturating_sub(1);
        self.observations.remove_upstream(key, &mut traffic.upstreams);
        let registers = |purpose: &Purpose| matches!(purpose, Purpose::Observe(k) if *k == key);
        if let Some(queue) = &mut traffic.queue {
            queue.retain(|queued| !registers(&queued.purpose));
        }
        self.unanswered.retain(|(purpose, _)| !registers(purpose));
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
            self.call_off(key, &Reject::not_found());
        }
    }
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
