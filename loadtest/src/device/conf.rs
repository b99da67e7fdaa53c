//! The cloud configuration of a device, `oic.r.coapcloudconf` (device reference 13.1): its
//! properties, what may be written when, and how it reads.

use std::sync::Arc;

use ciborium::Value;
use shared::ids::CloudId;
use shared::ocf::cbor::{self, Writer};

use super::requests::{ARRAY, END, MAP};

/// Scheme of the cloud's address.
const SCHEME: &str = "coaps+tcp://";
/// Its default port.
const PORT: u16 = 5684;
/// What `cis` reads when nothing is configured.
const UNCONFIGURED: &str = "coaps+tcp://127.0.0.1";

/// `cps`: how far the device has come with the cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloudState {
    /// Not configured.
    Uninitialized,
    /// Configured; the first try is 1 to 2 s away.
    ReadyToRegister,
    /// Signs up.
    Registering,
    /// Has an account.
    Registered,
    /// Has given up; `clec` says why. Waits for a new configuration.
    Failed,
    /// Signs off.
    Deregistering,
}

impl CloudState {
    /// Its spelling in `cps`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uninitialized => "uninitialized",
            Self::ReadyToRegister => "readytoregister",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Failed => "failed",
            Self::Deregistering => "deregistering",
        }
    }

    /// Whether a whole new configuration is accepted.
    pub(super) fn accepts_configuration(self) -> bool {
        !matches!(self, Self::Registering | Self::Registered)
    }
}

/// `clec`: the last error with the cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LastError {
    /// 0.
    #[default]
    None,
    /// 1: the cloud answered a sign-up with an error.
    ErrorAnswer,
    /// 2: no connection came about.
    CannotConnect,
    /// 3: the token could not be refreshed.
    RefreshFailed,
}

impl LastError {
    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ErrorAnswer => 1,
            Self::CannotConnect => 2,
            Self::RefreshFailed => 3,
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::ErrorAnswer,
            2 => Self::CannotConnect,
            3 => Self::RefreshFailed,
            _ => Self::None,
        }
    }
}

/// What a Mediator writes.
#[derive(Clone, PartialEq, Eq)]
pub struct CloudConf {
    /// Where the cloud is: `coaps+tcp://host:port`.
    pub cis: Box<str>,
    /// Who the cloud is.
    pub sid: CloudId,
    /// The authorisation provider (`apn`), if it is not the cloud's own.
    pub provider: Option<Box<str>>,
    /// The single-use token (`at`), until it was used.
    pub token: Option<Box<str>>,
}

impl CloudConf {
    /// The body of the POST by which a Mediator configures a device.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut body = Writer(&mut out);
        let pairs = 2 + usize::from(self.token.is_some()) + usize::from(self.provider.is_some());
        body.map(pairs).text("cis").text(&self.cis).text("sid").text(&self.sid.text());
        if let Some(token) = &self.token {
            body.text("at").text(token);
        }
        if let Some(provider) = &self.provider {
            body.text("apn").text(provider);
        }
        out
    }
}

/// A cloud, as many devices may know it in common.
#[derive(Clone, PartialEq, Eq)]
pub struct Cloud {
    pub(super) cis: Box<str>,
    pub(super) sid: CloudId,
    pub(super) provider: Option<Box<str>>,
}

/// A configuration as a device keeps it.
#[derive(Clone)]
pub(super) struct Conf {
    pub(super) cloud: Arc<Cloud>,
    /// The single-use token, until it was used.
    pub(super) token: Option<Box<str>>,
}

impl Conf {
    /// From now on the cloud is at another address.
    pub(super) fn redirect(&mut self, cis: Box<str>) {
        self.cloud = Arc::new(Cloud { cis, ..Cloud::clone(&self.cloud) });
    }
}

impl From<CloudConf> for Conf {
    fn from(conf: CloudConf) -> Self {
        let CloudConf { cis, sid, provider, token } = conf;
        Self { cloud: Arc::new(Cloud { cis, sid, provider }), token }
    }
}

/// A POST to the resource, understood.
#[derive(PartialEq, Eq)]
pub(super) enum ConfWrite {
    /// cis, sid and at: begin anew.
    Configure(CloudConf),
    /// `cis` is empty: leave the cloud.
    Deregister,
}

/// The body is no configuration: 4.00.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadConf;

