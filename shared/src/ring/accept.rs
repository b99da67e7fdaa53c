//! The pool of single accepts: who listens, and where the kernel writes each peer's address.
//!
//! Single accepts, because a multishot one gives no address and a direct descriptor can't be asked
//! for it. Each place of the pool belongs to one listener and has one accept in flight, or none.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::address::RawAddress;
use super::cell::KernelCell;
use super::ops::Operation;
use super::{ListenerId, SocketId};

/// What the kernel says of an accept, as the pool understands it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AcceptFailure {
    /// Cancelled or interrupted: nobody's failure.
    Interrupted,
    /// This one peer's failure; the next accept may succeed at once.
    Peer,
    /// A shortage or worse: trying again at once would only spin.
    Shortage,
}

impl AcceptFailure {
    pub(super) fn of(errno: i32) -> Self {
        match errno {
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => Self::Interrupted,
            libc::ECONNABORTED | libc::EPROTO => Self::Peer,
            _ => Self::Shortage,
        }
    }
}

struct Place {
    listener: ListenerId,
    peer: KernelCell<RawAddress>,
    /// Whose slot the accept in flight will fill.
    socket: Option<SocketId>,
}

/// Listeners and the accepts kept in flight for them.
pub(super) struct Accepts {
    listeners: Vec<OwnedFd>,
    places: Vec<Place>,
    idle: Vec<u32>,
    accepting: bool,
    /// A shortage: no accept is begun until the delay is over.
    pub(super) delayed: bool,
}

impl Accepts {
    pub(super) const fn new() -> Self {
        Self {
            listeners: Vec::new(),
            places: Vec::new(),
            idle: Vec::new(),
            accepting: true,
            delayed: false,
        }
    }

    /// Nothing once there are as many listeners as there are ids.
    pub(super) fn add(&mut self, listener: OwnedFd, accepts: u16) -> Option<ListenerId> {
        let id = ListenerId(u8::try_from(self.listeners.len()).ok()?);
        self.listeners.push(listener);
        for _ in 0..accepts {
            self.idle.push(self.places.len() as u32);
            let peer = KernelCell::new(RawAddress::ROOM);
            self.places.push(Place { listener: id, peer, socket: None });
        }
        Some(id)
    }

    /// Ends the listeners, and with them the accepts in flight.
    pub(super) fn stop_listening(&self) {
        for listener in &self.listeners {
            // It can only fail for a listener that has already ended.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }

    pub(super) fn accepting(&self) -> bool {
        self.accepting
    }

    pub(super) fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// A place that should have an accept in flight and has none.
    pub(super) fn wanting(&self) -> Option<u32> {
        if self.accepting && !self.delayed { self.idle.last().copied() } else { None }
    }

    /// Begins an accept at the place that [`Self::wanting`] gave.
    pub(super) fn begin(&mut self, socket: SocketId) -> (u32, Operation) {
        let nth = self.idle.pop().expect("a place was found wanting");
        let place = &mut self.places[nth as usize];
        place.peer.write(RawAddress::ROOM);
        place.socket = Some(socket);
        let listener: RawFd = self.listeners[usize::from(place.listener.0)].as_raw_fd();
        (nth, Operation::Accept { listener, peer: place.peer.address() })
    }

    /// The accept at this place is over; the address is the peer's if it succeeded.
    pub(super) fn end(&mut self, nth: u32) -> (ListenerId, SocketAddr) {
        let place = &mut self.places[nth as usize];
        debug_assert!(place.socket.is_some(), "an accept ends once");
        place.socket = None;
        self.idle.push(nth);
        // Listeners are of IPv4 or IPv6, so the kernel writes such an address.
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        (place.listener, place.peer.read().decode().unwrap_or(unknown))
    }

    /// The sockets for which an accept is in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = SocketId> {
        self.places.iter().filter_map(|place| place.socket)
    }
}
