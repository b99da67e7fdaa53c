//! Shards, store and peers, joined in memory under one clock: what stands behind a [`World`].
//!
//! [`World`]: crate::World

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use gateway::connection::moving::Moving;
use gateway::connection::{CloseReason, ConnectionId};
use gateway::events::Ending;
use gateway::shard::{Bound, ChannelId, Input, Listener, Output, PeerMessage, Receive, Shard};
use loadtest::device::{Event, Output as Wish};
use shared::channel::events::Delivery;
use shared::channel::message::Reply;
use shared::ids::{DeviceId, ShardId, SubscriptionId};
use shared::time::{Instant, Now, UnixTime};

use crate::socket::{Node, Socket};
use crate::station::{Station, breach};
use crate::store::Store;

/// Turns after which a world that does not come to rest is broken.
const TURNS_MAX: usize = 200_000;

/// What becomes of connections that want to go to another shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moves {
    /// They go.
    Arrive,
    /// The other shard has no room.
    Refused,
    /// They stay on their way.
    Held,
}

/// A connection that has ended, as the log has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedConnection {
    /// The other end.
    pub peer: SocketAddr,
    /// The device that was signed in on it.
    pub device: Option<DeviceId>,
    /// Why.
    pub reason: CloseReason,
}

/// A connection between two shards.
struct Departure {
    from: usize,
    connection: ConnectionId,
    to: ShardId,
    state: Box<Moving>,
}

pub(super) struct State {
    pub(super) instant: Instant,
    pub(super) unix_at_start: UnixTime,
    /// How far the wall clock was set forward or back since.
    pub(super) clock_step_secs: i64,
    pub(super) nodes: Vec<Node>,
    pub(super) stations: Vec<Station>,
    /// Where each station is connected: shard and slot.
    places: Vec<Option<(usize, ConnectionId)>>,
    pub(super) store: Store,
    pub(super) moves: Moves,
    departures: VecDeque<Departure>,
    mail: VecDeque<(ShardId, ShardId, PeerMessage)>,
    /// Messages between shards do not arrive.
    pub(super) mail_held: bool,
    pub(super) replies: BTreeMap<(ChannelId, u64), Reply>,
    /// Notifications that were handed to `api` processes.
    pub(super) deliveries: VecDeque<(ChannelId, Delivery)>,
    pub(super) subscriptions_ended: Vec<(SubscriptionId, Ending)>,
    pub(super) ended: Vec<EndedConnection>,
    pub(super) tls_failures: Vec<String>,
    pub(super) changed_keys: Vec<DeviceId>,
    pub(super) full: Vec<Bound>,
    /// What simulated stations have said, by station.
    pub(super) events: Vec<(usize, Event)>,
    /// Rules of device reference 1.3 that were broken.
    pub(super) breaches: Vec<String>,
    /// The shard that accepts the next connection.
    pub(super) accepts: usize,
    pub(super) listener: Listener,
    /// Bytes of one segment towards a peer.
    pub(super) segment_bytes: usize,
}

impl State {
    pub(super) fn new(shards: Vec<Shard>, store: Store, unix: UnixTime) -> Self {
        Self {
            instant: Instant::START,
            unix_at_start: unix,
            clock_step_secs: 0,
            nodes: shards.into_iter().map(Node::new).collect(),
            stations: Vec::new(),
            places: Vec::new(),
            store,
            moves: Moves::Arrive,
            departures: VecDeque::new(),
            mail: VecDeque::new(),
            mail_held: false,
            replies: BTreeMap::new(),
            deliveries: VecDeque::new(),
            subscriptions_ended: Vec::new(),
            ended: Vec::new(),
            tls_failures: Vec::new(),
            changed_keys: Vec::new(),
            full: Vec::new(),
            events: Vec::new(),
            breaches: Vec::new(),
            accepts: 0,
            listener: Listener(0),
            segment_bytes: 1440,
        }
    }

    pub(super) fn now(&self) -> Now {
        let secs = self.instant.as_nanos() / 1_000_000_000;
        let unix = self.unix_at_start.0.saturating_add(secs);
        let unix = UnixTime(unix.saturating_add_signed(self.clock_step_secs));
        Now { instant: self.instant, unix }
    }

    pub(super) fn add_station(&mut self, station: Station) -> usize {
        self.stations.push(station);
        self.places.push(None);
        self.stations.len() - 1
    }

    pub(super) fn handle(&mut self, node: usize, input: Input<'_>) {
        let now = self.now();
        self.nodes[node].shard.handle(input, now);
    }

    /// Where a station is connected.
    pub(super) fn place(&self, station: usize) -> Option<(usize, ConnectionId)> {
        self.places[station]
    }

