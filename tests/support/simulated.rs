//! Devices and clients that behave as real stacks do, weaknesses and all: the same as in the swarm.

use std::time::Duration;

use loadtest::device::{
    Answer, Ask, Client, CloudConf, CloudState, Device, Event, Input, Notification, Response,
};
use shared::ids::DeviceId;

use crate::certificates::CLOUD;
use crate::station::Station;
use crate::world::{ENDPOINT, World};

/// Longer than a device takes from its configuration to its links.
const PATIENCE: Duration = Duration::from_secs(10);

fn conf(token: &str) -> CloudConf {
    CloudConf { cis: ENDPOINT.into(), sid: CLOUD, provider: None, token: Some(token.into()) }
}

/// A simulated device.
#[derive(Clone)]
pub struct FussyDevice {
    /// Where it lives.
    pub world: World,
    pub(super) station: usize,
}

impl FussyDevice {
    /// Does something with the device.
    pub fn with<R>(&self, act: impl FnOnce(&mut Device) -> R) -> R {
        let mut state = self.world.state();
        match &mut state.stations[self.station] {
            Station::Device(device, _) => act(device),
            Station::Client(..) | Station::Script(_) => unreachable!("it is a device"),
        }
    }

    /// Its device id.
    pub fn id(&self) -> DeviceId {
        self.with(|device| device.di())
    }

    /// A Mediator configures it with this token.
    pub fn configure(&self, token: &str) {
        let now = self.world.now().instant;
        self.with(|device| device.configure(conf(token), now));
        self.world.settle();
    }

    /// Waits until it has published its links.
    pub fn published(&self) {
        self.world.advance(PATIENCE);
        assert!(self.with(|device| device.is_published()), "{:?}", self.events());
    }

    /// Whether it has a session.
    pub fn is_signed_in(&self) -> bool {
        self.with(|device| device.is_signed_in())
    }

    /// How far it has come with the cloud.
    pub fn cloud_state(&self) -> CloudState {
        self.with(|device| device.cloud_state())
    }

    /// The path of its main resource, as clients ask for it.
    pub fn main_path(&self) -> String {
        self.with(|device| format!("/{}{}", device.di(), device.kind().main_href()))
    }

    /// Its state changes by itself.
    pub fn change(&self) {
        self.with(Device::change);
        self.world.settle();
    }

    /// It is switched on again, after a sign-out or a loss of power.
    pub fn switch_on(&self) {
        let now = self.world.now().instant;
        self.with(|device| device.handle(Input::SwitchedOn, now));
        self.world.settle();
    }

    /// What it has said of itself so far.
    pub fn events(&self) -> Vec<Event> {
        events(&self.world, self.station)
    }

    /// The network loses its connection.
    pub fn lose(&self) {
        lose(&self.world, self.station);
    }
}

/// A simulated client.
#[derive(Clone)]
pub struct FussyClient {
    /// Where it lives.
    pub world: World,
    pub(super) station: usize,
}

impl FussyClient {
    /// Does something with the client.
    pub fn with<R>(&self, act: impl FnOnce(&mut Client) -> R) -> R {
        let mut state = self.world.state();
        match &mut state.stations[self.station] {
            Station::Client(client, _) => act(client),
            Station::Device(..) | Station::Script(_) => unreachable!("it is a client"),
        }
    }

    /// Its device id.
    pub fn id(&self) -> DeviceId {
        self.with(|client| client.di())
    }

    /// A Mediator configures it with this token.
    pub fn configure(&self, token: &str) {
        let now = self.world.now().instant;
        self.with(|client| client.configure(conf(token), now));
        self.world.settle();
    }

    /// Waits until it has signed in.
    pub fn signed_in(&self) {
        self.world.advance(PATIENCE);
        assert!(
            self.with(|client| client.is_signed_in()),
            "{:?}",
            events(&self.world, self.station)
        );
    }

    /// Asks, and gets the answer without the passing of time.
    pub fn ask(&self, ask: &Ask<'_>) -> Response {
        let request = self.begin(ask);
        self.answer(request).expect("it is answered without the passing of time")
    }

    /// Asks. Returns the number of the request.
    pub fn begin(&self, ask: &Ask<'_>) -> u64 {
        let now = self.world.now().instant;
        let request = self.with(|client| client.ask(ask, now, now));
        self.world.settle();
        request
    }

    /// The answer to a request, if it has come.
    pub fn answer(&self, request: u64) -> Option<Response> {
        let answers = events(&self.world, self.station).into_iter().rev();
        let mut answers = answers.filter_map(|event| match event {
            Event::Answer(Answer { request: number, result, .. }) if number == request => {
                Some(result.expect("the request is not lost"))
            }
            _ => None,
        });
        answers.next()
    }

    /// The notifications of an observation so far.
    pub fn notifications(&self, request: u64) -> Vec<Response> {
        let all = events(&self.world, self.station).into_iter();
        let mine = all.filter_map(|event| match event {
            Event::Notification(Notification { request: number, response }) => {
                (number == request).then_some(response)
            }
            _ => None,
        });
        mine.collect()
    }

    /// The network loses its connection.
    pub fn lose(&self) {
        lose(&self.world, self.station);
    }
}

fn events(world: &World, station: usize) -> Vec<Event> {
    let state = world.state();
    let all = state.events.iter().filter(|(other, _)| *other == station);
    all.map(|(_, event)| event.clone()).collect()
}

fn lose(world: &World, station: usize) {
    {
        let mut state = world.state();
        state.hang_up(station, false);
        let now = state.instant;
        state.stations[station].closed(now);
    }
    world.settle();
}
