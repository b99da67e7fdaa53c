//! The swarm: simulated devices by the thousand.
