//! A place in a core's table: one device or client, its socket, and what it waits for.

use std::sync::Arc;

use shared::ids::DeviceId;
use shared::ring::SocketId;
use shared::time::Instant;

use crate::device::{
    Client, Cloud, CloudConf, Device, DiscoveredLink, Driven, Input, Memory, Output,
};
use crate::state::Entry;

/// One device or client.
pub(super) struct Slot {
    pub(super) actor: Actor,
    /// Its place among the devices, or among the clients.
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) socket: Option<SocketId>,
    /// How it was last counted.
    pub(super) counted: Counted,
    /// It was cut off at this millisecond of the clock and is not signed in again; 0 if it was not.
    pub(super) cut_at_millis: u32,
}

/// How far it is from being switched on.
pub(super) enum Phase {
    /// The Mediator was asked; the request was due then.
    Provisioning(Instant),
    /// It will be switched on when its timer fires; configured first, unless it was before.
    Arriving(Option<Box<CloudConf>>),
    Living,
    /// The Mediator got no token for it.
    Unprovisioned,
}

/// What a device counts as in the live numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counted {
    pub(super) online: bool,
    pub(super) ready: bool,
    pub(super) failed: bool,
}

/// Devices and clients, driven alike.
#[expect(clippy::large_enum_variant, reason = "nearly all are devices: a box each would cost more")]
pub(super) enum Actor {
    Device(Device),
    Client(Box<ActiveClient>),
}

/// A client and what it knows to ask for.
pub(super) struct ActiveClient {
    pub(super) client: Client,
    pub(super) targets: Vec<Target>,
}

/// A resource that a client reads or changes.
pub(super) struct Target {
    pub(super) device: DeviceId,
    pub(super) href: Box<str>,
    pub(super) kind: TargetKind,
}

/// What can be done with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TargetKind {
    Switch,
    Dimming,
    ReadOnly,
}

/// Most resources that a client keeps in mind.
const TARGETS_MAX: usize = 64;

impl ActiveClient {
    /// Remembers what a discovery has shown, apart from what every device has.
    pub(super) fn discovered(&mut self, links: Vec<DiscoveredLink>) {
        let targets = links.into_iter().filter_map(|link| {
            let is = |name: &str| link.resource_types.iter().any(|rt| rt == name);
            let kind = if is("oic.r.switch.binary") {
                TargetKind::Switch
            } else if is("oic.r.light.dimming") {
                TargetKind::Dimming
            } else if is("oic.r.temperature") {
                TargetKind::ReadOnly
            } else {
                return None;
            };
            Some(Target { device: link.device, href: link.href.into(), kind })
        });
        self.targets = targets.take(TARGETS_MAX).collect();
    }
}

impl Actor {
    /// What both sorts have in common.
    fn driven(&self) -> &dyn Driven {
        match self {
            Self::Device(device) => device,
            Self::Client(active) => &active.client,
        }
    }

    fn driven_mut(&mut self) -> &mut dyn Driven {
        match self {
            Self::Device(device) => device,
            Self::Client(active) => &mut active.client,
        }
    }

    pub(super) fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.driven_mut().handle(input, now);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.driven_mut().poll_output()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.driven().poll_timeout()
    }

    pub(super) fn di(&self) -> DeviceId {
        self.driven().di()
    }

    pub(super) fn cis(&self) -> Option<&str> {
        self.driven().cis()
    }

    pub(super) fn configure(&mut self, conf: CloudConf, now: Instant) {
        match self {
            // The way a Mediator goes, through the device's resource.
            Self::Device(device) => {
                let answer = device.write_cloud_conf(&conf.body(), now);
                debug_assert_eq!(answer, shared::coap::ResponseType::Changed);
            }
            Self::Client(active) => active.client.configure(conf, now),
        }
    }

    /// See [`Station::share_cloud`](crate::device::Station::share_cloud).
    pub(super) fn share_cloud(&mut self, known: &mut Vec<Arc<Cloud>>) {
        match self {
            Self::Device(device) => device.share_cloud(known),
            Self::Client(active) => active.client.share_cloud(known),
        }
    }

    fn memory(&self) -> Memory {
        match self {
            Self::Device(device) => device.memory(),
            Self::Client(active) => active.client.memory(),
        }
    }
}

impl Slot {
    pub(super) fn new(actor: Actor, number: u32, phase: Phase) -> Self {
        let counted = Counted::default();
        Self { actor, number, phase, socket: None, counted, cut_at_millis: 0 }
    }

    /// What a state file keeps of it.
    pub(super) fn entry(&self) -> Entry {
        let kind = match &self.actor {
            Actor::Device(device) => Some(device.kind()),
            Actor::Client(_) => None,
        };
        Entry { number: self.number, kind, memory: self.actor.memory() }
    }
}

/// Swarms have very many of them; see also the bound of a device itself.
const _: () = assert!(size_of::<Slot>() <= 256);
