//! The real programs on loopback: what a whole cloud does, in the order in which one gets to know it.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod main_job;
