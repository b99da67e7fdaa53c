//! The bookkeeping against a model of the kernel: any order of requests and completions keeps what
//! the ring promises.
//!
//! The model executes requests one by one, in any order, with any outcome a kernel may choose:
//! receives without buffers, multishot receives that end early (as they do when the completion queue
//! overflows), short sends, completions long after the close.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::address::Route;
use super::complete::Step;
use super::event::{Close, Event, Refused, SocketId};
use super::movement::RingAddress;
use super::ops::{Completion, Kernel, Kind, Operation, Tag};
use super::sockets::{Capabilities, Sockets};

const RINGS: u32 = 2;
const SLOTS: u32 = 4;
const BUFFERS: u16 = 2;
const ACCEPTS: u16 = 3;

/// A request that the kernel has and has not ended.
struct Pending {
    tag: Tag,
    many: bool,
    /// Bytes to send.
    len: u32,
    /// The request that a cancellation is for.
    cancels: Option<Tag>,
}

/// What the kernel would hold.
#[derive(Default)]
struct Model {
    pending: Vec<Pending>,
    /// Completions not read yet.
    posted: VecDeque<Completion>,
    /// Per ring, the buffers the kernel may take.
    free: Vec<Vec<u16>>,
    /// Sockets that were told to end.
    ending: HashSet<SocketId>,
}

impl Model {
    fn ring_of(socket: SocketId) -> u32 {
        socket.index / SLOTS
    }

    fn post(&mut self, tag: Tag, result: i32, more: bool, buffer: Option<u16>) {
        let ring = Self::ring_of(tag.socket);
        self.posted.push_back(Completion { ring, tag, result, more, buffer });
    }

    /// Something happens to one of the pending requests.
    fn progress(&mut self, nth: usize, outcome: u8) {
        let nth = nth % self.pending.len();
        let Pending { tag, many, len, cancels } = &self.pending[nth];
        let (tag, many, len, cancels) = (*tag, *many, *len, *cancels);
        let fails = outcome.is_multiple_of(4);
        let mut more = false;
        match tag.kind {
            Kind::Receive => {
                let ring = Self::ring_of(tag.socket) as usize;
                match (outcome % 5, self.free[ring].pop()) {
                    (0, buffer) => {
                        self.free[ring].extend(buffer);
                        self.post(tag, 0, false, None);
                    }
                    (1, buffer) => {
                        self.free[ring].extend(buffer);
                        self.post(tag, -libc::ECONNRESET, false, None);
                    }
                    (_, None) => self.post(tag, -libc::ENOBUFS, false, None),
                    (2, buffer) => self.post(tag, 7, false, buffer),
                    (_, buffer) => {
                        more = many;
                        self.post(tag, 7, more, buffer);
                    }
                }
            }
            Kind::Send => {
                let taken = match outcome % 4 {
                    0 => -libc::EPIPE,
                    1 => -libc::EINTR,
                    2 => len.min(1) as i32,
                    _ => len as i32,
                };
                self.post(tag, taken, false, None);
            }
            Kind::Accept if fails => self.post(tag, -libc::ENFILE, false, None),
            Kind::AcceptDelay => self.post(tag, -libc::ETIME, false, None),
            Kind::Cancel => {
                let target = self.pending.iter().position(|p| Some(p.tag) == cancels);
                let target = target.map(|at| self.pending.remove(at));
                let result = if target.is_some() { 0 } else { -libc::ENOENT };
                if let Some(target) = target {
                    self.post(target.tag, -libc::ECANCELED, false, None);
                }
                self.pending.retain(|p| p.tag != tag || p.cancels != cancels);
                self.post(tag, result, false, None);
                return;
            }
            _ if fails => self.post(tag, -libc::EBADF, false, None),
            _ => self.post(tag, 0, false, None),
        }
        if !more {
            self.pending.remove(nth);
        }
    }

