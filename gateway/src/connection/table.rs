//! The connections of a shard, by the slots of their sockets.

use shared::channel::figures::TableMemory;

use super::{Connection, ConnectionId};
use crate::memory::{allocated, table};

/// As many as fill 32 KiB: a size for which allocators have a class, so that nothing is rounded up.
const CHUNK: usize = 32 * 1024 / size_of::<Option<Connection>>();

/// A table that grows by chunks as slots are used.
#[derive(Default)]
pub struct Connections {
    chunks: Vec<Box<[Option<Connection>]>>,
    len: usize,
}

impl Connections {
    /// Puts a connection into its slot, which must be empty.
    pub fn insert(&mut self, id: ConnectionId, connection: Connection) {
        debug_assert_eq!(id.generation, connection.generation);
        let (chunk, at) = place(id.index);
        while self.chunks.len() <= chunk {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        let before = self.chunks[chunk][at].replace(connection);
        debug_assert!(before.is_none(), "a slot has one occupant at a time");
        self.len += usize::from(before.is_none());
    }

    /// The connection, if it still is the one in its slot.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let (chunk, at) = place(id.index);
        self.chunks.get(chunk)?[at]
            .as_ref()
            .filter(|connection| connection.generation == id.generation)
    }

    /// The connection, to be changed.
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let (chunk, at) = place(id.index);
        self.chunks.get_mut(chunk)?[at]
            .as_mut()
            .filter(|connection| connection.generation == id.generation)
    }

    /// Whoever is in this slot.
    pub fn occupant(&self, index: u32) -> Option<ConnectionId> {
        let (chunk, at) = place(index);
        let generation = self.chunks.get(chunk)?[at].as_ref()?.generation;
        Some(ConnectionId { index, generation })
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        let (chunk, at) = place(id.index);
        self.len -= 1;
        self.chunks[chunk][at].take()
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No connections.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the largest slot that was ever used.
    pub fn slots(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// What the table occupies, without what hangs on its entries.
    pub fn memory(&self) -> TableMemory {
        const EACH: usize = size_of::<Option<Connection>>();
        let reserved = self.chunks.len() * allocated(CHUNK * EACH);
        table("connections", self.len, self.len * EACH, reserved)
    }

    /// All connections in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, slot)| {
            let connection = slot.as_ref()?;
            let id = ConnectionId { index: index as u32, generation: connection.generation };
            Some((id, connection))
        })
    }
}

fn place(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}
