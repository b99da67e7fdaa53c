//! The device ring: TCP sockets of devices over io_uring, for the gateway and for the swarm.
//!
//! ```text
//!  owner ── requests ──► DeviceRing ─► Sockets (pure: slots, generations, what is in flight)
//!    ▲                        │            │ Operation           ▲ Completion
//!    └──── Event ◄────────────┘            ▼                     │
//!                                       Rings: 1..n of KernelRing ── io_uring_enter ── Linux
//!                                       (queues, table of direct descriptors, provided buffers)
//! ```
//!
//! One [`DeviceRing`] belongs to one thread. Sockets are direct descriptors: they take a slot in a
//! kernel ring's table and no descriptor of the process. The kernel bounds such a table by
//! `RLIMIT_NOFILE`, so there are as many kernel rings as the configured sockets need; an id numbers
//! the sockets of all of them. An idle socket costs 12 bytes here and owns no buffer.
//!
//! A turn of the owner:
//!
//! ```text
//! while let Some(event) = ring.next_event() { ... } // bounded as the owner likes
//! look at whatever a doorbell may announce          // after the events: one of them answers it
//! ring.wait(until)?;                                // what was requested enters the kernel; sleep
//! ```
//!
//! What an owner may rely on:
//! - Nothing enters the kernel before [`DeviceRing::wait`] or [`DeviceRing::submit`], unless a queue is full.
//! - Every id that an event or a call gave out is followed by exactly one [`Event::Closed`], after
//!   which its index may come again with another generation. No event of a socket follows it.
//! - The bytes of every send come back in exactly one [`Event::Sent`], or at once with the error.
//! - A receive that finds no buffer is tried again by itself when buffers have come back; one that
//!   the kernel ends for reasons of its own is armed again. Neither is seen from outside.
//! - Sockets end only by [`DeviceRing::close`] (and after [`Event::ConnectFailed`]): a peer's end or
//!   an error is an [`Event::Ended`] first.
//!
//! Reading order: [`event`](Event) and `ops` for the words, `table`, `sockets` and `complete` for
//! the bookkeeping, `kernel` and `rings` for what the kernel sees, `window` and `buffers` for the memory
//! of receives, then `start`, `bell` and `wake`.
//! `unsafe` stands in `cell`, `buffers`, `entries`, `kernel` and `trials` only. Its one invariant:
//! **memory named by an [`ops::Operation`] is kept by `Sockets` until the completion that ends the
//! request**; a ring that is dropped cancels all requests, waits for them, and leaks that memory if
//! the kernel does not let go of it.

mod accept;
mod address;
mod bell;
mod buffers;
mod cell;
mod complete;
mod entries;
mod event;
mod kernel;
mod listen;
#[cfg(any(test, feature = "fuzzing"))]
pub mod model;
mod movement;
mod ops;
mod rings;
mod slab;
mod sockets;
mod start;
mod table;
#[cfg(test)]
mod tests;
mod trials;
mod wake;
mod window;

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use address::Route;
use complete::Step;
use kernel::KernelRing;
use ops::{Kernel, Kind, Operation};
use rings::Rings;
use sockets::Sockets;
use start::Shape;
use wake::Wake;

pub use event::{
    Close, ConnectRefused, DescriptorNotSent, DescriptorRefused, Event, ListenerId, Refused,
    SendRefused, SocketId,
};
pub use listen::listen;
pub use movement::RingAddress;
pub use sockets::Capabilities;
pub use start::{Config, StartError, TaskRun};
pub use wake::Doorbell;

/// What a ring occupies in user space, in bytes, and how many there are of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Slots in use.
    pub sockets: usize,
    /// Bytes of their entries.
    pub socket_bytes: usize,
    /// Bytes of the table they are in.
    pub table_bytes: usize,
    /// Receive buffers.
    pub buffers: usize,
    /// Bytes of those that the kernel goes through at present.
    pub touched_bytes: usize,
    /// Bytes of all of them, which are memory only once they were written to.
    pub buffer_bytes: usize,
}

/// Device sockets of one thread. See the module for the turn its owner takes.
pub struct DeviceRing {
    rings: Rings,
    sockets: Sockets,
    /// The buffer behind the last [`Event::Received`].
    lent: Option<(u32, u16)>,
    wake: Wake,
    /// Whether the first kernel ring completes a request when the eventfd is written.
    wake_watched: bool,
    /// The kernel lets only the creating thread submit.
    of_one_thread: PhantomData<*const ()>,
}

