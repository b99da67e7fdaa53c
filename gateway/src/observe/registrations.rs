//! The table of observations: upstreams by device, observers by upstream and by client.
//!
//! Lists are linked through the entries themselves; their heads are with the device and the client.

use shared::channel::figures::TableMemory;
use shared::coap::request::{CBOR, OCF_CBOR};
use shared::coap::{Code, Response, Token};
use shared::time::Instant;

use super::target::Target;
use crate::account::DeviceKey;
use crate::connection::ConnectionId;
use crate::connection::exchanges::ExchangeKey;
use crate::shard::wire::Requester;
use crate::slab::{Key, Slab};

/// Names an observation on a device.
pub type UpstreamKey = Key<Upstream>;
/// Names an observation of a client.
pub type ObserverKey = Key<Observer>;

/// Largest representation that is kept for observers who join or are slow, in bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Values of Observe are 24 bits wide (RFC 7641 §4.4).
const VALUE_MAX: u32 = 0x00ff_ffff;

/// The Observe value after this one; none is 0, which stands for there having been none.
pub(super) const fn next_value(value: u32) -> u32 {
    if value >= VALUE_MAX { 1 } else { value + 1 }
}

/// The one observation on a device that serves everybody who observes the same.
pub struct Upstream {
    /// The device.
    pub device: DeviceKey,
    /// What is observed.
    pub target: Target,
    /// The exchange with the device; none while the registration waits for room.
    pub exchange: Option<ExchangeKey>,
    /// The device has accepted it.
    pub running: bool,
    /// The first of those who observe.
    pub observers: Option<ObserverKey>,
    /// Somebody is subscribed to it.
    pub subscribed: bool,
    /// The last notification.
    pub latest: Option<Latest>,
    next: Option<UpstreamKey>,
}

/// The last notification, as it came from the device.
#[derive(Clone, Debug)]
pub struct Latest {
    /// 2.05, or whatever success the device gave.
    pub code: Code,
    /// Content-Format.
    pub format: Option<u16>,
    /// The representation.
    pub body: Vec<u8>,
    /// When it came.
    pub seen: Instant,
}

impl Latest {
    /// Takes a response over. Says no when it is not kept.
    pub(super) fn set(&mut self, response: &Response<'_>, seen: Instant) -> bool {
        let fits = response.payload.len() <= KEPT_BYTES_MAX
            && matches!(response.content_format, None | Some(OCF_CBOR | CBOR));
        if fits {
            self.code = response.code;
            self.format = response.content_format;
            self.body.clear();
            self.body.extend_from_slice(response.payload);
            self.seen = seen;
        }
        fits
    }
}

/// A client's observation.
pub struct Observer {
    /// What it takes part in.
    pub upstream: UpstreamKey,
    /// The client.
    pub client: ConnectionId,
    /// The client's token.
    pub token: Token,
    /// What the client accepts, if it said so.
    pub accept: Option<u16>,
    /// It has missed a notification.
    pub stale: bool,
    /// Differs from that of former observers with the same key.
    pub serial: u32,
    counter: u32,
    next_of_upstream: Option<ObserverKey>,
    previous_of_upstream: Option<ObserverKey>,
    next_of_client: Option<ObserverKey>,
    previous_of_client: Option<ObserverKey>,
}

impl Observer {
    /// To whom notifications go.
    pub fn requester(&self) -> Requester {
        Requester::new(self.client, self.token)
    }

    /// Whether it has had an answer to its registration, or at least a notification.
    pub fn is_answered(&self) -> bool {
        self.counter > 0
    }

    /// The next one of the same upstream.
    pub fn next_of_upstream(&self) -> Option<ObserverKey> {
        self.next_of_upstream
    }
}

/// All observations of a shard.
#[derive(Default)]
pub struct Observations {
    upstreams: Slab<Upstream>,
    observers: Slab<Observer>,
    serial: u32,
}

impl Observations {
    /// Adds an observation to those of a device, whose first one is `first`.
    pub fn add_upstream(
        &mut self,
        device: DeviceKey,
        target: Target,
        first: &mut Option<UpstreamKey>,
    ) -> UpstreamKey {
        let key = self.upstreams.insert(Upstream {
            device,
            target,
            exchange: None,
            running: false,
            observers: None,
            subscribed: false,
            latest: None,
            next: *first,
        });
        *first = Some(key);
        key
    }

    /// The observation on this target among those of a device.
    pub fn find(&self, first: Option<UpstreamKey>, target: &Target) -> Option<UpstreamKey> {
        self.of_device(first).find(|&key| self.upstreams[key].target == *target)
    }

    /// The observations of a device.
    pub fn of_device(&self, first: Option<UpstreamKey>) -> impl Iterator<Item = UpstreamKey> {
        std::iter::successors(first, |&key| self.upstreams[key].next)
    }

    /// The observations of a client.
    pub fn of_client(&self, first: Option<ObserverKey>) -> impl Iterator<Item = ObserverKey> {
        std::iter::successors(first, |&key| self.observers[key].next_of_client)
    }

