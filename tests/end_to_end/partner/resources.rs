//! Reading resources: what devices say, and what partners hear.

use std::time::{Duration, Instant};

use ciborium::Value as Cbor;
use serde_json::{Value, json};
use tests::processes::{LONG, Setup, TestCloud};
use tests::scripted::{Says, Scripted};

use super::{CBOR, unhurried, waits};

const DI: &str = "00000000-0000-4000-8000-00000000000a";

/// Cases 82, 83, 84 and 88.
#[test]
fn a_resource_is_read_in_either_form() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let links = json!([{ "href": "/a", "rt": ["oic.r.switch.binary"], "if": ["oic.if.a"] }]);
    let resources = [
        ("/x", Says::json(&json!({ "humidity": 62, "deep": { "list": [1, "a", null, true] } }))),
        ("/several/segments/of/it", Says::json(&json!({ "value": 1 }))),
        ("/switches", Says::json(&links)),
        ("/empty", Says::json(&json!([]))),
    ];
    let device = Scripted::online(&cloud, DI, &resources);
    for (href, _) in &resources {
        let path = device.path(href);
        let json = rest.get(&*path).token(&token).accept("application/json").send().is(200);
        let cbor = rest.get(&*path).token(&token).accept(CBOR).send().is(200);
        let as_json: Value = ciborium::from_reader(&*cbor.body).unwrap();
        assert_eq!(json.value(), as_json, "{href}");
    }
    let switches = rest.get(device.path("/switches")).token(&token).send().is(200);
    assert_eq!(switches.value(), links);
    for unknown in ["/nothing", "/several", "/x/y"] {
        rest.get(device.path(unknown)).token(&token).send().is_problem(404);
    }
    cloud.stop();
}

/// Cases 85 and 86.
#[test]
fn a_device_that_is_not_there_or_says_nothing_is_504_in_time() {
    let mut cloud = TestCloud::start(unhurried(|config| waits(config, 1000)));
    let (rest, token) = (cloud.rest(), cloud.token());
    let mut device = Scripted::online(&cloud, DI, &[("/x", Says::Nothing)]);
    let begun = Instant::now();
    let silent = rest.get(device.path("/x")).token(&token).send().is_problem(504);
    assert!(silent.header("retry-after").is_some());
    // Its second has ended the wait: there is no other limit before the end of all patience.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    device.cut();
    let offline = |status: u16| {
        let answer = rest.get(device.path("/x")).token(&token).send().is_problem(status);
        answer.header("retry-after").is_some()
            && answer.value()["detail"] == "the device is offline"
    };
    cloud.wait_until("the gateway knows", |_| offline(504));
    cloud.stop();
}

/// Case 87: the table of cloud reference 4.11.
#[test]
fn what_a_device_says_becomes_what_http_says() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = Scripted::online(&cloud, DI, &[("/x", Says::Nothing)]);
    for (class, detail, status) in [
        (2, 1, 200),
        (2, 4, 200),
        (2, 5, 200),
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
        device.says("/x", Says::Code(class, detail, None));
        let read = rest.get(device.path("/x")).token(&token).send();
        let update = rest.post(device.path("/x")).token(&token).json(&json!({})).send();
        for answer in [read, update] {
            assert_eq!(answer.status, status, "{class}.{detail:02} {}", answer.text());
            assert_eq!(answer.header("retry-after").is_some(), status == 503 || status == 504);
            assert!(answer.header("www-authenticate").is_none(), "the token is not to blame");
            match status {
                200 => assert!(answer.body.is_empty()),
                failed => drop(answer.is_problem(failed)),
            }
        }
    }
    device.says("/x", Says::Code(5, 3, Some(7)));
    let busy = rest.get(device.path("/x")).token(&token).send().is_problem(503);
    assert_eq!(busy.header("retry-after"), Some("7"));
    cloud.stop();
}

/// Case 89: the table of cloud reference 4.13, with the snippets of 7.5.
#[test]
fn every_kind_of_value_is_converted() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = Scripted::online(&cloud, DI, &[("/x", Says::Nothing)]);
    let get =
        |accept: &'static str| rest.get(device.path("/x")).token(&token).accept(accept).send();
    for (cbor, json) in [
        (
            &b"\xa2\x68humidity\x18\x3e\x6fdesiredHumidity\x18\x41"[..],
            r#"{"humidity":62,"desiredHumidity":65}"#,
        ),
        (b"\xa1\x61b\x43\x01\x02\xff", r#"{"b":"AQL/"}"#),
        (b"\xa1\x61n\x1b\xff\xff\xff\xff\xff\xff\xff\xff", r#"{"n":18446744073709551615}"#),
        (b"\xa1\x61n\x26", r#"{"n":-7}"#),
        (b"\xa1\x61n\xf9\x4d\x60", r#"{"n":21.5}"#),
        (b"\xa1\x61n\xf9\x4d\x40", r#"{"n":21.0}"#),
        (b"\xa1\x61n\xfb\x3f\xb9\x99\x99\x99\x99\x99\x9a", r#"{"n":0.1}"#),
        (b"\xa1\x61n\xf9\x7e\x00", r#"{"n":null}"#),
        (b"\xa1\x61n\xf7", r#"{"n":null}"#),
        (b"\xbf\x61m\xbf\x61n\xbf\xff\xff\xff", r#"{"m":{"n":{}}}"#),
        (b"\xa0", "{}"),
        (b"\xa1\x01\x61a", r#"{"1":"a"}"#),
        (
            b"\xa1\x61n\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00",
            r#"{"n":"18446744073709551616"}"#,
        ),
        (b"\xa1\x61t\xc1\x1a\x5e\x84\xc0\x20", r#"{"t":1585758240}"#),
        (b"\xa1\x61b\xd7\x42\x01\xff", r#"{"b":"01FF"}"#),
    ] {
        assert!(ciborium::from_reader::<Cbor, _>(cbor).is_ok(), "{cbor:02x?}");
        device.says("/x", Says::Content(cbor.to_vec()));
        assert_eq!(get("application/json").is(200).text(), json);
        assert_eq!(get(CBOR).is(200).body[..], *cbor, "passed through unchanged");
    }
    for malformed in [&b"\xa2\x61a\x01\x61a\x02"[..], b"\xa1\x41a\x01", b"\xa0\xa0", b"\x61\xff"] {
        device.says("/x", Says::Content(malformed.to_vec()));
        get("application/json").is_problem(502);
    }
    cloud.stop();
}

/// The extension of cloud reference 10, OP-40.
#[test]
fn an_interface_is_passed_on_if_the_link_has_it() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = Scripted::online(&cloud, DI, &[("/x", Says::json(&json!({})))]);
    let path = device.path("/x");
    rest.get(format!("{path}?if=oic.if.baseline")).token(&token).send().is(200);
    assert_eq!(device.heard("/x").unwrap().query, "if=oic.if.baseline");
    for query in ["?if=oic.if.r", "?if=", "?if=oic.if.a&if=oic.if.a"] {
        rest.get(format!("{path}{query}")).token(&token).send().is_problem(400);
    }
    cloud.stop();
}
