//! Words for tests.
//!
//! For the real programs: [`processes`] starts them, [`rest`] and [`stations`] talk to them as partners,
//! devices and clients do, [`wire`] as nobody should, [`tools`] finds programs of others.
#![expect(clippy::unwrap_used, reason = "a test may panic, its words too")]

pub mod processes;
pub mod rest;
pub mod stations;
pub mod tools;
pub mod wire;
