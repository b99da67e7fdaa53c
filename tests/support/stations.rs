//! Devices and clients that the thread of a test drives itself (I/O): the far end of a single
//! connection, as fussy as real stacks.

use std::ops::{Deref, DerefMut};

use loadtest::credentials::Credentials;
use loadtest::device::{
    Answer, Ask, Client, CloudConf, Device, Driven, Event, Failure, Kind, Notification, Pace,
    Response, Settings,
};
use loadtest::driver::Driver;
use serde_json::json;
use shared::ids::DeviceId;

use crate::processes::{LONG, TestCloud};

/// Fussy, and with waits of some hundredths of a second.
pub fn settings() -> Settings {
    Settings { pace: Pace::scaled(0.01).unwrap(), ..Settings::default() }
}

/// The configuration that a Mediator of this user writes into a device.
pub fn configuration(cloud: &TestCloud, token: &str, device: DeviceId) -> CloudConf {
    let rest = cloud.rest();
    let ask = rest.post("/api/v1/mediator/devices").token(token);
    let told = ask.json(&json!({ "di": device.to_string() })).send().is(201).value();
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    CloudConf {
        cis: text("cis").into(),
        sid: text("sid").parse().unwrap(),
        provider: None,
        token: Some(text("accesstoken").into()),
    }
}

/// A device in the hands of the test: it lives only while the test waits for something.
pub struct OwnDevice<'c>(Driver<'c, Device>);

impl<'c> OwnDevice<'c> {
    /// A light of this user, online with its links published.
    pub fn online(cloud: &TestCloud, credentials: &'c Credentials, token: &str, seed: u64) -> Self {
        let mut device = Self::new(credentials, seed);
        let conf = configuration(cloud, token, device.station.di());
        let now = device.now();
        device.station.configure(conf, now);
        device.until("it is published", |device, _| device.is_published());
        device
    }

    /// A light that nobody has configured.
    pub fn new(credentials: &'c Credentials, seed: u64) -> Self {
        let device = Device::new(&settings(), Kind::Light, 1, seed);
        Self(Driver::new(device, credentials))
    }

    /// Lives until it is so.
    pub fn until(&mut self, what: &str, is_so: impl FnMut(&Device, &[Event]) -> bool) {
        until(&mut self.0, what, is_so);
    }
}

impl<'c> Deref for OwnDevice<'c> {
    type Target = Driver<'c, Device>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for OwnDevice<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A client in the hands of the test.
pub struct OwnClient<'c>(Driver<'c, Client>);

impl<'c> OwnClient<'c> {
    /// A client of this user, signed in.
    pub fn online(cloud: &TestCloud, credentials: &'c Credentials, token: &str, seed: u64) -> Self {
        let client = Client::new(&settings(), seed);
        let mut driver = Driver::new(client, credentials);
        let conf = configuration(cloud, token, driver.station.di());
        let now = driver.now();
        driver.station.configure(conf, now);
        until(&mut driver, "it is signed in", |client, _| client.is_signed_in());
        Self(driver)
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub fn ask(&mut self, ask: &Ask<'_>) -> Response {
        self.try_ask(ask).unwrap()
    }

    /// Asks, and waits for the answer or for why there is none.
    pub fn try_ask(&mut self, ask: &Ask<'_>) -> Result<Response, Failure> {
        self.number_and_answer(ask).1
    }

    /// Begins an observation; the number of its request, and the first answer.
    pub fn observe(&mut self, device: DeviceId, href: &str) -> (u64, Response) {
        let (number, answer) = self.number_and_answer(&Ask::Observe { device: Some(device), href });
        (number, answer.unwrap())
    }

    fn number_and_answer(&mut self, ask: &Ask<'_>) -> (u64, Result<Response, Failure>) {
        let now = self.0.now();
        let number = self.0.station.ask(ask, now, now);
        let is_it = |event: &Event| matches!(event, Event::Answer(it) if it.request == number);
        until(&mut self.0, "the answer is there", |_, events| events.iter().any(is_it));
        let at = self.0.events.iter().position(is_it).unwrap();
        let Event::Answer(Answer { result, .. }) = self.0.events.remove(at) else { unreachable!() };
        (number, result)
    }

    /// Waits for the next notification.
    pub fn notification(&mut self) -> Notification {
        let is_one = |event: &Event| matches!(event, Event::Notification(_));
        until(&mut self.0, "a notification is there", |_, events| events.iter().any(is_one));
        let at = self.0.events.iter().position(is_one).unwrap();
        let Event::Notification(it) = self.0.events.remove(at) else { unreachable!() };
        it
    }

    /// What it has noticed that no cloud should do.
    pub fn breaches(&self) -> Vec<String> {
        breaches(&self.0)
    }
}

impl<'c> Deref for OwnClient<'c> {
    type Target = Driver<'c, Client>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for OwnClient<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What a device or client has noticed that no cloud should do.
pub fn breaches<S: Driven>(driver: &Driver<'_, S>) -> Vec<String> {
    let breaches = driver.events.iter().filter_map(|event| match event {
        Event::Breach(breach) => Some(breach.to_string()),
        _ => None,
    });
    breaches.collect()
}

fn until<S: Driven>(
    driver: &mut Driver<'_, S>,
    what: &str,
    is_so: impl FnMut(&S, &[Event]) -> bool,
) {
    let done = driver.run_until(LONG, is_so).unwrap();
    assert!(done, "waited too long until {what}; so far: {:?}", driver.events);
}
