//! One simulated device or client, sans-IO: no sockets, no clock, no randomness of its own.
//!
//! ```text
//! bytes of one read ─► records ─► tls ─► frames ─► station ─┬► registration   sign-up, -in, refresh, pings
//!                      └─────────── link ───────┘           ├► server         a device's resources
//!                                                           └► client         what a client asks
//! ```
//!
//! It behaves as iotivity-lite does on the wire (device reference 13, 15.1), timers and all. A
//! [`Stack::Fussy`] device has the weaknesses of the real one too and names every rule of 1.3 that the
//! cloud breaks; that is what tests use. [`Pace`] scales its waits for load tests.
//!
//! Reading order: `input`, `station`, `registration`, `link`, then `server` and `client`.

mod answers;
mod breach;
mod client;
mod conf;
mod frames;
mod input;
mod line;
mod link;
mod memory;
mod pace;
mod records;
mod registration;
mod requests;
mod resources;
mod rng;
mod server;
mod stack;
mod station;
mod step;
mod tls;

#[cfg(test)]
mod tests;

use std::time::Duration;

use shared::coap::ResponseType;
use shared::ids::DeviceId;
use shared::time::Instant;

pub use breach::Breach;
pub use client::{Ask, Asker, DiscoveredLink, discovered_links};
pub use conf::{Cloud, CloudConf, CloudState, LastError, authority};
pub use input::{Answer, Event, Input, Notification, Output, Response};
pub use memory::{AccountMemory, CloudMemory, Memory};
pub use pace::Pace;
pub use resources::{CLOUD_CONF_HREF, Kind};
pub use server::Server;
pub use stack::Stack;
pub use station::{Driven, Station};
pub use step::{Failure, Step};
pub use tls::allow_take_over;

use conf::ConfWrite;
use resources::{Identity, State};
pub(crate) use rng::Rng;

/// A simulated device.
pub type Device = Station<Server>;

/// A simulated client.
pub type Client = Station<Asker>;

/// What devices of a swarm or test have in common.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// How much it forgives.
    pub stack: Stack,
    /// How fast it lives.
    pub pace: Pace,
    /// How often its state changes by itself while it is signed in.
    pub change_every: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stack: Stack::Fussy, pace: Pace::REAL, change_every: None }
    }
}

impl Device {
    /// A device as it leaves the factory. Everything that is random about it comes from `seed`;
    /// `number` is part of its name.
    pub fn new(settings: &Settings, kind: Kind, number: u32, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let di = DeviceId::from_random(rng.bytes16());
        Self::made(settings, Identity { di, kind, number }, rng)
    }

    /// A device after a power cut: with what it kept.
    pub fn restore(
        settings: &Settings,
        kind: Kind,
        number: u32,
        seed: u64,
        memory: &Memory,
    ) -> Self {
        let identity = Identity { di: memory.di, kind, number };
        let mut device = Self::made(settings, identity, Rng::new(seed));
        device.restore_registration(memory);
        device.application.is_published = memory.published;
        device
    }

    fn made(settings: &Settings, identity: Identity, mut rng: Rng) -> Self {
        let state = State::new(&mut rng);
        let server = Server::new(identity, state, settings.change_every);
        Self::with(identity.di, settings, rng, server)
    }

    /// What it keeps over a power cut.
    pub fn memory(&self) -> Memory {
        Memory { published: self.is_published(), ..self.registration_memory() }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.application.identity.kind
    }

    /// Whether its links are in the cloud's directory, as far as it knows.
    pub fn is_published(&self) -> bool {
        self.application.is_published
    }

    /// How many observations it serves.
    pub fn observers(&self) -> usize {
        self.application.observers()
    }

    /// Whether it owns no memory but its tokens and, on a connection, its keys.
    #[cfg(test)]
    fn is_idle(&mut self) -> bool {
        self.application.is_idle() && self.line.is_idle()
    }

    /// Somebody presses the switch, or the temperature moves.
    pub fn change(&mut self) {
        self.application.change(&mut self.registration, &mut self.line);
    }

    /// POST on [`CLOUD_CONF_HREF`] from the local network: how a Mediator configures the device.
    /// Returns the code of the answer.
    pub fn write_cloud_conf(&mut self, body: &[u8], now: Instant) -> ResponseType {
        match ConfWrite::parse(body) {
            Ok(ConfWrite::Deregister) => self.sign_off(now),
            Ok(ConfWrite::Configure(conf)) if self.cloud_state().accepts_configuration() => {
                self.publish_anew();
                self.configure(conf, now);
            }
            Ok(ConfWrite::Configure(_)) | Err(_) => return ResponseType::BadRequest,
        }
        ResponseType::Changed
    }

    /// GET on [`CLOUD_CONF_HREF`] from the local network, with `oic.if.baseline` or without.
    pub fn read_cloud_conf(&self, baseline: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let cloud = self.registration.conf.as_ref().map(|conf| &*conf.cloud);
        conf::represent(&mut out, cloud, self.cloud_state(), self.last_error(), baseline);
        out
    }

    /// A new registration publishes anew: the cloud has deleted the links with the old one.
    fn publish_anew(&mut self) {
        self.application.forget_publication();
    }
}

impl Client {
    /// A client that nobody has configured. Everything that is random about it comes from `seed`.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let di = DeviceId::from_random(rng.bytes16());
        Self::with(di, settings, rng, Asker::default())
    }

    /// A client after a restart: with what it kept.
    pub fn restore(settings: &Settings, seed: u64, memory: &Memory) -> Self {
        let mut client = Self::with(memory.di, settings, Rng::new(seed), Asker::default());
        client.restore_registration(memory);
        client
    }

    /// What it keeps over a restart.
    pub fn memory(&self) -> Memory {
        self.registration_memory()
    }
}

/// Swarms have very many of them. Each also owns its tokens, and while it is connected its TLS.
const _: () = assert!(size_of::<Device>() <= 216);
