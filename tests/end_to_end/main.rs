//! The real programs on loopback: what a whole cloud does, in the order in which one gets to know it.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod demo;
mod interop;
mod main_job;
mod pages;
mod partner;
mod refused_starts;
mod reloads;
mod restarts;
mod stops;
mod users;
mod wrong_bytes;
mod wrong_requests;
