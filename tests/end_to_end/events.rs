//! Events over the real programs: a device, the gateway, an api process, a receiver.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use loadtest::credentials::TlsVersion;
use serde_json::{Value, json};
use shared::ids::DeviceId;
use tests::processes::{Setup, TestCloud};
use tests::receiver::{Notice, Reaction, Receiver};
use tests::rest::Rest;

const SECRET: &str = "3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql";

fn wish(url: &str, types: &[&str]) -> Value {
    json!({ "eventsUrl": url, "eventTypes": types, "signingSecret": SECRET })
}

/// The id of a subscription at `level`, a path below the devices.
fn subscribe(rest: &Rest, token: &str, level: &str, url: &str, types: &[&str]) -> String {
    let path = format!("/api/v1/devices{level}/subscriptions");
    let made = rest.post(&*path).token(token).json(&wish(url, types)).send().is(201);
    let id = made.value()["subscriptionId"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(&*format!("{path}/{id}")));
    id
}

#[track_caller]
fn check(notices: &[Notice]) {
    for notice in notices {
        notice.check(SECRET).unwrap();
    }
}

fn light(cloud: &TestCloud) -> DeviceId {
    cloud.devices()[0]
}

/// Cases 101, 121 to 125, 130, 132, 146: from a change of a device to a signed event, and to the end.
#[test]
fn a_change_of_a_device_arrives_signed_and_unsubscribing_is_the_last_word() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (rest, token, receiver) = (cloud.rest(), cloud.token(), Receiver::start());
    let level = format!("/{}/light/1", light(&cloud));
    let url = receiver.url("/events?of=light");
    let id = subscribe(&rest, &token, &level, &url, &["resource_contentchanged"]);
    let resource = format!("/api/v1/devices{level}");
    let before = rest.get(&*resource).token(&token).send().is(200).value();
    let first = receiver.wait_for(1).remove(0);
    assert_eq!((first.number(), first.id(), first.value()), (0, &*id, before.clone()));
    assert_eq!((&*first.path, first.header("content-type")), ("/events?of=light", "application/json"));
    let value = !before["value"].as_bool().unwrap();
    rest.post(&*resource).token(&token).json(&json!({ "value": value })).send().is(200);
    let second = receiver.wait_for(2).remove(1);
    assert_eq!((second.number(), &second.value()["value"]), (1, &json!(value)));
    assert_eq!(second.nth, 1, "the connection is kept");
    let one = format!("{resource}/subscriptions/{id}");
    let known = rest.get(&*one).token(&token).send().is(200).value();
    assert_eq!(known, json!({ "subscriptionId": id }), "and nothing else is shown");
    rest.delete(&*one).token(&token).send().is(202);
    rest.delete(&*one).token(&token).send().is_problem(404);
    let all = receiver.wait_for(3);
    let last = &all[2];
    assert_eq!((last.number(), last.event_type()), (2, "subscription_cancelled"));
    assert!(last.body.is_empty() && !last.headers.contains_key("content-type"));
    check(&all);
    cloud.stop();
}