impl ConfWrite {
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadConf> {
        let body: Value = cbor::decode(body).map_err(|_| BadConf)?;
        let (mut cis, mut sid, mut token, mut provider) = (None, None, None, None);
        for (key, value) in body.as_map().ok_or(BadConf)? {
            let slot = match key.as_text() {
                Some("cis") => &mut cis,
                Some("sid") => &mut sid,
                Some("at") => &mut token,
                Some("apn") => &mut provider,
                // Read-only.
                Some("cps" | "clec") => return Err(BadConf),
                _ => continue,
            };
            *slot = Some(value.as_text().ok_or(BadConf)?);
        }
        match (cis, sid, token) {
            (Some(""), _, _) => Ok(Self::Deregister),
            (Some(cis), Some(sid), Some(token))
                if authority(cis).is_some() && !token.is_empty() =>
            {
                Ok(Self::Configure(CloudConf {
                    cis: cis.into(),
                    sid: sid.parse().map_err(|_| BadConf)?,
                    provider: provider.filter(|apn| !apn.is_empty()).map(Into::into),
                    token: Some(token.into()),
                }))
            }
            _ => Err(BadConf),
        }
    }
}

/// Host and port of a `cis`; none when it is no address of an OCF Cloud.
pub fn authority(cis: &str) -> Option<(&str, u16)> {
    let authority = cis.strip_prefix(SCHEME)?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host, port))
}

/// Writes what a GET of the resource shows.
pub(super) fn represent(
    out: &mut Vec<u8>,
    cloud: Option<&Cloud>,
    state: CloudState,
    last_error: LastError,
    baseline: bool,
) {
    out.push(MAP);
    if baseline {
        for (key, values) in
            [("rt", &["oic.r.coapcloudconf"][..]), ("if", &["oic.if.rw", "oic.if.baseline"])]
        {
            Writer(out).text(key);
            out.push(ARRAY);
            for value in values {
                Writer(out).text(value);
            }
            out.push(END);
        }
    }
    let mut body = Writer(out);
    let nil = CloudId::from_bytes([0; 16]);
    body.text("apn").text(cloud.and_then(|cloud| cloud.provider.as_deref()).unwrap_or_default());
    body.text("cis").text(cloud.map_or(UNCONFIGURED, |cloud| &cloud.cis));
    body.text("sid").text(&cloud.map_or(nil, |cloud| cloud.sid).text());
    body.text("clec").unsigned(last_error.number().into());
    body.text("cps").text(state.as_str());
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cis_names_host_and_port() {
        for (cis, expected) in [
            ("coaps+tcp://cloud.example.com:5685", Some(("cloud.example.com", 5685))),
            ("coaps+tcp://cloud.example.com", Some(("cloud.example.com", 5684))),
            ("coaps+tcp://[::1]:9", Some(("::1", 9))),
            ("coaps+tcp://[::1]", Some(("::1", 5684))),
            ("coaps+tcp://", None),
            ("coaps+tcp://:1", None),
            ("coaps+tcp://host:port", None),
            ("coap://host", None),
        ] {
            assert_eq!(authority(cis), expected, "{cis}");
        }
    }

    fn conf() -> CloudConf {
        CloudConf {
            cis: "coaps+tcp://127.0.0.1:1".into(),
            sid: CloudId::from_bytes([1; 16]),
            provider: Some("example".into()),
            token: Some("first".into()),
        }
    }

    #[test]
    fn what_a_mediator_writes_is_what_the_device_reads() {
        assert!(ConfWrite::parse(&conf().body()) == Ok(ConfWrite::Configure(conf())));
    }

    #[test]
    fn a_configuration_without_token_or_with_read_only_properties_is_refused() {
        let without = CloudConf { token: None, ..conf() };
        assert!(ConfWrite::parse(&without.body()) == Err(BadConf));
        let empty = CloudConf { token: Some("".into()), ..conf() };
        assert!(ConfWrite::parse(&empty.body()) == Err(BadConf));
        assert!(ConfWrite::parse(b"\xa1\x63cps\x61a") == Err(BadConf));
        assert!(ConfWrite::parse(b"\xa2\x63cis\x60\x64clec\x00") == Err(BadConf));
        assert!(ConfWrite::parse(b"\xa1\x63cis\x01") == Err(BadConf));
        assert!(ConfWrite::parse(b"\xa1\x63cis\x60") == Ok(ConfWrite::Deregister));
    }
}
