//! Retrieve a resource: cases 82 to 89.

use serde_json::{Value, json};
use shared::channel::message::{DeviceAnswer, Failure};
use shared::coap::Code;

use crate::support::world::{ALICE, HUMIDITY, LIGHT, LOCK, SENSOR, UNKNOWN, answer};
use crate::support::{Answer, Behaviour, Cloud, Device};

fn path(href: &str) -> String {
    format!("/api/v1/devices/{SENSOR}{href}")
}

async fn get(cloud: &Cloud, href: &str) -> Answer {
    cloud.get(path(href)).send().await
}

/// X17 and X18.
#[tokio::test]
async fn case_82_json_and_cbor_are_equal() {
    let cloud = Cloud::start().await;
    let json = get(&cloud, "/humidity").await;
    assert_eq!(json.is_ok().text(), r#"{"humidity":62,"desiredHumidity":65}"#);
    let cbor = cloud.get(path("/humidity")).accept("application/vnd.ocf+cbor").send().await;
    assert_eq!(cbor.content_type(), "application/vnd.ocf+cbor");
    assert_eq!(cbor.is_ok().body[..], *HUMIDITY);
    cloud.stop().await;
}

#[tokio::test]
async fn case_83_and_84_hrefs_have_several_segments_and_must_be_published() {
    let cloud = Cloud::start().await;
    assert_eq!(get(&cloud, "/light/1").await.is_ok().json(), json!({"value": true}));
    for href in ["/light", "/light/1/2", "/nothing", "/oic/sec/doxm"] {
        get(&cloud, href).await.is_problem(404);
    }
    for device in [UNKNOWN, LOCK] {
        let path = format!("/api/v1/devices/{device}/lock");
        cloud.get(path).send().await.is_problem(404);
    }
    cloud.stop().await;
}

/// X21.
#[tokio::test]
async fn case_85_an_offline_device_is_504_with_retry_after() {
    let cloud = Cloud::start().await;
    let offline = cloud.get(format!("/api/v1/devices/{LIGHT}/light/1")).send().await;
    assert_eq!(offline.is_problem(504).header("retry-after"), Some("60"));
    assert_eq!(offline.json()["detail"], "the device is offline");
    cloud.stop().await;
}

#[tokio::test]
async fn case_86_a_device_that_does_not_answer_is_504() {
    let cloud = Cloud::start_with(|config| config.timeouts.device_ms = 100).await;
    let device = Device::online()
        .behaving("/silent", Behaviour::Silent)
        .behaving("/slow", Behaviour::Fails(Failure::DeviceTimedOut))
        .behaving("/lost", Behaviour::Fails(Failure::DeviceLost));
    cloud.world.put(ALICE, SENSOR, device);
    for href in ["/silent", "/slow", "/lost"] {
        let answer = get(&cloud, href).await;
        assert!(answer.is_problem(504).header("retry-after").is_some());
    }
    cloud.stop().await;
}

/// X25, and what each of the shard's failures becomes.
#[tokio::test]
async fn case_87_codes_of_devices_are_mapped() {
    let cloud = Cloud::start().await;
    for (class, detail, status) in [
        (2, 5, 200),
        (2, 4, 200),
        (2, 1, 200),
        (2, 3, 502),
        (4, 0, 400),
        (4, 1, 403),
        (4, 2, 400),
        (4, 3, 403),
        (4, 4, 404),
        (4, 5, 405),
        (4, 6, 502),
        (4, 8, 502),
        (4, 9, 409),
        (4, 12, 412),
        (4, 13, 413),
        (4, 15, 415),
        (5, 0, 502),
        (5, 1, 501),
        (5, 2, 502),
        (5, 3, 503),
        (5, 4, 504),
        (5, 5, 502),
    ] {
        let answers = answer(Code::from_byte(class << 5 | detail));
        cloud.world.put(
            ALICE,
            SENSOR,
            Device::online().behaving("/x", Behaviour::Answers(answers)),
        );
        let got = get(&cloud, "/x").await;
        match status {
            200 => assert!(got.is_ok().body.is_empty()),
            failed => {
                got.is_problem(failed);
            }
        }
        assert_eq!(got.header("allow"), (status == 405).then_some("POST"));
        assert_eq!(got.header("retry-after").is_some(), status == 503 || status == 504);
        assert!(got.header("www-authenticate").is_none(), "the token is not to blame");
    }
    for (failure, status) in [
        (Failure::DeviceAnsweredBadly, 502),
        (Failure::AnswerTooLarge, 502),
        (Failure::TooLargeForDevice, 413),
        (Failure::Overloaded, 503),
        (Failure::StoreUnavailable, 503),
        (Failure::WrongShard, 503),
    ] {
        cloud.world.put(ALICE, SENSOR, Device::online().behaving("/x", Behaviour::Fails(failure)));
        get(&cloud, "/x").await.is_problem(status);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_87_max_age_of_a_busy_device_becomes_retry_after() {
    let cloud = Cloud::start().await;
    let busy = DeviceAnswer { max_age: Some(7), ..answer(Code::from_byte(5 << 5 | 3)) };
    cloud.world.put(ALICE, SENSOR, Device::online().behaving("/x", Behaviour::Answers(busy)));
    let answer = get(&cloud, "/x").await;
    assert_eq!(answer.is_problem(503).header("retry-after"), Some("7"));
    cloud.stop().await;
}

/// X19.
#[tokio::test]
async fn case_88_a_collection_is_an_array() {
    let cloud = Cloud::start().await;
    let links = r#"[{"href":"/switches/1","rt":["oic.r.switch.binary"],"if":["oic.if.a"]}]"#;
    let device = Device::online().with("/switches", &["oic.wk.col"], links);
    cloud.world.put(ALICE, SENSOR, device.with("/empty", &["oic.wk.col"], "[]"));
    let switches: Value = serde_json::from_str(links).unwrap();
    assert_eq!(get(&cloud, "/switches").await.is_ok().json(), switches);
    assert_eq!(get(&cloud, "/empty").await.is_ok().text(), "[]");
    cloud.stop().await;
}

#[tokio::test]
async fn case_89_every_kind_of_value_is_converted() {
    let cloud = Cloud::start().await;
    for (cbor, json) in [
        (&b"\xa1\x61b\x43\x01\x02\xff"[..], r#"{"b":"AQL/"}"#),
        (b"\xa1\x61n\x1b\xff\xff\xff\xff\xff\xff\xff\xff", r#"{"n":18446744073709551615}"#),
        (b"\xa1\x61n\xf9\x4d\x60", r#"{"n":21.5}"#),
        (b"\xbf\x61m\xbf\x61n\xbf\xff\xff\xff", r#"{"m":{"n":{}}}"#),
        (b"\xa1\x01\x61a", r#"{"1":"a"}"#),
        (b"\xa1\x61n\xf9\x7e\x00", r#"{"n":null}"#),
    ] {
        cloud.world.put(ALICE, SENSOR, Device::online().with_cbor("/x", &["x"], cbor));
        assert_eq!(get(&cloud, "/x").await.is_ok().text(), json);
        let unchanged = cloud.get(path("/x")).accept("application/vnd.ocf+cbor").send().await;
        assert_eq!(unchanged.is_ok().body[..], *cbor);
    }
    for malformed in [&b"\xa2\x61a\x01\x61a\x02"[..], b"\xa1\x41a\x01", b"\xa0\xa0", b"\x61\xff"] {
        cloud.world.put(ALICE, SENSOR, Device::online().with_cbor("/x", &["x"], malformed));
        get(&cloud, "/x").await.is_problem(502);
    }
    cloud.stop().await;
}

/// OP-40.
#[tokio::test]
async fn an_interface_is_passed_on_if_the_link_has_it() {
    let cloud = Cloud::start().await;
    get(&cloud, "/humidity?if=oic.if.baseline").await.is_ok();
    for query in ["?if=oic.if.a", "?if=", "?if=oic.if.s&if=oic.if.s"] {
        get(&cloud, &format!("/humidity{query}")).await.is_problem(400);
    }
    cloud.stop().await;
}
