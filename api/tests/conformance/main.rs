//! The conformance cases of the cloud reference (part 11) that concern the devices API, against the
//! real server: sockets, TLS, shard channel. Each test names its case.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod bearer;
mod device;
mod general;
mod link;
mod list;
mod mediator;
mod process;
mod retrieve;
mod update;
