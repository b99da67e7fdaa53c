//! The shell: everything that touches sockets, files, clocks, signals and cores.
//!
//! ```text
//! main thread   run: state, certificates, shards; then signals, until the end
//! shard 0..n    driver: one glommio executor each, pinned; sockets on a device ring of their own
//! store         commits of all shards in groups
//! control       introduces api processes
//! ```
//!
//! Reading order: [`start`] with `birth` and `files` for how it comes up, [`driver`] for the loop of a
//! shard, `sockets`, [`handover`] and [`mail`] for connections, [`channels`] and [`control`] for `api`, [`store`].

pub mod acks;
mod birth;
pub mod channels;
pub mod clock;
pub mod control;
pub mod driver;
mod figures;
mod files;
pub mod handover;
pub mod heap;
pub mod log;
pub mod machine;
pub mod mail;
pub mod notify;
pub mod random;
mod sockets;
pub mod start;
pub mod store;
pub mod turns;
pub mod wake;

pub use start::{StartError, run};
