//! Signals: CSM, Ping, Pong, Release, Abort (RFC 8323 §5). Each has option numbers of its own.

use super::code::Code;
use super::frame::Token;
use super::message::Message;
use super::write::MessageWriter;

/// Which signal a message of class 7 is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalCode {
    /// 7.01, capabilities and settings.
    Csm,
    /// 7.02.
    Ping,
    /// 7.03.
    Pong,
    /// 7.04, an orderly end.
    Release,
    /// 7.05, an end at once.
    Abort,
}

impl SignalCode {
    /// The code on the wire.
    pub const fn code(self) -> Code {
        Code::from_byte(match self {
            Self::Csm => 0xe1,
            Self::Ping => 0xe2,
            Self::Pong => 0xe3,
            Self::Release => 0xe4,
            Self::Abort => 0xe5,
        })
    }

    /// The signal with this code.
    pub const fn from_code(code: Code) -> Option<Self> {
        match code.byte() {
            0xe1 => Some(Self::Csm),
            0xe2 => Some(Self::Ping),
            0xe3 => Some(Self::Pong),
            0xe4 => Some(Self::Release),
            0xe5 => Some(Self::Abort),
            _ => None,
        }
    }
}

/// Option numbers within the signals.
mod number {
    pub(super) const MAX_MESSAGE_SIZE: u16 = 2;
    pub(super) const BLOCK_WISE_TRANSFER: u16 = 4;
    pub(super) const CUSTODY: u16 = 2;
    pub(super) const ALTERNATIVE_ADDRESS: u16 = 2;
    pub(super) const HOLD_OFF: u16 = 4;
    pub(super) const BAD_CSM_OPTION: u16 = 2;
}

/// A signal with its options understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Capabilities; options are cumulative, absent ones change nothing.
    Csm {
        /// Largest message that the sender receives, in bytes.
        max_message_size: Option<u32>,
        /// The sender understands block options.
        block_wise_transfer: bool,
    },
    /// Asks for a Pong.
    Ping {
        /// Pong only when everything received before has been processed.
        custody: bool,
    },
    /// Answers a Ping.
    Pong,
    /// The sender is about to close.
    Release,
    /// The sender has given up.
    Abort,
    /// A signal nobody has defined, with elective options only: ignored.
    Unknown,
}

/// A critical option that this signal does not have: the connection is aborted (RFC 8323 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown critical signal option {number}")]
pub struct BadSignalOption {
    /// Its number.
    pub number: u16,
    /// Whether it stood in a CSM, so that the Abort can name it.
    pub in_csm: bool,
}

impl Signal {
    /// Understands a message of class 7.
    pub fn parse(message: &Message<'_>) -> Result<Self, BadSignalOption> {
        let code = SignalCode::from_code(message.code);
        // All options of RFC 8323 are elective, so a critical one is unknown in any signal.
        if let Some(option) = message.options.into_iter().find(|option| option.is_critical()) {
            let in_csm = code == Some(SignalCode::Csm);
            return Err(BadSignalOption { number: option.number, in_csm });
        }
        let has = |number| message.options.into_iter().any(|option| option.number == number);
        Ok(match code {
            Some(SignalCode::Csm) => Self::Csm {
                max_message_size: message
                    .options
                    .into_iter()
                    .filter(|option| option.number == number::MAX_MESSAGE_SIZE)
                    .filter_map(|option| option.uint(4))
                    .last(),
                block_wise_transfer: has(number::BLOCK_WISE_TRANSFER),
            },
            Some(SignalCode::Ping) => Self::Ping { custody: has(number::CUSTODY) },
            Some(SignalCode::Pong) => Self::Pong,
            Some(SignalCode::Release) => Self::Release,
            Some(SignalCode::Abort) => Self::Abort,
            None => Self::Unknown,
        })
    }
}

/// Writes our CSM: the largest message that we receive, and block-wise transfer where we offer it.
pub fn write_csm(
    out: &mut Vec<u8>,
    token: Token,
    max_message_size: u32,
    block_wise_transfer: bool,
) {
    let mut message = MessageWriter::new(out, SignalCode::Csm.code(), token);
    message.option_uint(number::MAX_MESSAGE_SIZE, max_message_size);
    if block_wise_transfer {
        message.option(number::BLOCK_WISE_TRANSFER, &[]);
    }
    message.finish();
}

/// Writes a Ping without Custody.
pub fn write_ping(out: &mut Vec<u8>, token: Token) {
    MessageWriter::new(out, SignalCode::Ping.code(), token).finish();
}

/// Writes the Pong to a Ping: its token, and Custody where it was asked for.
pub fn write_pong(out: &mut Vec<u8>, token: Token, custody: bool) {
    let mut message = MessageWriter::new(out, SignalCode::Pong.code(), token);
    if custody {
        message.option(number::CUSTODY, &[]);
    }
    message.finish();
}

/// Writes a Release with an optional other address and a Hold-Off in seconds.
pub fn write_release(
    out: &mut Vec<u8>,
    token: Token,
    alternative_address: Option<&str>,
    hold_off_secs: Option<u32>,
    diagnostic: &str,
) {
    let mut message = MessageWriter::new(out, SignalCode::Release.code(), token);
    if let Some(address) = alternative_address {
        message.option(number::ALTERNATIVE_ADDRESS, address.as_bytes());
    }
    if let Some(secs) = hold_off_secs {
        message.option_uint(number::HOLD_OFF, secs);
    }
    message.payload(diagnostic.as_bytes());
    message.finish();
}

/// Writes an Abort with the critical CSM option that caused it, if that did.
pub fn write_abort(out: &mut Vec<u8>, token: Token, bad_csm_option: Option<u16>, diagnostic: &str) {
    let mut message = MessageWriter::new(out, SignalCode::Abort.code(), token);
    if let Some(option) = bad_csm_option {
        message.option_uint(number::BAD_CSM_OPTION, u32::from(option));
    }
    message.payload(diagnostic.as_bytes());
    message.finish();
}
