//! Update a resource: cases 91 to 98.

use shared::channel::message::{DeviceAnswer, Failure};
use shared::coap::Code;

use crate::support::world::{ALICE, LIGHT, LOCK, SENSOR, UNKNOWN, answer};
use crate::support::{Behaviour, Cloud, Device};

const CBOR: &str = "application/vnd.ocf+cbor";
const DESIRED: &[u8] = b"\xa1\x6fdesiredHumidity\x18\x37";

fn path(href: &str) -> String {
    format!("/api/v1/devices/{SENSOR}{href}")
}

fn last_update(cloud: &Cloud) -> Vec<u8> {
    cloud.world.state().updates.last().unwrap().body.clone()
}

/// X22.
#[tokio::test]
async fn case_91_json_reaches_the_device_as_cbor() {
    let cloud = Cloud::start().await;
    let updated = cloud.post(path("/humidity"), r#"{"desiredHumidity":55}"#).send().await;
    assert_eq!(updated.is_ok().text(), r#"{"humidity":62,"desiredHumidity":55}"#);
    assert_eq!(updated.content_type(), "application/json");
    assert_eq!(last_update(&cloud), DESIRED);
    let read = cloud.get(path("/humidity")).send().await;
    assert_eq!(read.json()["desiredHumidity"], 55);
    cloud.stop().await;
}

#[tokio::test]
async fn case_92_cbor_reaches_the_device_unchanged() {
    let cloud = Cloud::start().await;
    // Longer than need be, in every way.
    let body = b"\xbf\x6fdesiredHumidity\x19\x00\x37\xff";
    let updated = cloud.post(path("/humidity"), "").body(CBOR, &body[..]);
    // Two types are as bad as none.
    updated.send().await.is_problem(415);
    let asking = cloud.client.ask(axum::http::Method::POST, path("/humidity")).token("alice");
    asking.body(CBOR, &body[..]).accept(CBOR).send().await.is_ok();
    assert_eq!(last_update(&cloud), body);
    cloud.stop().await;
}

/// X23.
#[tokio::test]
async fn case_93_success_is_200_with_the_devices_body_or_none() {
    let cloud = Cloud::start().await;
    for (class, detail) in [(2, 1), (2, 4), (2, 5)] {
        let silent = answer(Code::from_byte(class << 5 | detail));
        let says = DeviceAnswer { body: b"\xa1\x61v\x01".to_vec(), ..silent.clone() };
        let device = Device::online()
            .behaving("/silent", Behaviour::Answers(silent))
            .behaving("/says", Behaviour::Answers(says));
        cloud.world.put(ALICE, SENSOR, device);
        let quiet = cloud.post(path("/silent"), "{}").send().await;
        assert_eq!(quiet.is_ok().header("content-length"), Some("0"));
        assert_eq!(quiet.header("content-type"), None);
        assert_eq!(cloud.post(path("/says"), "{}").send().await.is_ok().text(), r#"{"v":1}"#);
        let cbor = cloud.post(path("/says"), "{}").accept(CBOR).send().await;
        assert_eq!(cbor.is_ok().body[..], b"\xa1\x61v\x01"[..]);
    }
    cloud.stop().await;
}

/// X24.
#[tokio::test]
async fn case_94_other_types_and_none_are_415() {
    let cloud = Cloud::start().await;
    let ask = || cloud.client.ask(axum::http::Method::POST, path("/humidity")).token("alice");
    ask().body("text/plain", "55").send().await.is_problem(415);
    ask().send().await.is_problem(415);
    let packed = ask().body("application/json", "{}").header("content-encoding", "gzip");
    packed.send().await.is_problem(415);
    ask().body("application/json; charset=utf-8", "{}").send().await.is_ok();
    ask().body("application/json", "{}").accept("text/html").send().await.is_problem(406);
    cloud.stop().await;
}

#[tokio::test]
async fn case_95_a_body_that_does_not_parse_is_400() {
    let cloud = Cloud::start().await;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for body in ["", "{", "{} {}", r#"{"a":1,"a":2}"#, "1", "\"x\"", "null", &deep] {
        cloud.post(path("/humidity"), body).send().await.is_problem(400);
    }
    let ask = || cloud.client.ask(axum::http::Method::POST, path("/humidity")).token("alice");
    for body in [&b"\xa1"[..], b"\xa0\xa0", b"\xa2\x61a\x01\x61a\x02", b"\x01", b"", &[0x81; 66]] {
        ask().body(CBOR, body).send().await.is_problem(400);
    }
    assert!(cloud.world.state().updates.is_empty(), "no device was troubled");
    cloud.stop().await;
}

#[tokio::test]
async fn case_96_a_read_only_resource_is_405() {
    let cloud = Cloud::start().await;
    let read_only = Behaviour::Answers(answer(Code::from_byte(4 << 5 | 5)));
    cloud.world.put(ALICE, SENSOR, Device::online().behaving("/x", read_only));
    let refused = cloud.post(path("/x"), "{}").send().await;
    assert_eq!(refused.is_problem(405).header("allow"), Some("GET"));
    cloud.stop().await;
}

#[tokio::test]
async fn case_97_offline_is_504_and_unknown_404() {
    let cloud = Cloud::start().await;
    for (device, href, status) in [
        (LIGHT, "/light/1", 504),
        (LIGHT, "/nothing", 404),
        (SENSOR, "/nothing", 404),
        (UNKNOWN, "/humidity", 404),
        (LOCK, "/lock", 404),
    ] {
        let path = format!("/api/v1/devices/{device}{href}");
        let answer = cloud.post(path, "{}").send().await;
        assert_eq!(answer.is_problem(status).header("retry-after").is_some(), status == 504);
    }
    assert!(cloud.world.state().updates.is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn case_98_integers_stay_integers_and_floats_floats() {
    let cloud = Cloud::start().await;
    for (json, cbor) in [
        (r#"{"t":21}"#, &b"\xa1\x61t\x15"[..]),
        (r#"{"t":21.0}"#, b"\xa1\x61t\xfb\x40\x35\x00\x00\x00\x00\x00\x00"),
        (r#"{"t":-0}"#, b"\xa1\x61t\x00"),
    ] {
        cloud.post(path("/humidity"), json).send().await.is_ok();
        assert_eq!(last_update(&cloud), cbor, "{json}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn an_update_without_an_answer_may_have_happened_and_says_so() {
    let cloud = Cloud::start_with(|config| config.timeouts.device_ms = 100).await;
    let device = Device::online()
        .behaving("/silent", Behaviour::Silent)
        .behaving("/slow", Behaviour::Fails(Failure::DeviceTimedOut))
        .behaving("/lost", Behaviour::Fails(Failure::DeviceLost));
    cloud.world.put(ALICE, SENSOR, device);
    for href in ["/silent", "/slow", "/lost"] {
        let answer = cloud.post(path(href), "{}").send().await;
        let detail = answer.is_problem(504).json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("the update may still have happened"), "{detail}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn an_update_that_no_ring_takes_is_413() {
    let cloud = Cloud::start().await;
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(600_000));
    cloud.post(path("/humidity"), &long).send().await.is_problem(413);
    cloud.stop().await;
}

#[tokio::test]
async fn an_interface_is_passed_on() {
    let cloud = Cloud::start().await;
    cloud.post(path("/humidity?if=oic.if.baseline"), "{}").send().await.is_ok();
    let interface = cloud.world.state().updates.last().unwrap().interface.clone();
    assert_eq!(interface.as_deref(), Some("oic.if.baseline"));
    cloud.post(path("/humidity?if=oic.if.b"), "{}").send().await.is_problem(400);
    cloud.stop().await;
}