    fn in_flight(&self, kind: Kind) -> usize {
        let pending = self.pending.iter().filter(|p| p.tag.kind == kind).count();
        let posted = self.posted.iter().filter(|c| c.tag.kind == kind && !c.more).count();
        pending + posted
    }

    fn names(&self, index: u32, but: SocketId) -> bool {
        let of = |tag: Tag| {
            tag.socket.index == index
                && tag.socket != but
                && tag.kind != Kind::Cancel
                && tag.kind != Kind::AcceptDelay
        };
        self.pending.iter().any(|p| of(p.tag)) || self.posted.iter().any(|c| of(c.tag))
    }
}

impl Kernel for Model {
    fn push(&mut self, socket: SocketId, operation: Operation) {
        let tag = Tag { kind: operation.kind(), socket };
        assert!(
            !self.names(socket.index, socket)
                || matches!(tag.kind, Kind::Cancel | Kind::AcceptDelay),
            "a slot was reused with a completion of its former socket outstanding"
        );
        match tag.kind {
            Kind::End | Kind::Close => {
                self.ending.insert(socket);
            }
            Kind::Cancel | Kind::AcceptDelay => {}
            kind => assert!(!self.ending.contains(&socket), "{kind:?} after the end"),
        }
        let pending = match operation {
            Operation::ReceiveMany => Pending { tag, many: true, len: 0, cancels: None },
            Operation::Send { len, .. } => Pending { tag, many: false, len, cancels: None },
            Operation::Cancel { request } => {
                Pending { tag, many: false, len: 0, cancels: Tag::decode(request) }
            }
            _ => Pending { tag, many: false, len: 0, cancels: None },
        };
        self.pending.push(pending);
    }

    fn give_back(&mut self, ring: u32, buffer: u16) {
        let free = &mut self.free[ring as usize];
        assert!(!free.contains(&buffer), "a buffer was given back twice");
        free.push(buffer);
    }

    fn buffers_free(&self, ring: u32) -> u32 {
        self.free[ring as usize].len() as u32
    }
}

/// What the owner of the ring knows.
struct Owner {
    sockets: Sockets,
    model: Model,
    /// Ids told and not closed yet, in the order they were told; true once `close` was accepted.
    open: Vec<(SocketId, bool)>,
    gone: HashSet<SocketId>,
    /// What each socket is sending.
    sending: HashMap<SocketId, Vec<u8>>,
    sends: u64,
    /// Reservations of ours that nobody has used.
    reserved: Vec<RingAddress>,
    /// Slots of another ring.
    elsewhere: u32,
    ring: Arc<OwnedFd>,
}

impl Owner {
    fn new(capabilities: Capabilities) -> Self {
        let nothing = || OwnedFd::from(File::open("/dev/null").expect("there is always /dev/null"));
        let mut sockets = Sockets::new(RINGS, SLOTS, capabilities);
        sockets.add_listener(nothing(), ACCEPTS).expect("there is room for one");
        let free = (0..RINGS).map(|_| (0..BUFFERS).collect()).collect();
        Self {
            sockets,
            model: Model { free, ..Model::default() },
            open: Vec::new(),
            gone: HashSet::new(),
            sending: HashMap::new(),
            sends: 0,
            reserved: Vec::new(),
            elsewhere: 0,
            ring: Arc::new(nothing()),
        }
    }

