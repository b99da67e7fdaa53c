//! Which requests are the same but for their blocks: the method and what names the body
//! (RFC 7959 §2.4, §2.5, RFC 9175 §3).

use shared::coap::{CoapOption, Code, Opt, Request};

/// Request-Tag (RFC 9175 §3.2): tells uploads to the same resource apart.
const REQUEST_TAG: u16 = 292;

/// Of a request whose body comes in blocks.
pub fn of_upload(request: &Request<'_>) -> Box<[u8]> {
    key(request, |option| {
        names_body(option)
            || option.name() == CoapOption::ContentFormat
            || option.number == REQUEST_TAG
    })
}

/// Of a request whose answer goes out in blocks. Those for the later blocks repeat the body's name
/// and nothing else that they need to.
pub fn of_download(request: &Request<'_>) -> Box<[u8]> {
    key(request, names_body)
}

fn names_body(option: &Opt<'_>) -> bool {
    matches!(option.name(), CoapOption::UriPath | CoapOption::UriQuery | CoapOption::Accept)
}

fn key(request: &Request<'_>, counts: impl Fn(&Opt<'_>) -> bool) -> Box<[u8]> {
    let mut key = vec![Code::from(request.method).byte()];
    for option in request.options.filter(counts) {
        key.extend_from_slice(&option.number.to_be_bytes());
        key.extend_from_slice(&(option.value.len() as u32).to_be_bytes());
        key.extend_from_slice(option.value);
    }
    key.into()
}
