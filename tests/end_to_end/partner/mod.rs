//! What partner clouds may rely on: the provider's cases of cloud reference 11, against the real
//! programs over HTTPS. `docs/CONFORMANCE.md` says which test proves which case.

mod bearer;
mod devices;
mod docs;
mod events;
mod general;
mod linking;
mod mediator;
mod operators;
mod resources;
mod schemas;
mod time;
mod updates;

use tests::processes::TestCloud;
use tests::rest::Rest;

/// Where all devices are.
const DEVICES: &str = "/api/v1/devices";

/// What CBOR is called.
const CBOR: &str = "application/vnd.ocf+cbor";

/// The entries of the first user's list.
fn list(cloud: &TestCloud, rest: &Rest, query: &str) -> Vec<serde_json::Value> {
    let answer = rest.get(format!("{DEVICES}{query}")).token(&cloud.token()).send().is(200);
    answer.value().as_array().unwrap().clone()
}
