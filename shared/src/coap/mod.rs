//! CoAP over reliable transports, RFC 8323, with the vocabulary of `coap-lite`.
//!
//! ```text
//! bytes ─► frame     length and token framing: where a message begins and ends (RFC 8323 §3.2)
//!            ─► message   code, token, options, payload; borrowed from the buffer (RFC 7252 §3)
//!                 ├─► signal    CSM, Ping, Pong, Release, Abort (RFC 8323 §5)
//!                 └─► request, response   the options that mean something here, each parsed once
//! block: bodies in blocks (RFC 7959)
//! write: the other direction, straight into a send buffer
//! ```
//!
//! Everything borrows from the receive buffer; nothing here allocates but [`write`], which appends to
//! a buffer of its caller's, and [`block::Assembly`], which collects a body.

pub mod block;
pub mod code;
pub mod frame;
pub mod message;
pub mod option;
pub mod request;
pub mod response;
pub mod signal;
pub mod write;

pub use block::Block;
pub use coap_lite::{CoapOption, ContentFormat, RequestType, ResponseType};
pub use code::Code;
pub use frame::{Frame, FrameError, Framed, Token};
pub use message::{Message, MessageError};
pub use option::{Opt, Options};
pub use request::{Observe, OptionFault, Request};
pub use response::Response;
pub use signal::Signal;
pub use write::MessageWriter;
