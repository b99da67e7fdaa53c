//! The demo: a whole cloud on one machine, set up, started, watched and stopped. `ocf-demo` is a thin
//! program around it, and the end-to-end tests use its parts.
//!
//! ```text
//! Settings ─► Installation   state directory: certificates, users, configuration
//!                 └─► Cloud  processes: gateway ─ready─► api ─ready─► swarm ─online─► demo.json
//! ```
//!
//! Reading order: [`installation`], [`cloud`], then [`processes`] and `ready`, which it is made of.

pub mod certificates;
pub mod cloud;
pub mod installation;
mod partner;
pub mod processes;
mod ready;

pub use cloud::{API, Binaries, Cloud, Facts, GATEWAY, SWARM, SwarmSettings};
pub use installation::{Installation, Settings, User};
pub use partner::Partner;
pub use ready::{Interrupted, Patience};
