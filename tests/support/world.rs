//! The cloud of a test: some shards, a store, whoever connects, and one clock for all of them.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use gateway::config::{Cloud, Limits, Timers};
use gateway::directory::discovery::Endpoint;
use gateway::shard::{
    Bound, Budgets, ChannelId, Counters, Listener, Parts, Randomness, Settings, Shard,
};
use gateway::store::memory::MemoryStore;
use gateway::store::{Store as _, StoreKey};
use loadtest::device::{Client, Device, Kind};
use rustls::ClientConfig;
use shared::channel::message::{Command, CommandEnvelope, Reply, Subject};
use shared::ids::{DeviceId, ShardId, UserId};
use shared::placement::Placement;
use shared::time::{Instant, Now};
use std::sync::Arc;

use crate::certificates::{CLOUD, PKI, wall_clock};
use crate::peer::Peer;
use crate::simulated::{FussyClient, FussyDevice};
use crate::state::{EndedConnection, Moves, State};
use crate::station::{Script, Station};
use crate::store::{Disk, Store};
use crate::user::User;

/// The endpoint that devices are configured with.
pub const ENDPOINT: &str = "coaps+tcp://cloud.example.com:5684";

/// The channel of the one `api` process.
const CHANNEL: ChannelId = ChannelId(1);

/// What a test may want different from the defaults.
pub struct Setup {
    /// Number of shards.
    pub shards: u16,
    /// Who the cloud is, and how long its tokens live.
    pub cloud: Cloud,
    /// Endpoints, one for every listening address.
    pub endpoints: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// Timers.
    pub timers: Timers,
    /// Connections per shard.
    pub connections_max: usize,
    /// New connections per shard.
    pub budgets: Budgets,
    /// How long session tickets are good for; zero for none.
    pub ticket_lifetime: Duration,
    /// Revocation lists in PEM.
    pub revocation_lists: Vec<String>,
    /// Where random numbers begin.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 1,
            cloud: Cloud { id: CLOUD, endpoint: ENDPOINT.into(), ..Cloud::default() },
            endpoints: vec![ENDPOINT.into()],
            limits: Limits::default(),
            timers: Timers::default(),
            connections_max: 1000,
            budgets: Budgets::default(),
            ticket_lifetime: Duration::ZERO,
            revocation_lists: Vec::new(),
            seed: 1,
        }
    }
}

/// The random numbers of a shard: the same for the same seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Randomness for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7e_f767);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

impl Setup {
    fn shard(&self, id: u16, epoch: u64, now: Now) -> Shard {
        let endpoints = self.endpoints.iter().map(|endpoint| Endpoint::new(endpoint)).collect();
        let parts = Parts {
            id: ShardId(id),
            placement: self.placement(),
            settings: Settings {
                cloud: self.cloud.clone(),
                endpoints,
                ticket_lifetime: self.ticket_lifetime,
                connections_max: self.connections_max,
                budgets: self.budgets.clone(),
            },
            limits: self.limits.clone(),
            timers: self.timers.clone(),
            store_key: StoreKey::from_bytes([7; 32]),
            acceptor: PKI.acceptor(&self.revocation_lists),
            random: Box::new(Seeded(self.seed ^ epoch << 32 ^ u64::from(id) << 16)),
        };
        Shard::new(parts, now)
    }

    pub(super) fn placement(&self) -> Placement {
        Placement::new(self.shards).expect("there are shards")
    }
}

