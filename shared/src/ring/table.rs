//! Slots of the descriptor tables: which are taken, by which generation, with what in flight.
//!
//! Pure bookkeeping, twelve bytes a socket, grown on demand in chunks. A slot goes to the next
//! occupant only when nothing of the former one is in flight; its generation then grows by one, so
//! an id that outlived its socket is recognised.
//!
//! Slots are taken from the first kernel ring that has room: the fewer rings have traffic, the
//! fewer have to be entered.

use std::ops::Range;

use super::SocketId;
use super::ops::GENERATIONS;

/// Entries allocated at once.
const CHUNK: u32 = 1024;

/// End of the list of free slots.
const NOWHERE: u32 = u32::MAX;

/// In what part of its life a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nobody's.
    Free,
    /// Kept for a descriptor from another ring.
    Reserved,
    /// An accept will fill it.
    Accepting,
    /// A connect of ours is under way.
    Connecting,
    /// A connected socket.
    Open,
    /// A socket whose descriptor was copied to another ring; only its slot is left to close.
    Moved,
    /// On its way to `Free`.
    Closing,
}

/// What is in flight for a socket, or waits to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flight(u16);

impl Flight {
    /// A receive.
    pub(super) const RECEIVE: Self = Self(1);
    pub(super) const SEND: Self = Self(1 << 1);
    pub(super) const SHUTDOWN_WRITE: Self = Self(1 << 2);
    /// Shutdown or reset before the slot is closed.
    pub(super) const END: Self = Self(1 << 3);
    pub(super) const CLOSE: Self = Self(1 << 4);
    pub(super) const SEND_DESCRIPTOR: Self = Self(1 << 5);
    /// Accept or connect.
    pub(super) const OPENING: Self = Self(1 << 6);
    /// What must have completed before the slot is free.
    pub(super) const ANY: Self = Self((1 << 7) - 1);

    /// The receive is a multishot one.
    pub(super) const MANY: Self = Self(1 << 8);
    /// The receive found no buffer and waits for one.
    pub(super) const STARVED: Self = Self(1 << 9);
    /// Nobody outside knows the socket, so nobody is told of its end.
    pub(super) const UNKNOWN: Self = Self(1 << 10);
    /// What ends the connection is a reset.
    pub(super) const RESETTING: Self = Self(1 << 11);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of these is set.
    pub(super) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    pub(super) fn set(&mut self, these: Self) {
        self.0 |= these.0;
    }

    pub(super) fn clear(&mut self, these: Self) {
        self.0 &= !these.0;
    }
}

/// What is kept of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    generation: u32,
    /// Free: the next free slot. Otherwise where the table of accepts, connects, moves or sends has
    /// the memory of the one request of that kind in flight.
    pub(super) place: u32,
    pub(super) flight: Flight,
    pub(super) phase: Phase,
    /// Socket options being set.
    pub(super) options: u8,
}

const _: () = assert!(size_of::<Entry>() <= 16, "an idle socket costs at most 16 bytes");

impl Entry {
    const NEW: Self =
        Self { generation: 0, place: 0, flight: Flight(0), phase: Phase::Free, options: 0 };

    /// Whether a completion is still to come.
    pub(super) fn in_flight(&self) -> bool {
        self.flight.has(Flight::ANY) || self.options > 0
    }
}

/// The slots of one kernel ring.
struct Slots {
    chunks: Vec<Box<[Entry]>>,
    /// Slots that were ever taken; all beyond are free and unlisted.
    used: u32,
    /// First of the list of slots given back.
    free: u32,
}

/// All slots, over all kernel rings.
pub(super) struct Table {
    rings: Vec<Slots>,
    slots_per_ring: u32,
    /// No ring before this one has room.
    first_with_room: usize,
    taken: u32,
}

impl Table {
    /// `rings * slots_per_ring` fits an index.
    pub(super) fn new(rings: u32, slots_per_ring: u32) -> Self {
        let slots = |_| Slots { chunks: Vec::new(), used: 0, free: NOWHERE };
        Self {
            rings: (0..rings).map(slots).collect(),
            slots_per_ring,
            first_with_room: 0,
            taken: 0,
        }
    }

    /// Slots that are not free.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Slots there can be.
    pub(super) fn capacity(&self) -> u32 {
        self.rings.len() as u32 * self.slots_per_ring
    }

    /// Slots in use, bytes of their entries, and bytes of the table.
    pub(super) fn memory(&self) -> (usize, usize, usize) {
        let taken = self.taken as usize;
        let chunks = self.rings.iter().flat_map(|slots| &slots.chunks);
        (taken, taken * size_of::<Entry>(), chunks.map(|chunk| size_of_val(&**chunk)).sum())
    }

    /// Indices of the slots of this ring that were ever taken.
    pub(super) fn used(&self, ring: u32) -> Range<u32> {
        let first = ring * self.slots_per_ring;
        first..first + self.rings[ring as usize].used
    }

