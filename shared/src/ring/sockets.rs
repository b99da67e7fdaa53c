//! The life of every socket: which requests may begin, and what is owned while they are in flight.
//!
//! Pure: it talks to the kernel through [`Kernel`] only. What completions do is in `complete.rs`.
//!
//! ```text
//!  take ─► Accepting ─► Open ─► Closing ─► (last completion) ─► Closed ─► free
//!      └─► Connecting ─►┘ │        ▲
//!      └─► Reserved ─────►┘─► Moved┘        closing: shutdown or reset, then close of the slot
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::accept::Accepts;
use super::address::Route;
use super::cell::KernelCell;
use super::event::{Close, DescriptorRefused, Refused, SendRefused, SocketId};
use super::movement::RingAddress;
use super::ops::{Kernel, Kind, Operation, Tag};
use super::slab::Slab;
use super::table::{Entry, Flight, Phase, Table};
use super::{ConnectRefused, ListenerId};

/// Most bytes that one send request names; the kernel's own bound is just under 2 GiB.
const SEND_BYTES_MAX: usize = 1 << 30;

/// How many sockets have their receive renewed for each slot that was closed, see [`Capabilities`].
const RENEWED_PER_CLOSE: u32 = 2;

/// How many slots are looked at to find those.
const SCANNED_PER_CLOSE: u32 = 8;

/// What this kernel can and cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Options of direct descriptors can be set (Linux 6.7): [`quick_ack`](super::DeviceRing::quick_ack)
    /// works, and connections of ours get `TCP_NODELAY`.
    pub socket_options: bool,
    /// Direct descriptors can be bound (Linux 6.11), so connections of ours can choose their address.
    pub bind: bool,
    /// A closed slot lets go of its socket at once (Linux 6.13). Before that, the kernel keeps every
    /// closed socket until all requests of that ring which are older than the close are over, and an
    /// idle connection's receive never is. There the ring shuts connections down before closing
    /// their slots, and with each close renews a few receives in turn, so that the closed sockets
    /// kept by the kernel never outnumber the open ones by more than a constant factor.
    pub prompt_close: bool,
}

/// Bytes on their way out.
pub(super) struct Sending {
    pub(super) bytes: Vec<u8>,
    /// Where what the kernel has not taken yet begins.
    pub(super) sent: usize,
    /// Where it ends.
    pub(super) end: usize,
}

impl Sending {
    pub(super) fn operation(&self) -> Operation {
        let rest = &self.bytes[self.sent..self.end];
        Operation::Send { bytes: rest.as_ptr(), len: rest.len().min(SEND_BYTES_MAX) as u32 }
    }
}

/// All sockets of a ring and the memory of their requests.
pub(super) struct Sockets {
    pub(super) table: Table,
    pub(super) accepts: Accepts,
    pub(super) sends: Slab<Sending>,
    pub(super) moves: Slab<RingAddress>,
    pub(super) routes: Slab<KernelCell<Route>>,
    /// Per kernel ring, the sockets whose receive found no buffer, longest waiting first.
    pub(super) starved: Vec<VecDeque<SocketId>>,
    /// Sockets of which nothing is left but to say so.
    pub(super) closed: VecDeque<SocketId>,
    /// Per kernel ring, the slot at which receives are renewed next.
    renewal: Vec<u32>,
    pub(super) capabilities: Capabilities,
}

impl Sockets {
    pub(super) fn new(rings: u32, slots_per_ring: u32, capabilities: Capabilities) -> Self {
        Self {
            table: Table::new(rings, slots_per_ring),
            accepts: Accepts::new(),
            sends: Slab::new(),
            moves: Slab::new(),
            routes: Slab::new(),
            starved: (0..rings).map(|_| VecDeque::new()).collect(),
            closed: VecDeque::new(),
            renewal: vec![0; rings as usize],
            capabilities,
        }
    }

