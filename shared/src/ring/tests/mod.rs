//! The ring with real sockets on loopback.

mod accepting;
mod bounds;
mod churning;
mod closing;
mod connecting;
mod measuring;
mod moving;
mod receiving;
mod support;
mod waking;
