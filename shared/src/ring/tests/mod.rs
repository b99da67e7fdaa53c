//! The ring with real sockets on loopback, and its bookkeeping against a model of the kernel.

mod accepting;
mod bounds;
mod churning;
mod closing;
mod connecting;
mod measuring;
mod model;
mod moving;
mod receiving;
mod support;
mod waking;
