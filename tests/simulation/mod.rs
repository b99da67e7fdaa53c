//! The whole cloud under one virtual clock, with everything that can go wrong, drawn from a seed.
//!
//! ```text
//! Plan (what a seed draws) ─► Simulation ── steps ──► Outcome: counts and digest, or the Violation
//!                                │
//!   agenda ── what happens when ─┤  network   links: cut, delayed, split, not read; every link tapped
//!                                │  cloud     shards of the real core, mail and moves between them
//!                                │  clock     the wall clock, which is set now and then
//!                                │  disk      commits: delayed, refused, stored or lost in a crash
//!                                │  peer      devices and clients      partner    `api` processes
//!                                └─ model     what must be so: records, facts, answers, rest
//! ```
//!
//! The same seed gives the same steps, to the byte. Connections begin behind the handshake, with keys
//! made of the seed: a TLS library draws randomness of its own. From there on everything is the real
//! core, record layer included. Every message of the cloud is read at the moment in which it leaves
//! the core, so "not before the commit" means exactly that.
//!
//! Reading order: [`plan`], `agenda`, `run`, `clock`, `network`, `cloud`, `disk`, `peer`, `partner`, `model`,
//! [`verdict`]; then [`shrink`], [`crowd`] and, in builds that have some, `bugs`.

mod agenda;
#[cfg(feature = "seeded-bugs")]
pub mod bugs;
mod clock;
mod cloud;
pub mod crowd;
mod dice;
mod disk;
mod model;
mod network;
mod partner;
mod peer;
pub mod plan;
mod run;
pub mod shrink;
mod trace;
pub mod verdict;

pub use plan::{Fault, Plan, Scale};
pub use run::{Simulation, simulate, simulate_traced};
pub use verdict::{Counts, Invariant, Outcome, Violation};
