//! The options of a request that mean something to this cloud, each parsed once.
//!
//! A [`Request`] is made in one walk over the options. What is wrong with an option is remembered,
//! not acted on: which of several faults counts, and whether the path matters more, is decided by
//! whoever serves the request (device reference 2.3 and 10.2).

use std::borrow::Cow;

use coap_lite::{CoapOption, RequestType};

use super::block::Block;
use super::frame::Token;
use super::message::Message;
use super::option::{
    HOP_LIMIT, OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION, OCF_VERSION_1_0_0, OCF_VERSION_2_0_0,
    Options,
};

/// Content-Format application/vnd.ocf+cbor.
pub const OCF_CBOR: u16 = 10_000;
/// Content-Format application/cbor (OIC 1.1).
pub const CBOR: u16 = 60;

/// Longest value of a Uri-Path or Uri-Query option (RFC 7252 §5.10).
const URI_OPTION_BYTES_MAX: usize = 255;

/// What the Observe option of a GET asks for (RFC 7641 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observe {
    /// Value 0.
    Register,
    /// Value 1.
    Deregister,
}

/// The first thing that is wrong with the options; whoever serves the request answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionFault {
    /// A critical option that is unknown here, or malformed: 4.02 with its number.
    Bad(u16),
    /// Accept is neither 10000 nor 60, or wants a version that is not 1.x: 4.06.
    NotAcceptable,
    /// Content-Format is neither 10000 nor 60, or its version is not 1.x: 4.15.
    UnsupportedFormat,
    /// Proxy-Uri or Proxy-Scheme: 5.05.
    Proxying,
    /// Hop-Limit has reached 0: 5.08.
    HopLimit,
}

/// A request with its options understood.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: RequestType,
    /// Chosen by the sender.
    pub token: Token,
    /// All options, for whoever passes the request on.
    pub options: Options<'a>,
    /// The body; empty when there is none.
    pub payload: &'a [u8],
    /// Number of Uri-Path options.
    pub path_len: usize,
    /// Observe 0 or 1; other values are ignored.
    pub observe: Option<Observe>,
    /// Content-Format, if any. One that is not ours is a [`OptionFault::UnsupportedFormat`].
    pub content_format: Option<u16>,
    /// Accept, if any. One that is not ours is a [`OptionFault::NotAcceptable`].
    pub accept: Option<u16>,
    /// Block1, if any.
    pub block1: Option<Block>,
    /// Block2, if any.
    pub block2: Option<Block>,
    /// No-Response (RFC 7967): bits of the classes that the sender does not want to hear of.
    pub no_response: u8,
    /// The first fault among the options.
    pub fault: Option<OptionFault>,
}

/// Whether this is a version 1.x of OCF payloads (device reference 4.2).
fn is_known(version: u32) -> bool {
    (u32::from(OCF_VERSION_1_0_0)..u32::from(OCF_VERSION_2_0_0)).contains(&version)
}

impl<'a> Request<'a> {
    /// Understands the options of a message whose code is this method.
    pub fn parse(method: RequestType, message: &Message<'a>) -> Self {
        let mut request = Self {
            method,
            token: message.token,
            options: message.options,
            payload: message.payload,
            path_len: 0,
            observe: None,
            content_format: None,
            accept: None,
            block1: None,
            block2: None,
            no_response: 0,
            fault: None,
        };
        for option in message.options {
            if let Some(fault) = request.take(option) {
                request.fault.get_or_insert(fault);
            }
        }
        request
    }

