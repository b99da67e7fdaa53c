//! All state of one core: the users that live on it, their connections, accounts, links and requests.
//!
//! ```text
//! Input ─► handle ─┬─ receive ─ dispatch ─┬─ sessions, removal        accounts
//!                  │                      ├─ publishing, watching     directory
//!                  │                      └─ proxy, observe           devices
//!                  │  blocks: bodies that come in blocks, and requests for those of an answer
//!                  ├─ commits ◄─ staging: changes on their way to the store
//!                  ├─ claims: who owns a device id     moves: connections between shards
//!                  ├─ mediation, granting, registering, command: what `api` asks
//!                  ├─ subscribing, news, noticing, delivering: subscriptions and their events
//!                  ├─ pacing: who has to wait     renewal: other certificates     expiry: old links
//!                  └─ ends: deadlines, and how connections end
//! Output ◄─ poll_output      next deadline ◄─ poll_timeout
//! ```
//!
//! A shard opens no sockets, reads no clock, draws no random numbers and never waits. The same inputs
//! give the same outputs. After every [`Shard::handle`], take outputs until there are none.

mod admission;
pub mod agenda;
mod blocks;
pub mod claims;
mod commits;
pub mod counters;
pub mod deadlines;
mod delivering;
mod departures;
mod dispatch;
mod draining;
mod ends;
mod expiry;
mod figures;
mod granting;
pub mod input;
mod invariants;
mod load;
mod mediation;
mod moves;
mod news;
mod noticing;
mod pacing;
mod publishing;
mod receive;
mod registering;
mod removal;
mod renewal;
mod sessions;
mod settings;
pub mod staging;
mod subscribing;
mod ticketing;
mod transactions;
mod watching;
pub mod wire;

use std::collections::VecDeque;

use shared::ids::ShardId;
use shared::placement::Placement;
use shared::time::{Instant, Now};

use crate::account::{Accounts, DeviceTokens};
use crate::authorization::Authorization;
use crate::blockwise::Asked;
use crate::command::gather::Gathers;
use crate::config::{Limits, Timers};
use crate::connection::close::Closing;
use crate::connection::exchanges::Exchanges;
use crate::connection::tls::Acceptor;
use crate::connection::{CloseReason, Connection, ConnectionId, Unprocessed};
use crate::events::Events;
use crate::observe::Observations;
use crate::observe::links::LinkObservers;
use crate::proxy::Router;
use crate::store::StoreKey;

pub use admission::{Bound, Budgets};
pub use counters::Counters;
pub use input::{ChannelId, CommitId, Input, Listener, Output, PeerMessage, Receive};
pub use settings::Settings;

use admission::Admission;
use agenda::Agenda;
use claims::Claims;
use deadlines::Deadlines;
use departures::Departures;
use draining::Drain;
use expiry::Expiries;
use pacing::Pacing;
use removal::SignedOff;
use staging::Staging;
use ticketing::Ticketing;
use transactions::Transactions;
use wire::Wire;

