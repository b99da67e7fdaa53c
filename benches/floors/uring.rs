//! The loop over io_uring: direct descriptors, multishot accept and receive, provided buffers, sends
//! in batches, completions run when they are asked for. One enter a turn.
//!
//! It stands on the `io-uring` crate alone: the device ring, for which it is a floor, must not be
//! under it. Memory that the kernel knows of is leaked, so that it lives as long as the process.
#![expect(unsafe_code, reason = "queue entries and provided buffers name memory for the kernel")]

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use io_uring::squeue::Entry;
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode};

use crate::answers::Answers;
use crate::talk::Talk;

/// Entries of the submission queue.
const ENTRIES: u32 = 4096;
/// Buffers for receiving, a power of two.
const BUFFERS: u16 = 2048;
/// Bytes of one.
const BUFFER_BYTES: usize = 4096;
const BUFFER_GROUP: u16 = 0;

/// What a completion is about: the upper half of its user data; the lower half is a number.
const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;

#[repr(align(4096))]
struct Page([u8; BUFFER_BYTES]);

/// Provided buffers.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: &'static mut [Page],
    tail: u16,
}

impl Buffers {
    fn register(uring: &IoUring) -> Result<Self> {
        const PAGES: usize = (BUFFERS as usize * size_of::<BufRingEntry>()).div_ceil(BUFFER_BYTES);
        let new = |pages| Vec::leak((0..pages).map(|_| Page([0; BUFFER_BYTES])).collect());
        let entries: &mut [Page] = new(PAGES);
        let memory = new(usize::from(BUFFERS));
        let entries: *mut BufRingEntry = entries.as_mut_ptr().cast();
        let mut buffers = Self { entries, memory, tail: 0 };
        // SAFETY: the entries are page-aligned, have room for `BUFFERS`, and are leaked: they live as
        // long as the process.
        unsafe {
            let submitter = uring.submitter();
            submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, BUFFER_GROUP, 0)?;
        }
        (0..BUFFERS).for_each(|number| buffers.give_back(number));
        buffers.publish();
        Ok(buffers)
    }

    fn bytes(&mut self, number: u16, len: usize) -> &mut [u8] {
        &mut self.memory[usize::from(number)].0[..len]
    }

    /// Gives a buffer back, to be seen by the kernel with the next [`Self::publish`].
    fn give_back(&mut self, number: u16) {
        let place = usize::from(self.tail & (BUFFERS - 1));
        let address = self.memory[usize::from(number)].0.as_ptr() as u64;
        // SAFETY: `place` is below the number of entries, and the kernel does not read this one
        // before the tail says so.
        let entry = unsafe { &mut *self.entries.add(place) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the first entry, which is leaked memory; both sides access it
        // atomically only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

struct Connection {
    talk: Talk,
    /// A send is in flight.
    sending: bool,
    closing: bool,
    /// What goes out behind it.
    backlog: Vec<u8>,
}

struct Loop {
    uring: IoUring,
    buffers: Buffers,
    answers: Answers,
    listener: Fd,
    /// By their slot in the table of direct descriptors.
    connections: Vec<Option<Connection>>,
    /// Bytes being sent, and the slot that they go to.
    sends: Vec<(u32, Vec<u8>)>,
    free: Vec<u32>,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener, connections: u32, answers: Answers) -> Result<()> {
    let uring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(ENTRIES * 8)
        .build(ENTRIES)
        .context("io_uring")?;
    uring.submitter().register_files_sparse(connections)?;
    let buffers = Buffers::register(&uring)?;
    let mut server = Loop {
        uring,
        buffers,
        answers,
        listener: Fd(listener.as_raw_fd()),
        connections: (0..connections).map(|_| None).collect(),
        sends: Vec::new(),
        free: Vec::new(),
    };
    server.accept();
    let mut completions: Vec<cqueue::Entry> = Vec::new();
    loop {
        server.enter()?;
        completions.clear();
        completions.extend(server.uring.completion());
        for completion in &completions {
            server.complete(completion);
        }
        server.buffers.publish();
    }
}

impl Loop {
    fn enter(&mut self) -> Result<()> {
        match self.uring.submit_and_wait(1) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The completion queue is full: it is emptied now.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    fn push(&mut self, entry: Entry, user_data: u64) {
        let entry = entry.user_data(user_data);
        loop {
            // SAFETY: what entries name lives long enough: provided buffers are leaked, and a send
            // names the heap memory of a vector in `sends`, which nobody touches before its completion.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Submitting makes room; an error shows again in `enter`.
            let _ = self.uring.submit();
        }
    }

    fn accept(&mut self) {
        self.push(
            opcode::AcceptMulti::new(self.listener).allocate_file_index(true).build(),
            ACCEPT,
        );
    }

    fn receive(&mut self, slot: u32) {
        let entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
        self.push(entry, RECEIVE | u64::from(slot));
    }

    fn complete(&mut self, completion: &cqueue::Entry) {
        let (user_data, result) = (completion.user_data(), completion.result());
        let more = cqueue::more(completion.flags());
        let number = user_data as u32;
        match user_data & !u64::from(u32::MAX) {
            ACCEPT => {
                if let Ok(slot) = u32::try_from(result) {
                    let talk = self.answers.open();
                    let connection =
                        Connection { talk, sending: false, closing: false, backlog: Vec::new() };
                    self.connections[slot as usize] = Some(connection);
                    self.receive(slot);
                }
                if !more {
                    self.accept();
                }
            }
            RECEIVE => self.on_received(number, result, more, completion.flags()),
            SEND => self.on_sent(number, result),
            _ => {}
        }
    }

    fn on_received(&mut self, slot: u32, result: i32, more: bool, flags: u32) {
        if result == -libc::ENOBUFS {
            return self.receive(slot);
        }
        let buffer = cqueue::buffer_select(flags);
        let Some(connection) = &mut self.connections[slot as usize] else {
            return buffer.into_iter().for_each(|buffer| self.buffers.give_back(buffer));
        };
        let (Some(buffer), Ok(len @ 1..)) = (buffer, usize::try_from(result)) else {
            return self.close(slot);
        };
        let (send, mut out) = match self.free.pop() {
            Some(send) => (send, std::mem::take(&mut self.sends[send as usize].1)),
            None => {
                self.sends.push((slot, Vec::new()));
                (self.sends.len() as u32 - 1, Vec::new())
            }
        };
        out.clear();
        let bytes = self.buffers.bytes(buffer, len);
        let alive = self.answers.receive(&mut connection.talk, bytes, &mut out);
        self.buffers.give_back(buffer);
        self.transmit(slot, send, out);
        if !alive {
            return self.close(slot);
        }
        if !more {
            self.receive(slot);
        }
    }

    fn transmit(&mut self, slot: u32, send: u32, out: Vec<u8>) {
        let connection = self.connections[slot as usize].as_mut().filter(|_| !out.is_empty());
        let Some(connection) = connection else {
            self.sends[send as usize].1 = out;
            return self.free.push(send);
        };
        if std::mem::replace(&mut connection.sending, true) {
            connection.backlog.extend_from_slice(&out);
            self.sends[send as usize].1 = out;
            return self.free.push(send);
        }
        let (address, len) = (out.as_ptr(), out.len() as u32);
        self.sends[send as usize] = (slot, out);
        let entry = opcode::Send::new(Fixed(slot), address, len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry, SEND | u64::from(send));
    }

    fn on_sent(&mut self, send: u32, result: i32) {
        let (slot, bytes) = &mut self.sends[send as usize];
        let (slot, whole) = (*slot, usize::try_from(result) == Ok(bytes.len()));
        let out = std::mem::take(bytes);
        let Some(connection) = &mut self.connections[slot as usize] else {
            self.sends[send as usize].1 = out;
            return self.free.push(send);
        };
        connection.sending = false;
        let closing = connection.closing || !whole;
        let mut out = out;
        out.clear();
        std::mem::swap(&mut out, &mut connection.backlog);
        self.transmit(slot, send, out);
        if closing {
            self.close(slot);
        }
    }

    /// Closes a slot when nothing is being sent on it. The kernel may then give it to another.
    fn close(&mut self, slot: u32) {
        let Some(connection) = &mut self.connections[slot as usize] else { return };
        connection.closing = true;
        if !connection.sending {
            self.connections[slot as usize] = None;
            self.push(opcode::Close::new(Fixed(slot)).build(), CLOSE);
        }
    }
}
