//! The gateway: its shards, what goes to and fro between them, and how they start and die.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use gateway::config::{Cloud as CloudSettings, Takeover, TokenLifetime};
use gateway::connection::ConnectionId;
use gateway::connection::moving::Moving;
use gateway::directory::discovery::Endpoint;
use gateway::identity::{PeerIdentity, PeerKind, Verified};
use gateway::shard::{
    Budgets, ChannelId, Input, Output, Parts, PeerMessage, Receive, Settings, Shard,
};
use gateway::store::{Store as _, StoreKey};
use shared::channel::message::CommandEnvelope;
use shared::ids::{DeviceId, ShardId, UserId};
use shared::placement::Placement;
use shared::time::UnixTime;

use super::agenda::{Event, LinkId};
use super::disk::{Disk, Waiting};
use super::plan::Fault;
use super::run::Simulation;
use super::verdict::Invariant;
use crate::certificates::{CLOUD, Pki};
use crate::socket::{Node, Socket};
use crate::world::{ENDPOINT, Seeded};

/// Most commits that end together.
const GROUP_MAX: u64 = 64;

/// The wall clock at the first step.
pub(super) const UNIX_AT_START: UnixTime = UnixTime(1_800_000_000);

/// The store key of all simulated clouds.
pub(super) const STORE_KEY: StoreKey = StoreKey::from_bytes([7; 32]);

/// Certificates that are good at that time.
static CERTIFICATES: LazyLock<Pki> = LazyLock::new(|| Pki::made_at(UNIX_AT_START));

/// What the manufacturer's certificate proves.
static PRODUCT: LazyLock<Verified> = LazyLock::new(|| CERTIFICATES.verified_product(UNIX_AT_START));

/// What the certificate of most peers proves: a genuine product.
pub(super) fn product() -> Verified {
    PRODUCT.clone()
}

/// What the certificate of the others proves: that this is the device. It is as good for as long.
pub(super) fn identity_of(device: DeviceId) -> Verified {
    let kind = PeerKind::Identity(device);
    let mut key_digest = [0; 32];
    key_digest[..16].copy_from_slice(device.as_bytes());
    Verified { peer: PeerIdentity { kind, key_digest }, ..product() }
}

/// A connection between two shards.
struct Departure {
    from: usize,
    connection: ConnectionId,
    to: ShardId,
    state: Box<Moving>,
}

/// The gateway, dead or alive.
pub(super) struct Cloud {
    /// None while the process is dead.
    pub(super) nodes: Vec<Node>,
    /// Counts the processes.
    pub(super) epoch: u64,
    pub(super) disk: Disk,
    pub(super) placement: Placement,
    departures: VecDeque<Departure>,
    /// It has been told to stop.
    pub(super) stopping: bool,
    /// The end of a commit has been entered.
    committing: bool,
}

impl Cloud {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            nodes: Vec::new(),
            epoch: 0,
            disk: Disk::default(),
            placement: Placement::new(shards).expect("there are shards"),
            departures: VecDeque::new(),
            stopping: false,
            committing: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        !self.nodes.is_empty()
    }

    pub(super) fn shard_of_user(&self, user: UserId) -> usize {
        self.placement.shard_of_user(user).index()
    }
}

impl Simulation {
    fn shard(&mut self, id: u16) -> Shard {
        let lifetime = match self.plan.token_secs {
            None => TokenLifetime::Permanent,
            Some(secs) => TokenLifetime::Limited(Duration::from_secs(secs)),
        };
        let cloud = CloudSettings {
            id: CLOUD,
            endpoint: ENDPOINT.into(),
            manufacturer_token: lifetime,
            takeover: if self.plan.takeover { Takeover::Allow } else { Takeover::Refuse },
            ..CloudSettings::default()
        };
        let parts = Parts {
            id: ShardId(id),
            placement: self.cloud.placement,
            settings: Settings {
                cloud,
                endpoints: vec![Endpoint::new(ENDPOINT)],
                ticket_lifetime: Duration::ZERO,
                connections_max: 100_000,
                budgets: Budgets::default(),
            },
            limits: self.limits.clone(),
            timers: self.timers.clone(),
            store_key: STORE_KEY,
            acceptor: CERTIFICATES.acceptor(&[]),
            random: Box::new(Seeded(self.dice.number())),
        };
        Shard::new(parts, self.now())
    }

    /// The process starts with what is stored, with any number of shards.
    pub(super) fn start(&mut self) {
        if self.cloud.epoch > 0 {
            self.counts.crashes += 1;
            let shards = if self.plan.shards == 1 { 1 } else { self.dice.between(1, 4) as u16 };
            self.cloud.placement = Placement::new(shards).expect("there are shards");
        }
        self.cloud.epoch += 1;
        let mut shards: Vec<_> =
            (0..self.cloud.placement.shards()).map(|id| self.shard(id)).collect();
        let placement = self.cloud.placement;
        let mut read = Ok(());
        let loaded = self.cloud.disk.durable.load_all(&mut |partition, table, key, value| {
            let shard = &mut shards[placement.shard_of(partition).index()];
            if let Err(error) = shard.load(partition, table, key, value) {
                read = Err(error);
            }
        });
        if loaded.is_err() || read.is_err() {
            self.fail(Invariant::Durability, "what was stored cannot be read".into());
        }
        self.cloud.nodes = shards.into_iter().map(Node::new).collect();
        self.tell(format_args!("start of {} shards", placement.shards()));
        self.model.started(self.step);
        self.check_facts();
    }

