//! What a device says of its own accord: sign-up, sign-in, refresh, publish, sign-off, byte for byte
//! as iotivity-lite frames them (device reference 15.1 and 18).

use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION, OCF_VERSION_1_0_0};
use shared::coap::request::OCF_CBOR;
use shared::coap::{CoapOption, MessageWriter, RequestType, Token};
use shared::ids::{DeviceId, UserId};
use shared::ocf::cbor::Writer;

use super::resources::Link;

/// Begins a map or an array of indefinite length, as device stacks send them, and ends it.
pub(super) const MAP: u8 = 0xbf;
pub(super) const ARRAY: u8 = 0x9f;
pub(super) const END: u8 = 0xff;

/// Header bytes that iotivity-lite has for a request: options beyond them are left out.
const HEADER_BYTES_MAX: usize = 181;
/// What the header of a sign-off takes without its query.
const SIGN_OFF_HEADER_BYTES: usize = 38;

/// A request with a body: the options before and behind it, in the order of their numbers.
fn post(
    out: &mut Vec<u8>,
    token: Token,
    path: &[&str],
    query: Option<&str>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let mut message = MessageWriter::new(out, RequestType::Post, token);
    message.path(path.iter().copied());
    message.option_uint(CoapOption::ContentFormat.into(), OCF_CBOR.into());
    if let Some(query) = query {
        message.named(CoapOption::UriQuery, query.as_bytes());
    }
    accept(&mut message);
    message.option_uint(OCF_CONTENT_VERSION, OCF_VERSION_1_0_0.into());
    message.payload_with(|out| {
        out.push(MAP);
        body(out);
        out.push(END);
    });
    message.finish();
}

/// Accept 10000 in version 1.0.0: on every request.
fn accept(message: &mut MessageWriter<'_>) {
    message.option_uint(CoapOption::Accept.into(), OCF_CBOR.into());
    message.option_uint(OCF_ACCEPT_VERSION, OCF_VERSION_1_0_0.into());
}

/// POST `/oic/sec/account`.
pub(super) fn sign_up(
    out: &mut Vec<u8>,
    token: Token,
    di: DeviceId,
    provider: Option<&str>,
    uid: Option<UserId>,
    access_token: &str,
) {
    post(out, token, &["oic", "sec", "account"], None, |out| {
        let mut body = Writer(out);
        body.text("di").text(&di.text());
        if let Some(provider) = provider {
            body.text("authprovider").text(provider);
        }
        if let Some(uid) = uid {
            body.text("uid").text(&uid.text());
        }
        body.text("accesstoken").text(access_token);
        body.text("devicetype").text("device");
    });
}

/// POST `/oic/sec/session` with `login` true.
pub(super) fn sign_in(
    out: &mut Vec<u8>,
    token: Token,
    uid: UserId,
    di: DeviceId,
    access_token: &str,
) {
    session(out, token, uid, di, access_token, true);
}

/// POST `/oic/sec/session` with `login` false.
pub(super) fn sign_out(
    out: &mut Vec<u8>,
    token: Token,
    uid: UserId,
    di: DeviceId,
    access_token: &str,
) {
    session(out, token, uid, di, access_token, false);
}

fn session(
    out: &mut Vec<u8>,
    token: Token,
    uid: UserId,
    di: DeviceId,
    access_token: &str,
    login: bool,
) {
    post(out, token, &["oic", "sec", "session"], None, |out| {
        let mut body = Writer(out);
        body.text("uid").text(&uid.text());
        body.text("di").text(&di.text());
        body.text("accesstoken").text(access_token);
        body.text("login").bool(login);
    });
}

/// POST `/oic/sec/tokenrefresh`.
pub(super) fn refresh(
    out: &mut Vec<u8>,
    token: Token,
    uid: UserId,
    di: DeviceId,
    provider: Option<&str>,
    refresh_token: &str,
) {
    post(out, token, &["oic", "sec", "tokenrefresh"], None, |out| {
        let mut body = Writer(out);
        body.text("uid").text(&uid.text());
        body.text("di").text(&di.text());
        if let Some(provider) = provider {
            body.text("authprovider").text(provider);
        }
        body.text("granttype").text("refresh_token");
        body.text("refreshtoken").text(refresh_token);
    });
}

