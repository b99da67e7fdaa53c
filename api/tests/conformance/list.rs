//! List devices: cases 65 to 75, and lists that take many pages.

use serde_json::{Value, json};
use shared::channel::message::{Failure, Reply};
use shared::ocf::device::Status;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::cloud::PATIENCE;
use crate::support::world::{ALICE, LIGHT, SENSOR};
use crate::support::{Cloud, Device};

const DEVICES: &str = "/api/v1/devices";

async fn list(cloud: &Cloud, query: &str) -> Vec<Value> {
    let answer = cloud.get(format!("{DEVICES}{query}")).send().await;
    answer.is_ok().json().as_array().unwrap().clone()
}

/// X11.
#[tokio::test]
async fn case_65_online_and_offline_devices_are_listed_with_required_members() {
    let cloud = Cloud::start().await;
    let devices = list(&cloud, "?content=base").await;
    let named: Vec<_> = devices.iter().map(|d| (&d["device"]["di"], &d["status"])).collect();
    assert_eq!(named, [(&json!(SENSOR), &json!("online")), (&json!(LIGHT), &json!("offline"))]);
    for device in &devices {
        for member in ["di", "rt", "n", "dmn"] {
            assert!(device["device"].get(member).is_some(), "{member} {device}");
        }
        assert!(device["links"].is_array());
    }
    assert_eq!(devices[0]["device"]["n"], "Food safety sensor");
    assert_eq!(devices[0]["device"]["icv"], "ocf.2.2.0");
    cloud.stop().await;
}

