//! Features of the kernel that no probe lists, tried out at start on sockets of our own.
#![expect(unsafe_code, reason = "queue entries name memory that the compiler can't follow")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::squeue::Entry;
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};

static ON: libc::c_int = 1;

/// Whether a request can set an option of a socket (Linux 6.7).
pub(super) fn sets_socket_options(uring: &mut IoUring) -> io::Result<bool> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let (level, name) = (libc::IPPROTO_TCP as u32, libc::TCP_NODELAY as u32);
    let value = (&raw const ON).cast();
    let entry = opcode::SetSockOpt::new(
        Fd(socket.as_raw_fd()),
        level,
        name,
        value,
        size_of_val(&ON) as u32,
    );
    // SAFETY: the entry names a static value only, and its descriptor stays open until it is done.
    let result = unsafe { run(uring, &entry.build()) }?;
    Ok(result == 0)
}

/// Whether a slot that is closed lets go of its socket while an older request, for another slot, is
/// still in flight (Linux 6.13).
pub(super) fn closes_promptly(uring: &mut IoUring) -> io::Result<bool> {
    let pair = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    };
    let (idle, _idle_peer) = pair()?;
    let (closed, peer) = pair()?;
    let descriptors: [RawFd; 2] = [idle.as_raw_fd(), closed.as_raw_fd()];
    let submitter = uring.submitter();
    submitter.register_files_sparse(descriptors.len() as u32)?;
    submitter.register_files_update(0, &descriptors)?;
    drop((idle, closed));
    let waiting = opcode::PollAdd::new(Fixed(0), libc::POLLIN as u32).build();
    // SAFETY: neither entry names memory.
    let result = unsafe {
        push(uring, &waiting);
        run(uring, &opcode::Close::new(Fixed(1)).build())
    }?;
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    match rustix::io::read(&peer, &mut [0u8; 1]) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Carries out one request that completes by itself.
///
/// # Safety
/// The memory that the entry names stays valid until the call returns.
unsafe fn run(uring: &mut IoUring, entry: &Entry) -> io::Result<i32> {
    // SAFETY: passed on to the caller.
    unsafe { push(uring, entry) };
    uring.submit_and_wait(1)?;
    let completion = uring.completion().next();
    completion.map(|entry| entry.result()).ok_or(io::ErrorKind::Interrupted.into())
}

/// # Safety
/// The memory that the entry names stays valid until its request completes.
unsafe fn push(uring: &mut IoUring, entry: &Entry) {
    // SAFETY: passed on to the caller.
    let pushed = unsafe { uring.submission().push(entry) };
    debug_assert!(pushed.is_ok(), "the queue has room for all trials");
}