    /// The socket of a station.
    pub(super) fn socket(&mut self, station: usize) -> Option<&mut Socket> {
        let (node, connection) = self.places[station]?;
        self.nodes[node].socket(connection)
    }

    /// The process has died and starts again with these shards.
    pub(super) fn start_again(&mut self, shards: Vec<Shard>, store: Store) {
        let disk = self.store.disk;
        self.store = store;
        self.store.disk = disk;
        self.nodes = shards.into_iter().map(Node::new).collect();
        self.departures.clear();
        self.mail.clear();
        self.deliveries.clear();
        for station in 0..self.stations.len() {
            if self.places[station].take().is_some() {
                self.stations[station].closed(self.instant);
            }
        }
    }

    /// A station opens a TCP connection.
    pub(super) fn open(&mut self, station: usize) {
        let node = self.accepts % self.nodes.len();
        self.accepts += 1;
        let connection = self.nodes[node].put(Socket::new(station));
        self.places[station] = Some((node, connection));
        let number = u16::try_from(station).expect("tests have few stations");
        let peer = SocketAddr::from(([127, 1, 0, 1], 1000 + number));
        self.handle(node, Input::Accepted { connection, peer, listener: self.listener });
    }

    /// A station sends bytes, as one read of the cloud returns them.
    pub(super) fn send(&mut self, station: usize, bytes: Vec<u8>) {
        if !bytes.is_empty()
            && let Some(socket) = self.socket(station)
        {
            socket.inbound.push_back(bytes);
        }
    }

    /// A station closes its end, in good order or by a reset.
    pub(super) fn hang_up(&mut self, station: usize, orderly: bool) {
        if let Some(socket) = self.socket(station) {
            socket.peer_ended = Some(orderly);
            self.places[station] = None;
        }
    }

