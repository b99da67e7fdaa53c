//! Words for tests: a cloud with some users and devices, and consumers that talk to it.
//!
//! Everything is real but the devices: TLS and HTTP over sockets, the shard channel over shared memory.
//! At the other end of the channel, [`gateway`] answers from a [`world`] in memory. Nothing sleeps: what is
//! waited for is either told or asked for until it is so.

pub(crate) mod client;
pub(crate) mod cloud;
pub(crate) mod gateway;
pub(crate) mod world;

pub(crate) use client::Answer;
pub(crate) use cloud::Cloud;
pub(crate) use world::{Behaviour, Device};