/// Whether the header of a sign-off has room for this access token. Without room the device signs in
/// first and names only itself.
pub(super) fn sign_off_carries(access_token: &str) -> bool {
    let uuid = shared::ids::UUID_TEXT_LEN;
    let query =
        "uid=".len() + uuid + "&di=".len() + uuid + "&accesstoken=".len() + access_token.len();
    SIGN_OFF_HEADER_BYTES + query <= HEADER_BYTES_MAX
}

/// DELETE `/oic/sec/account`.
pub(super) fn sign_off(
    out: &mut Vec<u8>,
    token: Token,
    uid: UserId,
    di: DeviceId,
    access_token: &str,
) {
    let mut message = MessageWriter::new(out, RequestType::Delete, token);
    message.path(["oic", "sec", "account"]);
    message.named(CoapOption::UriQuery, format!("uid={uid}").as_bytes());
    message.named(CoapOption::UriQuery, format!("di={di}").as_bytes());
    if sign_off_carries(access_token) {
        message.named(CoapOption::UriQuery, format!("accesstoken={access_token}").as_bytes());
    }
    accept(&mut message);
    message.finish();
}

/// POST `/oic/rd?rt=oic.wk.rdpub`: each link with the number that the device made up for it.
pub(super) fn publish(
    out: &mut Vec<u8>,
    token: Token,
    di: DeviceId,
    name: &str,
    links: impl IntoIterator<Item = (&'static Link, u32)>,
) {
    post(out, token, &["oic", "rd"], Some("rt=oic.wk.rdpub"), |out| {
        Writer(out).text("di").text(&di.text()).text("n").text(name).text("ttl").unsigned(0);
        Writer(out).text("links");
        out.push(ARRAY);
        for (link, instance) in links {
            out.push(MAP);
            Writer(out).text("href").text(link.href);
            types(out, link);
            Writer(out).text("rel").text("hosts").text("ins").unsigned(instance.into());
            policy(out, link);
            out.push(END);
        }
        out.push(END);
    });
}

/// `rt` and `if` of a link, in arrays of indefinite length.
pub(super) fn types(out: &mut Vec<u8>, link: &Link) {
    for (key, values) in [("rt", link.resource_types), ("if", link.interfaces)] {
        Writer(out).text(key);
        out.push(ARRAY);
        for value in values {
            Writer(out).text(value);
        }
        out.push(END);
    }
}

/// `p` of a link.
pub(super) fn policy(out: &mut Vec<u8>, link: &Link) {
    Writer(out).text("p");
    out.push(MAP);
    Writer(out).text("bm").unsigned(link.policy);
    out.push(END);
}

/// A request of a client, without a body or with one that is CBOR already.
pub(super) struct ClientRequest<'a> {
    pub(super) method: RequestType,
    /// None for the cloud's own resources.
    pub(super) device: Option<DeviceId>,
    pub(super) href: &'a str,
    /// `key=value` pairs.
    pub(super) query: &'a [&'a str],
    /// Observe 0 or 1.
    pub(super) observe: Option<u32>,
    pub(super) body: &'a [u8],
}

impl ClientRequest<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>, token: Token) {
        let mut message = MessageWriter::new(out, self.method, token);
        if let Some(observe) = self.observe {
            message.option_uint(CoapOption::Observe.into(), observe);
        }
        if let Some(device) = self.device {
            message.named(CoapOption::UriPath, device.text().as_bytes());
        }
        message.path(self.href.split('/').filter(|segment| !segment.is_empty()));
        if !self.body.is_empty() {
            message.option_uint(CoapOption::ContentFormat.into(), OCF_CBOR.into());
        }
        for query in self.query {
            message.named(CoapOption::UriQuery, query.as_bytes());
        }
        accept(&mut message);
        if !self.body.is_empty() {
            message.option_uint(OCF_CONTENT_VERSION, OCF_VERSION_1_0_0.into());
        }
        message.payload(self.body);
        message.finish();
    }
}
