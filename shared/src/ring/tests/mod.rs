//! The ring with real sockets on loopback.

mod closing;
mod connecting;
mod moving;
mod receiving;
mod support;
