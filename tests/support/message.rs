//! A message that a test writes or reads: owned, in any shape, right or wrong.

use ciborium::Value;
use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION};
use shared::coap::{CoapOption, Code, Frame, Framed, Message, MessageWriter, RequestType, Token};
use shared::ocf::cbor;

/// Content-Format application/vnd.ocf+cbor.
pub const OCF_CBOR: u32 = 10_000;
/// Content-Format application/cbor.
pub const CBOR: u32 = 60;

/// A message with its options in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Msg {
    /// Method, response or signal.
    pub code: Code,
    /// None where the peer chooses one.
    pub token: Option<Token>,
    /// Numbers and values.
    pub options: Vec<(u16, Vec<u8>)>,
    /// What follows the marker.
    pub payload: Vec<u8>,
}

/// A request with this method: `/path/of/segments?query&query`.
pub fn request(method: RequestType, uri: &str) -> Msg {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut message = Msg::new(method);
    for segment in path.split('/').skip(1) {
        message = message.named(CoapOption::UriPath, segment.as_bytes());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        message = message.named(CoapOption::UriQuery, pair.as_bytes());
    }
    message
}

/// GET.
pub fn get(uri: &str) -> Msg {
    request(RequestType::Get, uri)
}

/// POST of this body.
pub fn post(uri: &str, body: impl Into<Body>) -> Msg {
    request(RequestType::Post, uri).body(body)
}

/// PUT of this body.
pub fn put(uri: &str, body: impl Into<Body>) -> Msg {
    request(RequestType::Put, uri).body(body)
}

/// DELETE.
pub fn delete(uri: &str) -> Msg {
    request(RequestType::Delete, uri)
}

/// The bytes of a body.
pub struct Body(pub Vec<u8>);

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        let mut bytes = Vec::new();
        cbor::encode(&mut bytes, &value);
        Self(bytes)
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// A map with text keys.
pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

impl Msg {
    /// Without options and payload.
    pub fn new(code: impl Into<Code>) -> Self {
        Self { code: code.into(), token: None, options: Vec::new(), payload: Vec::new() }
    }

    /// What a frame says.
    pub fn parse(frame: Frame<'_>) -> Self {
        let message = Message::parse(frame).expect("the cloud sends well-formed messages");
        Self {
            code: message.code,
            token: Some(message.token),
            options: message.options.map(|o| (o.number, o.value.to_vec())).collect(),
            payload: message.payload.to_vec(),
        }
    }

    /// What these bytes say, which must be exactly one frame.
    pub fn decode(bytes: &[u8]) -> Self {
        match Frame::parse(bytes, usize::MAX) {
            Ok(Framed::Whole(frame, len)) if len == bytes.len() => Self::parse(frame),
            other => panic!("not exactly one frame: {other:?}"),
        }
    }

    /// With one more option, behind those with its number and below.
    #[must_use]
    pub fn option(mut self, number: u16, value: impl AsRef<[u8]>) -> Self {
        let at = self.options.partition_point(|(other, _)| *other <= number);
        self.options.insert(at, (number, value.as_ref().to_vec()));
        self
    }

    /// With one more option, by name.
    #[must_use]
    pub fn named(self, name: CoapOption, value: impl AsRef<[u8]>) -> Self {
        self.option(name.into(), value)
    }

    /// With one more option whose value is a number, in its shortest form.
    #[must_use]
    pub fn uint(self, number: u16, value: u32) -> Self {
        let bytes = value.to_be_bytes();
        let zeros = value.leading_zeros() as usize / 8;
        self.option(number, &bytes[zeros..])
    }

    /// With this token instead of one that the peer chooses.
    #[must_use]
    pub fn token(mut self, bytes: &[u8]) -> Self {
        self.token = Some(Token::new(bytes).expect("a token has at most eight bytes"));
        self
    }