    /// Keeps this many accepts in flight at the listener.
    pub(super) fn add_listener(&mut self, listener: OwnedFd, accepts: u16) -> Option<ListenerId> {
        self.accepts.add(listener, accepts)
    }

    /// Begins the accepts that are wanted and for which there is room.
    pub(super) fn begin_accepts(&mut self, kernel: &mut impl Kernel) {
        while self.accepts.wanting().is_some() {
            let Some(socket) = self.table.take(Phase::Accepting) else { return };
            let (place, operation) = self.accepts.begin(socket);
            let entry = self.table.entry(socket).expect("just taken");
            entry.place = place;
            entry.flight.set(Flight::OPENING);
            kernel.push(socket, operation);
        }
    }

    pub(super) fn set_accepting(&mut self, accepting: bool, kernel: &mut impl Kernel) {
        self.accepts.set_accepting(accepting);
        if !accepting {
            for socket in self.accepts.in_flight() {
                let request = Tag { kind: Kind::Accept, socket }.encode();
                kernel.push(socket, Operation::Cancel { request });
            }
        }
    }

    /// Gives starved receives another try, no more of them than there are buffers.
    pub(super) fn feed_starved(&mut self, kernel: &mut impl Kernel) {
        for (ring, starved) in self.starved.iter_mut().enumerate() {
            let mut buffers = kernel.buffers_free(ring as u32);
            while buffers > 0 {
                let Some(socket) = starved.pop_front() else { break };
                // A socket that was closed meanwhile waits no more.
                let Some(entry) = self.table.entry(socket) else { continue };
                if entry.flight.has(Flight::STARVED) {
                    entry.flight.clear(Flight::STARVED);
                    arm(socket, entry, kernel);
                    buffers -= 1;
                }
            }
        }
    }

    /// Whether a receive waits for a buffer.
    pub(super) fn is_starving(&self) -> bool {
        self.starved.iter().any(|starved| !starved.is_empty())
    }

    /// Begins receiving: one buffer, or many.
    pub(super) fn receive(
        &mut self,
        socket: SocketId,
        many: bool,
        kernel: &mut impl Kernel,
    ) -> Result<(), Refused> {
        const EXCLUDED: Flight = Flight::RECEIVE.and(Flight::STARVED).and(Flight::SEND_DESCRIPTOR);
        let entry = self.open(socket, EXCLUDED)?;
        entry.flight.clear(Flight::MANY);
        if many {
            entry.flight.set(Flight::MANY);
        }
        arm(socket, entry, kernel);
        Ok(())
    }

    /// Begins sending; the bytes are kept until the kernel is done with them.
    pub(super) fn send(
        &mut self,
        socket: SocketId,
        bytes: Vec<u8>,
        part: Range<usize>,
        kernel: &mut impl Kernel,
    ) -> Result<(), SendRefused> {
        debug_assert!(part.end <= bytes.len(), "only bytes that are there are sent");
        const EXCLUDED: Flight =
            Flight::SEND.and(Flight::SHUTDOWN_WRITE).and(Flight::SEND_DESCRIPTOR);
        if let Err(reason) = self.open(socket, EXCLUDED) {
            return Err(SendRefused { bytes, reason });
        }
        let end = part.end.min(bytes.len());
        let sending = Sending { sent: part.start.min(end), end, bytes };
        let operation = sending.operation();
        let place = self.sends.insert(sending);
        let entry = self.table.entry(socket).expect("found open above");
        entry.place = place;
        entry.flight.set(Flight::SEND);
        kernel.push(socket, operation);
        Ok(())
    }

    pub(super) fn shutdown_write(
        &mut self,
        socket: SocketId,
        kernel: &mut impl Kernel,
    ) -> Result<(), Refused> {
        const EXCLUDED: Flight =
            Flight::SEND.and(Flight::SHUTDOWN_WRITE).and(Flight::SEND_DESCRIPTOR);
        self.open(socket, EXCLUDED)?.flight.set(Flight::SHUTDOWN_WRITE);
        kernel.push(socket, Operation::ShutdownWrite);
        Ok(())
    }