    /// The process begins to stop: it says Release to everybody, and ends some seconds later.
    pub(super) fn stop(&mut self) {
        self.cloud.stopping = true;
        let over_secs = self.dice.between(1, 10) as u32;
        self.tell(format_args!("stop over {over_secs} s"));
        for node in 0..self.cloud.nodes.len() {
            self.feed(node, Input::Drain { over_secs });
        }
        let end = self.instant + Duration::from_secs(u64::from(over_secs));
        self.enter(end, Event::Crash);
    }

    /// The process is killed. Of the commits on their way the first ones may have been stored.
    pub(super) fn crash(&mut self) {
        let stored = self.dice.below(self.cloud.disk.waiting() + 1);
        self.tell(format_args!("crash; {stored} of {} commits", self.cloud.disk.waiting()));
        let mut kept = 0;
        while let Some(Waiting { batch, .. }) = self.cloud.disk.take() {
            if kept < stored {
                kept += 1;
                self.store(&batch);
            }
        }
        self.cloud.nodes.clear();
        self.cloud.departures.clear();
        (self.cloud.stopping, self.cloud.committing) = (false, false);
        self.cloud.epoch += 1;
        self.lose_all_links();
        self.lose_all_commands();
    }

    /// Something happens to a shard, and what follows is carried out.
    pub(super) fn feed(&mut self, node: usize, input: Input<'_>) {
        self.step += 1;
        let now = self.now();
        self.cloud.nodes[node].shard.handle(input, now);
        self.carry_out(node);
        if !cfg!(debug_assertions) && self.step.is_multiple_of(self.sweep_every) {
            self.cloud.nodes[node].shard.check_invariants();
        }
    }

    fn carry_out(&mut self, node: usize) {
        let from = ShardId(node as u16);
        while let Some(output) = self.cloud.nodes[node].shard.poll_output() {
            match output {
                Output::Receive { connection, how } => self.arm(node, connection, how),
                Output::Send { connection, bytes, range } => {
                    self.begin_send(node, connection, bytes, range);
                }
                Output::Close { connection, .. } => self.close(node, connection),
                Output::Ended { device, reason, .. } => {
                    self.tell(format_args!("ended {device:?} {reason:?}"));
                }
                Output::Move { connection, to, state } => {
                    self.counts.moves += 1;
                    let departure = Departure { from: node, connection, to, state };
                    self.cloud.departures.push_back(departure);
                    let at = self.soon();
                    self.enter(at, Event::MoveEnds { epoch: self.cloud.epoch });
                }
                Output::Peer { to, message } => self.post(from, to, message),
                Output::Commit { commit, batch } => {
                    self.cloud.disk.submit(from, commit, batch);
                    self.enter_commit();
                }
                Output::Reply { channel, envelope } => self.replied(channel, envelope),
                Output::Delivery { channel, delivery } => self.handed_out(channel, delivery),
                Output::SubscriptionEnded { id, why } => self.judge_subscription_end(id, why),
                Output::Acknowledge { .. }
                | Output::TlsFailed { .. }
                | Output::Full { .. }
                | Output::KeyChanged { .. } => {}
            }
        }
    }

    fn arm(&mut self, node: usize, connection: ConnectionId, how: Receive) {
        let Some(socket) = self.cloud.nodes[node].socket(connection) else {
            return self.fail(Invariant::Consistency, "a receive on a closed socket".into());
        };
        socket.armed = Some(how);
        self.enter_read(node, connection);
    }

    /// The socket is read as soon as it receives and there is something.
    pub(super) fn enter_read(&mut self, node: usize, connection: ConnectionId) {
        let Some(socket) = self.cloud.nodes[node].socket(connection) else { return };
        let something = !socket.inbound.is_empty() || socket.peer_ended.is_some();
        if socket.armed.is_some() && something {
            self.enter(self.instant, Event::Read { epoch: self.cloud.epoch, node, connection });
        }
    }

    pub(super) fn read(&mut self, node: usize, connection: ConnectionId) {
        let Some(socket) = self.cloud.nodes[node].socket(connection) else { return };
        let Some(how) = socket.armed else { return };
        if let Some(mut bytes) = socket.inbound.pop_front() {
            if how == Receive::Once {
                socket.armed = None;
            }
            let link = socket.station;
            self.tell(format_args!("link {link} reads {}", bytes.len()));
            self.feed(node, Input::Received { connection, bytes: &mut bytes });
            if self.cloud.is_up() {
                self.enter_read(node, connection);
            }
        } else if let Some(orderly) = socket.peer_ended {
            socket.armed = None;
            let link = socket.station;
            self.tell(format_args!("link {link} ends, orderly {orderly}"));
            self.feed(node, Input::Ended { connection, orderly });
        }
    }

