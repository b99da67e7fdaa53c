//! The code registry: methods, responses, signals (RFC 7252 §12.1, RFC 8323 §5).

use std::fmt;

use coap_lite::{MessageClass, RequestType, ResponseType};

use super::signal::SignalCode;

/// The code of a message: class (3 bits) and detail (5 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u8);

/// What a code means for whoever receives it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// 0.00: ignored whatever it carries (RFC 8323 §3.4).
    Empty,
    /// Class 0 with a known method.
    Request(RequestType),
    /// Class 0 with a method nobody has defined: answered 4.05.
    UnknownMethod,
    /// Class 2, 4 or 5. Responses are passed on by their raw code, known or not.
    Response,
    /// Class 7.
    Signal(SignalCode),
    /// Class 7 with an unknown detail: ignored, unless it carries a critical option.
    UnknownSignal,
    /// Classes 1, 3 and 6: ignored.
    Reserved,
}

impl Code {
    /// 0.00.
    pub const EMPTY: Self = Self(0);

    /// From the byte on the wire.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The class, 0 to 7.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The detail, 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Sorts the code.
    pub fn kind(self) -> Kind {
        match (self.class(), self.detail()) {
            (0, 0) => Kind::Empty,
            (0, _) => match MessageClass::from(self.0) {
                MessageClass::Request(RequestType::UnKnown) => Kind::UnknownMethod,
                MessageClass::Request(method) => Kind::Request(method),
                _ => Kind::UnknownMethod,
            },
            (2 | 4 | 5, _) => Kind::Response,
            (7, _) => SignalCode::from_code(self).map_or(Kind::UnknownSignal, Kind::Signal),
            _ => Kind::Reserved,
        }
    }

    /// A response of class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// A response: class 2, 4 or 5.
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }
}

impl From<RequestType> for Code {
    fn from(method: RequestType) -> Self {
        Self(MessageClass::Request(method).into())
    }
}

impl From<ResponseType> for Code {
    fn from(code: ResponseType) -> Self {
        Self(MessageClass::Response(code).into())
    }
}

impl PartialEq<ResponseType> for Code {
    fn eq(&self, other: &ResponseType) -> bool {
        *self == Self::from(*other)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_as_the_rfc_writes_them() {
        assert_eq!(Code::from(ResponseType::ServiceUnavailable).to_string(), "5.03");
        assert_eq!(Code::from(RequestType::Post).to_string(), "0.02");
    }

    /// Device reference 2.4.
    #[test]
    fn every_byte_has_a_kind() {
        for byte in 0..=255u8 {
            let code = Code::from_byte(byte);
            match code.kind() {
                Kind::Empty => assert_eq!(byte, 0),
                Kind::Request(method) => assert_eq!(Code::from(method), code),
                Kind::UnknownMethod => assert!((8..32).contains(&byte)),
                Kind::Response => assert!(matches!(byte >> 5, 2 | 4 | 5)),
                Kind::Signal(signal) => assert_eq!(signal.code(), code),
                Kind::UnknownSignal => assert_eq!(byte >> 5, 7),
                Kind::Reserved => assert!(matches!(byte >> 5, 1 | 3 | 6)),
            }
        }
    }
}