    /// With this body, and Content-Format 10000 unless another one was given.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.payload = body.into().0;
        match self.has(CoapOption::ContentFormat) || self.payload.is_empty() {
            true => self,
            false => self.format(OCF_CBOR),
        }
    }

    /// With this payload and nothing else.
    #[must_use]
    pub fn payload(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.payload = bytes.as_ref().to_vec();
        self
    }

    /// With this Content-Format instead of another one.
    #[must_use]
    pub fn format(self, format: u32) -> Self {
        self.without(CoapOption::ContentFormat).uint(CoapOption::ContentFormat.into(), format)
    }

    /// With this Accept.
    #[must_use]
    pub fn accept(self, format: u32) -> Self {
        self.uint(CoapOption::Accept.into(), format)
    }

    /// With this Observe.
    #[must_use]
    pub fn observe(self, value: u32) -> Self {
        self.uint(CoapOption::Observe.into(), value)
    }

    /// Without the options of this name.
    #[must_use]
    pub fn without(mut self, name: CoapOption) -> Self {
        let number = u16::from(name);
        self.options.retain(|(other, _)| *other != number);
        self
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let token = self.token.expect("whoever sends a message has chosen its token");
        let mut message = MessageWriter::new(&mut bytes, self.code, token);
        for (number, value) in &self.options {
            message.option(*number, value);
        }
        message.payload(&self.payload);
        message.finish();
        bytes
    }

    /// The values of the options with this name.
    pub fn values(&self, name: CoapOption) -> Vec<&[u8]> {
        self.numbered(name.into())
    }

    /// The values of the options with this number.
    pub fn numbered(&self, number: u16) -> Vec<&[u8]> {
        let options = self.options.iter().filter(|(other, _)| *other == number);
        options.map(|(_, value)| value.as_slice()).collect()
    }

    /// Whether there is an option of this name.
    pub fn has(&self, name: CoapOption) -> bool {
        !self.values(name).is_empty()
    }

    /// The option of this name as a number.
    pub fn number(&self, name: CoapOption) -> Option<u32> {
        self.number_of(name.into())
    }

    fn number_of(&self, number: u16) -> Option<u32> {
        let values = self.numbered(number);
        let value = values.first()?;
        Some(value.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    /// Content-Format.
    pub fn content_format(&self) -> Option<u32> {
        self.number(CoapOption::ContentFormat)
    }

    /// OCF-Content-Format-Version.
    pub fn content_version(&self) -> Option<u32> {
        self.number_of(OCF_CONTENT_VERSION)
    }

    /// OCF-Accept-Content-Format-Version.
    pub fn accept_version(&self) -> Option<u32> {
        self.number_of(OCF_ACCEPT_VERSION)
    }

    /// The value of Observe.
    pub fn observed(&self) -> Option<u32> {
        self.number(CoapOption::Observe)
    }

    /// The path, beginning with a slash.
    pub fn path(&self) -> String {
        let segments = self.values(CoapOption::UriPath);
        segments.iter().map(|value| format!("/{}", text(value))).collect()
    }

    /// The query options.
    pub fn queries(&self) -> Vec<&str> {
        self.values(CoapOption::UriQuery).into_iter().map(text).collect()
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        text(&self.payload)
    }

    /// The payload as CBOR, read by an independent decoder.
    pub fn cbor(&self) -> Value {
        let mut rest = &self.payload[..];
        let value = ciborium::from_reader(&mut rest).expect("the payload is CBOR");
        assert!(rest.is_empty(), "the payload is one item");
        value
    }

    /// A member of the map that the payload is.
    pub fn member(&self, key: &str) -> Option<Value> {
        member(&self.cbor(), key).cloned()
    }

    /// A text in the map that the payload is.
    pub fn member_text(&self, key: &str) -> String {
        let value = self.member(key).unwrap_or_else(|| panic!("{key} in {:?}", self.cbor()));
        value.into_text().expect("a text")
    }

    /// An integer in the map that the payload is.
    pub fn member_integer(&self, key: &str) -> i64 {
        let value = self.member(key).unwrap_or_else(|| panic!("{key} in {:?}", self.cbor()));
        value.into_integer().expect("an integer").try_into().expect("an ordinary integer")
    }
}

/// A member of a map.
pub fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let pairs = value.as_map()?;
    pairs.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text is UTF-8")
}
