//! The swarm: simulated devices by the thousand.

pub mod device;