    fn take(&mut self, option: super::Opt<'a>) -> Option<OptionFault> {
        let bad = OptionFault::Bad(option.number);
        match option.name() {
            CoapOption::UriPath => {
                self.path_len += 1;
                let fits = option.value.len() <= URI_OPTION_BYTES_MAX && option.text().is_some();
                return (!fits).then_some(bad);
            }
            CoapOption::UriQuery => {
                let fits = option.value.len() <= URI_OPTION_BYTES_MAX && option.text().is_some();
                return (!fits).then_some(bad);
            }
            CoapOption::Observe => match option.uint(3) {
                Some(0) => self.observe = Some(Observe::Register),
                Some(1) => self.observe = Some(Observe::Deregister),
                _ => {}
            },
            CoapOption::ContentFormat => match option.uint(2).map(|format| format as u16) {
                Some(format @ (OCF_CBOR | CBOR)) => self.content_format = Some(format),
                _ => return Some(OptionFault::UnsupportedFormat),
            },
            CoapOption::Accept => match option.uint(2).map(|format| format as u16) {
                Some(format @ (OCF_CBOR | CBOR)) => self.accept = Some(format),
                Some(_) => return Some(OptionFault::NotAcceptable),
                None => return Some(bad),
            },
            CoapOption::Block1 => match option.uint(3) {
                Some(value) => self.block1 = Some(Block::parse(value)),
                None => return Some(bad),
            },
            CoapOption::Block2 => match option.uint(3) {
                Some(value) => self.block2 = Some(Block::parse(value)),
                None => return Some(bad),
            },
            CoapOption::NoResponse => self.no_response = option.uint(1).unwrap_or(0) as u8,
            CoapOption::ProxyUri | CoapOption::ProxyScheme => return Some(OptionFault::Proxying),
            CoapOption::Unknown(HOP_LIMIT) if option.uint(1).is_some_and(|hops| hops <= 1) => {
                return Some(OptionFault::HopLimit);
            }
            CoapOption::Unknown(OCF_ACCEPT_VERSION) => match option.uint(2) {
                Some(version) if is_known(version) => {}
                Some(_) => return Some(OptionFault::NotAcceptable),
                None => return Some(bad),
            },
            CoapOption::Unknown(OCF_CONTENT_VERSION) => match option.uint(2) {
                Some(version) if is_known(version) => {}
                Some(_) => return Some(OptionFault::UnsupportedFormat),
                None => return Some(bad),
            },
            CoapOption::UriHost | CoapOption::UriPort => {}
            // If-Match, If-None-Match, OSCORE and whatever else is critical.
            _ if option.is_critical() => return Some(bad),
            _ => {}
        }
        None
    }

    /// The path, segment by segment. Segments that are not UTF-8 have made a fault, and read as
    /// empty here.
    pub fn path(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.options
            .filter(|option| option.name() == CoapOption::UriPath)
            .map(|option| option.text().unwrap_or_default())
    }

    /// Whether the path consists of exactly these segments.
    pub fn path_is(&self, segments: &[&str]) -> bool {
        self.path_len == segments.len() && self.path().eq(segments.iter().copied())
    }

    /// The query as `key=value` pairs: every option split at `&`, then at the first `=`.
    pub fn query(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.options
            .filter(|option| option.name() == CoapOption::UriQuery)
            .flat_map(|option| option.text().unwrap_or_default().split('&'))
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The same with valid percent-escapes in the values decoded: for resources of the cloud's own
    /// only, what is passed on stays as it is (device reference 4.4).
    pub fn decoded_query(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        self.query().map(|(key, value)| (key, unescape(value)))
    }

    /// Whether the sender wants no answer of this class (RFC 7967 §2.1).
    pub fn suppresses(&self, class: u8) -> bool {
        matches!(class, 2 | 4 | 5) && self.no_response & (1 << (class - 1)) != 0
    }
}

/// Decodes `%XX`; a text with an escape that is none is left as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    decode_escapes(text.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map_or(Cow::Borrowed(text), Cow::Owned)
}

fn decode_escapes(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    loop {
        bytes = match bytes {
            [] => return Some(decoded),
            [b'%', high, low, rest @ ..] => {
                decoded.push((digit(*high)? << 4 | digit(*low)?) as u8);
                rest
            }
            [b'%', ..] => return None,
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Device reference 4.4.
    #[test]
    fn escapes_are_decoded_if_all_are_valid() {
        for (text, decoded) in [
            ("light", "light"),
            ("%6Cight%2d1", "light-1"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zz%41"),
            ("%ff", "%ff"),
            ("%c3%A9", "é"),
        ] {
            assert_eq!(unescape(text), decoded);
        }
    }
}