    fn step(&mut self, (what, which, how): (u8, usize, u8)) {
        let some = self.open.get(which % self.open.len().max(1)).copied();
        match (what % 12, some) {
            (0, _) => {
                self.sockets.begin_accepts(&mut self.model);
                self.sockets.feed_starved(&mut self.model);
            }
            (1, _) => self.sockets.set_accepting(how % 2 == 0, &mut self.model),
            (2, _) => self.connect_or_reserve(how),
            (3 | 4, Some((socket, _))) => {
                let _ = self.sockets.receive(socket, how % 2 == 0, &mut self.model);
            }
            (5, Some((socket, closing))) => self.send(socket, closing),
            (6, Some((socket, _))) => {
                let _ = self.sockets.quick_ack(socket, &mut self.model);
                let _ = self.sockets.shutdown_write(socket, &mut self.model);
            }
            (7, Some((socket, closing))) => {
                let how = [Close::Graceful, Close::Reset, Close::Detach][usize::from(how % 3)];
                self.close(socket, closing, how);
            }
            (8, Some((socket, _))) => self.send_descriptor(socket),
            (9 | 10, _) if !self.model.pending.is_empty() => self.model.progress(which, how),
            _ => self.look(),
        }
        self.check();
    }

    fn connect_or_reserve(&mut self, how: u8) {
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
        let opened = match how % 3 {
            0 => self.sockets.connect(Route { local: None, peer }, &mut self.model).ok(),
            1 => self.sockets.reserve().inspect(|&socket| {
                let slot = socket.index % SLOTS;
                self.reserved.push(RingAddress::new(self.ring.clone(), slot, socket));
            }),
            _ => self.reserved.pop().and_then(|address| {
                let socket = address.socket();
                if how.is_multiple_of(2) {
                    self.sockets.release(socket, &mut self.model);
                } else {
                    // The other ring sends: its kernel side completes here.
                    let tag = Tag { kind: Kind::Arrival, socket };
                    self.model.post(tag, 0, false, None);
                }
                None
            }),
        };
        if let Some(socket) = opened {
            assert!(!self.model.names(socket.index, socket), "a slot was reused too early");
            if how.is_multiple_of(3) {
                self.open.push((socket, false));
            }
        }
    }

    fn send(&mut self, socket: SocketId, closing: bool) {
        self.sends += 1;
        let bytes = self.sends.to_ne_bytes()[..(self.sends % 4) as usize + 1].to_vec();
        match self.sockets.send(socket, bytes.clone(), 0..bytes.len(), &mut self.model) {
            Ok(()) => {
                assert!(!closing);
                assert!(self.sending.insert(socket, bytes).is_none(), "one send at a time");
            }
            Err(refused) => assert_eq!(refused.bytes, bytes),
        }
    }

    fn close(&mut self, socket: SocketId, closing: bool, how: Close) {
        let result = self.sockets.close(socket, how, &mut self.model);
        if closing {
            assert_eq!(result, Err(Refused::Closing));
        } else if result.is_ok() {
            self.closing(socket);
        } else {
            assert_eq!(result, Err(Refused::InFlight));
        }
    }

    fn closing(&mut self, socket: SocketId) {
        let open = self.open.iter_mut().find(|(open, _)| *open == socket);
        open.expect("only sockets that were told are closed").1 = true;
    }

    fn send_descriptor(&mut self, socket: SocketId) {
        self.elsewhere += 1;
        let target = SocketId { index: self.elsewhere, generation: 0 };
        let address = RingAddress::new(self.ring.clone(), self.elsewhere, target);
        if let Err(refused) = self.sockets.send_descriptor(socket, address, &mut self.model) {
            assert_eq!(refused.address.socket(), target);
        }
    }

    /// Looks at the next event, as the ring does.
    fn look(&mut self) {
        if let Some(socket) = self.sockets.next_closed() {
            return self.told(Event::Closed { socket });
        }
        let Some(completion) = self.model.posted.pop_front() else { return };
        match self.sockets.complete(completion, &mut self.model) {
            None => {}
            Some(Step::Event(event)) => self.told(event),
            Some(Step::Received { socket, buffer, len }) => {
                assert_eq!(len, 7);
                self.expect_open(socket);
                self.model.give_back(completion.ring, buffer);
            }
        }
    }

    fn expect_open(&self, socket: SocketId) {
        assert!(!self.gone.contains(&socket), "an event after Closed");
        assert!(self.open.iter().any(|(open, _)| *open == socket), "an event of a stranger");
    }

