//! What a ring tells its owner, and why it refuses a request.

use std::io;
use std::net::SocketAddr;

use super::movement::RingAddress;

/// A socket of one [`DeviceRing`](super::DeviceRing).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId {
    /// Dense over the whole ring and below its capacity, so it can number a table of connections.
    /// A later socket gets the same index, but only after [`Event::Closed`] of this one.
    pub index: u32,
    /// Tells the sockets of one index apart; 24 bits, wrapping.
    pub generation: u32,
}

impl SocketId {
    /// Stands for "no socket" in requests that have none.
    pub(super) const NONE: Self = Self { index: 0, generation: 0 };
}

/// A listener given to [`DeviceRing::add_listener`](super::DeviceRing::add_listener), counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub u8);

/// What happened. Errors are those of the system call that the kernel carried out.
#[derive(Debug)]
pub enum Event<'a> {
    /// A peer connected; nothing is received before it is asked for.
    Accepted {
        /// Where.
        listener: ListenerId,
        /// The new socket.
        socket: SocketId,
        /// The peer's address, as the listener's family writes it.
        peer: SocketAddr,
    },
    /// Accepting failed; it goes on by itself, after a short delay if the cause is a shortage.
    AcceptFailed {
        /// Where.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// A connection of ours is established.
    Connected {
        /// The socket.
        socket: SocketId,
    },
    /// A connection of ours was not established; [`Event::Closed`] follows by itself.
    ConnectFailed {
        /// The socket.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
    /// Bytes came. They may be changed in place; the buffer goes back with the next call to the ring.
    Received {
        /// From which socket.
        socket: SocketId,
        /// At least one byte.
        bytes: &'a mut [u8],
    },
    /// Nothing more will be received: the peer has finished, or the connection is broken.
    Ended {
        /// The socket, which stays open for sending until it is closed.
        socket: SocketId,
        /// Whether the peer ended in order.
        result: io::Result<()>,
    },
    /// A send is over.
    Sent {
        /// The socket.
        socket: SocketId,
        /// The bytes given to `send`, unchanged.
        bytes: Vec<u8>,
        /// Whether the kernel took all of them.
        result: io::Result<()>,
    },
    /// A descriptor from another ring arrived in a reserved slot.
    DescriptorArrived {
        /// The id that was reserved.
        socket: SocketId,
    },
    /// A copy of a socket's descriptor is in another ring, or could not be brought there.
    DescriptorSent {
        /// The socket, whose slot is still to be closed.
        socket: SocketId,
        /// On failure the address comes back, and the socket is as before.
        result: Result<(), DescriptorNotSent>,
    },
    /// The last of this socket: nothing of it is in flight and its index may come again.
    Closed {
        /// The former socket.
        socket: SocketId,
    },
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Both directions are shut down. What was handed to the kernel still goes out, then the peer
    /// sees the end. (TCP turns this into a reset if the peer's bytes were not all received.)
    Graceful,
    /// The peer sees a reset at once; what was not sent yet is dropped.
    Reset,
    /// Only the slot is emptied: the connection lives on in the ring its descriptor was sent to.
    Detach,
}

/// Why a request was not begun. Each is a mistake of the caller, except `Unsupported`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The id was never given out, or `Closed` was reported.
    #[error("there is no such socket any more")]
    NoSuchSocket,
    /// Not connected yet.
    #[error("the socket is not connected yet")]
    NotOpen,
    /// `close` was called.
    #[error("the socket is closing")]
    Closing,
    /// Its descriptor was sent to another ring.
    #[error("the socket has moved to another ring; only its slot can be closed")]
    Moved,
    /// A request that excludes this one is in flight.
    #[error("a request in flight for this socket excludes this one")]
    InFlight,
    /// The kernel is too old.
    #[error("this kernel cannot set socket options on direct descriptors (Linux 6.7 can)")]
    Unsupported,
}

/// A send that was not begun.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SendRefused {
    /// The bytes come back.
    pub bytes: Vec<u8>,
    /// Why.
    pub reason: Refused,
}

/// A descriptor that was not sent, because the request was wrong.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct DescriptorRefused {
    /// The address comes back; it may be used for another socket, or released by its ring.
    pub address: RingAddress,
    /// Why.
    pub reason: Refused,
}

/// A descriptor that did not reach the other ring. Nothing arrives there.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor was not sent: {error}")]
pub struct DescriptorNotSent {
    /// The address comes back, to be released by its ring.
    pub address: RingAddress,
    /// Why.
    pub error: io::Error,
}

/// A connection of ours that was not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectRefused {
    /// Every slot is taken.
    #[error("every slot of the ring is taken")]
    Full,
    /// A local address was given.
    #[error("this kernel cannot bind direct descriptors (Linux 6.11 can)")]
    BindUnsupported,
}
