//! Words for the tests: a ring with a listener, its events as values, peers.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::ring::{Config, DeviceRing, Event, ListenerId, RingAddress, SocketId, listen};

/// Longer than anything here takes; only a failing test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// An event that outlives its buffer.
#[derive(Debug)]
pub(super) enum Seen {
    Accepted(SocketId, SocketAddr),
    AcceptFailed(ListenerId, io::Error),
    Connected(SocketId),
    ConnectFailed(SocketId, io::Error),
    Received(SocketId, Vec<u8>),
    Ended(SocketId, io::Result<()>),
    Sent(SocketId, Vec<u8>, io::Result<()>),
    Arrived(SocketId),
    DescriptorSent(SocketId, Result<(), (RingAddress, io::Error)>),
    Closed(SocketId),
}

impl Seen {
    /// Whose event it is.
    pub(super) fn socket(&self) -> SocketId {
        match self {
            Self::Accepted(socket, _)
            | Self::Connected(socket)
            | Self::ConnectFailed(socket, _)
            | Self::Received(socket, _)
            | Self::Ended(socket, _)
            | Self::Sent(socket, _, _)
            | Self::Arrived(socket)
            | Self::DescriptorSent(socket, _)
            | Self::Closed(socket) => *socket,
            Self::AcceptFailed(listener, error) => panic!("{listener:?}: {error}"),
        }
    }
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Accepted { socket, peer, .. } => Self::Accepted(socket, peer),
            Event::AcceptFailed { listener, error } => Self::AcceptFailed(listener, error),
            Event::Connected { socket } => Self::Connected(socket),
            Event::ConnectFailed { socket, error } => Self::ConnectFailed(socket, error),
            Event::Received { socket, bytes } => Self::Received(socket, bytes.to_vec()),
            Event::Ended { socket, result } => Self::Ended(socket, result),
            Event::Sent { socket, bytes, result } => Self::Sent(socket, bytes, result),
            Event::DescriptorArrived { socket } => Self::Arrived(socket),
            Event::DescriptorSent { socket, result } => {
                Self::DescriptorSent(socket, result.map_err(|e| (e.address, e.error)))
            }
            Event::Closed { socket } => Self::Closed(socket),
        }
    }
}

pub(super) fn ring(config: Config) -> DeviceRing {
    DeviceRing::new(config).unwrap()
}

/// Small enough to reach every limit quickly.
pub(super) fn small() -> Config {
    Config {
        sockets: 64,
        submission_entries: 64,
        completion_entries: 256,
        buffers_per_ring: 16,
        buffer_bytes: 1024,
        ..Config::default()
    }
}

/// A ring that accepts on a port of its own.
pub(super) fn serving(config: Config, accepts: u16) -> (DeviceRing, SocketAddr) {
    let mut ring = ring(config);
    let listener = listen("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
    let address = listener.local_addr().unwrap();
    ring.add_listener(listener, accepts).unwrap();
    (ring, address)
}

/// The next event; the ring is submitted and waited for as needed.
pub(super) fn next(ring: &mut DeviceRing) -> Seen {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = ring.next_event() {
            return event.into();
        }
        assert!(Instant::now() < until, "nothing happened");
        ring.wait(Some(Duration::from_secs(1))).unwrap();
    }
}

/// A peer and its socket in the ring.
pub(super) fn connection(ring: &mut DeviceRing, address: SocketAddr) -> (TcpStream, SocketId) {
    ring.submit().unwrap();
    let peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    match next(ring) {
        Seen::Accepted(socket, from) => {
            assert_eq!(from, peer.local_addr().unwrap());
            (peer, socket)
        }
        other => panic!("{other:?}"),
    }
}

/// The next event, which is of this socket.
pub(super) fn next_of(ring: &mut DeviceRing, socket: SocketId) -> Seen {
    let seen = next(ring);
    assert_eq!(seen.socket(), socket, "{seen:?}");
    seen
}

/// What the peer reads next. Completions of the ring, which is of the same thread, may interrupt it.
pub(super) fn read(peer: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match peer.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
