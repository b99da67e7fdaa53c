//! Updating resources: what partners say, and what devices hear.

use serde_json::json;
use tests::processes::{Setup, TestCloud};
use tests::scripted::{Says, Scripted};

use super::{CBOR, DEVICES};

const DI: &str = "00000000-0000-4000-8000-00000000000a";
const JSON: &str = "application/json";

/// Cases 91, 92, 93 and 98.
#[test]
fn an_update_reaches_the_device_as_cbor() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = Scripted::online(&cloud, DI, &[("/x", Says::json(&json!({})))]);
    let path = device.path("/x");
    for (body, heard) in [
        (r#"{"desiredHumidity":55}"#, &b"\xa1\x6fdesiredHumidity\x18\x37"[..]),
        (r#"{"n":21}"#, b"\xa1\x61n\x15"),
        (r#"{"n":-7}"#, b"\xa1\x61n\x26"),
        (r#"{"n":18446744073709551615}"#, b"\xa1\x61n\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
        (r#"{"b":1,"a":[true,null,"x"]}"#, b"\xa2\x61b\x01\x61a\x83\xf5\xf6\x61x"),
        (r#"[{"a":1}]"#, b"\x81\xa1\x61a\x01"),
    ] {
        let answer = rest.post(&*path).token(&token).body(JSON, body).send().is(200);
        let said = device.heard("/x").unwrap();
        assert_eq!((&*said.method, &*said.payload), ("0.02", heard), "{body}");
        assert_eq!(answer.header("content-type"), Some(JSON));
        assert_eq!(answer.text(), body, "what the device answers");
    }
    for (body, value) in [(r#"{"n":21.0}"#, 21.0), (r#"{"n":1e2}"#, 100.0), (r#"{"n":0.1}"#, 0.1)] {
        rest.post(&*path).token(&token).body(JSON, body).send().is(200);
        let heard = device.heard("/x").unwrap().payload;
        let heard: ciborium::Value = ciborium::from_reader(&*heard).unwrap();
        let number = &heard.as_map().unwrap()[0].1;
        assert_eq!(number.as_float(), Some(value), "{body}");
    }
    // Neither shortest form nor known lengths: whatever the partner means by it.
    let cbor = b"\xbf\x61n\x19\x00\x15\xff";
    let answer = rest.post(&*path).token(&token).accept(CBOR).body(CBOR, cbor).send().is(200);
    assert_eq!(device.heard("/x").unwrap().payload, cbor);
    assert_eq!((answer.header("content-type"), &answer.body[..]), (Some(CBOR), &cbor[..]));

    device.says("/x", Says::Code(2, 4, None));
    let bare = rest.post(&*path).token(&token).body(JSON, "{}").send().is(200);
    assert!(bare.body.is_empty());
    device.says("/x", Says::Code(2, 1, None));
    rest.post(&*path).token(&token).body(JSON, "{}").send().is(200);
    cloud.stop();
}

/// Cases 94, 95, 96 and 97.
#[test]
fn an_update_that_cannot_be_is_refused() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let resources = [("/x", Says::json(&json!({}))), ("/r", Says::Code(4, 5, None))];
    let mut device = Scripted::online(&cloud, DI, &resources);
    let path = device.path("/x");
    let post = |path: &str, media_type: &'static str, body: &[u8]| {
        rest.post(path).token(&token).body(media_type, body).send()
    };
    for media_type in ["text/plain", "application/xml", "application/octet-stream", ""] {
        post(&path, media_type, b"{}").is_problem(415);
    }
    // Whatever the body is: without its type it is nothing.
    rest.post(&*path).token(&token).send().is_problem(415);
    post(&path, "application/json; charset=utf-8", b"{}").is(200);
    for body in [&b"{"[..], b"{} x", b"{\"a\":1,\"a\":2}", b"3", b"\"x\"", b"null", b"", b"\xff"] {
        post(&path, JSON, body).is_problem(400);
    }
    let deep = "[".repeat(100) + &"]".repeat(100);
    post(&path, JSON, deep.as_bytes()).is_problem(400);
    for body in
        [&b"\xa1\x65value"[..], b"\xa0\x00", b"\xff", b"\xf5", b"", b"\xa2\x61a\x01\x61a\x02"]
    {
        post(&path, CBOR, body).is_problem(400);
    }
    let forbidden = post(&device.path("/r"), JSON, b"{}").is_problem(405);
    assert!(forbidden.header("allow").is_some());
    post(&device.path("/nothing"), JSON, b"{}").is_problem(404);
    post(&format!("{DEVICES}/00000000-0000-4000-8000-00000000dead/x"), JSON, b"{}").is_problem(404);
    device.cut();
    cloud.wait_until("the gateway knows", |_| {
        let answer = post(&path, JSON, b"{}").is_problem(504);
        assert!(answer.header("retry-after").is_some());
        answer.value()["detail"] == "the device is offline"
    });
    cloud.stop();
}
