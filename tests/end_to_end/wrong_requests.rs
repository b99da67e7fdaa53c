//! Requests that are wrong, and the answers that the references have for them. Between them the cloud
//! goes on as before.

use hyper::Method;
use loadtest::credentials::TlsVersion;
use loadtest::device::Ask;
use serde_json::json;
use shared::coap::RequestType;
use shared::ids::DeviceId;
use tests::processes::{Setup, TestCloud};
use tests::stations::{OwnClient, OwnDevice, configuration};
use tests::wire::{Wire, cbor};

const CBOR: &str = "application/vnd.ocf+cbor";
const JSON: &str = "application/json";

/// A device id that nobody has.
fn nobody() -> DeviceId {
    "00000000-0000-4000-8000-00000000dead".parse().unwrap()
}

/// Switches a light of the swarm, as often as somebody wants to know whether all goes on.
fn goes_on(cloud: &TestCloud) {
    let light = cloud
        .rest()
        .post(format!("/api/v1/devices/{}/light/1", cloud.devices()[0]))
        .json(&json!({ "value": true }))
        .token(&cloud.token())
        .send();
    light.is(200);
}

#[test]
fn wrong_rest_requests_get_the_answers_of_the_reference() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (rest, token) = (cloud.rest(), cloud.token());
    let devices = cloud.devices();
    let light = format!("/api/v1/devices/{}/light/1", devices[0]);
    let sensor = format!("/api/v1/devices/{}/temperature", devices[2]);
    let on = json!({ "value": true });

    let no_token = rest.get("/api/v1/devices").send().is_problem(401);
    assert!(no_token.header("www-authenticate").unwrap().starts_with("Bearer"));
    let wrong = rest.get("/api/v1/devices").token("wrong").send().is_problem(401);
    assert!(wrong.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    rest.post(&*light).token("wrong").json(&on).send().is_problem(401);
    goes_on(&cloud);

    for (path, status) in [
        (format!("/api/v1/devices/{}", nobody()), 404),
        (format!("/api/v1/devices/{}/light/1", nobody()), 404),
        (format!("/api/v1/devices/{}/nothing", devices[0]), 404),
        ("/api/v1/devices/no-uuid".into(), 400),
        ("/api/v1/devices/no-uuid/light/1".into(), 400),
        ("/api/v1/devices?content=some".into(), 400),
        (format!("{light}/.."), 400),
        (format!("{light}%2f"), 400),
        ("/api/v1/nothing".into(), 404),
    ] {
        rest.get(path).token(&token).send().is_problem(status);
    }
    rest.get(&*light).token(&token).accept("text/html").send().is_problem(406);
    let method = rest.ask(Method::DELETE, &*light).token(&token).send().is_problem(405);
    assert!(method.header("allow").is_some());
    goes_on(&cloud);

    for (media_type, body, status) in [
        (CBOR, &b"\xa1\x65value"[..], 400),
        (CBOR, b"\xa1\x65value\xf5\x00", 400),
        (CBOR, b"\xff", 400),
        (CBOR, b"\xf5", 400),
        (CBOR, b"", 400),
        (JSON, b"{\"value\":", 400),
        (JSON, b"{\"value\":true,\"value\":false}", 400),
        (JSON, b"{\"value\":true} x", 400),
        (JSON, b"3", 400),
        (JSON, b"\"value\"", 400),
        (JSON, b"null", 400),
        (JSON, b"", 400),
        ("text/plain", b"{\"value\":true}", 415),
    ] {
        let answer = rest.post(&*light).token(&token).body(media_type, body).send();
        assert_eq!(answer.status, status, "{media_type} {}", String::from_utf8_lossy(body));
        answer.is_problem(status);
    }
    rest.post(&*light).token(&token).body(JSON, vec![b' '; (1 << 20) + 1]).send().is_problem(413);
    // The device's own words: a sensor cannot be told its temperature.
    rest.post(&*sensor).token(&token).json(&json!({ "temperature": 1 })).send().is_problem(405);
    goes_on(&cloud);
    cloud.stop();
}

