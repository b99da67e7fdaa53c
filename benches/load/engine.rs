//! Sockets and commands: what happens on which connection, and what goes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::cloud::read_store_key;
use benches::identities::Identities;
use benches::load::{Command, Wire};
use benches::messages::{self, Asked};
use benches::population::{Numbers, Population};
use benches::receiver::Arrival;
use gateway::store::StoreKey;
use shared::ring::{Close, Config, DeviceRing, Doorbell, Event, SocketId};

use crate::Arguments;
use crate::jobs::{Job, Tally};
use crate::peer::{Habits, Line, Peer, Seen, Stage};
use benches::client::tls::Client;

/// Events between two looks at commands and timers.
const EVENTS_PER_TURN: usize = 1024;

/// A loopback address has some 28 000 ports of its own.
const CONNECTIONS_PER_SOURCE: u64 = 20_000;

/// Sockets that may be closing while others are opened in their place.
const SPARE_SOCKETS: u32 = 4096;

/// Buffers kept for sending.
const SPARE_BUFFERS_MAX: usize = 4096;

/// The generator.
pub(crate) struct Engine {
    pub(crate) ring: DeviceRing,
    pub(crate) peers: Vec<Peer>,
    /// By the index of a socket, whose it is.
    owners: Vec<(SocketId, u32)>,
    spare: Vec<Vec<u8>>,
    seen: Vec<Seen>,
    pub(crate) server: SocketAddr,
    pub(crate) asked: Asked,
    /// What has arrived at the receiver of events, if there is one.
    pub(crate) arrivals: Option<Receiver<Arrival>>,
    pub(crate) habits: Habits,
    pub(crate) identities: Identities,
    pub(crate) population: Population,
    pub(crate) store_key: StoreKey,
    /// Number of the first device.
    pub(crate) first: u32,
    number: u8,
    /// Connections begun so far.
    pub(crate) begun: u64,
    /// Handshakes begun so far that were not to be resumed.
    pub(crate) presented: usize,
    /// Sign-ins of handshakes so far.
    pub(crate) visits: u32,
    clock: Instant,
    pub(crate) numbers: Numbers,
    pub(crate) next_token: u64,
    /// Connections on which nothing is under way, and perhaps some that have gone since.
    pub(crate) ready: Vec<u32>,
    pub(crate) job: Job,
    pub(crate) tally: Tally,
}

