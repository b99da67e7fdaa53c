//! The three kinds of simulated device: their resources, representations and what a POST changes.
//!
//! Everything that devices of a kind have in common is static; a device itself keeps four bytes of
//! state.

use ciborium::Value;
use shared::ids::DeviceId;
use shared::ocf::cbor::{self, Writer};

use super::requests::{ARRAY, END, MAP, policy, types};
use super::rng::Rng;

/// Where the cloud is configured (device reference 13.1).
pub const CLOUD_CONF_HREF: &str = "/CoapCloudConfResURI";

/// Policy of a resource that may be discovered and observed.
const OBSERVABLE: u64 = 3;
/// Policy of a resource that may only be discovered.
const DISCOVERABLE: u64 = 1;

/// What a simulated device is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `/switch`, an `oic.r.switch.binary`.
    Switch,
    /// `/temperature`, an `oic.r.temperature` that changes by itself.
    Sensor,
    /// `/light/1`, an `oic.r.switch.binary`, and `/dimming/1`, an `oic.r.light.dimming`.
    Light,
}

/// What stands behind an href.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Description,
    Platform,
    Switch,
    Dimming,
    Temperature,
}

/// A link as the device publishes it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) href: &'static str,
    pub(super) resource_types: &'static [&'static str],
    pub(super) interfaces: &'static [&'static str],
    pub(super) policy: u64,
    pub(super) what: What,
}

impl Link {
    pub(super) fn is_observable(&self) -> bool {
        self.policy & 2 != 0
    }

    /// Whether anything can be changed by POST.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.what, What::Switch | What::Dimming)
    }
}

const fn description(device_type: &'static [&'static str]) -> Link {
    Link {
        href: "/oic/d",
        resource_types: device_type,
        interfaces: &["oic.if.r", "oic.if.baseline"],
        policy: OBSERVABLE,
        what: What::Description,
    }
}

const PLATFORM: Link = Link {
    href: "/oic/p",
    resource_types: &["oic.wk.p"],
    interfaces: &["oic.if.r", "oic.if.baseline"],
    policy: DISCOVERABLE,
    what: What::Platform,
};

const fn switch(href: &'static str) -> Link {
    Link {
        href,
        resource_types: &["oic.r.switch.binary"],
        interfaces: &["oic.if.a", "oic.if.baseline"],
        policy: OBSERVABLE,
        what: What::Switch,
    }
}

static SWITCH: [Link; 3] =
    [description(&["oic.d.switch", "oic.wk.d"]), PLATFORM, switch("/switch")];

static SENSOR: [Link; 3] = [
    description(&["oic.d.sensor", "oic.wk.d"]),
    PLATFORM,
    Link {
        href: "/temperature",
        resource_types: &["oic.r.temperature"],
        interfaces: &["oic.if.s", "oic.if.baseline"],
        policy: OBSERVABLE,
        what: What::Temperature,
    },
];

static LIGHT: [Link; 4] = [
    description(&["oic.d.light", "oic.wk.d"]),
    PLATFORM,
    switch("/light/1"),
    Link {
        href: "/dimming/1",
        resource_types: &["oic.r.light.dimming"],
        interfaces: &["oic.if.a", "oic.if.baseline"],
        policy: OBSERVABLE,
        what: What::Dimming,
    },
];

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Light, Self::Switch, Self::Sensor];

    pub(super) fn links(self) -> &'static [Link] {
        match self {
            Self::Switch => &SWITCH,
            Self::Sensor => &SENSOR,
            Self::Light => &LIGHT,
        }
    }

    /// The hrefs that a device of this kind publishes.
    pub fn hrefs(self) -> impl Iterator<Item = &'static str> {
        self.links().iter().map(|link| link.href)
    }

    /// The resource that changes when the device does something by itself.
    pub fn main_href(self) -> &'static str {
        match self {
            Self::Switch => "/switch",
            Self::Sensor => "/temperature",
            Self::Light => "/light/1",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Switch => "Switch",
            Self::Sensor => "Sensor",
            Self::Light => "Light",
        }
    }
}

/// Who the device is, as far as its representations say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) di: DeviceId,
    pub(super) kind: Kind,
    /// Tells devices of a kind apart for people.
    pub(super) number: u32,
}

impl Identity {
    /// The device's name: `Light 7`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind.title(), self.number)
    }

    /// An id that goes with the device's: the same bytes, one of them changed.
    fn related_id(&self, nth: u8) -> DeviceId {
        let mut bytes = *self.di.as_bytes();
        bytes[15] ^= nth;
        DeviceId::from_bytes(bytes)
    }
}

/// What can be changed, of whatever kind the device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    on: bool,
    dimming_percent: u8,
    temperature_tenths: i16,
}

/// Why a POST is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadBody;

