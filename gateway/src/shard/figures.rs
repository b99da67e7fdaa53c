//! What a shard occupies, table by table. The shell adds what it alone knows.

use shared::channel::figures::{ShardFigures, TableMemory};
use shared::ids::{DeviceId, UserId};

use super::Shard;
use crate::connection::Connection;
use crate::memory::{Heap, ordered, spread, table};

/// What hangs on connections.
#[derive(Default)]
struct OfConnections {
    identities: Heap,
    handshakes: Heap,
    keys: Heap,
    buffers: Heap,
}

/// What hangs on devices.
#[derive(Default)]
struct OfDevices {
    links: Heap,
    requests: Heap,
    representations: Heap,
}

impl OfConnections {
    fn add(&mut self, connection: &Connection) {
        self.identities.add_box(connection.identity.as_deref());
        let (handshake, keys) = connection.transport.heap_bytes();
        self.handshakes.add(handshake, handshake);
        self.keys.add(keys, keys);
        let queued = connection.output.queued();
        self.buffers.add(queued, connection.output.capacity());
        if let Some(input) = connection.input.as_deref() {
            self.buffers.add_box(Some(input));
            self.buffers.add(input.records.len(), input.records.capacity());
            self.buffers.add(input.text.len(), input.text.capacity());
        }
    }
}

impl Shard {
    /// What it occupies now.
    pub(super) fn figures(&self) -> ShardFigures {
        let tables = [self.of_connections(), self.of_accounts(), self.of_requests()].concat();
        ShardFigures {
            shard: self.id.0,
            tables,
            process: Default::default(),
            read_to_send: Default::default(),
            unread: Default::default(),
        }
    }

    fn of_connections(&self) -> Vec<TableMemory> {
        let connections = &self.router.wire.connections;
        let (mut heaps, mut seen) = (OfConnections::default(), 0);
        for slot in spread(connections.slots() as usize) {
            let id = connections.occupant(slot as u32);
            if let Some(connection) = id.and_then(|id| connections.get(id)) {
                heaps.add(connection);
                seen += 1;
            }
        }
        let all = connections.len();
        let OfConnections { identities, handshakes, keys, buffers } = heaps;
        let each = |heap: Heap, name| heap.extrapolated(seen, all).table(name);
        vec![
            connections.memory(),
            each(identities, "connections.identities"),
            each(handshakes, "connections.handshakes"),
            each(keys, "connections.keys"),
            each(buffers, "connections.buffers"),
            self.router.wire.spare_memory(),
            self.deadlines.memory("deadlines"),
        ]
    }

    fn of_accounts(&self) -> Vec<TableMemory> {
        let mut heaps = OfDevices::default();
        let (accounts, mut seen) = (&self.router.accounts, 0);
        for device in accounts.some_devices() {
            let links = device.directory.as_ref().map_or(0, |links| links.as_bytes().len());
            heaps.links.add(links, links);
            heaps.requests.add_box(device.traffic.queue.as_deref());
            let known = device.traffic.projection.as_deref();
            heaps.representations.add_box(known);
            let bytes = known.map_or(0, |known| known.bytes());
            heaps.representations.add(bytes, bytes);
            seen += 1;
        }
        let all = accounts.device_count();
        let OfDevices { links, requests, representations } = heaps;
        let each = |heap: Heap, name| heap.extrapolated(seen, all).table(name);
        let mut tables = accounts.memory();
        tables.extend([
            each(links, "devices.links"),
            each(requests, "devices.queues"),
            each(representations, "devices.representations"),
            self.claims.memory(),
            self.pacing.memory(),
            ordered::<([u8; 32], [u8; 64])>("device_tokens", self.device_tokens.len()),
            ordered::<(UserId, DeviceId)>("told_online", self.events.told_online.len()),
        ]);
        tables
    }

    fn of_requests(&self) -> Vec<TableMemory> {
        let (transfers, transfer_bytes) = self.router.wire.transfers.size();
        let mut tables = self.router.exchanges.memory();
        tables.extend(self.router.observations.memory());
        tables.push(table("transfers", transfers, transfer_bytes, transfer_bytes));
        tables.push(self.events.subscriptions.memory());
        tables
    }
}
