//! What ends a connection, and what the peer is told of it.

/// A TLS alert that we send (RFC 8446 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Alert {
    /// An orderly end.
    CloseNotify = 0,
    /// A message that has no place here.
    UnexpectedMessage = 10,
    /// A record that does not authenticate.
    BadRecordMac = 20,
    /// A record that is too long.
    RecordOverflow = 22,
    /// A message that cannot be read.
    DecodeError = 50,
    /// A record of another version.
    ProtocolVersion = 70,
    /// Our own trouble.
    InternalError = 80,
    /// TLS 1.2: no second handshake on the same connection; a warning.
    NoRenegotiation = 100,
}

/// Why the record layer cannot go on. The connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// A record that does not authenticate, whatever is wrong with it.
    #[error("a record does not authenticate")]
    BadRecord,
    /// A record that announces or holds more than TLS allows.
    #[error("a record is too long")]
    TooLong,
    /// A record or message that has no place after the handshake.
    #[error("a record or message out of place")]
    Unexpected,
    /// An alert or handshake message that cannot be read.
    #[error("a malformed alert or handshake message")]
    Malformed,
    /// A record of another protocol version.
    #[error("a record of another protocol version")]
    Version,
    /// More of what is allowed once in a while than a peer has reason for.
    #[error("too many warnings, key updates or empty records")]
    TooMuch,
    /// The peer gave up, for the reason with this number.
    #[error("the peer gave up with alert {0}")]
    PeerAlert(u8),
    /// A key has protected as many records as it may, and TLS 1.2 has no other.
    #[error("the key is used up")]
    KeyUsedUp,
}

impl RecordError {
    /// What the peer is told; nothing when it gave up itself.
    pub fn alert(self) -> Option<Alert> {
        match self {
            Self::BadRecord => Some(Alert::BadRecordMac),
            Self::TooLong => Some(Alert::RecordOverflow),
            Self::Unexpected | Self::TooMuch => Some(Alert::UnexpectedMessage),
            Self::Malformed => Some(Alert::DecodeError),
            Self::Version => Some(Alert::ProtocolVersion),
            Self::KeyUsedUp => Some(Alert::CloseNotify),
            Self::PeerAlert(_) => None,
        }
    }
}