    /// Takes a free slot, if there is one.
    pub(super) fn take(&mut self, phase: Phase) -> Option<SocketId> {
        debug_assert_ne!(phase, Phase::Free);
        let per_ring = self.slots_per_ring;
        let has_room = |slots: &Slots| slots.free != NOWHERE || slots.used < per_ring;
        let ring =
            self.first_with_room + self.rings[self.first_with_room..].iter().position(has_room)?;
        self.first_with_room = ring;
        let slot = self.rings[ring].take(per_ring);
        let entry = self.rings[ring].entry_mut(slot).expect("just taken, so there is an entry");
        entry.phase = phase;
        self.taken += 1;
        Some(SocketId { index: ring as u32 * per_ring + slot, generation: entry.generation })
    }

    /// Gives a slot back; nothing of its occupant is in flight.
    pub(super) fn free(&mut self, socket: SocketId) {
        let (ring, slot) = self.locate(socket.index);
        let slots = &mut self.rings[ring];
        let next = slots.free;
        let entry = slots.entry_mut(slot).expect("an id comes from an entry");
        debug_assert_eq!(entry.generation, socket.generation, "a slot is freed once");
        debug_assert!(!entry.in_flight() && entry.phase != Phase::Free);
        let generation = (entry.generation + 1) % GENERATIONS;
        *entry = Entry { generation, place: next, ..Entry::NEW };
        slots.free = slot;
        self.first_with_room = self.first_with_room.min(ring);
        self.taken -= 1;
    }

    /// The entry of a socket, unless the slot is somebody else's by now.
    pub(super) fn entry(&mut self, socket: SocketId) -> Option<&mut Entry> {
        let (ring, slot) = self.locate(socket.index);
        let entry = self.rings.get_mut(ring)?.entry_mut(slot)?;
        (entry.generation == socket.generation && entry.phase != Phase::Free).then_some(entry)
    }

    /// The occupant of the slot with this index, if it was ever taken and is not free.
    pub(super) fn occupant(&mut self, index: u32) -> Option<(SocketId, &mut Entry)> {
        let (ring, slot) = self.locate(index);
        let entry = self.rings.get_mut(ring)?.entry_mut(slot)?;
        (entry.phase != Phase::Free)
            .then_some((SocketId { index, generation: entry.generation }, entry))
    }

    fn locate(&self, index: u32) -> (usize, u32) {
        ((index / self.slots_per_ring) as usize, index % self.slots_per_ring)
    }
}

impl Slots {
    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.chunks.get_mut((slot / CHUNK) as usize)?.get_mut((slot % CHUNK) as usize)
    }

    /// A slot given back, else one never used; there is one.
    fn take(&mut self, slots_per_ring: u32) -> u32 {
        if self.free != NOWHERE {
            let slot = self.free;
            self.free = self.entry_mut(slot).expect("a listed slot has an entry").place;
            return slot;
        }
        let slot = self.used;
        debug_assert!(slot < slots_per_ring);
        if slot.is_multiple_of(CHUNK) {
            let len = CHUNK.min(slots_per_ring - slot) as usize;
            self.chunks.push(vec![Entry::NEW; len].into_boxed_slice());
        }
        self.used += 1;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn slots_are_dense_and_fill_one_ring_after_the_other() {
        let mut table = Table::new(2, 3);
        let taken: Vec<_> =
            std::iter::from_fn(|| table.take(Phase::Open)).map(|id| id.index).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
        assert_eq!(table.taken(), table.capacity());
    }

    #[test]
    fn an_id_dies_with_its_socket() {
        let mut table = Table::new(1, 4);
        let former = table.take(Phase::Open).unwrap();
        table.free(former);
        let heir = table.take(Phase::Open).unwrap();
        assert_eq!(heir.index, former.index);
        assert!(table.entry(former).is_none());
        assert!(table.entry(heir).is_some());
    }

    #[test]
    fn generations_wrap_within_their_24_bits() {
        let mut table = Table::new(1, 1);
        let socket = table.take(Phase::Open).unwrap();
        table.entry(socket).unwrap().generation = GENERATIONS - 1;
        table.free(SocketId { generation: GENERATIONS - 1, ..socket });
        assert_eq!(table.take(Phase::Open).unwrap().generation, 0);
    }

    proptest! {
        #[test]
        fn every_taken_slot_has_one_owner(
            rings in 1u32..4, per_ring in 1u32..6, steps in prop::collection::vec(any::<Option<u8>>(), 0..200),
        ) {
            let mut table = Table::new(rings, per_ring);
            let mut owned = HashMap::new();
            let mut order = Vec::new();
            for step in steps {
                match step {
                    None => match table.take(Phase::Open) {
                        Some(socket) => {
                            prop_assert!(owned.insert(socket.index, socket.generation).is_none());
                            prop_assert!(socket.index < rings * per_ring);
                            order.push(socket);
                        }
                        None => prop_assert_eq!(owned.len() as u32, rings * per_ring),
                    },
                    Some(nth) if !order.is_empty() => {
                        let socket = order.swap_remove(usize::from(nth) % order.len());
                        table.free(socket);
                        owned.remove(&socket.index);
                        prop_assert!(table.entry(socket).is_none());
                    }
                    Some(_) => {}
                }
                prop_assert_eq!(table.taken() as usize, owned.len());
                for socket in &order {
                    prop_assert!(table.entry(*socket).is_some());
                }
            }
        }
    }
}
