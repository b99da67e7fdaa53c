//! A message: a frame whose options have been checked (RFC 7252 §3, RFC 8323 §3).

use super::code::Code;
use super::frame::{Frame, Token};
use super::option::{OptionError, Options};

/// A message, borrowed from the buffer it was received in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Method, response or signal.
    pub code: Code,
    /// Matches responses to requests.
    pub token: Token,
    /// In the order of their numbers.
    pub options: Options<'a>,
    /// What follows the marker; empty when there is none.
    pub payload: &'a [u8],
}

/// Why a frame is no message. The connection cannot go on (device reference 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct MessageError(#[from] OptionError);

impl<'a> Message<'a> {
    /// Checks the options of a frame.
    pub fn parse(frame: Frame<'a>) -> Result<Self, MessageError> {
        let (options, payload) = Options::split(frame.body)?;
        Ok(Self { code: frame.code, token: frame.token, options, payload })
    }
}
