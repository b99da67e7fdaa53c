//! Doorbells: how a side that sleeps is told to look at its rings.
//!
//! A doorbell is any descriptor that takes eight bytes: an eventfd or a pipe. Ringing never waits;
//! one that is full has been rung already.
//!
//! Shards are rung by an eventfd that the gateway chooses. `api` processes are rung by a **pipe**,
//! because an eventfd is one open file for both sides: a process could make it blocking, fill its
//! counter, and the shard that rings next would hang, and all its users with it. The two ends of a
//! pipe are files of their own: what the reader does to its end never makes the writer wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::ChannelError;

/// The ringing side. Its clones ring the same bell.
#[derive(Clone, Debug)]
pub(super) struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// Rings through this descriptor.
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }

    /// Wakes the other side.
    pub(super) fn ring(&self) -> Result<(), ChannelError> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&*self.0, &1u64.to_ne_bytes())) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            // An error and no signal: the standard library has SIGPIPE ignored.
            Err(Errno::PIPE) => Err(ChannelError::PeerGone),
            Err(cause) => Err(ChannelError::Doorbell(cause)),
        }
    }
}

/// The hearing side of an `api` process: readable when a shard has rung.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A bell and what rings it.
    pub(super) fn with_doorbell() -> Result<(Self, Doorbell), Errno> {
        let (hearing, ringing) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((Self(hearing), Doorbell::new(ringing)))
    }

    /// A bell that was made by the other side.
    pub(super) fn new(hearing: OwnedFd) -> Self {
        Self(hearing)
    }

    /// Forgets that it was rung: to be called after waking, before the rings are looked at. An
    /// error means that no shard will ever ring it again.
    pub fn clear(&self) -> Result<(), ChannelError> {
        // A pipe holds 64 KiB unless told otherwise; one that is never empty is still readable, so
        // the next wait does not wait.
        let mut rung = [0; 4096];
        for _ in 0..16 {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut rung)) {
                Ok(0) => return Err(ChannelError::PeerGone),
                Ok(count) if count == rung.len() => {}
                Ok(_) | Err(Errno::AGAIN) => break,
                Err(cause) => return Err(ChannelError::Doorbell(cause)),
            }
        }
        Ok(())
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
