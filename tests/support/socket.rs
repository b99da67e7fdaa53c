//! A shard with the sockets that it has: slots that are used again at once, so that whoever confuses
//! two occupants of a slot is found out.

use std::collections::VecDeque;
use std::ops::Range;

use gateway::connection::ConnectionId;
use gateway::shard::{Receive, Shard};

/// One end of a TCP connection in memory: the cloud's.
pub(crate) struct Socket {
    pub(crate) station: usize,
    pub(crate) armed: Option<Receive>,
    /// What the peer has sent, read by read.
    pub(crate) inbound: VecDeque<Vec<u8>>,
    /// The peer has closed its end, in good order or not.
    pub(crate) peer_ended: Option<bool>,
    /// The peer reads what is sent to it.
    pub(crate) peer_reads: bool,
    pub(crate) sending: Option<(Vec<u8>, Range<usize>)>,
    /// How often the cloud has acknowledged bytes without an answer.
    pub(crate) acknowledged: u32,
}

impl Socket {
    pub(crate) fn new(station: usize) -> Self {
        Self {
            station,
            armed: None,
            inbound: VecDeque::new(),
            peer_ended: None,
            peer_reads: true,
            sending: None,
            acknowledged: 0,
        }
    }
}

/// A shard and its sockets.
pub(crate) struct Node {
    pub(crate) shard: Shard,
    slots: Vec<(u32, Option<Socket>)>,
    free: Vec<u32>,
}

impl Node {
    pub(crate) fn new(shard: Shard) -> Self {
        Self { shard, slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn put(&mut self, socket: Socket) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.0 += 1;
        slot.1 = Some(socket);
        ConnectionId { index, generation: slot.0 }
    }

    pub(crate) fn take(&mut self, id: ConnectionId) -> Option<Socket> {
        let slot = self.slots.get_mut(id.index as usize)?;
        let socket = if slot.0 == id.generation { slot.1.take() } else { None };
        if socket.is_some() {
            self.free.push(id.index);
        }
        socket
    }

    pub(crate) fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.1.as_mut().filter(|_| slot.0 == id.generation)
    }

    /// The next bytes for a socket that receives.
    pub(crate) fn next_read(&mut self) -> Option<(ConnectionId, Vec<u8>)> {
        for (index, (generation, socket)) in self.slots.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            if socket.armed.is_some()
                && let Some(bytes) = socket.inbound.pop_front()
            {
                if socket.armed == Some(Receive::Once) {
                    socket.armed = None;
                }
                return Some((
                    ConnectionId { index: index as u32, generation: *generation },
                    bytes,
                ));
            }
        }
        None
    }

    /// A socket whose peer has closed, once everything that it sent has been read.
    pub(crate) fn next_end(&mut self) -> Option<(ConnectionId, bool)> {
        for (index, (generation, socket)) in self.slots.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            if socket.armed.is_some()
                && socket.inbound.is_empty()
                && let Some(orderly) = socket.peer_ended
            {
                socket.armed = None;
                return Some((
                    ConnectionId { index: index as u32, generation: *generation },
                    orderly,
                ));
            }
        }
        None
    }
}
