//! One io_uring: its submission and completion queues, its descriptor table and its buffers.
#![expect(unsafe_code, reason = "queue entries name memory that the compiler can't follow")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue};

use super::buffers::Buffers;
use super::entries::{Entries, entries};
use super::event::SocketId;
use super::movement::RingAddress;
use super::ops::{Completion, Kind, Operation, Tag};

/// How often an interrupted or cut submission is tried again at once.
const TRIES: u32 = 64;

/// A ring that is dropped waits this long for something of what it cancelled to end, ...
const DRAIN_WAIT: Duration = Duration::from_millis(50);

/// ... and so many times in vain before it gives up.
const DRAIN_ROUNDS: u32 = 40;

pub(super) struct KernelRing {
    /// Its number among the rings of one owner.
    number: u32,
    uring: IoUring,
    buffers: Buffers,
    /// Entries that found the submission queue full and the kernel unwilling, in order; with each,
    /// how many after it belong to the same chain.
    backlog: VecDeque<(Entry, usize)>,
    /// Completions to come that are the last of their request.
    in_flight: u32,
    /// What other rings know this one by.
    handle: Option<Arc<OwnedFd>>,
}

impl KernelRing {
    pub(super) fn new(number: u32, uring: IoUring, buffers: Buffers) -> Self {
        Self { number, uring, buffers, backlog: VecDeque::new(), in_flight: 0, handle: None }
    }

    pub(super) fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    pub(super) fn buffer_memory(&self) -> (usize, usize, usize) {
        self.buffers.memory()
    }

    pub(super) fn buffers_free(&self) -> u32 {
        self.buffers.held()
    }

