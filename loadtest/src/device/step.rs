//! The steps of a device's life, and how they fail: what is counted and measured.

use std::fmt;
use std::io;

use shared::coap::Code;

/// Something that a device or client begins and that succeeds or fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// A Mediator fetches a token and configures the device.
    Provision,
    /// TCP.
    Connect,
    /// TLS.
    Handshake,
    /// POST `/oic/sec/account`.
    SignUp,
    /// POST `/oic/sec/session`.
    SignIn,
    /// POST `/oic/sec/tokenrefresh`.
    Refresh,
    /// POST `/oic/rd`.
    Publish,
    /// Ping to Pong.
    Ping,
    /// A client's GET `/oic/res`.
    Discover,
    /// A client's GET on a device's resource.
    Retrieve,
    /// A client's POST on a device's resource.
    Update,
    /// A client's registration as an observer.
    Observe,
    /// A partner's GET over the API on a device's resource.
    Read,
    /// `login` false.
    SignOut,
    /// DELETE `/oic/sec/account`.
    SignOff,
}

impl Step {
    /// All steps, in the order of a device's life.
    pub const ALL: [Self; 15] = [
        Self::Provision,
        Self::Connect,
        Self::Handshake,
        Self::SignUp,
        Self::SignIn,
        Self::Refresh,
        Self::Publish,
        Self::Ping,
        Self::Discover,
        Self::Retrieve,
        Self::Update,
        Self::Observe,
        Self::Read,
        Self::SignOut,
        Self::SignOff,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::SignUp => "sign-up",
            Self::SignIn => "sign-in",
            Self::Refresh => "refresh",
            Self::Publish => "publish",
            Self::Ping => "ping",
            Self::Discover => "discover",
            Self::Retrieve => "retrieve",
            Self::Update => "update",
            Self::Observe => "observe",
            Self::Read => "rest-read",
            Self::SignOut => "sign-out",
            Self::SignOff => "sign-off",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a step failed, in few enough ways to be counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Failure {
    /// TCP did not come about.
    Connect(io::ErrorKind),
    /// TLS failed: the alert, or what was wrong with the certificate.
    Tls(String),
    /// The connection was closed before the answer.
    Closed,
    /// No answer within the limit.
    TimedOut,
    /// Answered with an error, as its code on the wire.
    Answered(u8),
    /// A key was missing in the answer, or it was not what devices understand.
    Incomplete,
    /// There was no signed-in connection to ask on.
    NotSignedIn,
    /// The Mediator's HTTP request failed: the status or the cause.
    Http(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(f, "{kind}"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Closed => f.write_str("connection closed"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Answered(code) => write!(f, "answered {}", Code::from_byte(*code)),
            Self::Incomplete => f.write_str("incomplete answer"),
            Self::NotSignedIn => f.write_str("not signed in"),
            Self::Http(what) => f.write_str(what),
        }
    }
}
