//! What partner clouds may rely on: the provider's cases of cloud reference 11, against the real
//! programs over HTTPS. `docs/CONFORMANCE.md` says which test proves which case.

mod bearer;
mod clients;
mod devices;
mod docs;
mod events;
mod general;
mod linking;
mod mediator;
mod notifications;
mod operators;
mod resources;
mod schemas;
mod schemathesis;
mod subscribing;
mod subscriptions;
mod time;
mod trust;
mod updates;

use tests::processes::{LONG, Setup, TestCloud};
use tests::rest::Rest;

/// Where all devices are.
const DEVICES: &str = "/api/v1/devices";

/// What CBOR is called.
const CBOR: &str = "application/vnd.ocf+cbor";

/// Where nothing ends a wait before all patience does, but the limit that a test is about: `api` says
/// with [`waits`] which that is.
fn unhurried(api: fn(&mut toml::Table)) -> Setup {
    let gateway = |config: &mut toml::Table| {
        let timers = config["timers"].as_table_mut().unwrap();
        timers.insert("request_secs".into(), 3600.into());
    };
    Setup { api, gateway, ..Setup::default() }
}

/// The API waits so long for a device, and for everything else for longer than anything takes.
fn waits(config: &mut toml::Table, device_ms: i64) {
    let long = i64::try_from(LONG.as_millis()).unwrap();
    let timeouts = [("device_ms", device_ms), ("store_ms", long), ("response_ms", 2 * long)];
    let timeouts = timeouts.map(|(name, ms)| (name.to_owned(), ms.into()));
    config.insert("timeouts".into(), toml::Table::from_iter(timeouts).into());
}

/// The entries of the first user's list.
fn list(cloud: &TestCloud, rest: &Rest, query: &str) -> Vec<serde_json::Value> {
    let answer = rest.get(format!("{DEVICES}{query}")).token(&cloud.token()).send().is(200);
    answer.value().as_array().unwrap().clone()
}
