//! The wall between users: what belongs to somebody else does not exist.

use loadtest::credentials::TlsVersion;
use loadtest::device::{Ask, Response};
use serde_json::json;
use shared::ids::DeviceId;
use tests::processes::{Setup, TestCloud};
use tests::stations::OwnClient;

const DEVICES: u32 = 12;

/// A device id that nobody has.
fn nobody() -> DeviceId {
    "00000000-0000-4000-8000-00000000dead".parse().unwrap()
}

#[test]
fn over_rest_another_user_sees_an_empty_list_and_404_for_each_device() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(DEVICES);
    let (rest, other) = (cloud.rest(), cloud.other_token());
    for content in ["base", "all"] {
        let list = rest.get(format!("/api/v1/devices?content={content}")).token(&other).send();
        assert_eq!(list.is(200).value(), json!([]));
    }
    // Word for word what is said of a device that does not exist.
    let ask = |device: DeviceId, href: &str| {
        let path = format!("/api/v1/devices/{device}{href}");
        let got = rest.get(&*path).token(&other).send().is_problem(404);
        let mut said = vec![got];
        if href.starts_with('/') {
            let posted = rest.post(&*path).token(&other).json(&json!({ "value": true })).send();
            said.push(posted.is_problem(404));
        }
        let texts = said.iter().map(|answer| {
            let body = String::from_utf8(answer.body.to_vec()).unwrap();
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            (body.replace(&device.to_string(), "DI"), names)
        });
        texts.collect::<Vec<_>>()
    };
    for href in ["", "?content=all", "/oic/d", "/light/1", "/nothing"] {
        let expected = ask(nobody(), href);
        for device in cloud.devices() {
            assert_eq!(ask(device, href), expected, "{device}{href}");
        }
    }
    let tokens = rest.get("/api/v1/mediator/devices").token(&other).send().is(200);
    assert!(!tokens.body.contains(&b'-'), "no device id is in it");
    cloud.stop();
}

#[test]
fn over_coap_another_user_gets_exactly_what_a_device_that_does_not_exist_gets() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(DEVICES);
    let credentials = cloud.manufacturer(TlsVersion::Tls12);
    let mut client = OwnClient::online(&cloud, &credentials, &cloud.other_token(), 1);

    for query in [&[][..], &["rt=oic.r.switch.binary"], &["if=oic.if.ll"]] {
        let found = client.ask(&Ask::Discover { query });
        assert_eq!((found.code.to_string(), &found.payload[..]), ("2.05".into(), &b"\x80"[..]));
    }
    let devices = cloud.devices();
    let of_one = format!("di={}", devices[0]);
    assert_eq!(client.ask(&Ask::Discover { query: &[&of_one] }).payload, b"\x80");

    for href in ["/oic/d", "/oic/res", "/light/1", "/nothing"] {
        let expected = all_of(&mut client, nobody(), href);
        for response in &expected {
            assert_eq!(response.code.to_string(), "4.04");
        }
        for &device in &devices {
            assert_eq!(all_of(&mut client, device, href), expected, "{device}{href}");
        }
    }
    assert!(client.station.is_signed_in(), "asking is no reason to be thrown out");
    assert_eq!(client.breaches(), Vec::<String>::new());
    cloud.stop();
}

/// The answers to everything that can be asked of a resource.
fn all_of(client: &mut OwnClient<'_>, device: DeviceId, href: &str) -> Vec<Response> {
    let body = b"\xa1\x65value\xf5";
    vec![
        client.ask(&Ask::Retrieve { device, href, query: &[] }),
        client.ask(&Ask::Update { device, href, body }),
        client.ask(&Ask::Observe { device: Some(device), href }),
        client.ask(&Ask::Cancel { device: Some(device), href, request: 99 }),
    ]
}