    /// Takes an observation without observers out.
    pub fn remove_upstream(&mut self, key: UpstreamKey, first: &mut Option<UpstreamKey>) {
        let Some(upstream) = self.upstreams.remove(key) else { return };
        debug_assert!(upstream.observers.is_none());
        if *first == Some(key) {
            *first = upstream.next;
            return;
        }
        let before = self.of_device(*first).find(|&other| self.upstreams[other].next == Some(key));
        if let Some(before) = before {
            self.upstreams[before].next = upstream.next;
        }
    }

    /// Adds an observer to an upstream and to those of a client, whose first one is `first`.
    pub fn add_observer(
        &mut self,
        upstream: UpstreamKey,
        client: ConnectionId,
        token: Token,
        accept: Option<u16>,
        first: &mut Option<ObserverKey>,
    ) -> ObserverKey {
        self.serial = self.serial.wrapping_add(1);
        let next_of_upstream = self.upstreams[upstream].observers;
        let key = self.observers.insert(Observer {
            upstream,
            client,
            token,
            accept,
            stale: false,
            serial: self.serial,
            counter: 0,
            next_of_upstream,
            previous_of_upstream: None,
            next_of_client: *first,
            previous_of_client: None,
        });
        if let Some(next) = next_of_upstream {
            self.observers[next].previous_of_upstream = Some(key);
        }
        if let Some(next) = *first {
            self.observers[next].previous_of_client = Some(key);
        }
        self.upstreams[upstream].observers = Some(key);
        *first = Some(key);
        key
    }

    /// Takes an observer out of both lists; `first` is the first one of its client.
    pub fn remove_observer(
        &mut self,
        key: ObserverKey,
        first: &mut Option<ObserverKey>,
    ) -> Observer {
        let observer = self.observers.remove(key).expect("an observer is removed once");
        if let Some(next) = observer.next_of_upstream {
            self.observers[next].previous_of_upstream = observer.previous_of_upstream;
        }
        match observer.previous_of_upstream {
            Some(previous) => {
                self.observers[previous].next_of_upstream = observer.next_of_upstream;
            }
            None => self.upstreams[observer.upstream].observers = observer.next_of_upstream,
        }
        if let Some(next) = observer.next_of_client {
            self.observers[next].previous_of_client = observer.previous_of_client;
        }
        match observer.previous_of_client {
            Some(previous) => self.observers[previous].next_of_client = observer.next_of_client,
            None if *first == Some(key) => *first = observer.next_of_client,
            None => {}
        }
        observer
    }

    /// The observation.
    pub fn upstream(&self, key: UpstreamKey) -> &Upstream {
        &self.upstreams[key]
    }

    /// The observer.
    pub fn observer(&self, key: ObserverKey) -> &Observer {
        &self.observers[key]
    }

    /// The observer, if the key still means the same one.
    pub fn current(&self, key: ObserverKey, serial: u32) -> Option<&Observer> {
        self.observers.get(key).filter(|observer| observer.serial == serial)
    }

    /// The exchange of a registration that has been sent.
    pub fn set_exchange(&mut self, key: UpstreamKey, exchange: ExchangeKey) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.exchange = Some(exchange);
        }
    }

    /// The exchange of an observation, which is about to be closed.
    pub fn take_exchange(&mut self, key: UpstreamKey) -> Option<ExchangeKey> {
        self.upstreams.get_mut(key)?.exchange.take()
    }

    /// Somebody is subscribed to it, or nobody any more.
    pub fn set_subscribed(&mut self, key: UpstreamKey, subscribed: bool) {
        self.upstreams[key].subscribed = subscribed;
    }

    /// The device has accepted the observation.
    pub fn set_running(&mut self, key: UpstreamKey) {
        self.upstreams[key].running = true;
    }

    /// Keeps the representation of a response, in the memory of the last one.
    pub fn update_latest(&mut self, key: UpstreamKey, response: &Response<'_>, seen: Instant) {
        let upstream = &mut self.upstreams[key];
        match &mut upstream.latest {
            Some(latest) => {
                if !latest.set(response, seen) {
                    upstream.latest = None;
                }
            }
            None => upstream.latest = Latest::of(response, seen),
        }
    }

    /// The next Observe value of an observer: 1, 2, 3, ... Clients drop what does not rise
    /// (device reference 11.2).
    pub fn count(&mut self, key: ObserverKey) -> u32 {
        let observer = &mut self.observers[key];
        observer.counter = next_value(observer.counter);
        observer.counter
    }

    /// An observer has missed a notification.
    pub fn mark_stale(&mut self, key: ObserverKey) {
        self.observers[key].stale = true;
    }

    /// An observer is about to get the newest state.
    pub fn mark_fresh(&mut self, key: ObserverKey) {
        self.observers[key].stale = false;
    }

    /// What they occupy, without the notifications that are kept.
    pub fn memory(&self) -> Vec<TableMemory> {
        vec![self.upstreams.memory("observations"), self.observers.memory("observations.observers")]
    }

    /// Number of observations on devices, and of those by clients.
    pub fn len(&self) -> (usize, usize) {
        (self.upstreams.len(), self.observers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7641 §3.4: newer is what rises, or falls by more than half of all values.
    #[test]
    fn values_go_round_and_pass_over_none() {
        assert_eq!([0, 1, VALUE_MAX - 1].map(next_value), [1, 2, VALUE_MAX]);
        let after = next_value(VALUE_MAX);
        assert!(after > 0 && VALUE_MAX - after > 1 << 23);
    }
}
