//! The options of a response that mean something to this cloud, each parsed once.

use coap_lite::CoapOption;

use super::block::Block;
use super::code::Code;
use super::message::Message;
use super::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION, Options};

/// A response with its options understood.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Class 2, 4 or 5.
    pub code: Code,
    /// All options, for whoever passes the response on.
    pub options: Options<'a>,
    /// The body; empty when there is none.
    pub payload: &'a [u8],
    /// The Observe value, if any.
    pub observe: Option<u32>,
    /// Content-Format, if any.
    pub content_format: Option<u16>,
    /// OCF-Content-Format-Version, if any.
    pub content_version: Option<u16>,
    /// Max-Age in seconds, if any.
    pub max_age: Option<u32>,
    /// Block1, if any.
    pub block1: Option<Block>,
    /// Block2, if any.
    pub block2: Option<Block>,
    /// A critical option that is unknown or malformed: the exchange has failed (RFC 7252 §5.4.1).
    pub bad_option: Option<u16>,
}

impl<'a> Response<'a> {
    /// Understands the options of a message whose code is a response.
    pub fn parse(message: &Message<'a>) -> Self {
        let mut response = Self {
            code: message.code,
            options: message.options,
            payload: message.payload,
            observe: None,
            content_format: None,
            content_version: None,
            max_age: None,
            block1: None,
            block2: None,
            bad_option: None,
        };
        for option in message.options {
            match option.name() {
                CoapOption::Observe => response.observe = option.uint(3),
                CoapOption::ContentFormat => {
                    response.content_format = option.uint(2).map(|format| format as u16);
                }
                CoapOption::MaxAge => response.max_age = option.uint(4),
                CoapOption::Block2 => match option.uint(3) {
                    Some(value) => response.block2 = Some(Block::parse(value)),
                    None => response.bad_option = Some(option.number),
                },
                CoapOption::Unknown(OCF_CONTENT_VERSION) => match option.uint(2) {
                    Some(version) => response.content_version = Some(version as u16),
                    None => response.bad_option = Some(option.number),
                },
                CoapOption::Block1 => match option.uint(3) {
                    Some(value) => response.block1 = Some(Block::parse(value)),
                    None => response.bad_option = Some(option.number),
                },
                CoapOption::Unknown(OCF_ACCEPT_VERSION) => {}
                _ if option.is_critical() => response.bad_option = Some(option.number),
                _ => {}
            }
        }
        response
    }
}