impl DeviceRing {
    /// Opens the kernel rings and checks what this kernel can.
    ///
    /// # Errors
    /// Each says what to mend: kernel, container profile, limits, or a value of the configuration.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let shape = Shape::of(&config, start::descriptor_limit())?;
        let capabilities = start::probe()?;
        let wake = Wake::new().map_err(|cause| StartError::Io { what: "an eventfd", cause })?;
        let rings = (0..shape.rings)
            .map(|number| start::open_ring(number, &config, shape, &wake))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            rings: Rings::new(rings, shape.slots_per_ring),
            sockets: Sockets::new(shape.rings, shape.slots_per_ring, capabilities),
            lent: None,
            wake,
            wake_watched: false,
            of_one_thread: PhantomData,
        })
    }

    /// What this kernel can and cannot.
    pub fn capabilities(&self) -> Capabilities {
        self.sockets.capabilities
    }

    /// One more than the largest index a socket can have.
    pub fn capacity(&self) -> u32 {
        self.sockets.table.capacity()
    }

    /// Slots in use: sockets, accepts in flight and reservations.
    pub fn slots_taken(&self) -> u32 {
        self.sockets.table.taken()
    }

    /// What it occupies in user space.
    pub fn memory(&self) -> Memory {
        let (sockets, socket_bytes, table_bytes) = self.sockets.table.memory();
        let (buffers, touched_bytes, buffer_bytes) = self.rings.buffer_memory();
        Memory { sockets, socket_bytes, table_bytes, buffers, touched_bytes, buffer_bytes }
    }

    /// Accepts on this listener, with so many accepts in flight as long as there are slots.
    ///
    /// # Errors
    /// If it is no listening TCP socket, or the 257th listener.
    pub fn add_listener(
        &mut self,
        listener: impl Into<OwnedFd>,
        accepts: u16,
    ) -> io::Result<ListenerId> {
        let listener = listen::checked(listener.into())?;
        let added = self.sockets.add_listener(listener, accepts);
        added.ok_or_else(|| io::Error::other("a ring has at most 256 listeners"))
    }

    /// Stops accepting, or goes on. Sockets accepted before the kernel heard of it are reported;
    /// further peers wait in the listener's backlog.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.sockets.set_accepting(accepting, &mut self.rings);
    }

    /// Stops listening for good: further peers are refused, and those in the backlog are reset.
    pub fn stop_listening(&mut self) {
        self.sockets.set_accepting(false, &mut self.rings);
        self.sockets.accepts.stop_listening();
    }

    /// Receives once, into a buffer that the kernel takes when bytes are there.
    ///
    /// # Errors
    /// If the socket is not open, is receiving already, or its descriptor is being sent.
    pub fn receive_once(&mut self, socket: SocketId) -> Result<(), Refused> {
        self.sockets.receive(socket, false, &mut self.rings)
    }

    /// Receives until the peer ends or the socket is closed, each time into a buffer of its own.
    ///
    /// # Errors
    /// As [`Self::receive_once`].
    pub fn receive_many(&mut self, socket: SocketId) -> Result<(), Refused> {
        self.sockets.receive(socket, true, &mut self.rings)
    }

    /// Sends these bytes, all of them; they come back in [`Event::Sent`]. One send at a time.
    ///
    /// # Errors
    /// If the socket is not open, a send is in flight, writing was shut down, or its descriptor is
    /// being sent.
    pub fn send(&mut self, socket: SocketId, bytes: Vec<u8>) -> Result<(), SendRefused> {
        let all = 0..bytes.len();
        self.send_part(socket, bytes, all)
    }

    /// Sends a part of these bytes; all of them come back in [`Event::Sent`]. What is sent later
    /// begins a segment of its own (`MSG_EOR`), so that a record header is never split over two.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_part(
        &mut self,
        socket: SocketId,
        bytes: Vec<u8>,
        part: Range<usize>,
    ) -> Result<(), SendRefused> {
        self.sockets.send(socket, bytes, part, &mut self.rings)
    }

    /// Tells the peer that no more will be sent; receiving goes on.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn shutdown_write(&mut self, socket: SocketId) -> Result<(), Refused> {
        self.sockets.shutdown_write(socket, &mut self.rings)
    }

    /// Has what was received acknowledged at once instead of with the next answer.
    ///
    /// # Errors
    /// If the socket is not open, or this kernel cannot (see [`Self::capabilities`]).
    pub fn quick_ack(&mut self, socket: SocketId) -> Result<(), Refused> {
        self.sockets.quick_ack(socket, &mut self.rings)
    }

    /// Closes a socket. Nothing more is received, what is in flight ends (a send is still reported),
    /// and [`Event::Closed`] is the last.
    ///
    /// # Errors
    /// If it is closing already, its descriptor is being sent, or it is to be detached while it
    /// receives or sends.
    pub fn close(&mut self, socket: SocketId, how: Close) -> Result<(), Refused> {
        self.sockets.close(socket, how, &mut self.rings)
    }

    /// Connects to this peer, from this address if given (port 0 for any), without Nagle's delay
    /// where the kernel allows. [`Event::Connected`] or [`Event::ConnectFailed`] follows.
    ///
    /// # Errors
    /// If every slot is taken, or this kernel cannot bind direct descriptors.
    pub fn connect(
        &mut self,
        local: Option<SocketAddr>,
        peer: SocketAddr,
    ) -> Result<SocketId, ConnectRefused> {
        let route = Route { local: local.map(Into::into), peer: peer.into() };
        self.sockets.connect(route, &mut self.rings)
    }

    /// Keeps a slot for a descriptor from another ring, if there is one. The descriptor's arrival is
    /// an [`Event::DescriptorArrived`]; without it the reservation lasts until it is released.
    ///
    /// # Errors
    /// If the kernel has no descriptor left to name this ring by (once per kernel ring).
    pub fn reserve(&mut self) -> io::Result<Option<RingAddress>> {
        let Some(socket) = self.sockets.reserve() else { return Ok(None) };
        let (ring, slot) = self.rings.locate(socket);
        match self.rings.rings[ring].handle() {
            Ok(ring) => Ok(Some(RingAddress::new(ring, slot, socket))),
            Err(error) => {
                self.sockets.release(socket, &mut self.rings);
                Err(error)
            }
        }
    }

    /// Gives a reservation back. Its id is never heard of again.
    ///
    /// # Errors
    /// If it is another ring's; the address comes back.
    pub fn release(&mut self, address: RingAddress) -> Result<(), RingAddress> {
        let socket = address.socket();
        let (ring, _) = self.rings.locate(socket);
        let ours = self.rings.rings.get(ring).is_some_and(|ring| ring.is_named_by(&address));
        if !ours {
            return Err(address);
        }
        self.sockets.release(socket, &mut self.rings);
        Ok(())
    }

    /// Copies a socket's descriptor to another ring. When [`Event::DescriptorSent`] tells of
    /// success, the socket lives there, and only its slot is left to close here.
    ///
    /// # Errors
    /// If the socket is not open, or anything of it is in flight.
    pub fn send_descriptor(
        &mut self,
        socket: SocketId,
        target: RingAddress,
    ) -> Result<(), DescriptorRefused> {
        self.sockets.send_descriptor(socket, target, &mut self.rings)
    }

    /// The next thing that happened, if the kernel has told; never enters it.
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        self.give_back_lent();
        if let Some(socket) = self.sockets.next_closed() {
            return Some(Event::Closed { socket });
        }
        loop {
            let Some(completion) = self.rings.next() else {
                // The last completion of a socket may have been the last of all.
                return self.sockets.next_closed().map(|socket| Event::Closed { socket });
            };
            if completion.tag.kind == Kind::Signal {
                self.wake_watched = false;
                self.wake.answer();
            }
            let ring = completion.ring;
            match self.sockets.complete(completion, &mut self.rings) {
                None => {}
                Some(Step::Event(event)) => return Some(event),
                Some(Step::Received { socket, buffer, len }) => {
                    self.lent = Some((ring, buffer));
                    let bytes = self.rings.rings[ring as usize].buffers().bytes(buffer, len);
                    return Some(Event::Received { socket, bytes });
                }
            }
        }
    }

    /// Hands what was requested to the kernel, for owners that have more to do.
    ///
    /// # Errors
    /// None that load could cause: what the kernel cannot take now is handed over later.
    pub fn submit(&mut self) -> io::Result<()> {
        self.queue();
        self.rings.submit()
    }

    /// The eventfd that ends a sleep when it is written: the doorbell of other processes.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Wakes the owner from other threads.
    pub fn doorbell(&self) -> Doorbell {
        self.wake.doorbell()
    }

    /// Submits, and unless there is something to do sleeps until something completes, a doorbell
    /// rings, or this time has passed. One system call for a ring that needs no second kernel ring.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.queue();
        if !std::mem::replace(&mut self.wake_watched, true) {
            let eventfd = self.wake.as_raw_fd();
            self.rings.push(SocketId::NONE, Operation::Signal { eventfd });
        }
        let timeout = if self.has_more() { Some(Duration::ZERO) } else { timeout };
        self.rings.submit_and_wait(timeout)
    }

    /// Queues what is due by itself: accepts and receives that wait for room.
    fn queue(&mut self) {
        self.give_back_lent();
        self.sockets.begin_accepts(&mut self.rings);
        self.sockets.feed_starved(&mut self.rings);
    }

    /// Whether there is something to do that no completion will announce.
    fn has_more(&self) -> bool {
        self.sockets.is_starving() || !self.sockets.closed.is_empty()
    }

    fn give_back_lent(&mut self) {
        if let Some((ring, buffer)) = self.lent.take() {
            self.rings.give_back(ring, buffer);
        }
    }
}

impl Drop for DeviceRing {
    fn drop(&mut self) {
        self.give_back_lent();
        self.sockets.cancel_all(&mut self.rings);
        let rings = &mut self.rings.rings;
        let quiet = rings.iter_mut().all(KernelRing::drain);
        let let_go = quiet && rings.iter_mut().all(KernelRing::dismantle);
        if !let_go {
            // The kernel may still write to this memory, so it is never freed.
            std::mem::forget(std::mem::replace(&mut self.rings, Rings::new(Vec::new(), 1)));
            let capabilities = self.sockets.capabilities;
            std::mem::forget(std::mem::replace(
                &mut self.sockets,
                Sockets::new(0, 1, capabilities),
            ));
        }
    }
}
