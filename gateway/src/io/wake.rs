//! How a shard sleeps: until its doorbell rings or another task of the executor calls.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use glommio::io::BufferedFile;

/// Called by tasks of one executor to end the sleep of another one.
#[derive(Default)]
pub struct Wake {
    called: Cell<bool>,
    sleeper: RefCell<Option<Waker>>,
}

impl Wake {
    /// Ends the sleep, or the next one.
    pub fn call(&self) {
        self.called.set(true);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }

    /// Sleeps until somebody calls.
    pub async fn called(&self) {
        poll_fn(|context| {
            if self.called.take() {
                return Poll::Ready(());
            }
            *self.sleeper.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Passes every signal of an eventfd on, for ever.
///
/// glommio has no public wait for readiness. Reading eight bytes from a blocking eventfd is one: its
/// ring completes the read when the eventfd is written.
pub async fn hear(event_fd: OwnedFd, wake: Rc<Wake>) -> io::Result<()> {
    let file = readable_file(event_fd);
    loop {
        file.read_at(0, size_of::<u64>()).await.map_err(io::Error::from)?;
        wake.call();
    }
}

#[expect(unsafe_code, reason = "glommio makes files of existing descriptors by number only")]
fn readable_file(event_fd: OwnedFd) -> BufferedFile {
    // SAFETY: the descriptor is owned by this function and given up in the same expression; the file
    // owns it from then on and closes it.
    unsafe { BufferedFile::from_raw_fd(event_fd.into_raw_fd()) }
}