/// The cloud of a test. A clone is another handle to the same one.
#[derive(Clone)]
pub struct World {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) setup: Rc<Setup>,
    /// Counts what must differ: users, commands, starts.
    count: Rc<RefCell<u64>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// One shard with the default configuration.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// So many shards.
    pub fn of_shards(shards: u16) -> Self {
        Self::with(|setup| setup.shards = shards)
    }

    /// With another configuration.
    pub fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let store = Store::new(MemoryStore::new());
        let now = Now { instant: Instant::START, unix: wall_clock() };
        let shards = (0..setup.shards).map(|id| setup.shard(id, 0, now)).collect();
        let state = State::new(shards, store, wall_clock());
        let count = Rc::new(RefCell::new(0));
        Self { state: Rc::new(RefCell::new(state)), setup: Rc::new(setup), count }
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    fn next(&self) -> u64 {
        let mut count = self.count.borrow_mut();
        *count += 1;
        *count
    }

    /// The process dies, and starts again on what is stored. Its connections are lost.
    pub fn restart(&self) {
        let epoch = self.next();
        let mut state = self.state();
        let now = state.now();
        let mut shards: Vec<_> =
            (0..self.setup.shards).map(|id| self.setup.shard(id, epoch, now)).collect();
        let mut durable = state.store.durable.clone();
        let placement = self.setup.placement();
        durable
            .load_all(&mut |partition, table, key, value| {
                let shard = &mut shards[placement.shard_of(partition).index()];
                shard.load(partition, table, key, value).expect("what was stored can be read");
            })
            .expect("memory can be read");
        state.start_again(shards, Store::new(durable));
    }

    /// Everything happens that happens without the passing of time.
    pub fn settle(&self) {
        self.state().settle();
        self.check_rules();
    }

    /// Time passes, and everything happens when it is due.
    pub fn advance(&self, by: Duration) {
        self.state().advance(by);
        self.check_rules();
    }

    /// [`advance`](Self::advance), in seconds.
    pub fn advance_secs(&self, secs: u64) {
        self.advance(Duration::from_secs(secs));
    }

    fn check_rules(&self) {
        let state = self.state();
        assert!(state.breaches.is_empty(), "the cloud broke rules: {:?}", state.breaches);
    }

    /// The wall clock is set forward or back.
    pub fn step_wall_clock(&self, secs: i64) {
        self.state().clock_step_secs += secs;
    }

    /// The present.
    pub fn now(&self) -> Now {
        self.state().now()
    }

    /// What becomes of commits from now on.
    pub fn disk(&self, disk: Disk) {
        self.state().store.disk = disk;
        self.settle();
    }

    /// Commits on their way to the store.
    pub fn commits_under_way(&self) -> usize {
        self.state().store.waiting()
    }

    /// What becomes of connections that want to move from now on.
    pub fn moves(&self, moves: Moves) {
        self.state().moves = moves;
        self.settle();
    }

    /// Whether messages between shards are kept back from now on.
    pub fn hold_mail(&self, held: bool) {
        self.state().mail_held = held;
        self.settle();
    }

    /// This shard accepts the next connection; the others follow in turn.
    pub fn next_connection_on(&self, shard: ShardId) {
        self.state().accepts = shard.index();
    }

    /// New connections come to this listening address.
    pub fn next_connections_to(&self, listener: Listener) {
        self.state().listener = listener;
    }

    /// The shard of this user.
    pub fn shard_of(&self, user: UserId) -> ShardId {
        self.setup.placement().shard_of_user(user)
    }

    /// The shard that keeps the claim on this device id.
    pub fn shard_of_device(&self, device: DeviceId) -> ShardId {
        self.setup.placement().shard_of_device(device)
    }

    /// What all shards have counted.
    pub fn counted(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        self.state().nodes.iter().map(|node| count(node.shard.counters())).sum()
    }

    /// What a shard holds.
    pub fn sizes(&self, shard: ShardId) -> gateway::shard::Sizes {
        self.state().nodes[shard.index()].shard.sizes()
    }

    /// The connections that have ended, in their order.
    pub fn ended(&self) -> Vec<EndedConnection> {
        self.state().ended.clone()
    }

    /// What TLS said about connections on which it failed.
    pub fn tls_failures(&self) -> Vec<String> {
        self.state().tls_failures.clone()
    }

    /// Devices that came with another key than that of their sign-up.
    pub fn changed_keys(&self) -> Vec<DeviceId> {
        self.state().changed_keys.clone()
    }

    /// Bounds of which the log was told that they turn new connections away.
    pub fn full(&self) -> Vec<Bound> {
        self.state().full.clone()
    }

    /// The shards get another TLS side: certificate, anchors, revocation lists.
    pub fn renew(&self, acceptor: impl Fn() -> gateway::connection::tls::Acceptor) {
        let nodes = self.state().nodes.len();
        for node in 0..nodes {
            let acceptor = Box::new(acceptor());
            self.state().handle(node, gateway::shard::Input::Renewed { acceptor });
        }
        self.settle();
    }

    /// The gateway begins to stop.
    pub fn drain(&self, over_secs: u32) {
        let nodes = self.state().nodes.len();
        for node in 0..nodes {
            self.state().handle(node, gateway::shard::Input::Drain { over_secs });
        }
        self.settle();
    }

    /// A new user.
    pub fn user(&self) -> User {
        let number = self.next();
        let mut bytes = [0x77; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        User { world: self.clone(), id: UserId::from_random(bytes) }
    }

    /// A new user who lives on this shard.
    pub fn user_on(&self, shard: ShardId) -> User {
        let mut users = std::iter::repeat_with(|| self.user()).take(10_000);
        users.find(|user| self.shard_of(user.id) == shard).expect("users live on all shards")
    }

    /// A new device id.
    pub fn device_id(&self) -> DeviceId {
        let mut bytes = [0xd1; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        DeviceId::from_random(bytes)
    }

    /// A new device id that is claimed on this shard.
    pub fn device_id_on(&self, shard: ShardId) -> DeviceId {
        let mut ids = std::iter::repeat_with(|| self.device_id()).take(10_000);
        ids.find(|&id| self.shard_of_device(id) == shard).expect("ids are claimed on all shards")
    }

    /// A peer with the certificate of the manufacturer, connected and established. Its id is new.
    pub fn connect(&self) -> Peer {
        self.connect_as(self.device_id(), PKI.product())
    }

    /// A peer whose certificate proves that it is this device, connected and established.
    pub fn connect_with_identity(&self, device: DeviceId) -> Peer {
        self.connect_as(device, PKI.identity_of(device))
    }

    /// A peer with this TLS configuration, connected and established.
    pub fn connect_as(&self, device: DeviceId, config: Arc<ClientConfig>) -> Peer {
        let peer = self.peer(device, config);
        peer.connect();
        peer
    }

    /// A peer that is not connected yet.
    pub fn peer(&self, device: DeviceId, config: Arc<ClientConfig>) -> Peer {
        let station = Station::Script(Box::new(Script::new(config)));
        let station = self.state().add_station(station);
        Peer { world: self.clone(), station, id: device }
    }

    pub(super) fn device(&self, kind: Kind, seed: u64) -> FussyDevice {
        let device = Device::new(&loadtest::device::Settings::default(), kind, 1, seed);
        let station = Station::Device(Box::new(device), PKI.product());
        FussyDevice { world: self.clone(), station: self.state().add_station(station) }
    }

    pub(super) fn client(&self, seed: u64) -> FussyClient {
        let client = Client::new(&loadtest::device::Settings::default(), seed);
        let station = Station::Client(Box::new(client), PKI.product());
        FussyClient { world: self.clone(), station: self.state().add_station(station) }
    }

    pub(super) fn seed(&self) -> u64 {
        self.setup.seed.wrapping_mul(1_000_003).wrapping_add(self.next())
    }

    /// An `api` process asks for something. Returns the command's number.
    pub fn send_command(&self, user: UserId, command: Command) -> u64 {
        self.send_patient_command(user, command, Duration::from_secs(10))
    }

    /// An `api` process asks for something and waits for so long.
    pub fn send_patient_command(&self, user: UserId, command: Command, patience: Duration) -> u64 {
        self.send_command_about(Subject::User { user, grant: None }, command, patience)
    }

    /// An `api` process asks for something that is about a partition, or under a grant.
    pub fn send_command_about(
        &self,
        subject: Subject,
        command: Command,
        patience: Duration,
    ) -> u64 {
        let request = self.next();
        let patience_ms = u32::try_from(patience.as_millis()).expect("nobody waits for weeks");
        let envelope = CommandEnvelope { request, patience_ms, subject, command };
        let shard = match subject {
            Subject::User { user, .. } => self.shard_of(user),
            Subject::Partition(partition) => self.setup.placement().shard_of(partition),
        };
        let node = shard.index();
        let input = gateway::shard::Input::Command { channel: CHANNEL, envelope };
        self.state().handle(node, input);
        self.settle();
        request
    }

    /// The reply to a command, if there is one. It is taken.
    pub fn reply(&self, request: u64) -> Option<Reply> {
        self.state().replies.remove(&(CHANNEL, request))
    }

    /// An `api` process asks for something about a partition, or under a grant, and gets its reply at
    /// once.
    pub fn command_about(&self, subject: Subject, command: Command) -> Reply {
        let request = self.send_command_about(subject, command, Duration::from_secs(10));
        self.reply(request).expect("the command is answered without the passing of time")
    }

    /// An `api` process asks for something and gets its reply at once.
    pub fn command(&self, user: UserId, command: Command) -> Reply {
        let request = self.send_command(user, command);
        self.reply(request).expect("the command is answered without the passing of time")
    }
}
