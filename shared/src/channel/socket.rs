//! The Unix socket of the introduction: whole messages and descriptors, within a time limit, and whether
//! the other end is still there.
//!
//! Every message begins with a head that all versions understand:
//!
//! ```text
//! │ "ocfshard" │ version │ length │ body: an archive of that version │      little-endian
//!      8 B         4 B       4 B                length B
//! ```
//!
//! No call waits on the socket itself: it is tried without waiting and polled for the time that is
//! left, so the socket's own mode makes no difference and a peer that trickles gains nothing.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::link::LinkError;

/// Most descriptors that the kernel takes in one message (SCM_MAX_FD).
pub(super) const DESCRIPTORS_MAX: usize = 253;

const MAGIC: [u8; 8] = *b"ocfshard";

/// Magic, version, length.
const HEAD_BYTES: usize = 16;

/// Longest body, in bytes: nobody has more to say.
const BODY_BYTES_MAX: usize = 4096;

/// The longest that an introduction may take.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// A socket, and how long it may still be used for.
pub(super) struct Introduction<'s> {
    socket: &'s UnixStream,
    deadline: Instant,
}

impl<'s> Introduction<'s> {
    /// Everything has to be over after this time, or after a minute.
    pub(super) fn within(patience: Duration, socket: &'s UnixStream) -> Self {
        Self { socket, deadline: Instant::now() + patience.min(PATIENCE_MAX) }
    }

    /// Sends a message of ours.
    pub(super) fn send(&self, version: u32, body: &[u8]) -> Result<(), LinkError> {
        debug_assert!(body.len() <= BODY_BYTES_MAX);
        let mut message = Vec::with_capacity(HEAD_BYTES + body.len());
        message.extend_from_slice(&MAGIC);
        message.extend_from_slice(&version.to_le_bytes());
        message.extend_from_slice(&(body.len() as u32).to_le_bytes());
        message.extend_from_slice(body);
        let mut sent = 0;
        while sent < message.len() {
            sent += self.attempt(PollFlags::OUT, || {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(self.socket, &message[sent..], flags)
            })?;
        }
        Ok(())
    }

    /// Receives a head: the other side's version, and the length of the body that follows.
    pub(super) fn receive_head(&self) -> Result<(u32, usize), LinkError> {
        if self.receive::<8>()? != MAGIC {
            return Err(LinkError::Malformed("it does not begin like this protocol"));
        }
        let version = u32::from_le_bytes(self.receive()?);
        let length = u32::from_le_bytes(self.receive()?) as usize;
        if length > BODY_BYTES_MAX {
            return Err(LinkError::Malformed("its message is too long"));
        }
        Ok((version, length))
    }

    /// Receives a body of the length that its head says.
    pub(super) fn receive_body(&self, length: usize) -> Result<Vec<u8>, LinkError> {
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Ok(body)
    }

    /// Sends descriptors, at most [`DESCRIPTORS_MAX`], with a byte that says how many.
    pub(super) fn send_descriptors(&self, them: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        debug_assert!((1..=DESCRIPTORS_MAX).contains(&them.len()));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let count = [them.len() as u8];
        self.attempt(PollFlags::OUT, || {
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fits = control.push(SendAncillaryMessage::ScmRights(them));
            debug_assert!(fits, "the space is made for as many");
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            rustix::net::sendmsg(self.socket, &[IoSlice::new(&count)], &mut control, flags)
        })?;
        Ok(())
    }

    /// Receives exactly as many descriptors, closing whatever else comes.
    pub(super) fn receive_descriptors(&self, count: usize) -> Result<Vec<OwnedFd>, LinkError> {
        debug_assert!((1..=DESCRIPTORS_MAX).contains(&count));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut said = [0];
        let received = self.attempt(PollFlags::IN, || {
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(
                self.socket,
                &mut [IoSliceMut::new(&mut said)],
                &mut control,
                flags,
            )
        })?;
        let descriptors: Vec<_> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(them) => Some(them),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Err(LinkError::HungUp);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(LinkError::DescriptorsLost);
        }
        if usize::from(said[0]) != count || descriptors.len() != count {
            return Err(LinkError::Malformed("it sends another number of descriptors"));
        }
        Ok(descriptors)
    }

    fn receive<const N: usize>(&self) -> Result<[u8; N], LinkError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), LinkError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let count = self.attempt(PollFlags::IN, || {
                rustix::net::recv(self.socket, &mut bytes[filled..], RecvFlags::DONTWAIT)
                    .map(|(_, count)| count)
            })?;
            if count == 0 {
                return Err(LinkError::HungUp);
            }
            filled += count;
        }
        Ok(())
    }

    /// Tries until it would not wait, at most until the deadline.
    fn attempt<T>(
        &self,
        ready: PollFlags,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, LinkError> {
        loop {
            match call() {
                Ok(done) => return Ok(done),
                Err(Errno::AGAIN) => self.wait_until(ready)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(LinkError::HungUp),
                Err(cause) => return Err(LinkError::System(cause)),
            }
        }
    }

    fn wait_until(&self, ready: PollFlags) -> Result<(), LinkError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LinkError::TimedOut);
        }
        let left = Timespec::try_from(left).expect("a minute at most");
        match rustix::event::poll(&mut [PollFd::new(self.socket, ready)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(cause) => Err(LinkError::System(cause)),
        }
    }
}

/// Whether the other side is gone, or says something after its introduction, which it never does.
/// To be asked when the socket becomes readable; it does not wait.
pub fn is_lost(socket: &UnixStream) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    let peeked = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut [0; 1][..], flags));
    !matches!(peeked, Err(Errno::AGAIN))
}
