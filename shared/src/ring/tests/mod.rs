//! The ring with real sockets on loopback, and its bookkeeping against a model of the kernel.

mod closing;
mod connecting;
mod model;
mod moving;
mod receiving;
mod support;
