//! Operations as submission queue entries.
#![expect(unsafe_code, reason = "the route of a connect is read behind a raw pointer")]

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{DestinationSlot, Fd, Fixed, Timespec};

use super::SocketId;
use super::address::RawAddress;
use super::ops::{Operation, Tag};

/// The only buffer group of a ring.
pub(super) const BUFFERS: u16 = 0;

/// Most entries of one operation.
pub(super) const CHAIN_MAX: usize = 5;

/// How long accepting pauses when something it needs is short.
const ACCEPT_DELAY: Timespec = Timespec::new().nsec(100_000_000);

// What the kernel reads at some time after the call needs an address that lasts.
static ACCEPT_DELAY_AT: Timespec = ACCEPT_DELAY;
static ON: libc::c_int = 1;
/// Connecting a TCP socket to the family AF_UNSPEC dissolves its connection: the peer gets a reset,
/// and everything in flight on it fails. It works on every kernel and without another thread, which
/// SO_LINGER and shutdown do not.
static NOBODY: RawAddress = RawAddress { bytes: [0; 28], length: 16 };

/// The entries of one operation on the descriptor in this slot.
pub(super) enum Entries {
    One(Entry),
    /// All but the last are linked to the next; the chain has one completion.
    Chain(Box<[Option<Entry>; CHAIN_MAX]>),
}

/// How the kernel is asked for this operation.
pub(super) fn entries(socket: SocketId, slot: u32, operation: Operation) -> Entries {
    let tag = Tag { kind: operation.kind(), socket }.encode();
    let file = Fixed(slot);
    let entry = match operation {
        Operation::Accept { listener, peer } => {
            let (address, length) = parts(peer);
            opcode::Accept::new(Fd(listener), address, length).file_index(Some(into(slot))).build()
        }
        Operation::ReceiveOnce => opcode::Recv::new(file, std::ptr::null_mut(), 0)
            .buf_group(BUFFERS)
            .build()
            .flags(Flags::BUFFER_SELECT),
        Operation::ReceiveMany => opcode::RecvMulti::new(file, BUFFERS).build(),
        Operation::Send { bytes, len } => opcode::Send::new(file, bytes, len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL | libc::MSG_EOR)
            .build(),
        Operation::ShutdownWrite => opcode::Shutdown::new(file, libc::SHUT_WR).build(),
        Operation::Shutdown => opcode::Shutdown::new(file, libc::SHUT_RDWR).build(),
        Operation::Reset => {
            let (address, length) = (NOBODY.bytes.as_ptr().cast(), NOBODY.length);
            opcode::Connect::new(file, address, length).build()
        }
        Operation::Close => opcode::Close::new(file).build(),
        Operation::SendDescriptor { ring, slot: target, arrival } => {
            opcode::MsgRingSendFd::new(Fd(ring), file, into(target), arrival).build()
        }
        Operation::Connect { route, options } => return connect(slot, tag, route, options),
        Operation::QuickAck => option(file, libc::IPPROTO_TCP, libc::TCP_QUICKACK),
        Operation::Cancel { request } => opcode::AsyncCancel::new(request).build(),
        Operation::AcceptDelay => opcode::Timeout::new(&raw const ACCEPT_DELAY_AT).build(),
        Operation::Signal { eventfd } => {
            opcode::PollAdd::new(Fd(eventfd), libc::POLLIN as u32).build()
        }
    };
    Entries::One(entry.user_data(tag))
}

/// Socket, options, bind, connect. The kernel resolves the slot of each when its turn comes, so the
/// later ones find the socket that the first one made. All but the last are silent on success, and
/// after a failure so are those that follow: exactly one of the chain completes.
fn connect(slot: u32, tag: u64, route: *mut super::address::Route, options: bool) -> Entries {
    // SAFETY: an operation's memory is valid until its last completion (see `Operation`), and the
    // kernel only reads this one. The references end with this function.
    let (local, peer) = unsafe { ((*route).local, (*route).peer) };
    let file = Fixed(slot);
    let mut chain = [const { None }; CHAIN_MAX];
    let family = i32::from(u16::from_ne_bytes([peer.bytes[0], peer.bytes[1]]));
    let socket = opcode::Socket::new(family, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    chain[0] = Some(socket.file_index(Some(into(slot))).build());
    if options {
        chain[1] = Some(option(file, libc::IPPROTO_TCP, libc::TCP_NODELAY));
    }
    if let Some(local) = local {
        let any_port = local.bytes[2..4] == [0, 0];
        if options && any_port {
            // The port is chosen at connect, for this peer: one address serves 28 000 peers each.
            chain[2] = Some(option(file, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT));
        }
        // SAFETY: as above; only an address is computed. `local` is Some, so the field exists.
        let address = unsafe { (*route).local.as_ref() }.map_or(std::ptr::null(), |local| local);
        chain[3] = Some(opcode::Bind::new(file, address.cast(), local.length).build());
    }
    // SAFETY: as above; only an address is computed.
    let address = unsafe { &raw const (*route).peer };
    chain[4] = Some(opcode::Connect::new(file, address.cast(), peer.length).build());
    for entry in chain[..4].iter_mut() {
        *entry = entry.take().map(|e| e.flags(Flags::IO_LINK | Flags::SKIP_SUCCESS));
    }
    Entries::Chain(Box::new(chain.map(|entry| entry.map(|e| e.user_data(tag)))))
}

fn option(file: Fixed, level: libc::c_int, name: libc::c_int) -> Entry {
    let value = (&raw const ON).cast();
    let length = size_of_val(&ON) as u32;
    opcode::SetSockOpt::new(file, level as u32, name as u32, value, length).build()
}

fn parts(address: *mut RawAddress) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
    // SAFETY: an operation's memory is valid until its last completion (see `Operation`); only
    // addresses within it are computed.
    let length = unsafe { &raw mut (*address).length };
    (address.cast(), length)
}

fn into(slot: u32) -> DestinationSlot {
    DestinationSlot::try_from_slot_target(slot).expect("a table has far fewer slots than 2^32")
}