    /// A descriptor of the ring that any thread may send to, for as long as it is kept.
    pub(super) fn handle(&mut self) -> io::Result<Arc<OwnedFd>> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        // SAFETY: the descriptor is open for as long as `uring` lives; it is only duplicated.
        let ring = unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) };
        let handle = Arc::new(ring.try_clone_to_owned()?);
        self.handle = Some(handle.clone());
        Ok(handle)
    }

    pub(super) fn is_named_by(&self, address: &RingAddress) -> bool {
        self.handle.as_ref().is_some_and(|handle| address.is_in(handle))
    }

    /// Queues a request. It never fails: what does not fit now enters later, in order.
    pub(super) fn push(&mut self, socket: SocketId, slot: u32, operation: Operation) {
        self.in_flight += 1;
        match entries(socket, slot, operation) {
            Entries::One(entry) => self.push_chain(std::iter::once(entry)),
            Entries::Chain(chain) => self.push_chain((*chain).into_iter().flatten()),
        }
    }

    fn push_chain(&mut self, chain: impl Iterator<Item = Entry> + Clone) {
        let len = chain.clone().count();
        if self.backlog.is_empty() {
            if self.room() < len {
                // An error shows again at the next submission, where it can be told.
                let _ = self.enter();
            }
            if self.backlog.is_empty() && self.room() >= len {
                chain.for_each(|entry| self.place(&entry));
                return;
            }
        }
        self.backlog.extend(chain.enumerate().map(|(nth, entry)| (entry, len - 1 - nth)));
    }

    fn room(&mut self) -> usize {
        let queue = self.uring.submission();
        queue.capacity() - queue.len()
    }

    /// Puts an entry into the queue, which has room.
    fn place(&mut self, entry: &Entry) {
        // SAFETY: the memory an entry names is that of its operation, which its owner keeps until
        // the last completion of the request was seen (see `Operation`); the ring's drop waits for
        // all of them, or leaks the memory.
        let placed = unsafe { self.uring.submission().push(entry) };
        debug_assert!(placed.is_ok(), "room was checked");
    }

    fn place_backlog(&mut self) {
        let mut room = self.room();
        // A chain must enter at once, or it is cut where the submission ends.
        while let Some(&(_, following)) = self.backlog.front()
            && following < room
        {
            for (entry, _) in self.backlog.drain(..=following).collect::<Vec<_>>() {
                self.place(&entry);
            }
            room -= following + 1;
        }
    }

    /// Whether requests wait to enter the kernel.
    pub(super) fn has_requests(&mut self) -> bool {
        !self.backlog.is_empty() || !self.uring.submission().is_empty()
    }

    /// Whether there are completions that only entering the kernel brings: task work, or what found
    /// the completion queue full.
    pub(super) fn has_completions_to_fetch(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether there are completions in memory.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Hands the queued requests to the kernel and lets it deliver what is done.
    ///
    /// # Errors
    /// None that comes from load: what the kernel can't take now stays queued.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.buffers.turn();
        for _ in 0..TRIES {
            self.place_backlog();
            match self.uring.submitter().submit() {
                Ok(_) if self.backlog.is_empty() => return Ok(()),
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Hands the queued requests to the kernel, and sleeps there until there is a completion or this
    /// time has passed.
    pub(super) fn enter_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.turn();
        self.place_backlog();
        if !self.backlog.is_empty() {
            return self.enter();
        }
        let timeout = timeout.map(Timespec::from);
        let args = match &timeout {
            Some(timeout) => SubmitArgs::new().timespec(timeout),
            None => SubmitArgs::new(),
        };
        match self.uring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next completion that is ready in memory.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            // Every request was tagged here, and others' messages carry tags made here too.
            let Some(tag) = Tag::decode(entry.user_data()) else {
                debug_assert!(false, "user data that was never encoded");
                continue;
            };
            if entry.result() == -libc::ENOBUFS {
                self.buffers.ran_out();
            }
            let more = cqueue::more(entry.flags());
            let buffer = cqueue::buffer_select(entry.flags());
            if let Some(buffer) = buffer {
                self.buffers.took(buffer);
            }
            if !more && tag.kind != Kind::Arrival {
                // (A chain that the kernel cut for want of memory may fail twice.)
                self.in_flight = self.in_flight.saturating_sub(1);
            }
            return Some(Completion {
                ring: self.number,
                tag,
                result: entry.result(),
                more,
                buffer,
            });
        }
    }

    /// Switches the signals to the eventfd on or off.
    pub(super) fn signal(&mut self, on: bool) {
        let queue = self.uring.completion();
        if on { queue.enable_eventfd() } else { queue.disable_eventfd() }
    }

    /// Waits for the end of what was cancelled, and cancels the rest, so that the kernel uses no
    /// memory of ours.
    ///
    /// False if the kernel stops making progress.
    pub(super) fn drain(&mut self) -> bool {
        // What never entered will never complete. The last entry of a chain stands for its request.
        let unentered = self.backlog.iter().filter(|(_, following)| *following == 0).count();
        self.backlog.clear();
        self.in_flight -= unentered as u32;
        let mut patience = DRAIN_ROUNDS;
        while self.in_flight > 0 && patience > 0 {
            if self.enter_and_wait(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
            let before = self.in_flight;
            while let Some(completion) = self.next() {
                if let Some(buffer) = completion.buffer {
                    self.buffers.give_back(buffer);
                }
            }
            if self.in_flight < before {
                patience = DRAIN_ROUNDS;
                continue;
            }
            patience -= 1;
            // What was not cancelled by name. Finding none is as good.
            let (submitter, wait) = (self.uring.submitter(), Timespec::from(DRAIN_WAIT));
            let _ = submitter.register_sync_cancel(Some(wait), CancelBuilder::any().all());
        }
        self.in_flight == 0
    }

    /// Lets go of all sockets and buffers; after it, no descriptor can be sent here.
    ///
    /// False if the kernel may still use the buffers.
    pub(super) fn dismantle(&mut self) -> bool {
        let closed = self.uring.submitter().unregister_files();
        debug_assert!(closed.is_ok());
        self.buffers.unregister(&self.uring).is_ok()
    }
}

/// Orders the signals switched on before the look at the completions that follows.
pub(super) fn signals_before_look() {
    fence(Ordering::SeqCst);
}
