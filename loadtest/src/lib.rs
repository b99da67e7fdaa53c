//! The swarm: simulated devices by the thousand, and the demo that runs the whole cloud.
//!
//! ```text
//! config ─► swarm ─► core (one thread each) ─► device   what devices are and say, sans-IO
//!             │        └─► io                           their sockets, over the device ring
//!             ├─► mediator, partner ─► http             tokens from the API, reads over it
//!             ├─► state                                 what devices keep over runs
//!             └─► stats, timeline ─► report, progress   what came of it
//! demo ─► gateway, api, swarm                           a whole cloud, as processes
//! driver ─► device                                      a few devices on sockets, for tests
//! ```
//!
//! Reading order: [`device`], [`scenario`], [`profile`], [`swarm`], [`stats`], [`timeline`], [`report`],
//! then [`demo`]. All but `swarm` and `demo` of these are pure; files marked (I/O) touch the world.

pub mod config;
pub mod credentials;
pub mod demo;
pub mod device;
pub mod driver;
pub mod files;
pub mod http;
pub mod io;
pub mod machine;
pub mod mediator;
pub mod partner;
pub mod process;
pub mod profile;
pub mod progress;
pub mod report;
pub mod scenario;
pub mod state;
pub mod stats;
pub mod swarm;
pub mod timeline;
