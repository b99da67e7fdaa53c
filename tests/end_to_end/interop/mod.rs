//! What others wrote, as devices, clients and TLS peers.

mod aiocoap;
mod libcoap;
mod openssl;
mod openssl_life;

use std::path::{Path, PathBuf};

use serde_json::Value;
use shared::ids::DeviceId;
use tests::processes::TestCloud;
use tests::stations::configuration;

/// The device of these tests.
const DEVICE: &str = "5f1d0f2e-8c1f-4a52-9a55-0d7b5d7f0001";
/// The client of these tests.
const CLIENT: &str = "5f1d0f2e-8c1f-4a52-9a55-0d7b5d7f0002";

/// A file beside the tests.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

/// The single-use token that a Mediator writes into a device.
fn token(cloud: &TestCloud, di: &str) -> String {
    let di: DeviceId = di.parse().unwrap();
    configuration(cloud, &cloud.token(), di).token.unwrap().to_string()
}

/// The hrefs in an answer of `/oic/res`.
fn hrefs(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|link| link["href"].as_str().unwrap()).collect()
}
