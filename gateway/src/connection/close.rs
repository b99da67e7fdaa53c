//! Every way a connection ends.

/// Why a connection ended; counted and logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CloseReason {
    /// The peer closed it in order.
    PeerClosed,
    /// The stream ended without the TLS goodbye: the peer was in a hurry, or somebody cut it.
    PeerCut,
    /// The peer broke off: reset, unreachable, timed out in the network.
    PeerLost,
    /// TLS failed before the handshake was over.
    HandshakeFailed,
    /// The handshake was not over in time.
    HandshakeTimedOut,
    /// TLS failed later: a record that was not the peer's, or against the rules.
    TlsFailed,
    /// The bytes were no CoAP over TCP; an Abort was sent.
    Framing,
    /// The peer sent an Abort.
    PeerAborted,
    /// The peer sent a Release.
    PeerReleased,
    /// A signal had an unknown critical option; an Abort was sent.
    BadSignal,
    /// Nothing was asked for in time, or no sign-in followed.
    NotSignedIn,
    /// Nothing came in for too long.
    Idle,
    /// A Ping was not answered.
    PingLost,
    /// The peer did not read what was sent to it.
    NotReading,
    /// A request was refused for good.
    Refused,
    /// A request came that needs a session.
    Unauthorized,
    /// The same device signed in on a newer connection.
    Superseded,
    /// The device was signed off or removed, or belongs to another user now.
    DeviceRemoved,
    /// The access token of the session has expired.
    TokenExpired,
    /// The peer's connection belongs to another shard and cannot go there any more.
    WrongShard,
    /// The peer's certificate has been revoked since, or its authority is not trusted any more.
    Distrusted,
    /// The shard has no room for it.
    Overloaded,
    /// The gateway is stopping.
    Stopping,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 23] = [
        Self::PeerClosed,
        Self::PeerCut,
        Self::PeerLost,
        Self::HandshakeFailed,
        Self::HandshakeTimedOut,
        Self::TlsFailed,
        Self::Framing,
        Self::PeerAborted,
        Self::PeerReleased,
        Self::BadSignal,
        Self::NotSignedIn,
        Self::Idle,
        Self::PingLost,
        Self::NotReading,
        Self::Refused,
        Self::Unauthorized,
        Self::Superseded,
        Self::DeviceRemoved,
        Self::TokenExpired,
        Self::WrongShard,
        Self::Distrusted,
        Self::Overloaded,
        Self::Stopping,
    ];

    /// As logs and metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerCut => "peer_cut",
            Self::PeerLost => "peer_lost",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimedOut => "handshake_timed_out",
            Self::TlsFailed => "tls_failed",
            Self::Framing => "framing",
            Self::PeerAborted => "peer_aborted",
            Self::PeerReleased => "peer_released",
            Self::BadSignal => "bad_signal",
            Self::NotSignedIn => "not_signed_in",
            Self::Idle => "idle",
            Self::PingLost => "ping_lost",
            Self::NotReading => "not_reading",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::Superseded => "superseded",
            Self::DeviceRemoved => "device_removed",
            Self::TokenExpired => "token_expired",
            Self::WrongShard => "wrong_shard",
            Self::Distrusted => "distrusted",
            Self::Overloaded => "overloaded",
            Self::Stopping => "stopping",
        }
    }
}

/// How the socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// An orderly end of the TCP connection.
    Orderly,
    /// A reset: for peers that have not finished their handshake, or don't read.
    Reset,
}