/// Random bytes, from outside.
pub trait Randomness: Send {
    /// Fills with random bytes that nobody can guess.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// What a shard is made of.
pub struct Parts {
    /// Its number.
    pub id: ShardId,
    /// Who lives where.
    pub placement: Placement,
    /// What the operator decides.
    pub settings: Settings,
    /// Bounds.
    pub limits: Limits,
    /// Timers.
    pub timers: Timers,
    /// The key of the state directory.
    pub store_key: StoreKey,
    /// TLS of new connections.
    pub acceptor: Acceptor,
    /// Random bytes.
    pub random: Box<dyn Randomness>,
}

/// All state of one core.
pub struct Shard {
    id: ShardId,
    placement: Placement,
    settings: Settings,
    store_key: StoreKey,
    acceptor: Acceptor,
    random: Box<dyn Randomness>,
    router: Router,
    device_tokens: DeviceTokens,
    authorization: Authorization,
    events: Events,
    claims: Claims,
    transactions: Transactions,
    staging: Staging,
    signed_off: SignedOff,
    ticketing: Ticketing,
    expiries: Expiries,
    departures: Departures,
    link_observers: LinkObservers,
    pacing: Pacing,
    /// Who is closed then, unless it mends what was wrong.
    repairs: Agenda<ConnectionId>,
    deadlines: Deadlines,
    admission: Admission,
    outputs: VecDeque<Output>,
    counters: Counters,
    now: Now,
    /// Differs from start to start.
    epoch: u32,
    /// Expired tokens are being removed.
    expiring: bool,
    /// Expired codes and grants are being removed.
    expiring_grants: bool,
    /// The slot from which on it is still to be seen who is trusted after a renewal.
    renewing: Option<u32>,
    /// The gateway is stopping.
    drain: Option<Drain>,
    /// Memory for the places of the texts of one receive.
    texts: Vec<std::ops::Range<usize>>,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept: they move into connections")]
    spare_inputs: Vec<Box<Unprocessed>>,
}

impl Shard {
    /// An empty shard.
    pub fn new(parts: Parts, now: Now) -> Self {
        let Parts { id, placement, settings, limits, timers, store_key, acceptor, mut random } =
            parts;
        let mut number = || {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            u32::from_be_bytes(bytes)
        };
        let (epoch, serial) = (number(), number());
        let handshakes = &settings.budgets.handshakes;
        let admission = Admission::new(handshakes, now.instant);
        let pacing = Pacing::new(handshakes, limits.subscriptions_per_sec_max, now.instant);
        let router = Router {
            wire: Wire::new(&limits, now.instant),
            exchanges: Exchanges::new(serial, now.instant),
            asked: Asked::default(),
            accounts: Accounts::default(),
            observations: Observations::default(),
            gathers: Gathers::default(),
            replies: VecDeque::new(),
            samples: Vec::new(),
            unwatched: Vec::new(),
            unanswered: VecDeque::new(),
            limits,
            timers,
            now: now.instant,
        };
        let mut shard = Self {
            id,
            placement,
            settings,
            store_key,
            acceptor,
            random,
            router,
            device_tokens: DeviceTokens::default(),
            authorization: Authorization::default(),
            events: Events::default(),
            claims: Claims::default(),
            transactions: Transactions::default(),
            staging: Staging::default(),
            signed_off: SignedOff::default(),
            ticketing: Ticketing::default(),
            expiries: Expiries::default(),
            departures: Departures::default(),
            link_observers: LinkObservers::default(),
            pacing,
            repairs: Agenda::default(),
            deadlines: Deadlines::new(now.instant),
            admission,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            now,
            epoch,
            expiring: false,
            expiring_grants: false,
            renewing: None,
            drain: None,
            texts: Vec::new(),
            spare_inputs: Vec::new(),
        };
        shard.start_ticketing();
        shard
    }