#[test]
fn a_device_that_is_offline_is_504_for_partners_and_5_03_for_clients() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let credentials = cloud.manufacturer(TlsVersion::Tls12);
    let mut device = OwnDevice::online(&cloud, &credentials, &cloud.token(), 1);
    let (di, href) = (device.station.di(), "/light/1");
    let mut client = OwnClient::online(&cloud, &credentials, &cloud.token(), 2);
    let ask = Ask::Retrieve { device: di, href, query: &[] };
    let (_, observed) = client.observe(cloud.devices()[0], href);
    assert_eq!(observed.code.to_string(), "2.05");
    device.cut();

    let (rest, token) = (cloud.rest(), cloud.token());
    let path = format!("/api/v1/devices/{di}{href}");
    cloud.wait_until("the gateway knows", |_| {
        rest.get(format!("/api/v1/devices/{di}")).token(&token).send().is(200).value()["status"]
            == "offline"
    });
    let read = rest.get(&*path).token(&token).send().is_problem(504);
    assert!(read.header("retry-after").is_some());
    rest.post(&*path).token(&token).json(&json!({ "value": true })).send().is_problem(504);
    assert_eq!(client.ask(&ask).code.to_string(), "5.03");

    let signed_in = |device: &loadtest::device::Device, _: &[_]| device.is_signed_in();
    device.until("it is back", signed_in);
    let links = rest.get(format!("/api/v1/devices/{di}")).token(&token).send().is(200).value();
    assert_eq!(links["status"], "online");
    assert!(!links["links"].as_array().unwrap().is_empty(), "links outlive a disconnect");
    goes_on(&cloud);
    cloud.stop();
}

#[test]
fn wrong_coap_requests_get_the_answers_of_the_reference() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let gateway = cloud.cloud.installation.coap();
    let credentials = cloud.manufacturer(TlsVersion::Tls12);
    let di: DeviceId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
    let connect = || Wire::connect(gateway, credentials.config(di).unwrap()).unwrap();
    let account = &["oic", "sec", "account"][..];
    let session = &["oic", "sec", "session"][..];
    let refresh = &["oic", "sec", "tokenrefresh"][..];
    let bad = cbor(&json!({ "di": di.to_string(), "uid": di.to_string(), "login": true,
        "accesstoken": "nobody's", "refreshtoken": "nobody's" }));

    for (path, body, code) in [
        (account, &b"\xbf\x62di"[..], "4.00"),
        (account, b"\xa0\xa0", "4.00"),
        (account, b"\xa1\x62di\x01", "4.00"),
        (account, b"", "4.00"),
        (account, &bad, "4.01"),
        (session, b"\xff\xff", "4.00"),
        (refresh, b"\xf6", "4.00"),
        (refresh, &bad, "4.01"),
        (&["oic", "rd"], &bad, "4.01"),
    ] {
        let mut wire = connect();
        wire.request(RequestType::Post, path, &[], body);
        let answer = wire.answer();
        assert_eq!(answer.code(), code, "{path:?} {body:?}");
        assert!(!answer.options.iter().any(|(number, _)| *number == 12), "a text has no format");
        assert!(answer.payload.len() <= 100);
        assert!(wire.ends(), "{path:?}");
    }

    // A device that was told 4.01 may mend it on the same connection.
    let mut wire = connect();
    for _ in 0..3 {
        wire.request(RequestType::Post, session, &[], &bad);
        assert_eq!(wire.answer().code(), "4.01");
    }
    wire.request(RequestType::Get, account, &[], b"");
    assert_eq!(wire.answer().code(), "4.05");
    wire.request(RequestType::Get, &["oic", "sec", "roles"], &[], b"");
    assert_eq!(wire.answer().code(), "4.01");
    wire.request(RequestType::Get, &["oic", "res"], &[], b"");
    assert_eq!(wire.answer().code(), "4.01");
    assert!(wire.ends(), "whoever is not signed in has no business there");

    // A token that was made for another device.
    let token = configuration(&cloud, &cloud.token(), nobody()).token.unwrap();
    let stolen = cbor(&json!({ "di": di.to_string(), "accesstoken": &*token }));
    let mut wire = connect();
    wire.request(RequestType::Post, account, &[], &stolen);
    assert_eq!(wire.answer().code(), "4.01");
    goes_on(&cloud);
    cloud.stop();
}

#[test]
fn an_identity_certificate_speaks_for_its_own_device_only() {
    let cloud = TestCloud::start(Setup::default());
    let gateway = cloud.cloud.installation.coap();
    let credentials = cloud.identity(TlsVersion::Tls13);
    let mine: DeviceId = "00000000-0000-4000-8000-000000000001".parse().unwrap();
    for (di, code) in [(nobody(), "4.01"), (mine, "2.04")] {
        let token = configuration(&cloud, &cloud.token(), di).token.unwrap();
        let body = cbor(&json!({ "di": di.to_string(), "accesstoken": &*token }));
        let mut wire = Wire::connect(gateway, credentials.config(mine).unwrap()).unwrap();
        wire.request(RequestType::Post, &["oic", "sec", "account"], &[], &body);
        assert_eq!(wire.answer().code(), code, "{di}");
    }
    cloud.stop();
}
