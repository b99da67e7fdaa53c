//! What a shard tells operators of itself: the bytes of its tables, and how long what it reads waits.

/// The figures of one shard at one moment.
#[derive(Clone, PartialEq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ShardFigures {
    /// Its number.
    pub shard: u16,
    /// Its tables, and what hangs on their entries.
    pub tables: Vec<TableMemory>,
    /// The process, which all shards share.
    pub process: ProcessMemory,
    /// From when bytes of a device were read to when what follows from them was handed to the kernel.
    pub read_to_send: Delays,
    /// How long nothing was read while there was something to do.
    pub unread: Delays,
}

/// What a table occupies in user space.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct TableMemory {
    /// Its name, which stays the same from version to version.
    pub name: String,
    /// Entries that it has now.
    pub entries: u64,
    /// Bytes of these entries.
    pub used_bytes: u64,
    /// Bytes that were taken from the allocator for it, rounding included.
    pub reserved_bytes: u64,
}

/// What a process occupies.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct ProcessMemory {
    /// Resident bytes, the program's text included.
    pub resident_bytes: u64,
    /// Resident bytes that belong to no file: heaps, stacks, tables.
    pub anonymous_bytes: u64,
    /// Bytes that the allocator of everything written in Rust has taken from the system.
    pub allocator_bytes: u64,
    /// Bytes that the C library's allocator has taken, for the cryptography.
    pub c_allocator_bytes: u64,
}

/// Delays since the start, counted by their length.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct Delays {
    /// The longest, in microseconds.
    pub max_micros: u64,
    /// How many took less than 1, 2, 4, 8 … microseconds, and not less than half of that.
    pub counts: Vec<u64>,
}