impl Engine {
    /// As the command line says.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let ring = DeviceRing::new(Config {
            sockets: arguments.connections + SPARE_SOCKETS,
            submission_entries: 4096,
            completion_entries: 32_768,
            buffers_per_ring: 2048,
            ..Config::default()
        })?;
        Ok(Self {
            ring,
            peers: (0..arguments.connections).map(|_| Peer::off()).collect(),
            owners: Vec::new(),
            spare: Vec::new(),
            seen: Vec::new(),
            server: arguments.server,
            asked: arguments.asked,
            arrivals: None,
            habits: Habits { tls13: arguments.wire == Wire::Tls13, keep_rustls: false },
            identities: Identities::make(
                &arguments.certificates,
                arguments.wire,
                arguments.chains,
            )?,
            population: Population::of(arguments.devices, arguments.devices_per_user),
            store_key: read_store_key(&arguments.store_key)?,
            first: arguments.first,
            number: arguments.number,
            begun: 0,
            presented: 0,
            visits: 0,
            clock: Instant::now(),
            numbers: Numbers::new(u64::from(arguments.number)),
            next_token: 1 << 32,
            ready: Vec::new(),
            job: Job::None,
            tally: Tally::new(),
        })
    }

    /// Rings when a command has come.
    pub(crate) fn doorbell(&self) -> Doorbell {
        self.ring.doorbell()
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.nanos_at(Instant::now())
    }

    /// The same at another time.
    pub(crate) fn nanos_at(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.clock);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Works until nobody gives commands any more.
    pub(crate) fn run(
        &mut self,
        commands: &Receiver<Result<Command, serde_json::Error>>,
    ) -> Result<()> {
        loop {
            match commands.try_recv() {
                Ok(command) => self.begin(command.context("a command")?),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            self.take_events();
            self.take_arrivals();
            self.advance();
            if let Some(report) = self.report()? {
                println!("{}", serde_json::to_string(&report)?);
            }
            let timeout = self.timeout();
            self.ring.wait(Some(timeout))?;
        }
    }

    fn take_events(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            if !self.take_event() {
                return;
            }
        }
    }

    fn take_event(&mut self) -> bool {
        let Some(event) = self.ring.next_event() else { return false };
        match event {
            Event::Received { socket, bytes } => {
                let Some(peer) = owner(&self.owners, socket) else { return true };
                self.tally.received(bytes.len());
                let mut out = self.spare.pop().unwrap_or_default();
                let mut seen = std::mem::take(&mut self.seen);
                let received =
                    self.peers[peer as usize].receive(bytes, &self.habits, &mut out, &mut seen);
                self.transmit(peer, out);
                for seen in seen.drain(..) {
                    self.on_seen(peer, seen);
                }
                self.seen = seen;
                if let Err(error) = received {
                    self.lose(peer, &format!("{error:#}"));
                }
            }
            Event::Sent { socket, bytes, result } => {
                self.recycle(bytes);
                if let Some(peer) = owner(&self.owners, socket) {
                    self.on_sent(peer, socket, result.is_ok());
                }
            }
            Event::Connected { socket } => {
                if let Some(peer) = owner(&self.owners, socket) {
                    self.on_connected(peer, socket);
                }
            }
            Event::ConnectFailed { socket, error } => {
                if let Some(peer) = owner(&self.owners, socket) {
                    self.lose(peer, &format!("not connected: {}", error.kind()));
                }
            }
            Event::Ended { socket, result } => {
                let how = if result.is_ok() { "closed by the server" } else { "reset" };
                if let Some(peer) = owner(&self.owners, socket) {
                    self.lose(peer, how);
                }
                // Refused when we were closing it ourselves.
                let _ = self.ring.close(socket, Close::Graceful);
            }
            Event::Closed { socket } => {
                if let Some(peer) = owner(&self.owners, socket) {
                    self.peers[peer as usize] = Peer::off();
                    self.on_gone();
                }
                if let Some(entry) = self.owners.get_mut(socket.index as usize) {
                    entry.1 = u32::MAX;
                }
            }
            _ => {}
        }
        true
    }

    /// Begins a connection.
    pub(crate) fn connect(&mut self, peer: u32) {
        let nth = self.begun / CONNECTIONS_PER_SOURCE;
        self.begun += 1;
        let source = [127, 0, 10 + self.number, 1 + (nth % 250) as u8];
        let local = SocketAddr::new(IpAddr::from(source), 0);
        let state = &mut self.peers[peer as usize];
        *state = Peer::off();
        match self.ring.connect(Some(local), self.server) {
            Ok(socket) => {
                state.socket = Some(socket);
                state.stage = Stage::Connecting;
                let index = socket.index as usize;
                if self.owners.len() <= index {
                    self.owners.resize(index + 1, (socket, u32::MAX));
                }
                self.owners[index] = (socket, peer);
            }
            Err(refused) => self.on_lost(peer, Stage::Connecting, &refused.to_string()),
        }
    }

    fn on_connected(&mut self, peer: u32, socket: SocketId) {
        // Refused only if it is closing already.
        let _ = self.ring.receive_many(socket);
        let state = &mut self.peers[peer as usize];
        state.stage = Stage::Handshaking;
        let config = self.identity(peer);
        let mut out = self.spare.pop().unwrap_or_default();
        match Client::start(config, &mut out) {
            Ok(client) => {
                self.peers[peer as usize].line = Line::Tls(Box::new(client));
                self.transmit(peer, out);
            }
            Err(error) => self.lose(peer, &format!("{error:#}")),
        }
    }

    fn on_seen(&mut self, peer: u32, seen: Seen) {
        match seen {
            Seen::Established { resumed } => self.on_established(peer, resumed),
            Seen::Message(code, token) => self.on_message(peer, code, token),
            Seen::Request(token, observe) => self.on_request(peer, token, observe),
            Seen::Closed => self.lose(peer, "closed by the server"),
        }
    }

    /// Sends bytes, behind those that are being sent.
    pub(crate) fn transmit(&mut self, peer: u32, bytes: Vec<u8>) {
        let state = &mut self.peers[peer as usize];
        let Some(socket) = state.socket.filter(|_| !bytes.is_empty()) else {
            return self.recycle(bytes);
        };
        self.tally.sent(bytes.len());
        if state.sending {
            state.backlog.extend_from_slice(&bytes);
            return self.recycle(bytes);
        }
        match self.ring.send(socket, bytes) {
            Ok(()) => self.peers[peer as usize].sending = true,
            // Its end is on its way to us.
            Err(refused) => self.recycle(refused.bytes),
        }
    }

    fn on_sent(&mut self, peer: u32, socket: SocketId, whole: bool) {
        let state = &mut self.peers[peer as usize];
        state.sending = false;
        if whole && !state.backlog.is_empty() {
            let backlog = std::mem::take(&mut state.backlog);
            state.sending = self.ring.send(socket, backlog).is_ok();
        } else if state.stage == Stage::Leaving {
            // Refused only if it is closing already.
            let _ = self.ring.close(socket, Close::Graceful);
        }
    }

    /// Seals messages, each in a record, and sends them together.
    pub(crate) fn say(&mut self, peer: u32, messages: &[&[u8]]) {
        let mut out = self.spare.pop().unwrap_or_default();
        let state = &mut self.peers[peer as usize];
        let sealed: Result<()> =
            messages.iter().try_for_each(|message| state.seal(message, &mut out));
        match sealed {
            Ok(()) => self.transmit(peer, out),
            Err(error) => self.lose(peer, &format!("{error:#}")),
        }
    }

    /// Says goodbye; the socket is closed when that is out.
    pub(crate) fn leave(&mut self, peer: u32) {
        let mut out = self.spare.pop().unwrap_or_default();
        let state = &mut self.peers[peer as usize];
        // Without a goodbye the server sees the end all the same.
        let _ = state.close(&mut out);
        state.stage = Stage::Leaving;
        self.transmit(peer, out);
        let state = &self.peers[peer as usize];
        if let Some(socket) = state.socket.filter(|_| !state.sending) {
            let _ = self.ring.close(socket, Close::Graceful);
        }
    }

    /// A connection cannot go on.
    fn lose(&mut self, peer: u32, why: &str) {
        let state = &mut self.peers[peer as usize];
        let stage = std::mem::replace(&mut state.stage, Stage::Leaving);
        if let Some(socket) = state.socket {
            let _ = self.ring.close(socket, Close::Graceful);
        }
        if stage != Stage::Leaving {
            self.on_lost(peer, stage, why);
        }
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The number of the device on a connection.
    pub(crate) fn device(&self, peer: u32) -> u32 {
        self.first + peer
    }

    /// Appends the request of a device with this token.
    pub(crate) fn write_request(&self, peer: u32, token: u64, out: &mut Vec<u8>) {
        messages::request(out, self.asked, self.population, self.device(peer));
        shared::coap::write::replace_token(out, token);
    }

    /// How long nothing can be due.
    fn timeout(&self) -> Duration {
        const LONGEST: Duration = Duration::from_millis(100);
        match self.next_due() {
            Some(due) => Duration::from_nanos(due.saturating_sub(self.now())).min(LONGEST),
            None => LONGEST,
        }
    }
}

fn owner(owners: &[(SocketId, u32)], socket: SocketId) -> Option<u32> {
    let &(of, owner) = owners.get(socket.index as usize)?;
    (of == socket && owner != u32::MAX).then_some(owner)
}
