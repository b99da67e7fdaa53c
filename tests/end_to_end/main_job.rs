//! The main job: a device goes in, a partner's REST call comes out; over one shard or several.

use loadtest::credentials::TlsVersion;
use loadtest::device::{Ask, discovered_links};
use serde_json::{Value, json};
use tests::processes::{Setup, TestCloud};
use tests::stations::OwnClient;

#[test]
fn devices_come_online_and_a_partner_lists_reads_and_switches_them() {
    const DEVICES: u32 = 60;
    let mut cloud = TestCloud::start(Setup { devices: DEVICES, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    let (rest, token) = (cloud.rest(), cloud.token());

    let list = rest.get("/api/v1/devices?content=base").token(&token).send().is(200).value();
    let mut listed: Vec<_> = list.as_array().unwrap().iter().map(|d| &d["device"]["di"]).collect();
    let mut devices: Vec<_> = cloud.devices().iter().map(|di| json!(di.to_string())).collect();
    listed.sort_by_key(|di| di.to_string());
    devices.sort_by_key(|di| di.to_string());
    assert_eq!(listed, devices.iter().collect::<Vec<_>>());
    for device in list.as_array().unwrap() {
        assert_eq!(device["status"], "online");
        let links = device["links"].as_array().unwrap();
        let di = device["device"]["di"].as_str().unwrap();
        assert!(links.iter().any(|link| link["href"] == format!("/{di}/oic/d")), "{links:?}");
        assert!(links.iter().all(|link| link.get("eps").is_none()), "{links:?}");
    }

    // What a partner does with a link's href: it goes behind the address of the list.
    let href = list.as_array().unwrap().iter().find_map(switch_of).unwrap();
    let path = format!("/api/v1/devices{href}");
    let read = || rest.get(&*path).token(&token).send().is(200).value();
    for on in [true, false, true] {
        rest.post(&*path).token(&token).json(&json!({ "value": on })).send().is(200);
        assert_eq!(read()["value"], on);
    }
    let cbor = rest.get(&*path).token(&token).accept("application/vnd.ocf+cbor").send().is(200);
    assert_eq!(cbor.header("content-type"), Some("application/vnd.ocf+cbor"));
    let cbor: Value = ciborium::from_reader(&*cbor.body).unwrap();
    assert_eq!(cbor["value"], true);

    let all = rest.get("/api/v1/devices?content=all").token(&token).send().is(200).value();
    assert_eq!(all.as_array().unwrap().len(), listed.len());
    cloud.stop();
}

/// The href of the device's switch, if it has one.
fn switch_of(device: &Value) -> Option<String> {
    let is_switch =
        |link: &&Value| link["rt"].as_array().unwrap().contains(&json!("oic.r.switch.binary"));
    let switch = device["links"].as_array().unwrap().iter().find(is_switch)?;
    Some(switch["href"].as_str().unwrap().to_owned())
}

#[test]
fn a_client_discovers_reads_switches_and_observes_the_devices_of_its_user() {
    const DEVICES: u32 = 9;
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut cloud = TestCloud::start(Setup::default());
        cloud.start_swarm(DEVICES);
        let credentials = cloud.identity(version);
        let mut client = OwnClient::online(&cloud, &credentials, &cloud.token(), 1);

        let links = client.ask(&Ask::Discover { query: &["rt=oic.r.switch.binary"] });
        let links = discovered_links(&links.payload);
        let mut found: Vec<_> = links.iter().map(|link| link.device).collect();
        let with_switch = cloud.devices().into_iter().enumerate();
        let mut expected: Vec<_> =
            with_switch.filter(|(number, _)| number % 3 != 2).map(|(_, device)| device).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "lights and switches have one, sensors have none");
        assert!(links.iter().all(|link| link.endpoint == cloud.cloud.facts().coap));

        let (device, href) = (links[0].device, &*links[0].href);
        let (number, first) = client.observe(device, href);
        assert_eq!((first.code.to_string(), first.observe), ("2.05".to_owned(), Some(1)));
        for on in [true, false, true] {
            // What is so already changes nothing, and nobody is told.
            let body = if on { b"\xa1\x65value\xf5" } else { b"\xa1\x65value\xf4" };
            let retrieve = Ask::Retrieve { device, href, query: &[] };
            let before = client.ask(&retrieve).payload;
            let changed = client.ask(&Ask::Update { device, href, body });
            assert_eq!(changed.code.to_string(), "2.04");
            let after = client.ask(&retrieve).payload;
            if after != before {
                let notification = client.notification();
                assert_eq!((notification.request, notification.response.payload), (number, after));
            }
        }
        let end = client.ask(&Ask::Cancel { device: Some(device), href, request: number });
        assert_eq!((end.code.to_string(), end.observe), ("2.05".to_owned(), None));
        assert_eq!(client.breaches(), Vec::<String>::new());
        cloud.stop();
    }
}

#[test]
fn users_live_on_their_shards_and_their_devices_move_there() {
    const DEVICES: u32 = 100;
    let mut cloud = TestCloud::start(Setup { users: 50, devices: DEVICES, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    let shards = cloud.counters();
    let sum = |name| shards.iter().map(|counts| counts.of(name)).sum::<u64>();
    assert_eq!(sum("sessions"), u64::from(DEVICES));
    assert_eq!(sum("sign_ups"), u64::from(DEVICES));
    assert_eq!(sum("moved_in"), sum("moved_out"));
    for counts in &shards {
        assert!(counts.of("sessions") > 0, "a user of 50 lives on each shard: {counts:?}");
        assert!(counts.of("accepted") > 0, "the kernel spreads connections: {counts:?}");
        assert!(counts.of("moved_in") > 0, "some come to the wrong shard: {counts:?}");
    }
    // Wherever they live, their owners find them.
    let rest = cloud.rest();
    let owners: Vec<_> = cloud.cloud.installation.users().iter().map(|u| u.token.clone()).collect();
    for token in owners {
        let list = rest.get("/api/v1/devices").token(&token).send().is(200).value();
        assert_eq!(list.as_array().unwrap().len(), 2, "100 devices of 50 users");
        assert!(list.as_array().unwrap().iter().all(|device| device["status"] == "online"));
    }
    cloud.stop();
}

#[test]
fn one_shard_is_a_cloud_too_and_so_are_more_than_there_are_cores() {
    for shards in [1, 5] {
        let setup = Setup { shards, users: 20, ..Setup::default() };
        let mut cloud = TestCloud::start(setup);
        cloud.start_swarm(40);
        assert_eq!(cloud.counters().len(), usize::from(shards));
        assert_eq!(cloud.total("sessions"), 40);
        cloud.stop();
    }
}