    fn told(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { socket, .. } | Event::DescriptorArrived { socket } => {
                assert!(!self.gone.contains(&socket));
                self.open.push((socket, false));
            }
            Event::ConnectFailed { socket, .. } => {
                self.expect_open(socket);
                self.closing(socket);
            }
            Event::Sent { socket, bytes, .. } => {
                self.expect_open(socket);
                assert_eq!(self.sending.remove(&socket), Some(bytes), "each send comes back once");
            }
            Event::Closed { socket } => {
                self.expect_open(socket);
                assert!(self.gone.insert(socket), "closed once");
                assert!(!self.sending.contains_key(&socket), "its send has come back");
                assert!(
                    !self.model.names(socket.index, SocketId { generation: u32::MAX, ..socket })
                );
                self.open.retain(|(open, closing)| {
                    assert!(*open != socket || *closing, "sockets end only when they are closed");
                    *open != socket
                });
            }
            Event::Connected { socket } | Event::Ended { socket, .. } => self.expect_open(socket),
            Event::DescriptorSent { socket, result } => {
                self.expect_open(socket);
                if let Err(failed) = result {
                    assert!(failed.address.socket().index <= self.elsewhere);
                }
            }
            Event::AcceptFailed { .. } => {}
            Event::Received { .. } => unreachable!("a step of its own"),
        }
    }

    /// What the kernel still uses is still owned, and nothing more.
    fn check(&mut self) {
        let Self { sockets, model, .. } = self;
        assert_eq!(sockets.sends.len(), model.in_flight(Kind::Send));
        assert_eq!(sockets.moves.len(), model.in_flight(Kind::SendDescriptor));
        assert_eq!(sockets.routes.len(), model.in_flight(Kind::Connect));
        assert_eq!(sockets.accepts.in_flight().count(), model.in_flight(Kind::Accept));
        let lent = model.posted.iter().filter(|c| c.buffer.is_some()).count();
        let free: usize = model.free.iter().map(Vec::len).sum();
        assert_eq!(free + lent, usize::from(BUFFERS) * RINGS as usize);
    }

    /// Ends everything and expects nothing to be left.
    fn finish(mut self) {
        self.sockets.set_accepting(false, &mut self.model);
        for address in std::mem::take(&mut self.reserved) {
            self.sockets.release(address.socket(), &mut self.model);
        }
        let quiet = |owner: &Self| {
            owner.model.pending.is_empty()
                && owner.model.posted.is_empty()
                && owner.sockets.closed.is_empty()
                && owner.open.is_empty()
        };
        for round in 0..10_000 {
            if quiet(&self) {
                break;
            }
            // Requests end in an order that differs from the one they began in.
            if !self.model.pending.is_empty() {
                self.model.progress(round * 7, 1);
            }
            self.look();
            for (socket, closing) in self.open.clone() {
                if !closing {
                    self.close(socket, closing, Close::Graceful);
                }
            }
            self.check();
        }
        assert!(quiet(&self), "something never ends: {:?}", self.open);
        assert_eq!(self.sockets.table.taken(), 0, "a slot is lost");
        assert!(self.sending.is_empty(), "bytes are lost");
    }
}

/// Does these steps, then ends everything.
///
/// # Panics
///
/// When the bookkeeping breaks a promise.
pub fn run(capabilities: Capabilities, steps: impl IntoIterator<Item = (u8, usize, u8)>) {
    let mut owner = Owner::new(capabilities);
    for step in steps {
        owner.step(step);
    }
    owner.finish();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
        #[test]
        fn any_order_of_requests_and_completions_keeps_the_promises(
            steps in prop::collection::vec(any::<(u8, usize, u8)>(), 0..400),
            (socket_options, bind, prompt_close) in any::<(bool, bool, bool)>(),
        ) {
            run(Capabilities { socket_options, bind, prompt_close }, steps);
        }
    }
}