    pub(super) fn quick_ack(
        &mut self,
        socket: SocketId,
        kernel: &mut impl Kernel,
    ) -> Result<(), Refused> {
        if !self.capabilities.socket_options {
            return Err(Refused::Unsupported);
        }
        let entry = self.open(socket, Flight::SEND_DESCRIPTOR)?;
        entry.options = entry.options.checked_add(1).ok_or(Refused::InFlight)?;
        kernel.push(socket, Operation::QuickAck);
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        route: Route,
        kernel: &mut impl Kernel,
    ) -> Result<SocketId, ConnectRefused> {
        if route.local.is_some() && !self.capabilities.bind {
            return Err(ConnectRefused::BindUnsupported);
        }
        let socket = self.table.take(Phase::Connecting).ok_or(ConnectRefused::Full)?;
        let cell = KernelCell::new(route);
        let options = self.capabilities.socket_options;
        let operation = Operation::Connect { route: cell.address(), options };
        let entry = self.table.entry(socket).expect("just taken");
        entry.place = self.routes.insert(cell);
        entry.flight.set(Flight::OPENING);
        kernel.push(socket, operation);
        Ok(socket)
    }

    /// Keeps a slot for a descriptor from another ring.
    pub(super) fn reserve(&mut self) -> Option<SocketId> {
        self.table.take(Phase::Reserved)
    }

    /// Gives a reservation back. The slot is closed all the same: the kernel may have filled it and
    /// failed only to say so.
    pub(super) fn release(&mut self, socket: SocketId, kernel: &mut impl Kernel) {
        let Some(entry) = self.table.entry(socket) else { return };
        debug_assert_eq!(entry.phase, Phase::Reserved);
        entry.phase = Phase::Closing;
        entry.flight.set(Flight::CLOSE.and(Flight::UNKNOWN));
        kernel.push(socket, Operation::Close);
    }

    pub(super) fn send_descriptor(
        &mut self,
        socket: SocketId,
        address: RingAddress,
        kernel: &mut impl Kernel,
    ) -> Result<(), DescriptorRefused> {
        const EXCLUDED: Flight = Flight::ANY.and(Flight::STARVED);
        if let Err(reason) = self.open(socket, EXCLUDED) {
            return Err(DescriptorRefused { address, reason });
        }
        let operation = address.operation();
        let place = self.moves.insert(address);
        let entry = self.table.entry(socket).expect("found open above");
        entry.place = place;
        entry.flight.set(Flight::SEND_DESCRIPTOR);
        kernel.push(socket, operation);
        Ok(())
    }

    /// Begins the end of a socket: whatever is in flight completes, then the slot is closed.
    pub(super) fn close(
        &mut self,
        socket: SocketId,
        how: Close,
        kernel: &mut impl Kernel,
    ) -> Result<(), Refused> {
        let prompt = self.capabilities.prompt_close;
        let entry = self.table.entry(socket).ok_or(Refused::NoSuchSocket)?;
        let how = match (entry.phase, how) {
            (Phase::Open | Phase::Connecting, _) if entry.flight.has(Flight::SEND_DESCRIPTOR) => {
                return Err(Refused::InFlight);
            }
            (Phase::Open, Close::Detach) if entry.flight.has(Flight::RECEIVE.and(Flight::SEND)) => {
                return Err(Refused::InFlight);
            }
            (Phase::Open, how) => how,
            // Shutting down a connection that lives on elsewhere would end it there.
            (Phase::Moved, _) => Close::Detach,
            // There is nothing to end in order yet.
            (Phase::Connecting, _) => Close::Reset,
            (Phase::Closing, _) => return Err(Refused::Closing),
            (Phase::Free | Phase::Reserved | Phase::Accepting, _) => {
                return Err(Refused::NoSuchSocket);
            }
        };
        entry.phase = Phase::Closing;
        entry.flight.clear(Flight::STARVED);
        // The kernel hands a shutdown to a thread of its own, which costs more than all the rest of an
        // end. Where a closed slot lets go of its socket, it is enough that nothing else holds it.
        let ends_by_itself = prompt && !entry.flight.has(Flight::SEND);
        let receives = entry.flight.has(Flight::RECEIVE);
        let (flight, operation) = match how {
            Close::Reset => (Flight::END.and(Flight::RESETTING), Operation::Reset),
            Close::Graceful if !ends_by_itself => (Flight::END, Operation::Shutdown),
            Close::Graceful | Close::Detach => (Flight::CLOSE, Operation::Close),
        };
        entry.flight.set(flight);
        if receives && matches!(operation, Operation::Close) {
            let request = Tag { kind: Kind::Receive, socket }.encode();
            kernel.push(socket, Operation::Cancel { request });
        }
        kernel.push(socket, operation);
        Ok(())
    }

