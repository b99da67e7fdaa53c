//! What subscribers are told of devices that come, go, publish and change.

use std::net::Shutdown;
use std::time::{SystemTime, UNIX_EPOCH};

use loadtest::credentials::TlsVersion;
use serde_json::{Value, json};
use shared::coap::{Code, RequestType};
use shared::ids::DeviceId;
use tests::processes::{Setup, TestCloud};
use tests::receiver::{Notice, Receiver};
use tests::rest::Rest;
use tests::scripted::{Says, Scripted};
use tests::wire::{Said, Wire, cbor};

use super::subscribing::{SECRET, check, subscribe, wish};
use super::{CBOR, list};

const FIRST: &str = "00000000-0000-4000-8000-00000000000a";
const SECOND: &str = "00000000-0000-4000-8000-00000000000b";
const OF_DEVICES: [&str; 4] =
    ["devices_offline", "devices_online", "devices_unregistered", "devices_registered"];

/// A device that the test itself speaks for.
fn signed_in(cloud: &TestCloud, di: &str) -> Wire {
    let di: DeviceId = di.parse().unwrap();
    let config = cloud.manufacturer(TlsVersion::Tls12).config(di).unwrap();
    let mut wire = Wire::connect(cloud.cloud.installation.coap(), config).unwrap();
    wire.sign_in(cloud, di);
    wire
}

/// Sends a request of the device, and waits for the answer. What the cloud asks meanwhile is not there.
#[track_caller]
fn request(wire: &mut Wire, method: RequestType, path: &[&str], body: &[u8], code: &str) {
    wire.request(method, path, &[], body);
    loop {
        let taken = wire.answer();
        if taken.code().starts_with("0.") {
            wire.say(&taken.token, Code::from_byte(4 << 5 | 4), &Said::default()).unwrap();
        } else {
            return assert_eq!(taken.code(), code);
        }
    }
}

fn told(notice: &Notice) -> (u64, &str, Value) {
    (notice.number(), notice.event_type(), notice.value())
}

fn until_offline(cloud: &mut TestCloud, rest: &Rest) {
    cloud.wait_until("the gateway knows", |cloud| {
        list(cloud, rest, "").iter().all(|device| device["status"] == "offline")
    });
}

/// Cases 118 to 120, 126 to 128, 131.
#[test]
fn devices_come_go_and_leave() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    Scripted::online(&cloud, SECOND, &[]).cut();
    until_offline(&mut cloud, &rest);
    let (all, few, foreign) = (Receiver::start(), Receiver::start(), Receiver::start());
    subscribe(&rest, &token, "", &all.url("/"), &OF_DEVICES);
    subscribe(&rest, &token, "", &few.url("/"), &["devices_offline"]);
    subscribe(&rest, &cloud.other_token(), "", &foreign.url("/"), &OF_DEVICES);
    few.wait_for(1);
    foreign.wait_for(4);
    let of = |di: &str| json!([{ "di": di }]);
    all.wait_for(4);

    let wire = signed_in(&cloud, FIRST);
    all.wait_for(6);
    wire.socket().shutdown(Shutdown::Both).unwrap();
    all.wait_for(7);
    let mut wire = signed_in(&cloud, FIRST);
    all.wait_for(8);
    request(&mut wire, RequestType::Delete, &["oic", "sec", "account"], &[], "2.02");
    all.wait_for(9);
    drop(wire);
    let _second = signed_in(&cloud, SECOND);
    let notices = all.wait_for(10);
    let expected = [
        (0, "devices_registered", of(SECOND)),
        (1, "devices_unregistered", json!([])),
        (2, "devices_online", json!([])),
        (3, "devices_offline", of(SECOND)),
        (4, "devices_registered", of(FIRST)),
        (5, "devices_online", of(FIRST)),
        (6, "devices_offline", of(FIRST)),
        (7, "devices_online", of(FIRST)),
        (8, "devices_unregistered", of(FIRST)),
        (9, "devices_online", of(SECOND)),
    ];
    assert_eq!(notices.iter().map(told).collect::<Vec<_>>(), expected);
    check(&notices);
    let few: Vec<_> = few.notices();
    let expected = [(0, "devices_offline", of(SECOND)), (1, "devices_offline", of(FIRST))];
    assert_eq!(few.iter().map(told).collect::<Vec<_>>(), expected, "nothing else was asked for");
    assert_eq!(foreign.count(), 4, "nothing is told to another user");
    cloud.stop();
}

