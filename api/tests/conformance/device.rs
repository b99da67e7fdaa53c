//! One device: cases 78 to 81.

use serde_json::json;

use crate::support::world::{ALICE, LOCK, SENSOR, UNKNOWN};
use crate::support::{Cloud, Device};

fn path(device: &str) -> String {
    format!("/api/v1/devices/{device}")
}

#[tokio::test]
async fn case_78_one_device_is_an_object() {
    let cloud = Cloud::start().await;
    let list = cloud.get("/api/v1/devices").send().await.json();
    let one = cloud.get(path(SENSOR)).send().await;
    assert_eq!(one.is_ok().json(), list[0]);
    let all = cloud.get(format!("{}?content=all", path(SENSOR))).send().await;
    assert_eq!(all.is_ok().json()["links"][0].as_object().unwrap().len(), 2);
    let cbor = cloud.get(path(SENSOR)).accept("application/vnd.ocf+cbor").send().await;
    let decoded: serde_json::Value = ciborium::from_reader(&cbor.is_ok().body[..]).unwrap();
    assert_eq!(decoded, list[0]);
    cloud.stop().await;
}

#[tokio::test]
async fn case_79_unknown_and_foreign_devices_are_the_same_404() {
    let cloud = Cloud::start().await;
    let unknown = cloud.get(path(UNKNOWN)).send().await;
    let foreign = cloud.get(path(LOCK)).send().await;
    assert_eq!(unknown.is_problem(404).body, foreign.is_problem(404).body);
    cloud.stop().await;
}

#[tokio::test]
async fn case_80_a_malformed_id_is_400() {
    let cloud = Cloud::start().await;
    for id in ["x", "53080a4f", "53080a4f-5e3e-4291-802f-3436238232dg"] {
        cloud.get(path(id)).send().await.is_problem(400);
        cloud.get(format!("{}/humidity", path(id))).send().await.is_problem(400);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_81_an_upper_case_id_finds_the_device() {
    let cloud = Cloud::start().await;
    let upper = cloud.get(path(&SENSOR.to_uppercase())).send().await;
    assert_eq!(upper.is_ok().json()["device"]["di"], SENSOR);
    let resource = format!("{}/humidity", path(&SENSOR.to_uppercase()));
    cloud.get(resource).send().await.is_ok();
    cloud.stop().await;
}

#[tokio::test]
async fn a_device_with_many_links_is_complete() {
    let cloud = Cloud::start().await;
    let mut device = Device::online();
    for nth in 0..40 {
        device = device.with(&format!("/r/{nth:02}"), &["x.r"], "{}");
    }
    cloud.world.put(ALICE, SENSOR, device);
    cloud.world.state().links_per_page = 3;
    let one = cloud.get(path(SENSOR)).send().await;
    assert_eq!(one.is_ok().json()["links"].as_array().unwrap().len(), 40);
    // More pages than a device may have: the gateway is not believed.
    cloud.world.state().links_per_page = 1;
    cloud.get(path(SENSOR)).send().await.is_problem(500);
    cloud.stop().await;
}

#[tokio::test]
async fn what_a_device_says_of_itself_is_checked() {
    let cloud = Cloud::start().await;
    let device = Device { description: Some(b"\xbf\x61n".to_vec()), ..Device::online() };
    cloud.world.put(ALICE, SENSOR, device);
    let one = cloud.get(path(SENSOR)).send().await;
    assert_eq!(one.is_ok().json()["device"]["rt"], json!(["oic.wk.d"]));
    cloud.stop().await;
}
