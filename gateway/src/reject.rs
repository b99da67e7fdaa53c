//! A request that was understood and refused: its CoAP code, its diagnostic text, and what becomes
//! of the connection.

use std::borrow::Cow;

use shared::coap::ResponseType;

/// What follows an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// The connection goes on.
    Stay,
    /// The connection is closed once the answer is out.
    Close,
    /// The connection is closed after a few seconds, unless the peer has mended what was wrong: a
    /// device refreshes its token on the same connection (device reference 6.1).
    CloseUnlessMended,
}

/// Why a request is refused. The text goes out without Content-Format (device reference 1.3, rule 5).
#[derive(Clone, PartialEq, Debug)]
pub struct Reject {
    /// The code of the answer.
    pub code: ResponseType,
    /// A few words, at most [`crate::limits::DIAGNOSTIC_BYTES_MAX`] bytes, without secrets.
    pub diagnostic: Cow<'static, str>,
    /// What becomes of the connection.
    pub after: After,
}

impl Reject {
    /// Refuses, and the connection goes on.
    pub const fn new(code: ResponseType, diagnostic: &'static str) -> Self {
        Self { code, diagnostic: Cow::Borrowed(diagnostic), after: After::Stay }
    }

    /// The same, with a text made for the occasion.
    pub fn because(code: ResponseType, diagnostic: String) -> Self {
        Self { code, diagnostic: Cow::Owned(diagnostic), after: After::Stay }
    }

    /// Refuses, then closes.
    pub const fn and_close(mut self) -> Self {
        self.after = After::Close;
        self
    }

    /// Refuses, then closes unless the peer mends it.
    pub const fn and_close_unless_mended(mut self) -> Self {
        self.after = After::CloseUnlessMended;
        self
    }

    /// Our trouble: store, overload, moving. Never closes: a device whose connection is closed
    /// returns every second or two for ever (device reference 1.3, rule 11).
    pub const fn unavailable(diagnostic: &'static str) -> Self {
        Self::new(ResponseType::ServiceUnavailable, diagnostic)
    }

    /// 4.00.
    pub const fn bad_request(diagnostic: &'static str) -> Self {
        Self::new(ResponseType::BadRequest, diagnostic)
    }

    /// 4.01. On a token refresh it makes devices erase their configuration: only for what is known
    /// to be bad (device reference 1.3, rule 10).
    pub const fn unauthorized(diagnostic: &'static str) -> Self {
        Self::new(ResponseType::Unauthorized, diagnostic)
    }

    /// 4.04.
    pub const fn not_found() -> Self {
        Self::new(ResponseType::NotFound, "")
    }

    /// 4.05.
    pub const fn method_not_allowed() -> Self {
        Self::new(ResponseType::MethodNotAllowed, "")
    }
}
