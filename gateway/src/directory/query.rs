//! The filter of GET `/oic/res` (device reference 9.1).

use std::borrow::Cow;

use shared::ids::DeviceId;
use shared::ocf::link::DISCOVERABLE;

use super::archive::LinkRef;
use crate::reject::Reject;

/// How the links are presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interface {
    /// `oic.if.ll`: an array of links.
    #[default]
    LinkList,
    /// `oic.if.baseline`: one map that holds the array.
    Baseline,
}

/// The pairs of a query, kept for as long as somebody observes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// Keeps these.
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> Self {
        Self(pairs.map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// The pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().map(|(key, value)| (&**key, Cow::Borrowed(&**value)))
    }
}

/// Which links are wanted. Values of one key are alternatives; different keys must all match.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// How they are presented.
    pub interface: Interface,
    resource_types: Values<'a>,
    interfaces: Values<'a>,
    devices: Option<Vec<Option<DeviceId>>>,
    instances: Option<Vec<u32>>,
}

type Values<'a> = Vec<Cow<'a, str>>;

impl<'a> Query<'a> {
    /// Understands the pairs of a query. Unknown keys are ignored.
    pub fn parse(pairs: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> Result<Self, Reject> {
        let mut query = Self::default();
        for (key, value) in pairs {
            match (key, &*value) {
                ("if", "oic.if.ll") => query.interface = Interface::LinkList,
                ("if", "oic.if.baseline") => query.interface = Interface::Baseline,
                ("if", "oic.if.b") => return Err(Reject::bad_request("oic.if.b is not offered")),
                ("if", _) => query.interfaces.push(value),
                ("rt", _) => query.resource_types.push(value),
                // A device that does not exist matches nothing, which is no error.
                ("di", id) => query.devices.get_or_insert_default().push(id.parse().ok()),
                ("ins", number) => {
                    let number =
                        number.parse().map_err(|_| Reject::bad_request("ins is not a number"))?;
                    query.instances.get_or_insert_default().push(number);
                }
                _ => {}
            }
        }
        Ok(query)
    }

    /// Whether links of this device are wanted at all.
    pub fn wants_device(&self, device: DeviceId) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&Some(device)))
    }

    /// Whether this link is wanted. Links that are not discoverable never are.
    pub fn wants_link(&self, link: LinkRef<'_>) -> bool {
        u64::from(link.policy()) & DISCOVERABLE != 0
            && (self.resource_types.is_empty()
                || link.resource_types().any(|rt| has(&self.resource_types, rt)))
            && (self.interfaces.is_empty()
                || link.interfaces().any(|interface| has(&self.interfaces, interface)))
            && self.instances.as_ref().is_none_or(|numbers| numbers.contains(&link.instance()))
    }
}

fn has(values: &Values<'_>, value: &str) -> bool {
    values.iter().any(|wanted| wanted == value)
}
