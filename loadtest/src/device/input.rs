//! What goes into a device or client, and what comes out: the closed lists.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::breach::Breach;
use super::step::{Failure, Step};

/// What happens to a device or client.
#[derive(Debug)]
pub enum Input<'a> {
    /// It is switched on. One that knows its cloud connects 1 to 2 s later.
    SwitchedOn,
    /// The connection that it asked for is there. Carries the TLS configuration, with the
    /// certificate that this device presents.
    Connected(Arc<ClientConfig>),
    /// The connection that it asked for did not come about.
    NotConnected(io::ErrorKind),
    /// Bytes as one read of the socket returned them.
    Received {
        /// The bytes.
        bytes: &'a [u8],
        /// The read ended because its buffer was full.
        cut: bool,
    },
    /// The other end has closed the connection, or it broke.
    Closed,
    /// The time of `poll_timeout` has come.
    Timeout,
}

/// What a device or client wants from the world.
#[derive(PartialEq, Debug)]
pub enum Output {
    /// Open a TCP connection to the cloud that it is configured for.
    Connect,
    /// Send these bytes on the connection.
    Send(Vec<u8>),
    /// Close the connection, after what was sent has gone. What arrives later is not wanted.
    Close,
    /// Something worth counting, measuring or checking.
    Event(Event),
}

/// What an observer of a device or client is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A step has come to its end.
    Step {
        /// Which.
        step: Step,
        /// Since it was due to begin, however late it really began.
        took: Duration,
        /// How it ended.
        result: Result<(), Failure>,
    },
    /// The cloud has broken a rule.
    Breach(Breach),
    /// Signed in: requests may arrive from now on.
    SignedIn,
    /// What a device keeps over a power cut has changed.
    MemoryChanged,
    /// A connection that was up is gone.
    Disconnected,
    /// The device has erased its cloud configuration, because its refresh was answered 4.01 or
    /// because it signed off.
    Erased,
    /// The device stays silent until it is configured anew.
    GivenUp(Step),
    /// For clients: the answer to a request of theirs.
    Answer(Answer),
    /// For clients: an observed resource has changed, or its observation has ended.
    Notification(Notification),
}

/// The answer to a request of a client.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The number that [`ask`](super::Client::ask) returned.
    pub request: u64,
    /// What was asked.
    pub step: Step,
    /// Since the request was due.
    pub took: Duration,
    /// The answer, whatever its code; or why there is none.
    pub result: Result<Response, Failure>,
}

/// A response as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Its code.
    pub code: shared::coap::Code,
    /// Value of its Observe option.
    pub observe: Option<u32>,
    /// Value of its Content-Format option.
    pub content_format: Option<u32>,
    /// Its body.
    pub payload: Vec<u8>,
}

/// A notification as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The number that [`ask`](super::Client::ask) returned when the observation began.
    pub request: u64,
    /// The notification. An error, or a response without Observe, has ended the observation.
    pub response: Response,
}
