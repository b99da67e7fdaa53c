//! What happens to the options of a request and of its response between client and device
//! (device reference 10.2 and 10.3).

use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION, OCF_VERSION_1_0_0};
use shared::coap::request::{CBOR, OCF_CBOR};
use shared::coap::{CoapOption, Code, MessageWriter, Opt, Request, RequestType, Response, Token};
use shared::ids::DeviceId;

/// For whom a client's request is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// For that client alone: its ETags go along, and 2.03 is an answer for it.
    Client,
    /// For all who observe the same.
    Observers,
    /// For all who are going to: it registers.
    Registration,
}

/// Writes a client's request as the device gets it: without the device id, with a token of ours, and
/// only with options that real devices understand (device reference 1.3, rule 4).
pub fn request(out: &mut Vec<u8>, token: Token, from: &Request<'_>, audience: Audience) {
    let mut message = MessageWriter::new(out, from.method, token);
    if from.method == RequestType::Get && audience == Audience::Client {
        for option in from.options.filter(is_etag) {
            message.named(CoapOption::ETag, option.value);
        }
    }
    if audience == Audience::Registration {
        message.named(CoapOption::Observe, &[]);
    }
    message.path(from.path().skip(1));
    if !from.payload.is_empty() {
        message.option_uint(CoapOption::ContentFormat.into(), u32::from(OCF_CBOR));
    }
    for option in from.options.filter(|option| option.name() == CoapOption::UriQuery) {
        message.named(CoapOption::UriQuery, option.value);
    }
    write_accept(&mut message);
    if !from.payload.is_empty() {
        message.option_uint(OCF_CONTENT_VERSION, u32::from(OCF_VERSION_1_0_0));
    }
    message.payload(from.payload);
    message.finish();
}

/// Writes a request of our own: for partners, for lists, to end an observation.
pub fn own_request(out: &mut Vec<u8>, token: Token, from: &OwnRequest<'_>) {
    let mut message = MessageWriter::new(out, from.method, token);
    match from.observe {
        Some(0) => drop(message.named(CoapOption::Observe, &[])),
        Some(value) => drop(message.named(CoapOption::Observe, &[value])),
        None => {}
    }
    message.path(from.href.split('/').skip(1));
    if !from.body.is_empty() {
        message.option_uint(CoapOption::ContentFormat.into(), u32::from(OCF_CBOR));
    }
    for query in from.queries {
        message.named(CoapOption::UriQuery, query.as_bytes());
    }
    write_accept(&mut message);
    if !from.body.is_empty() {
        message.option_uint(OCF_CONTENT_VERSION, u32::from(OCF_VERSION_1_0_0));
    }
    message.payload(from.body);
    message.finish();
}

/// A request of our own.
#[derive(Clone, Copy, Debug)]
pub struct OwnRequest<'a> {
    /// GET or POST.
    pub method: RequestType,
    /// Local path with a leading slash.
    pub href: &'a str,
    /// Query options.
    pub queries: &'a [&'a str],
    /// 0 registers, 1 deregisters.
    pub observe: Option<u8>,
    /// CBOR; empty for none.
    pub body: &'a [u8],
}

fn write_accept(message: &mut MessageWriter<'_>) {
    message.option_uint(CoapOption::Accept.into(), u32::from(OCF_CBOR));
    message.option_uint(OCF_ACCEPT_VERSION, u32::from(OCF_VERSION_1_0_0));
}

/// The device answered something that the client must not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAnswer;

/// What stands around a device's representation on the client leg.
#[derive(Clone, Copy, Debug)]
pub struct ClientLeg {
    /// The client's token.
    pub token: Token,
    /// What it accepts, if it said so.
    pub accept: Option<u16>,
    /// The Observe value, if the answer belongs to an observation.
    pub observe: Option<u32>,
}

/// Which Content-Format the client gets.
pub fn client_format(
    from_device: Option<u16>,
    accept: Option<u16>,
) -> Result<Option<u16>, BadAnswer> {
    match (from_device, accept) {
        (Some(OCF_CBOR), Some(CBOR)) => Ok(Some(CBOR)),
        (format @ (None | Some(OCF_CBOR)), _) => Ok(format),
        (other, None) => Ok(other),
        (Some(_), Some(_)) => Err(BadAnswer),
    }
}

/// Writes a device's response as the client gets it.
pub fn response(
    out: &mut Vec<u8>,
    device: DeviceId,
    from: &Response<'_>,
    to: &ClientLeg,
    format: Option<u16>,
) {
    let mut message = MessageWriter::new(out, from.code, to.token);
    for option in from.options.filter(is_etag) {
        message.named(CoapOption::ETag, option.value);
    }
    if let Some(value) = to.observe {
        message.option_uint(CoapOption::Observe.into(), value);
    }
    if from.options.into_iter().any(|option| option.name() == CoapOption::LocationPath) {
        message.named(CoapOption::LocationPath, device.text().as_bytes());
        copy(&mut message, from, CoapOption::LocationPath);
    }
    if let Some(format) = format {
        message.option_uint(CoapOption::ContentFormat.into(), u32::from(format));
    }
    copy(&mut message, from, CoapOption::MaxAge);
    copy(&mut message, from, CoapOption::LocationQuery);
    let added = (!from.payload.is_empty()).then_some(OCF_VERSION_1_0_0);
    if let (Some(OCF_CBOR), Some(version)) = (format, from.content_version.or(added)) {
        message.option_uint(OCF_CONTENT_VERSION, u32::from(version));
    }
    message.payload(from.payload);
    message.finish();
}

/// An ETag of a legal length; others are ignored, as everything elective that is malformed.
fn is_etag(option: &Opt<'_>) -> bool {
    option.name() == CoapOption::ETag && (1..=8).contains(&option.value.len())
}

fn copy(message: &mut MessageWriter<'_>, from: &Response<'_>, name: CoapOption) {
    for option in from.options.filter(|option| option.name() == name) {
        message.named(name, option.value);
    }
}

/// Writes a representation that is kept, as the client gets it.
pub fn kept_response(
    out: &mut Vec<u8>,
    to: &ClientLeg,
    code: Code,
    format: Option<u16>,
    body: &[u8],
) {
    let mut message = MessageWriter::new(out, code, to.token);
    if let Some(value) = to.observe {
        message.option_uint(CoapOption::Observe.into(), value);
    }
    if let Some(format) = format {
        message.option_uint(CoapOption::ContentFormat.into(), u32::from(format));
    }
    if format == Some(OCF_CBOR) && !body.is_empty() {
        message.option_uint(OCF_CONTENT_VERSION, u32::from(OCF_VERSION_1_0_0));
    }
    message.payload(body);
    message.finish();
}
