//! Sockets of one core, over the device ring (I/O): who owns which socket, what waits to be sent on
//! it, and the clock. What is said on them is the devices' business.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::ring::{
    Close, Config, ConnectRefused, DeviceRing, Doorbell, Event, SocketId, StartError,
};
use shared::time::Instant;

/// Bytes that may wait for a peer that does not read.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

/// A loopback address has some 28 000 ports of its own; this many connections leave it, then the
/// next address is taken. Linux gives every second port to connections first, and when those are in use
/// it looks at all 14 000 of them for each further connection: from then on connecting costs more than
/// the handshake.
pub(crate) const CONNECTIONS_PER_SOURCE: usize = 12_000;

/// The monotonic clock, the same for all cores of a swarm.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The sockets of one core.
pub(crate) struct Sockets {
    ring: DeviceRing,
    /// By the index of the socket.
    wires: Vec<Wire>,
    /// What is sent when the send in flight is over, by the index of the socket.
    backlog: HashMap<u32, Vec<u8>>,
    buffer_bytes: usize,
    sources: Sources,
}

/// One socket.
#[derive(Clone, Copy)]
struct Wire {
    /// Who hears of it; [`NOBODY`] once it is being closed.
    owner: u32,
    /// Tells the sockets of one index apart.
    generation: u32,
    sending: bool,
}

/// No owner.
const NOBODY: u32 = u32::MAX;

const _: () = assert!(size_of::<Wire>() <= 12, "every socket has one");

impl Wire {
    const NONE: Self = Self { owner: NOBODY, generation: 0, sending: false };

    fn owner(self) -> Option<u32> {
        (self.owner != NOBODY).then_some(self.owner)
    }
}

/// Where connections come from.
struct Sources {
    /// Addresses to connect from, in turn; none for whatever the kernel takes.
    addresses: Vec<IpAddr>,
    /// Connections made so far.
    connected: usize,
    /// This core's number among all: each uses other addresses.
    core: usize,
    cores: usize,
}

impl Sources {
    fn next(&mut self, peer: IpAddr) -> Option<IpAddr> {
        let nth = self.connected / CONNECTIONS_PER_SOURCE * self.cores + self.core;
        self.connected += 1;
        match (peer, self.addresses.len()) {
            (_, count @ 1..) => Some(self.addresses[nth % count]),
            // All of 127.0.0.0/8 is ours, without asking anybody.
            (IpAddr::V4(ip), 0) if ip.is_loopback() && nth > 0 => {
                let host = u32::try_from(nth % 0xfe_ffff).unwrap_or(0) + 1;
                Some(IpAddr::from((0x7f00_0000 + host).to_be_bytes()))
            }
            _ => None,
        }
    }
}

/// What has happened to a socket.
#[derive(Debug)]
pub(crate) enum Happening<'a> {
    Connected,
    NotConnected(io::ErrorKind),
    /// The bytes of one read, and whether it ended because its buffer was full.
    Received {
        bytes: &'a [u8],
        cut: bool,
    },
    Closed,
}

impl Sockets {
    /// For so many sockets at a time; this core is one of `cores`.
    pub(crate) fn new(
        sockets: u32,
        (core, cores): (usize, usize),
        addresses: Vec<IpAddr>,
    ) -> Result<Self, StartError> {
        let config = Config { sockets, ..Config::default() };
        let ring = DeviceRing::new(config)?;
        Ok(Self {
            wires: Vec::with_capacity(ring.capacity() as usize),
            ring,
            backlog: HashMap::new(),
            buffer_bytes: config.buffer_bytes as usize,
            sources: Sources { addresses, connected: 0, core, cores },
        })
    }

    pub(crate) fn doorbell(&self) -> Doorbell {
        self.ring.doorbell()
    }

    /// Begins a connection. [`Happening::Connected`] or [`Happening::NotConnected`] follows.
    pub(crate) fn connect(
        &mut self,
        owner: u32,
        peer: SocketAddr,
    ) -> Result<SocketId, io::ErrorKind> {
        let local = self.sources.next(peer.ip()).map(|ip| SocketAddr::new(ip, 0));
        let socket = self.ring.connect(local, peer).map_err(|refused| match refused {
            ConnectRefused::Full => io::ErrorKind::QuotaExceeded,
            ConnectRefused::BindUnsupported => io::ErrorKind::Unsupported,
        })?;
        let index = socket.index as usize;
        if self.wires.len() <= index {
            self.wires.resize(index + 1, Wire::NONE);
        }
        self.backlog.remove(&socket.index);
        self.wires[index] = Wire { generation: socket.generation, owner, sending: false };
        Ok(socket)
    }

    fn wire(&mut self, socket: SocketId) -> Option<&mut Wire> {
        let wire = self.wires.get_mut(socket.index as usize)?;
        (wire.generation == socket.generation).then_some(wire)
    }