    /// Cancels each request that waits for a peer. By name, because cancelling all at once takes
    /// the kernel a time that grows with their square.
    pub(super) fn cancel_all(&mut self, kernel: &mut impl Kernel) {
        const WAITING: [(Flight, Kind); 2] =
            [(Flight::RECEIVE, Kind::Receive), (Flight::SEND, Kind::Send)];
        for ring in 0..self.starved.len() as u32 {
            for index in self.table.used(ring) {
                let Some((socket, entry)) = self.table.occupant(index) else { continue };
                for (flight, kind) in WAITING {
                    if entry.flight.has(flight) {
                        let request = Tag { kind, socket }.encode();
                        kernel.push(socket, Operation::Cancel { request });
                    }
                }
            }
        }
        self.set_accepting(false, kernel);
    }

    /// A socket that is gone; its slot is free from now on.
    pub(super) fn next_closed(&mut self) -> Option<SocketId> {
        let socket = self.closed.pop_front()?;
        self.table.free(socket);
        Some(socket)
    }

    /// Where a closed slot keeps its socket until older requests are over: makes some of them young.
    pub(super) fn renew_receives(&mut self, ring: u32, kernel: &mut impl Kernel) {
        if self.capabilities.prompt_close {
            return;
        }
        let slots = self.table.used(ring);
        let mut renewed = 0;
        for _ in 0..SCANNED_PER_CLOSE.min(slots.len() as u32) {
            let cursor = &mut self.renewal[ring as usize];
            *cursor = if slots.contains(&(*cursor + 1)) { *cursor + 1 } else { slots.start };
            let Some((socket, entry)) = self.table.occupant(*cursor) else { continue };
            if entry.phase == Phase::Open && entry.flight.has(Flight::RECEIVE) {
                let request = Tag { kind: Kind::Receive, socket }.encode();
                kernel.push(socket, Operation::Cancel { request });
                renewed += 1;
            }
            if renewed == RENEWED_PER_CLOSE {
                return;
            }
        }
    }

    /// An open socket for which none of these is in flight.
    fn open(&mut self, socket: SocketId, excluded: Flight) -> Result<&mut Entry, Refused> {
        let entry = self.table.entry(socket).ok_or(Refused::NoSuchSocket)?;
        match entry.phase {
            Phase::Open if entry.flight.has(excluded) => Err(Refused::InFlight),
            Phase::Open => Ok(entry),
            Phase::Connecting => Err(Refused::NotOpen),
            Phase::Closing => Err(Refused::Closing),
            Phase::Moved => Err(Refused::Moved),
            Phase::Free | Phase::Reserved | Phase::Accepting => Err(Refused::NoSuchSocket),
        }
    }
}

/// Arms the receive that the entry's flags describe.
pub(super) fn arm(socket: SocketId, entry: &mut Entry, kernel: &mut impl Kernel) {
    entry.flight.set(Flight::RECEIVE);
    let many = entry.flight.has(Flight::MANY);
    kernel.push(socket, if many { Operation::ReceiveMany } else { Operation::ReceiveOnce });
}