#[tokio::test]
async fn case_66_and_67_every_link_is_complete_and_can_be_retrieved() {
    let cloud = Cloud::start().await;
    for device in list(&cloud, "").await {
        let di = device["device"]["di"].as_str().unwrap();
        for link in device["links"].as_array().unwrap() {
            let href = link["href"].as_str().unwrap();
            assert!(href.starts_with(&format!("/{di}/")), "{href}");
            assert!(!link["rt"].as_array().unwrap().is_empty());
            assert!(!link["if"].as_array().unwrap().is_empty());
            let answer = cloud.get(format!("{DEVICES}{href}")).send().await;
            assert_eq!(answer.status, if di == SENSOR { 200 } else { 504 }, "{href}");
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_68_representations_equal_those_of_a_retrieve() {
    let cloud = Cloud::start().await;
    let devices = list(&cloud, "?content=all").await;
    for link in devices[0]["links"].as_array().unwrap() {
        assert_eq!(link.as_object().unwrap().len(), 2, "{link}");
        let href = link["href"].as_str().unwrap();
        let single = cloud.get(format!("{DEVICES}{href}")).send().await;
        assert_eq!(single.is_ok().json(), link["rep"], "{href}");
    }
    assert_eq!(devices[1]["links"][0]["rep"], json!({"value": false}), "offline: the last known");
    cloud.stop().await;
}

#[tokio::test]
async fn case_69_no_content_equals_base_and_anything_else_is_400() {
    let cloud = Cloud::start().await;
    assert_eq!(list(&cloud, "").await, list(&cloud, "?content=base").await);
    for query in ["?content=x", "?content=", "?content=base&content=all"] {
        cloud.get(format!("{DEVICES}{query}")).send().await.is_problem(400);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_70_and_71_no_devices_and_no_links_are_empty_lists() {
    let cloud = Cloud::start().await;
    cloud.world.state().users.clear();
    assert_eq!(cloud.get(DEVICES).send().await.is_ok().text(), "[]");
    let cbor = cloud.get(DEVICES).accept("application/vnd.ocf+cbor").send().await;
    assert_eq!(cbor.is_ok().body[..], [0x80]);
    cloud.world.put(ALICE, SENSOR, Device::online());
    assert_eq!(list(&cloud, "").await[0]["links"], json!([]));
    cloud.stop().await;
}

#[tokio::test]
async fn case_72_no_security_resource_and_no_endpoint_appears() {
    let cloud = Cloud::start().await;
    let device = Device::online()
        .described(r#"{"n":"x","eps":[{"ep":"coap://192.168.0.1"}]}"#)
        .with("/oic/sec/cred", &["oic.r.cred"], "{}")
        .with("/a", &["x.a"], "{}");
    cloud.world.put(ALICE, SENSOR, device);
    for accept in ["application/json", "application/vnd.ocf+cbor"] {
        for query in ["", "?content=all"] {
            let answer = cloud.get(format!("{DEVICES}{query}")).accept(accept).send().await;
            let shown = String::from_utf8_lossy(&answer.is_ok().body);
            assert!(!shown.contains("/oic/sec"), "{shown}");
            let links_only = shown.split("links").nth(1).unwrap();
            assert!(!links_only.contains("\"eps\":") || query.contains("all"), "{shown}");
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_73_and_74_status_and_presence_follow_the_device() {
    let cloud = Cloud::start().await;
    cloud.world.set_status(ALICE, LIGHT, Status::Online);
    cloud.world.set_status(ALICE, SENSOR, Status::Offline);
    let states: Vec<_> = list(&cloud, "").await.iter().map(|d| d["status"].clone()).collect();
    assert_eq!(states, ["offline", "online"]);
    cloud.world.forget(ALICE, SENSOR);
    let left = list(&cloud, "").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["device"]["di"], LIGHT);
    cloud.stop().await;
}

#[tokio::test]
async fn case_75_the_manufacturer_name_has_a_fallback() {
    let cloud = Cloud::start().await;
    let devices = list(&cloud, "").await;
    let dmn = |nth: usize| devices[nth]["device"]["dmn"].clone();
    assert_eq!(dmn(0), json!([{"language": "en", "value": "Example Appliances"}]));
    assert_eq!(dmn(1), json!([{"language": "en", "value": "unknown"}]));
    cloud.stop().await;
}

#[tokio::test]
async fn each_user_sees_the_own_devices_only() {
    let cloud = Cloud::start().await;
    let bobs = cloud.client.ask(axum::http::Method::GET, DEVICES).token("bob").send().await;
    let bobs = bobs.is_ok().json();
    assert_eq!(bobs.as_array().unwrap().len(), 1);
    assert!(!bobs.to_string().contains(SENSOR));
    cloud.stop().await;
}

/// A world in which a list takes many pages, some of them for the links of one device.
fn many(cloud: &Cloud, devices: u32) {
    let mut state = cloud.world.state();
    state.users.clear();
    state.devices_per_page = 7;
    state.links_per_page = 3;
    drop(state);
    for nth in 0..devices {
        let mut device = Device::online().described(r#"{"n":"many"}"#);
        for link in 0..nth % 9 {
            let href = format!("/r/{link}");
            device = device.with(&href, &["x.r"], &format!(r#"{{"value":{nth}}}"#));
        }
        let id = format!("00000000-0000-4000-8000-{nth:012x}");
        cloud.world.put(ALICE, &id, device);
    }
}

#[tokio::test]
async fn a_list_of_many_pages_is_complete_and_in_order_in_either_form() {
    let cloud = Cloud::start().await;
    many(&cloud, 500);
    for query in ["", "?content=all"] {
        let devices = list(&cloud, query).await;
        assert_eq!(devices.len(), 500);
        for (nth, device) in devices.iter().enumerate() {
            let id = format!("00000000-0000-4000-8000-{nth:012x}");
            assert_eq!(device["device"]["di"], id);
            assert_eq!(device["links"].as_array().unwrap().len(), nth % 9 + 1);
        }
        let path = format!("{DEVICES}{query}");
        let cbor = cloud.get(path).accept("application/vnd.ocf+cbor").send().await;
        assert_eq!(cbor.is_ok().body[..3], [0x99, 0x01, 0xf4], "the length is definite");
        let decoded: Vec<Value> = ciborium::from_reader(&cbor.body[..]).unwrap();
        assert_eq!(decoded, devices, "both forms say the same");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_list_that_fails_in_the_middle_breaks_off() {
    let cloud = Cloud::start().await;
    many(&cloud, 500);
    cloud.world.state().pages_until_failure = Some(20);
    for asking in [cloud.get(DEVICES), cloud.get(DEVICES).http2()] {
        cloud.world.state().pages_until_failure = Some(20);
        assert!(asking.try_send().await.is_err(), "nobody must take it for complete");
    }
    cloud.world.state().pages_until_failure = Some(0);
    cloud.get(DEVICES).send().await.is_problem(503);
    cloud.stop().await;
}

#[tokio::test]
async fn a_list_is_503_while_the_store_is_unavailable() {
    let cloud = Cloud::start().await;
    cloud.world.state().reply = Some(Reply::Failed(Failure::StoreUnavailable));
    let answer = cloud.get(DEVICES).send().await;
    assert!(answer.is_problem(503).header("retry-after").is_some());
    cloud.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut_off() {
    let cloud = Cloud::start_with(|config| {
        config.timeouts.write_ms = 200;
        config.timeouts.drain_ms = 3_600_000;
    })
    .await;
    {
        // Far more than the system's buffers take.
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(400_000));
        let device = Device::online().with("/text", &["x.text"], &text);
        cloud.world.state().devices_per_page = 1;
        for nth in 0..60 {
            let id = format!("00000000-0000-4000-8000-{nth:012x}");
            cloud.world.put(ALICE, &id, device.clone());
        }
    }
    let mut slow = cloud.client.connect(b"http/1.1").await.unwrap();
    let request = format!(
        "GET {DEVICES}?content=all HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice\r\n\r\n"
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 15];
    slow.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    // The drain waits for every connection, and this one does not end by itself.
    tokio::time::timeout(PATIENCE, cloud.stop()).await.expect("the connection is cut off");
    let mut rest = Vec::new();
    let _cut = slow.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "nobody must take it for complete");
}
