//! The loop over epoll: edge-triggered, one receive and one send a message, one buffer for all.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use anyhow::Result;
use benches::client::records::record_len;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::answers::Answers;
use crate::talk::Talk;

/// Stands for the listener among the events.
const LISTENER: u64 = u64::MAX;

/// Events taken with one call.
const EVENTS: usize = 1024;

/// Bytes that one receive takes: a record.
const READ_BYTES: usize = 16 * 1024;

/// What is done with what arrives.
pub(crate) trait Service {
    /// A connection that was accepted.
    fn open(&self) -> Talk;

    /// What goes with one send.
    fn sends(&self) -> Sends {
        Sends::All
    }

    /// Bytes of a connection: what follows is sent. False when it has to end.
    fn receive(
        &mut self,
        at: usize,
        connections: &mut [Option<Connection>],
        bytes: &mut [u8],
    ) -> bool;
}

/// What goes with one send.
#[derive(Clone, Copy)]
pub(crate) enum Sends {
    /// All that there is.
    All,
    /// One TLS record, which begins a segment of its own.
    Records {
        /// Bytes of the record that the socket has taken in part.
        left: usize,
    },
}

impl Sends {
    /// How many of these bytes go next, which begin where the last send ended.
    fn next(&mut self, bytes: &[u8]) -> (usize, SendFlags) {
        match self {
            Self::All => (bytes.len(), SendFlags::NOSIGNAL),
            Self::Records { left } => {
                if *left == 0 {
                    *left = record_len(bytes).expect("only whole records are sent");
                }
                (*left, SendFlags::NOSIGNAL | SendFlags::EOR)
            }
        }
    }

    /// So many of them have gone.
    fn sent(&mut self, bytes: usize) {
        if let Self::Records { left } = self {
            *left -= bytes;
        }
    }
}

/// Answers every request on the connection that it came on.
pub(crate) struct Answering {
    answers: Answers,
    sends: Sends,
    out: Vec<u8>,
}

impl Answering {
    pub(crate) fn new(answers: Answers, sends: Sends) -> Self {
        Self { answers, sends, out: Vec::new() }
    }
}

impl Service for Answering {
    fn open(&self) -> Talk {
        self.answers.open()
    }

    fn sends(&self) -> Sends {
        self.sends
    }

    fn receive(
        &mut self,
        at: usize,
        connections: &mut [Option<Connection>],
        bytes: &mut [u8],
    ) -> bool {
        let Some(connection) = &mut connections[at] else { return false };
        self.out.clear();
        let alive = self.answers.receive(&mut connection.talk, bytes, &mut self.out);
        connection.transmit(&self.out) && alive
    }
}

/// A connection.
pub(crate) struct Connection {
    socket: OwnedFd,
    pub(crate) talk: Talk,
    /// What the socket has not taken yet.
    backlog: Vec<u8>,
    sends: Sends,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener, service: &mut impl Service) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (at, flags) = (event.data.u64(), event.flags);
            if at == LISTENER {
                accept_all(listener, &epoll, &mut connections, &mut free, service)?;
                continue;
            }
            let at = at as usize;
            let Some(connection) = &mut connections[at] else { continue };
            let alive = connection.flush()
                && (!flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP)
                    || receive_all(service, at, &mut connections, &mut buffer));
            if !alive {
                connections[at] = None;
                free.push(at);
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    epoll: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
    service: &impl Service,
) -> Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::WOULDBLOCK | Errno::CONNABORTED | Errno::INTR | Errno::MFILE) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let at = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(epoll, &socket, EventData::new_u64(at as u64), interest)?;
        let (talk, sends) = (service.open(), service.sends());
        connections[at] = Some(Connection { socket, talk, backlog: Vec::new(), sends });
    }
}

/// Receives until the socket is empty. False when the connection has ended.
fn receive_all(
    service: &mut impl Service,
    at: usize,
    connections: &mut [Option<Connection>],
    buffer: &mut [u8],
) -> bool {
    loop {
        let Some(connection) = &connections[at] else { return false };
        let received = match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((received, _)) => received,
            Err(Errno::WOULDBLOCK) => return true,
            Err(Errno::INTR) => continue,
            Err(_) => return false,
        };
        if !service.receive(at, connections, &mut buffer[..received]) {
            return false;
        }
        // Less than there was room for: the socket is empty, and the next byte is an event.
        if received < buffer.len() {
            return true;
        }
    }
}

impl Connection {
    /// Sends bytes, behind those that the socket has not taken. False when it has ended.
    pub(crate) fn transmit(&mut self, bytes: &[u8]) -> bool {
        if !self.backlog.is_empty() {
            self.backlog.extend_from_slice(bytes);
            return true;
        }
        match self.send(bytes) {
            Some(sent) => {
                self.backlog.extend_from_slice(&bytes[sent..]);
                true
            }
            None => false,
        }
    }

    /// Sends what could not be sent before.
    fn flush(&mut self) -> bool {
        if self.backlog.is_empty() {
            return true;
        }
        let backlog = std::mem::take(&mut self.backlog);
        self.transmit(&backlog)
    }

    /// How much the socket takes; none when it has ended.
    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            let (len, flags) = self.sends.next(&bytes[sent..]);
            match send(&self.socket, &bytes[sent..sent + len], flags) {
                Ok(more) => {
                    self.sends.sent(more);
                    sent += more;
                }
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(sent)
    }
}
