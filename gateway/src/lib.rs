//! wip
pub mod limits;
pub mod reject;
pub mod slab;
pub mod shard { pub mod deadlines; }