    /// Messages between two shards keep their order: all take the same time.
    fn post(&mut self, from: ShardId, to: ShardId, message: PeerMessage) {
        let pair = usize::from(from.0) * 8 + usize::from(to.0);
        let at = self.soon().max(self.mail_at[pair]);
        self.mail_at[pair] = at;
        let message = Box::new(message);
        self.enter(at, Event::Mail { epoch: self.cloud.epoch, from, to, message });
    }

    pub(super) fn deliver_mail(&mut self, from: ShardId, to: ShardId, message: PeerMessage) {
        self.tell(format_args!("mail {} to {}: {message:?}", from.0, to.0));
        self.feed(to.index(), Input::Peer { from, message });
    }

    fn enter_commit(&mut self) {
        if self.cloud.committing || self.cloud.disk.is_idle() {
            return;
        }
        self.cloud.committing = true;
        let slow = self.dice.happens(self.rate(Fault::SlowDisk) / 5);
        let most = if slow { 3000 } else { 5 };
        let takes = self.dice.time(Duration::from_micros(10), Duration::from_millis(most));
        self.enter(self.instant + takes, Event::CommitEnds { epoch: self.cloud.epoch });
    }

    pub(super) fn end_commit(&mut self) {
        self.cloud.committing = false;
        // One fsync for many.
        for _ in 0..self.dice.between(1, GROUP_MAX) {
            self.end_one_commit();
        }
        self.enter_commit();
    }

    fn end_one_commit(&mut self) {
        let Some(Waiting { shard, commit, batch }) = self.cloud.disk.take() else { return };
        let outcome = if self.dice.happens(self.rate(Fault::Refusal)) {
            gateway::store::CommitOutcome::Refused
        } else {
            gateway::store::CommitOutcome::Done
        };
        self.tell(format_args!("commit of {} {outcome:?} {:?}", shard.0, batch.writes()));
        if outcome == gateway::store::CommitOutcome::Done {
            self.counts.commits += 1;
            self.store(&batch);
            self.model.acknowledged(&batch, self.step);
        }
        self.feed(shard.index(), Input::Committed { commit, outcome });
    }

    /// A batch becomes durable.
    fn store(&mut self, batch: &gateway::store::Batch) {
        self.cloud.disk.durable.apply(batch);
        if let Err((invariant, seen)) = self.model.stored(batch) {
            self.fail(invariant, seen);
        }
    }

    pub(super) fn end_move(&mut self) {
        let Some(Departure { from, connection, to, state }) = self.cloud.departures.pop_front()
        else {
            return;
        };
        if self.dice.happens(self.rate(Fault::Refusal)) {
            self.tell(format_args!("no room on {}", to.0));
            return self.feed(from, Input::MoveRefused { connection, state });
        }
        let Some(mut socket) = self.cloud.nodes[from].take(connection) else {
            return self.fail(Invariant::Consistency, "a closed socket moves".into());
        };
        if socket.armed.is_some() || socket.sending.is_some() {
            self.fail(Invariant::Consistency, "something is in flight in a move".into());
        }
        socket.armed = None;
        let link = socket.station;
        self.tell(format_args!("link {link} moves from {from} to {}", to.0));
        let landed = self.cloud.nodes[to.index()].put(socket);
        self.links[link].place = Some((to.index(), landed));
        self.feed(from, Input::Moved { connection });
        self.feed(to.index(), Input::MovedIn { connection: landed, state });
    }

    /// A link is accepted somewhere, its handshake done.
    pub(super) fn accept(&mut self, link: LinkId, state: Box<Moving>) {
        let node = self.dice.below(self.cloud.nodes.len());
        let connection = self.cloud.nodes[node].put(Socket::new(link));
        self.links[link].place = Some((node, connection));
        self.feed(node, Input::MovedIn { connection, state });
    }

    /// A command is read, if its process is still there: from the ring of one that is gone nothing is.
    pub(super) fn deliver_command(&mut self, channel: ChannelId, envelope: CommandEnvelope) {
        if !self.is_channel_open(channel) {
            return;
        }
        let node = match envelope.subject {
            shared::channel::message::Subject::User { user, .. } => self.cloud.shard_of_user(user),
            shared::channel::message::Subject::Partition(partition) => {
                self.cloud.placement.shard_of(partition).index()
            }
        };
        self.feed(node, Input::Command { channel, envelope });
    }

    /// Does what time demands of the shards. Returns whether there was anything.
    pub(super) fn tick(&mut self) -> bool {
        for node in 0..self.cloud.nodes.len() {
            let due = self.cloud.nodes[node].shard.poll_timeout();
            if due.is_some_and(|at| at <= self.instant) {
                self.tell(format_args!("tick {node}"));
                self.feed(node, Input::Tick);
                return true;
            }
        }
        false
    }
}
