//! Power cuts: what was acknowledged is there afterwards, and everybody finds back.

use loadtest::demo::{API, GATEWAY};
use serde_json::json;
use tests::processes::{Setup, TestCloud};

const DEVICES: u32 = 40;

fn tokens_issued(cloud: &TestCloud) -> usize {
    cloud.log(API).matches("device token issued").count()
}

#[test]
fn after_a_power_cut_of_the_gateway_devices_sign_in_with_their_stored_tokens() {
    let mut cloud = TestCloud::start(Setup { users: 10, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    assert_eq!(cloud.total("sign_ups"), u64::from(DEVICES));
    let (rest, token) = (cloud.rest(), cloud.token());
    let list = || rest.get("/api/v1/devices").token(&token).send();
    let before = list().is(200).value();

    cloud.kill_gateway();
    let away = list().is_problem(503);
    assert!(away.header("retry-after").is_some());

    cloud.start_gateway();
    cloud.wait_until("all devices are back", |cloud| cloud.total("sessions") == u64::from(DEVICES));
    // Twice, so that this is no state in passing.
    assert_eq!(cloud.total("sign_ups"), 0, "nobody has signed up again");
    assert_eq!(cloud.total("publishes"), 0, "links outlive a power cut");
    assert!(cloud.total("sign_ins") >= u64::from(DEVICES));
    assert_eq!(tokens_issued(&cloud), DEVICES as usize, "no device needed its Mediator again");
    cloud.wait_until("the api is connected again", |_| list().status == 200);
    assert_eq!(list().value(), before, "nothing is lost, nothing is added");
    cloud.stop();
}

#[test]
fn a_power_cut_of_the_api_touches_no_device_and_a_new_one_serves_at_once() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(DEVICES);
    let (rest, token) = (cloud.rest(), cloud.token());
    let accepted = cloud.total("accepted");
    for round in 0..3 {
        cloud.kill_api();
        cloud.start_api();
        let list = rest.get("/api/v1/devices").token(&token).send().is(200).value();
        assert_eq!(list.as_array().unwrap().len(), DEVICES as usize, "round {round}");
        let light = cloud.devices()[0];
        let light = rest.post(format!("/api/v1/devices/{light}/light/1")).token(&token);
        light.json(&json!({ "value": round % 2 == 0 })).send().is(200);
    }
    assert_eq!(cloud.total("sessions"), u64::from(DEVICES));
    assert_eq!(cloud.total("accepted"), accepted, "no device had to connect again");
    let log = cloud.log(GATEWAY);
    assert_eq!(log.matches("api process connected").count(), 4);
    assert_eq!(log.matches("api process disconnected").count(), 3);
    cloud.stop();
}

#[test]
fn a_power_cut_of_everything_loses_nothing_that_was_acknowledged() {
    let setup = Setup { users: 4, ..Setup::default() };
    let mut cloud = TestCloud::start(setup);
    cloud.start_swarm(DEVICES);
    let devices = cloud.devices();
    let facts = serde_json::to_value(cloud.cloud.facts()).unwrap();
    // Orderly for the swarm, whose flash is not what is tested here.
    cloud.stop_swarm();
    cloud.kill_api();
    cloud.kill_gateway();
    let directory = cloud.stop();

    let mut cloud = TestCloud::start_in(directory, setup);
    let again = serde_json::to_value(cloud.cloud.facts()).unwrap();
    for key in ["coap", "api", "cloud_id", "uid", "access_token", "other_access_token"] {
        assert_eq!(again[key], facts[key], "{key}");
    }
    let (rest, token) = (cloud.rest(), cloud.token());
    let list = rest.get("/api/v1/devices").token(&token).send().is(200).value();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), devices.len() / 4);
    for device in list {
        assert_eq!(device["status"], "offline");
        assert!(!device["links"].as_array().unwrap().is_empty());
    }
    cloud.start_swarm(DEVICES);
    assert_eq!(cloud.devices(), devices, "they are the same devices");
    assert_eq!(cloud.total("sign_ups"), 0);
    assert_eq!(cloud.total("publishes"), 0);
    cloud.stop();
}