    /// Takes an input in. Runs to completion; what follows from it is in
    /// [`poll_output`](Self::poll_output).
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        debug_assert!(now.instant >= self.now.instant, "time does not run backwards");
        self.now = now;
        self.router.now = now.instant;
        self.router.wire.transfers.set_now(now.instant);
        match input {
            Input::Accepted { connection, peer, listener } => {
                self.on_accepted(connection, peer, listener);
            }
            Input::Received { connection, bytes } => {
                self.on_received(connection, bytes);
                self.acknowledge(connection);
            }
            Input::Sent { connection, bytes, whole } => self.on_sent(connection, bytes, whole),
            Input::Ended { connection, orderly } => self.on_ended(connection, orderly),
            Input::Handshake => self.on_handshake_turn(),
            Input::MovedIn { connection, state } => self.on_moved_in(connection, *state),
            Input::Moved { connection } => self.on_moved(connection),
            Input::MoveRefused { connection, state } => self.on_move_refused(connection, *state),
            Input::Peer { from, message } => self.on_peer(from, message),
            Input::Command { channel, envelope } => self.on_command(channel, envelope),
            // Answers for a channel that is gone are dropped by whoever carries them.
            Input::ChannelClosed { channel } => self.on_courier_gone(channel),
            Input::Committed { commit, outcome } => self.on_committed(commit, outcome),
            Input::Renewed { acceptor } => self.on_renewed(*acceptor),
            Input::Tick => self.on_tick(),
            Input::Drain { over_secs } => self.on_drain(over_secs),
        }
        self.settle();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// The next output, until there are none.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some((channel, envelope)) = self.router.replies.pop_front() {
            return Some(Output::Reply { channel, envelope: Box::new(envelope) });
        }
        self.router.wire.poll_send(self.now.instant)
    }

    /// When an [`Input::Tick`] is due, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let draining = self.drain.as_ref().and_then(Drain::due);
        let all = [
            self.deadlines.next(),
            self.router.exchanges.next_deadline(),
            draining,
            self.ticketing.due(),
            self.expiries.due(),
            self.departures.due(),
            self.repairs.next(),
            self.link_observers.next(),
            self.pacing.due(),
            self.admission.due(self.now.instant),
            self.events.due(),
            self.events.loaded.then_some(self.now.instant),
            self.renewing.map(|_| self.now.instant),
            self.router.wire.transfers.due(),
        ];
        all.into_iter().flatten().min()
    }

    /// Whether an [`Input::Handshake`] has something to do.
    pub fn has_handshakes(&self) -> bool {
        self.admission.has_step(self.now.instant)
    }

    /// Its number.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections, devices and users at present.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            connections: self.router.wire.connections.len(),
            devices: self.router.accounts.device_count(),
            users: self.router.accounts.user_count(),
            exchanges: self.router.exchanges.len(),
            observations: self.router.observations.len().1 + self.link_observers.len(),
            commits: self.staging.len(),
            subscriptions: self.events.subscriptions.len(),
            transfers: self.router.wire.transfers.size().0 + self.router.asked.size().0,
            transfer_bytes: self.router.wire.transfers.size().1 + self.router.asked.size().1,
        }
    }

    fn on_accepted(&mut self, id: ConnectionId, peer: std::net::SocketAddr, listener: Listener) {
        self.counters.accepted += 1;
        if self.is_stopping() {
            return self.turn_away(id, CloseReason::Stopping);
        }
        let handshake = if self.make_room() { self.acceptor.accept().ok() } else { None };
        let Some(handshake) = handshake else {
            return self.turn_away(id, CloseReason::Overloaded);
        };
        let now = self.now.instant;
        let timers = &self.router.timers;
        let connection = Connection::accepted(id, peer, listener, handshake, now, timers);
        self.router.wire.connections.insert(id, connection);
        self.admission.begin();
        self.schedule(id);
        self.receive_again(id);
    }

    /// A reset before the handshake costs the device least and us nothing.
    fn turn_away(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.counters.closed[reason as usize] += 1;
        self.outputs.push_back(Output::Close { connection, how: Closing::Reset });
    }

    fn is_full(&self) -> bool {
        self.router.wire.connections.len() >= self.settings.connections_max
    }

    /// Sees to what the input has left behind: requests that lost their device, connections that
    /// cannot go on, and those that have nothing left to wait for.
    fn settle(&mut self) {
        self.drain_some();
        self.settle_connections();
        self.settle_events();
        self.settle_connections();
    }

    fn settle_connections(&mut self) {
        loop {
            self.settle_unanswered();
            if let Some((id, reason)) = self.router.wire.poll_broken() {
                self.end(id, reason, Closing::Reset);
            } else if let Some(id) = self.router.wire.poll_released() {
                self.finish(id, CloseReason::PeerReleased);
            } else {
                break;
            }
        }
    }

    fn settle_unanswered(&mut self) {
        while let Some((purpose, why)) = self.router.unanswered.pop_front() {
            self.router.settle_unanswered(purpose, why);
        }
    }
}

/// How much a shard holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Connections.
    pub connections: usize,
    /// Devices, online or not.
    pub devices: usize,
    /// Users.
    pub users: usize,
    /// Requests to devices awaiting a response, and observations.
    pub exchanges: usize,
    /// Observations of clients.
    pub observations: usize,
    /// Changes on their way to the store.
    pub commits: usize,
    /// Subscriptions of partner clouds.
    pub subscriptions: usize,
    /// Peers with bodies under way in blocks, and requests to devices that may be answered in blocks.
    pub transfers: usize,
    /// Bytes of all that.
    pub transfer_bytes: usize,
}
