//! Who signs up or in too often, or with wrong tokens, is answered later, not less (device reference
//! 17): a device that is closed or refused comes back at once, one that waits for its answer waits.
//! Clients that subscribe too often are refused: they can tell (cloud reference 9.2).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use shared::channel::figures::TableMemory;
use shared::channel::message::Failure;
use shared::ids::{DeviceId, UserId};
use shared::time::Instant;

use super::Shard;
use super::agenda::Agenda;
use super::dispatch::Flow;
use super::wire::Requester;
use crate::account::pace::{Paces, Rate, TooOften};
use crate::config::Handshakes;
use crate::connection::close::Closing;
use crate::connection::{CloseReason, ConnectionId};
use crate::events::subscription::digest;
use crate::reject::Reject;

/// Sign-ups and sign-ins of one device: one per second, five at once (device reference 17).
const DEVICE: Rate =
    Rate { every: Duration::from_secs(1), burst: 5, wait_max: Duration::from_secs(30) };

/// Wrong tokens from one address, behind which may be many devices.
const ADDRESS: Rate =
    Rate { every: Duration::from_millis(100), burst: 100, wait_max: Duration::from_secs(30) };

/// A device that is made to wait for the others would be back before it has waited longer.
const EVERYBODY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Connections of a shard that wait. More are answered at once.
const WAITING_MAX: usize = 4096;

/// What a device that has shown a right token wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wants {
    /// It gives up for good after six tries, so it does not wait for others (device reference 1.3, rule
    /// 11).
    SignUp,
    /// It comes again for as long as it lives.
    SignIn,
}

/// What goes on when the wait is over.
enum Waiting {
    /// The request is served.
    Request,
    /// This is the answer.
    Refusal(Requester, Reject),
}

/// Who has to wait, and for how long.
pub(super) struct Pacing {
    devices: Paces<DeviceId>,
    /// Of all devices together.
    everybody: Paces<()>,
    addresses: Paces<IpAddr>,
    /// Clients that subscribe, by user and by what stands for their ids.
    subscribers: Paces<(UserId, [u8; 16])>,
    waiting: BTreeMap<ConnectionId, Waiting>,
    agenda: Agenda<ConnectionId>,
    /// Its request has waited, and is served now.
    has_waited: Option<ConnectionId>,
}

impl Pacing {
    pub(super) fn new(budgets: &Handshakes, subscriptions_per_sec_max: u32, now: Instant) -> Self {
        let per_sec = budgets.sign_ins_per_sec_max;
        let every = Duration::from_secs(1) / per_sec;
        let everybody = Rate { every, burst: per_sec.div_ceil(10), wait_max: EVERYBODY_WAIT_MAX };
        let subscribers = Rate {
            every: Duration::from_secs(1) / subscriptions_per_sec_max.max(1),
            burst: subscriptions_per_sec_max,
            wait_max: Duration::ZERO,
        };
        Self {
            everybody: Paces::new(everybody, now),
            devices: Paces::new(DEVICE, now),
            addresses: Paces::new(ADDRESS, now),
            subscribers: Paces::new(subscribers, now),
            waiting: BTreeMap::new(),
            agenda: Agenda::default(),
            has_waited: None,
        }
    }

    /// What the paces occupy.
    pub(super) fn memory(&self) -> TableMemory {
        let all = self.devices.memory().and(self.addresses.memory());
        all.and(self.subscribers.memory()).table("pacing")
    }

    /// When the next wait is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// How long a device waits: for itself, and for all the others. A sign-up counts among these, and
    /// those who sign in wait for it.
    fn wait_of(
        &mut self,
        device: DeviceId,
        wants: Wants,
        now: Instant,
    ) -> Result<Duration, TooOften> {
        let own = self.devices.take(device, now)?;
        match (wants, self.everybody.take((), now)) {
            (Wants::SignUp, _) => Ok(own),
            (Wants::SignIn, others) => Ok(own.max(others?)),
        }
    }

    /// Connections that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A connection has ended.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if self.waiting.remove(&id).is_some() {
            self.agenda.clear(id);
        }
    }
}

impl Shard {
    /// Whether a client may have one more subscription for a user so soon (cloud reference 9.2, rule
    /// 10).
    pub(super) fn pace_subscriber(&mut self, user: UserId, client: &str) -> Result<(), Failure> {
        let key = (user, digest(client.as_bytes()));
        let taken = self.pacing.subscribers.take(key, self.now.instant);
        taken.map(drop).map_err(|_| Failure::SubscribesTooOften)
    }

    /// Whether a sign-up or sign-in of a device, whose token is right, goes on now.
    pub(super) fn pace_device(
        &mut self,
        id: ConnectionId,
        device: DeviceId,
        wants: Wants,
    ) -> Result<Option<Flow>, Reject> {
        if self.pacing.has_waited.take() == Some(id) {
            return Ok(None);
        }
        match self.pacing.wait_of(device, wants, self.now.instant) {
            Ok(Duration::ZERO) => Ok(None),
            Ok(wait) if self.let_wait(id, wait, Waiting::Request) => Ok(Some(Flow::Wait)),
            Ok(_) | Err(TooOften) => Err(Reject::unavailable("too often")),
        }
    }

    /// Somebody has presented a wrong token: the answer comes when the address has had none too many.
    pub(super) fn refuse_token(&mut self, requester: &Requester, reject: Reject) -> Flow {
        let id = requester.connection;
        let Some(connection) = self.router.wire.connections.get(id) else { return Flow::Stop };
        match self.pacing.addresses.take(network(connection.peer.ip()), self.now.instant) {
            Ok(wait) if wait > Duration::ZERO => {
                if self.let_wait(id, wait, Waiting::Refusal(*requester, reject.clone())) {
                    return Flow::Next;
                }
                self.refuse(requester, &reject)
            }
            Ok(_) => self.refuse(requester, &reject),
            Err(TooOften) => {
                self.end(id, CloseReason::Refused, Closing::Reset);
                Flow::Stop
            }
        }
    }

    /// Nothing more of a connection is served for so long, if not too many wait.
    fn let_wait(&mut self, id: ConnectionId, wait: Duration, then: Waiting) -> bool {
        if self.pacing.waiting.len() >= WAITING_MAX {
            return false;
        }
        let Some(connection) = self.router.wire.connections.get_mut(id) else { return false };
        connection.parked = true;
        self.pacing.waiting.insert(id, then);
        self.pacing.agenda.set(id, self.now.instant + wait);
        true
    }

    /// Goes on with those who have waited long enough.
    pub(super) fn go_on_after_waiting(&mut self) {
        while let Some(id) = self.pacing.agenda.next_due(self.now.instant) {
            match self.pacing.waiting.remove(&id) {
                Some(Waiting::Request) => {
                    self.pacing.has_waited = Some(id);
                    self.resume(id);
                    self.pacing.has_waited = None;
                }
                Some(Waiting::Refusal(requester, reject)) => {
                    self.refuse(&requester, &reject);
                    self.resume(id);
                }
                None => {}
            }
        }
    }
}

/// Where an address belongs to: whoever has one of IPv6 has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }
}