    /// Sends these bytes after all earlier ones. False when the peer has not read for so long that
    /// the connection had to be closed.
    pub(crate) fn send(&mut self, socket: SocketId, bytes: Vec<u8>) -> bool {
        let Some(wire) = self.wire(socket) else { return false };
        if std::mem::replace(&mut wire.sending, true) {
            let backlog = self.backlog.entry(socket.index).or_default();
            let fits = backlog.len() + bytes.len() <= BACKLOG_BYTES_MAX;
            if fits {
                backlog.extend_from_slice(&bytes);
            } else {
                self.end(socket, Close::Reset);
            }
            return fits;
        }
        if self.ring.send(socket, bytes).is_err() {
            // The end of the connection is on its way to us.
            self.sent(socket, false);
        }
        true
    }

    /// Closes after everything was sent. Its owner hears nothing more of it.
    pub(crate) fn close(&mut self, socket: SocketId) {
        let Some(wire) = self.wire(socket) else { return };
        wire.owner = NOBODY;
        if !wire.sending {
            self.end(socket, Close::Graceful);
        }
    }

    /// Breaks a connection as a power cut would: the peer sees a reset, and its owner hears nothing
    /// more of it.
    pub(crate) fn cut(&mut self, socket: SocketId) {
        self.end(socket, Close::Reset);
    }

    fn end(&mut self, socket: SocketId, how: Close) {
        if let Some(wire) = self.wire(socket) {
            wire.owner = NOBODY;
            self.backlog.remove(&socket.index);
        }
        // Refused only when it is closing already.
        let _ = self.ring.close(socket, how);
    }

    fn sent(&mut self, socket: SocketId, went_out: bool) {
        let Some(wire) = self.wire(socket) else { return };
        wire.sending = false;
        let abandoned = wire.owner == NOBODY;
        if went_out && let Some(backlog) = self.backlog.remove(&socket.index) {
            if let Some(wire) = self.wire(socket) {
                wire.sending = true;
            }
            if self.ring.send(socket, backlog).is_err() {
                self.sent(socket, false);
            }
        } else if abandoned {
            self.end(socket, Close::Graceful);
        }
    }

    /// Tells the next thing that has happened; never waits. Returns whose socket it was about, if it
    /// concerns anybody; none when nothing has happened.
    pub(crate) fn next(&mut self, tell: impl FnOnce(u32, Happening<'_>)) -> Option<Option<u32>> {
        let wires = &self.wires;
        let owner_of = |socket: SocketId| {
            let wire = wires.get(socket.index as usize);
            wire.filter(|wire| wire.generation == socket.generation)?.owner()
        };
        let (owner, then) = match self.ring.next_event()? {
            Event::Connected { socket } => {
                let owner = owner_of(socket);
                owner.inspect(|&owner| tell(owner, Happening::Connected));
                (owner, Then::Receive(socket))
            }
            Event::ConnectFailed { socket, error } => {
                let owner = owner_of(socket);
                owner.inspect(|&owner| tell(owner, Happening::NotConnected(error.kind())));
                (owner, Then::Forget(socket))
            }
            Event::Received { socket, bytes } => {
                let owner = owner_of(socket);
                let cut = bytes.len() == self.buffer_bytes;
                owner.inspect(|&owner| tell(owner, Happening::Received { bytes, cut }));
                (owner, Then::Nothing)
            }
            Event::Ended { socket, .. } => {
                let owner = owner_of(socket);
                owner.inspect(|&owner| tell(owner, Happening::Closed));
                (owner, Then::Close(socket))
            }
            Event::Sent { socket, result, .. } => (None, Then::Sent(socket, result.is_ok())),
            _ => (None, Then::Nothing),
        };
        match then {
            Then::Nothing => {}
            Then::Receive(socket) => match owner {
                // Only a socket that is closing refuses.
                Some(_) => _ = self.ring.receive_many(socket),
                None => self.end(socket, Close::Graceful),
            },
            Then::Forget(socket) => {
                if let Some(wire) = self.wire(socket) {
                    wire.owner = NOBODY;
                }
            }
            Then::Close(socket) => self.end(socket, Close::Graceful),
            Then::Sent(socket, went_out) => self.sent(socket, went_out),
        }
        Some(owner)
    }

    /// Hands what was asked for to the kernel and sleeps until something happens, a doorbell rings
    /// or this time has passed.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ring.wait(timeout)
    }
}

/// What has to be done about an event after it was told.
enum Then {
    Nothing,
    Receive(SocketId),
    Forget(SocketId),
    Close(SocketId),
    Sent(SocketId, bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cores_use_an_address_at_the_same_time_and_none_more_than_its_ports() {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let mut used: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for core in 0..2 {
            let mut sources = Sources { addresses: Vec::new(), connected: 0, core, cores: 2 };
            for _ in 0..500_000 {
                *used.entry(sources.next(peer)).or_default() += 1;
            }
        }
        assert_eq!(used.values().sum::<usize>(), 1_000_000);
        assert_eq!(used.values().max(), Some(&CONNECTIONS_PER_SOURCE));
    }
}