/// Cases 119, 129, and 147 for a resource that is not published any more.
#[test]
fn links_come_and_go_and_what_was_told_of_them_ends() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let mut wire = signed_in(&cloud, FIRST);
    let mut publish = |hrefs: &[&str]| {
        let links: Vec<_> = hrefs
            .iter()
            .map(|href| json!({ "href": href, "rt": ["x.test"], "if": ["oic.if.a"] }))
            .collect();
        let body = cbor(&json!({ "di": FIRST, "ttl": 0, "links": links }));
        request(&mut wire, RequestType::Post, &["oic", "rd"], &body, "2.04");
    };
    publish(&["/x"]);
    let (links, content) = (Receiver::start(), Receiver::start());
    let types = ["resources_unpublished", "resources_published"];
    subscribe(&rest, &token, &format!("/{FIRST}"), &links.url("/"), &types);
    links.wait_for(2);
    let level = format!("/{FIRST}/x");
    subscribe(&rest, &token, &level, &content.url("/"), &["resource_contentchanged"]);
    publish(&["/y", "/z"]);
    links.wait_for(3);
    request(&mut wire, RequestType::Delete, &["oic", "rd"], &[], "2.02");
    let notices = links.wait_for(4);
    let hrefs = |notice: &Notice| -> Vec<String> {
        let links = notice.value();
        let links = links.as_array().unwrap().iter();
        links
            .map(|link| {
                assert_eq!(link["rt"], json!(["x.test"]), "{link}");
                assert_eq!(link["if"], json!(["oic.if.a"]), "{link}");
                link["href"].as_str().unwrap().strip_prefix(&format!("/{FIRST}")).unwrap().into()
            })
            .collect()
    };
    let seen: Vec<_> = notices.iter().map(|it| (it.event_type(), hrefs(it))).collect();
    let some = |hrefs: &[&str]| hrefs.iter().map(|href| (*href).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("resources_published", some(&["/x"])),
        ("resources_unpublished", some(&[])),
        ("resources_published", some(&["/y", "/z"])),
        ("resources_unpublished", some(&["/x", "/y", "/z"])),
    ];
    assert_eq!(seen, expected);
    check(&notices);
    // What it would say was never known, so its end is the first that is told.
    let last = content.wait_for(1);
    assert_eq!((last[0].number(), last[0].event_type()), (0, "subscription_cancelled"));
    cloud.stop();
}

/// Cases 122, 123 and 125; OP-12, OP-37.
#[test]
fn a_notification_has_its_headers_and_the_form_that_was_asked_for() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let representation = cbor(&json!({ "value": 1, "list": [true, "x"] }));
    let _device = Scripted::online(&cloud, FIRST, &[("/x", Says::Content(representation.clone()))]);
    let path = format!("/api/v1/devices/{FIRST}/x/subscriptions");
    let theirs = "8804e90c-53f7-45b8-a9af-128b6bc8cd10";
    let unix_now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (accept, correlation, body) in
        [(CBOR, Some(theirs), Some(&representation)), ("application/json", None, None)]
    {
        let receiver = Receiver::start();
        let begun = unix_now();
        let wish = wish(&receiver.url("/events?a=b"), &["resource_contentchanged"]);
        let mut ask = rest.post(&*path).token(&token).accept(accept).json(&wish);
        if let Some(correlation) = correlation {
            ask = ask.header("correlation-id", correlation);
        }
        let made = ask.send().is(201);
        let notice = receiver.wait_for(1).remove(0);
        notice.check(SECRET).unwrap();
        assert_eq!(notice.path, "/events?a=b");
        assert_eq!(notice.header("content-type"), accept, "without parameters");
        assert_eq!(notice.event_type(), "resource_contentchanged");
        assert_eq!(notice.header("subscription-id"), made.value()["subscriptionId"]);
        assert_eq!(notice.header("sequence-number"), "0");
        let sent: u64 = notice.header("event-timestamp").parse().unwrap();
        assert!((begun..=notice.unix).contains(&sent), "{begun} {sent} {}", notice.unix);
        let signature = notice.header("event-signature");
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(signature.len() == 64 && signature.bytes().all(is_hex), "{signature}");
        let repeated = notice.header("correlation-id");
        assert_eq!(Some(repeated), made.header("correlation-id"));
        assert_eq!(repeated, correlation.unwrap_or(repeated));
        match body {
            Some(cbor) => assert_eq!(&notice.body, cbor),
            None => assert_eq!(notice.value(), json!({ "value": 1, "list": [true, "x"] })),
        }
    }
    cloud.stop();
}