    /// Lets everything happen that happens without the passing of time.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let mut busy = false;
            for node in 0..self.nodes.len() {
                busy |= self.run_node(node);
            }
            for station in 0..self.stations.len() {
                busy |= self.run_station(station);
            }
            busy |= self.deliver_mail();
            busy |= self.end_commits();
            busy |= self.arrive();
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass; everything happens when it is due.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.instant + by;
        self.settle();
        for _ in 0..TURNS_MAX {
            match self.next_deadline() {
                Some(at) if at <= end => {
                    self.instant = self.instant.max(at);
                    self.settle();
                }
                _ => {
                    self.instant = end;
                    return self.settle();
                }
            }
        }
        panic!("too much happens in this time");
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let nodes = self.nodes.iter().filter_map(|node| node.shard.poll_timeout());
        let stations = self.stations.iter_mut().filter_map(Station::poll_timeout);
        nodes.chain(stations).chain(self.store.next_deadline()).min()
    }

    fn run_node(&mut self, node: usize) -> bool {
        let mut busy = self.carry_out(node);
        while self.nodes[node].shard.has_handshakes() {
            busy = true;
            self.handle(node, Input::Handshake);
            self.carry_out(node);
        }
        while let Some((connection, mut bytes)) = self.nodes[node].next_read() {
            busy = true;
            self.handle(node, Input::Received { connection, bytes: &mut bytes });
            self.carry_out(node);
        }
        while let Some((connection, orderly)) = self.nodes[node].next_end() {
            busy = true;
            self.handle(node, Input::Ended { connection, orderly });
            self.carry_out(node);
        }
        if self.nodes[node].shard.poll_timeout().is_some_and(|at| at <= self.instant) {
            busy = true;
            self.handle(node, Input::Tick);
            self.carry_out(node);
        }
        busy
    }

    fn carry_out(&mut self, node: usize) -> bool {
        let mut busy = false;
        while let Some(output) = self.nodes[node].shard.poll_output() {
            busy = true;
            let shard = ShardId(node as u16);
            match output {
                Output::Receive { connection, how } => self.arm(node, connection, how),
                Output::Acknowledge { connection } => {
                    if let Some(socket) = self.nodes[node].socket(connection) {
                        socket.acknowledged += 1;
                    }
                }
                Output::Send { connection, bytes, range } => {
                    self.start_send(node, connection, bytes, range);
                }
                Output::Close { connection, .. } => self.close(node, connection),
                Output::Ended { peer, device, reason } => {
                    self.ended.push(EndedConnection { peer, device, reason });
                }
                Output::TlsFailed { error, .. } => self.tls_failures.push(error.to_string()),
                Output::Full { bound } => self.full.push(bound),
                Output::KeyChanged { device } => self.changed_keys.push(device),
                Output::Move { connection, to, state } => {
                    self.departures.push_back(Departure { from: node, connection, to, state });
                }
                Output::Peer { to, message } => self.mail.push_back((shard, to, message)),
                Output::Commit { commit, batch } => {
                    self.store.submit(shard, commit, batch, self.instant);
                }
                Output::Delivery { channel, delivery } => {
                    self.deliveries.push_back((channel, *delivery));
                }
                Output::SubscriptionEnded { id, why } => self.subscriptions_ended.push((id, why)),
                Output::Reply { channel, envelope } => {
                    let before = self.replies.insert((channel, envelope.request), envelope.reply);
                    assert!(before.is_none(), "a command is answered once");
                }
            }
        }
        busy
    }

    fn arm(&mut self, node: usize, connection: ConnectionId, how: Receive) {
        let socket = self.nodes[node].socket(connection).expect("only open sockets receive");
        assert_ne!(socket.armed, Some(Receive::Many), "what receives many is not armed again");
        socket.armed = Some(how);
    }

    fn start_send(
        &mut self,
        node: usize,
        connection: ConnectionId,
        bytes: Vec<u8>,
        range: std::ops::Range<usize>,
    ) {
        let socket = self.nodes[node].socket(connection).expect("only open sockets send");
        assert!(socket.sending.is_none(), "one send of a connection is under way at a time");
        socket.sending = Some((bytes, range));
        if socket.peer_reads {
            self.finish_send(node, connection);
        }
    }

    /// The peer reads what is being sent to it.
    pub(super) fn finish_send(&mut self, node: usize, connection: ConnectionId) {
        let Some(socket) = self.nodes[node].socket(connection) else { return };
        let Some((bytes, range)) = socket.sending.take() else { return };
        let (station, listening) = (socket.station, socket.peer_ended.is_none());
        if listening {
            let now = self.instant;
            for segment in bytes[range].chunks(self.segment_bytes) {
                let answer = self.stations[station].receive(segment, now);
                self.send(station, answer);
            }
        }
        self.handle(node, Input::Sent { connection, bytes, whole: true });
    }

    fn close(&mut self, node: usize, connection: ConnectionId) {
        let socket = self.nodes[node].take(connection).expect("a socket is closed once");
        if socket.peer_ended.is_none() {
            self.places[socket.station] = None;
            self.stations[socket.station].closed(self.instant);
        }
        if let Some((bytes, _)) = socket.sending {
            self.handle(node, Input::Sent { connection, bytes, whole: false });
        }
    }

    fn run_station(&mut self, station: usize) -> bool {
        let mut busy = false;
        if self.stations[station].poll_timeout().is_some_and(|at| at <= self.instant) {
            busy = true;
            self.stations[station].wake(self.instant);
        }
        while let Some(wish) = self.stations[station].poll_output() {
            busy = true;
            match wish {
                Wish::Connect if self.nodes.is_empty() => {
                    self.stations[station].refused(self.instant);
                }
                Wish::Connect => {
                    self.open(station);
                    self.stations[station].connected(self.instant);
                }
                Wish::Send(bytes) => self.send(station, bytes),
                Wish::Close => self.hang_up(station, true),
                Wish::Event(event) => {
                    self.breaches.extend(breach(&event));
                    self.events.push((station, event));
                }
            }
        }
        busy
    }

    fn deliver_mail(&mut self) -> bool {
        if self.mail_held {
            return false;
        }
        let Some((from, to, message)) = self.mail.pop_front() else { return false };
        self.handle(to.index(), Input::Peer { from, message });
        true
    }

    fn end_commits(&mut self) -> bool {
        let Some(ended) = self.store.next_ended(self.instant) else { return false };
        let (commit, outcome) = (ended.commit, ended.outcome);
        self.handle(ended.shard.index(), Input::Committed { commit, outcome });
        true
    }

    fn arrive(&mut self) -> bool {
        if self.moves == Moves::Held {
            return false;
        }
        let Some(Departure { from, connection, to, state }) = self.departures.pop_front() else {
            return false;
        };
        if self.moves == Moves::Refused {
            self.handle(from, Input::MoveRefused { connection, state });
            return true;
        }
        let mut socket = self.nodes[from].take(connection).expect("only open sockets move");
        assert!(socket.sending.is_none(), "nothing is in flight when a connection moves");
        assert_eq!(socket.armed, None, "nothing is in flight when a connection moves");
        socket.armed = None;
        let (station, gone) = (socket.station, socket.peer_ended.is_some());
        let landed = self.nodes[to.index()].put(socket);
        if !gone {
            self.places[station] = Some((to.index(), landed));
        }
        self.handle(from, Input::Moved { connection });
        self.handle(to.index(), Input::MovedIn { connection: landed, state });
        true
    }
}