impl State {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { on: false, dimming_percent: 50, temperature_tenths: 150 + rng.below(100) as i16 }
    }

    /// Applies a body; unknown keys are ignored. Returns whether anything has changed.
    pub(super) fn update(&mut self, what: What, body: &[u8]) -> Result<bool, BadBody> {
        let body: Value = cbor::decode(body).map_err(|_| BadBody)?;
        let mut next = *self;
        for (key, value) in body.as_map().ok_or(BadBody)? {
            match (what, key.as_text()) {
                (What::Switch, Some("value")) => next.on = value.as_bool().ok_or(BadBody)?,
                (What::Dimming, Some("dimmingSetting")) => {
                    let percent = value.as_integer().and_then(|value| u8::try_from(value).ok());
                    next.dimming_percent =
                        percent.filter(|&percent| percent <= 100).ok_or(BadBody)?;
                }
                _ => {}
            }
        }
        let changed = *self != next;
        *self = next;
        Ok(changed)
    }

    /// Somebody presses the switch, or the temperature moves. Returns what has changed.
    pub(super) fn change(&mut self, kind: Kind, rng: &mut Rng) -> What {
        match kind {
            Kind::Switch | Kind::Light => {
                self.on = !self.on;
                What::Switch
            }
            Kind::Sensor => {
                let step = 1 + rng.below(5) as i16;
                let rises = match self.temperature_tenths {
                    ..0 => true,
                    400.. => false,
                    _ => rng.below(2) == 0,
                };
                self.temperature_tenths += if rises { step } else { -step };
                What::Temperature
            }
        }
    }

    /// The representation of a resource, with its types and interfaces when `baseline`.
    pub(super) fn represent(
        &self,
        out: &mut Vec<u8>,
        link: &Link,
        baseline: bool,
        identity: &Identity,
    ) {
        out.push(MAP);
        if baseline {
            types(out, link);
        }
        let mut body = Writer(out);
        match link.what {
            What::Switch => {
                body.text("value").bool(self.on);
            }
            What::Dimming => {
                body.text("dimmingSetting").unsigned(self.dimming_percent.into());
            }
            What::Temperature => {
                body.text("temperature").double(f64::from(self.temperature_tenths) / 10.0);
                body.text("units").text("C");
            }
            What::Description => {
                body.text("di").text(&identity.di.text());
                body.text("piid").text(&identity.related_id(1).text());
                body.text("n").text(&identity.name());
                body.text("icv").text("ocf.2.2.5");
                body.text("dmv").text("ocf.res.1.3.0,ocf.sh.1.3.0");
            }
            What::Platform => {
                body.text("pi").text(&identity.related_id(2).text());
                body.text("mnmn").text("OCF Cloud swarm");
            }
        }
        out.push(END);
    }
}

/// The device's own `/oic/res`: its links with the endpoint that it has in its local network.
pub(super) fn discovery(out: &mut Vec<u8>, identity: &Identity, baseline: bool) {
    out.push(ARRAY);
    if baseline {
        out.push(MAP);
        Writer(out).text("rt").array(1).text("oic.wk.res");
        Writer(out).text("if").array(2).text("oic.if.ll").text("oic.if.baseline");
        Writer(out).text("links");
        out.push(ARRAY);
    }
    for link in identity.kind.links() {
        out.push(MAP);
        Writer(out).text("anchor").text(&format!("ocf://{}", identity.di));
        Writer(out).text("href").text(link.href);
        types(out, link);
        policy(out, link);
        Writer(out).text("eps").array(1).map(1).text("ep").text("coaps://[fe80::1]:5684");
        out.push(END);
    }
    if baseline {
        out.extend_from_slice(&[END, END]);
    }
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: Kind) -> Identity {
        Identity { di: DeviceId::from_bytes([7; 16]), kind, number: 3 }
    }

    #[test]
    fn every_representation_is_well_formed() {
        let state = State::new(&mut Rng::new(1));
        for kind in Kind::ALL {
            for link in kind.links() {
                for baseline in [false, true] {
                    let mut out = Vec::new();
                    state.represent(&mut out, link, baseline, &identity(kind));
                    let value: Value = cbor::decode(&out).unwrap();
                    let has_types =
                        value.as_map().unwrap().iter().any(|(key, _)| key.as_text() == Some("rt"));
                    assert_eq!(has_types, baseline, "{}", link.href);
                }
            }
            for baseline in [false, true] {
                let mut out = Vec::new();
                discovery(&mut out, &identity(kind), baseline);
                assert!(cbor::scan(&out).is_ok());
            }
        }
    }

    #[test]
    fn a_body_of_the_wrong_shape_changes_nothing() {
        let mut state = State::new(&mut Rng::new(1));
        let before = state;
        for (what, body) in [
            (What::Switch, &b"\xa1\x65value\x01"[..]),
            (What::Switch, b"\xf5"),
            (What::Switch, b"\xa1\x65value"),
            (What::Dimming, b"\xa1\x6edimmingSetting\x18\x65"),
            (What::Dimming, b"\xa1\x6edimmingSetting\x20"),
        ] {
            assert_eq!(state.update(what, body), Err(BadBody), "{body:02x?}");
            assert_eq!(state, before);
        }
        assert_eq!(state.update(What::Switch, b"\xa1\x65value\xf4"), Ok(false));
        assert_eq!(state.update(What::Switch, b"\xa1\x65value\xf5"), Ok(true));
        assert_eq!(state.update(What::Dimming, b"\xa1\x6edimmingSetting\x18\x64"), Ok(true));
    }

    #[test]
    fn a_sensor_stays_within_the_weather() {
        let mut rng = Rng::new(5);
        let mut state = State::new(&mut rng);
        for _ in 0..10_000 {
            state.change(Kind::Sensor, &mut rng);
            assert!((-10..=410).contains(&state.temperature_tenths));
        }
    }
}
