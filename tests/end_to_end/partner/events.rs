//! Events over the real programs: a device, the gateway, an api process, a receiver.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared::ids::DeviceId;
use tests::browser::{code, redeem};
use tests::ordeal::Ordeal;
use tests::processes::{Setup, TestCloud};
use tests::receiver::{Notice, Reaction, Receiver};

use super::subscribing::{SECRET, check, subscribe, wish};

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
    assert_eq!(
        (&*first.path, first.header("content-type")),
        ("/events?of=light", "application/json")
    );
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

/// Cases 118, 119, 126, 128, 129: the levels of devices and of links.
#[test]
fn devices_and_links_are_told_from_the_beginning_on() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (rest, token, receiver) = (cloud.rest(), cloud.token(), Receiver::start());
    let types = ["devices_online", "devices_offline", "devices_unregistered", "devices_registered"];
    subscribe(&rest, &token, "", &receiver.url("/devices"), &types);
    let first = receiver.wait_for(4);
    let order: Vec<_> = first.iter().map(|notice| (notice.number(), notice.event_type())).collect();
    assert_eq!(
        order,
        [
            (0, "devices_registered"),
            (1, "devices_unregistered"),
            (2, "devices_online"),
            (3, "devices_offline")
        ]
    );
    let mut ids: Vec<_> =
        cloud.devices().iter().map(|id| json!({ "di": id.to_string() })).collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(first[0].value(), json!(ids));
    assert_eq!((first[1].value(), first[3].value()), (json!([]), json!([])));
    let of_links = Receiver::start();
    let device = light(&cloud);
    let links = ["resources_published", "resources_unpublished"];
    subscribe(&rest, &token, &format!("/{device}"), &of_links.url("/"), &links);
    let links = of_links.wait_for(2);
    for link in links[0].value().as_array().unwrap() {
        assert!(link["href"].as_str().unwrap().starts_with(&format!("/{device}/")));
        assert!(link["rt"].is_array() && link["if"].is_array() && link.get("eps").is_none());
    }
    assert_eq!(links[1].value(), json!([]));
    let removed = rest.ask(hyper::Method::DELETE, format!("/api/v1/mediator/devices/{device}"));
    removed.token(&token).send().is(204);
    let all = receiver.wait_for(5);
    assert_eq!((all[4].number(), all[4].event_type()), (4, "devices_unregistered"));
    assert_eq!(all[4].value(), json!([{ "di": device.to_string() }]));
    let ended = of_links.wait_for(3);
    assert_eq!((ended[2].number(), ended[2].event_type()), (2, "subscription_cancelled"));
    check(&all);
    check(&ended);
    // The swarm's device signs up again by itself, or gives up: it is not asked how it ended.
    cloud.kill_gateway();
}

/// Cases 133, 142 to 145, 148: failures are repeated under the same number, 410 ends, and one slow
/// receiver delays nobody else.
#[test]
fn receivers_fail_in_every_way_and_nothing_is_lost_or_reordered() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let tries = AtomicU32::new(0);
    let failing = Receiver::reacting(move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Reaction::Status(503),
        1 => Reaction::Cut,
        2 => Reaction::With(429, "retry-after: 2".into()),
        _ => Reaction::Status(204),
    });
    let silent = Receiver::reacting(|_| Reaction::Silent(Duration::from_secs(60)));
    let gone = Receiver::reacting(|_| Reaction::Status(410));
    let elsewhere = Receiver::start();
    let location = format!("location: {}", elsewhere.url("/"));
    let moved = Receiver::reacting(move |_| Reaction::With(307, location.clone()));
    let picky = Receiver::reacting(|_| Reaction::Status(400));
    let types = ["devices_registered", "devices_online"];
    for receiver in [&silent, &gone, &moved, &picky, &failing] {
        subscribe(&rest, &token, "", &receiver.url("/"), &types);
    }
    let all = failing.wait_for(5);
    check(&all);
    let numbers: Vec<_> = all.iter().map(Notice::number).collect();
    assert_eq!(numbers, [0, 0, 0, 0, 1]);
    assert!(all[..4].iter().all(|notice| notice.body == all[0].body));
    assert!(all[3].at - all[2].at >= Duration::from_secs(2), "Retry-After is kept");
    assert_eq!(gone.count(), 1, "nothing follows 410");
    for refusing in [&moved, &picky] {
        let refused: Vec<_> = refusing.wait_for(2).iter().map(Notice::number).collect();
        assert_eq!(refused, [0, 1], "what is refused is not repeated");
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect is a refusal: it is not followed");
    assert_eq!(silent.count(), 1, "one at a time");
    cloud.stop();
}

/// Cases 114: everything is killed in between; numbers go on.
#[test]
fn power_cuts_lose_no_event_and_repeat_no_number_for_another_one() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(2);
    let (rest, token, receiver) = (cloud.rest(), cloud.token(), Receiver::start());
    let types = ["devices_online", "devices_offline"];
    subscribe(&rest, &token, "", &receiver.url("/"), &types);
    receiver.wait_for(2);
    cloud.kill_api();
    cloud.kill_gateway();
    cloud.start_gateway();
    cloud.start_api();
    // Both devices were lost, and both came back.
    let seen = |kind: &'static str, di: String| {
        receiver.wait_until(&format!("{kind} of {di}"), |notice| {
            let here = || notice.value().as_array().unwrap().iter().any(|it| it["di"] == di);
            notice.number() >= 2 && notice.event_type() == kind && here()
        })
    };
    for device in cloud.devices() {
        let offline = seen("devices_offline", device.to_string());
        let online = seen("devices_online", device.to_string());
        assert!(offline.number() < online.number());
    }
    let all = receiver.notices();
    check(&all);
    let mut numbers: Vec<_> = all.iter().map(Notice::number).collect();
    assert!(numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    cloud.stop();
}

/// Cases 102 to 105, 107, 108, and 9.2: what is wrong is refused before anything is connected to.
#[test]
fn a_subscription_that_is_not_as_it_should_be_is_refused() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let receiver = Receiver::start();
    let good = wish(&receiver.url("/"), &["devices_online"]);
    let post =
        |body: &Value| rest.post("/api/v1/devices/subscriptions").token(&token).json(body).send();
    for member in ["eventsUrl", "eventTypes", "signingSecret"] {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(member);
        post(&without).is_problem(400);
    }
    for (member, value) in [
        ("eventTypes", json!([])),
        ("eventTypes", json!(["devices_online", "devices_gone"])),
        ("eventTypes", json!(["resources_published"])),
        ("eventTypes", json!("devices_online")),
        ("signingSecret", json!("x".repeat(31))),
        ("signingSecret", json!(7)),
        ("eventsUrl", json!("/events")),
        ("eventsUrl", json!("ftp://127.0.0.1/")),
        ("eventsUrl", json!("http://user@127.0.0.1/")),
        ("eventsUrl", json!("http://127.0.0.1/#part")),
    ] {
        let mut wrong = good.clone();
        wrong[member] = value;
        post(&wrong).is_problem(400);
    }
    let path = "/api/v1/devices/subscriptions";
    rest.post(path).token(&token).body("text/plain", good.to_string()).send().is_problem(415);
    rest.post(path).token(&token).body("", good.to_string()).send().is_problem(415);
    let resource = format!("/{}/light/1", light(&cloud));
    let values = json!([good["eventsUrl"], good["eventTypes"], good["signingSecret"]]);
    post(&values).is_problem(400);
    for (level, of_another) in [
        ("", "resource_contentchanged"),
        (&*format!("/{}", light(&cloud)), "devices_online"),
        (&*format!("/{}", light(&cloud)), "resource_contentchanged"),
        (&*resource, "resources_published"),
        (&*resource, "subscription_cancelled"),
    ] {
        let ask = rest.post(format!("/api/v1/devices{level}/subscriptions")).token(&token);
        ask.json(&wish(&receiver.url("/"), &[of_another])).send().is_problem(400);
    }
    let nobody = "00000000-0000-4000-8000-00000000dead";
    let links = wish(&receiver.url("/"), &["resources_published"]);
    let of_nobody = rest.post(format!("/api/v1/devices/{nobody}/subscriptions")).token(&token);
    of_nobody.json(&links).send().is_problem(404);
    let foreign = rest.post(format!("/api/v1/devices/{}/subscriptions", light(&cloud)));
    foreign.token(&cloud.other_token()).json(&links).send().is_problem(404);
    let content = wish(&receiver.url("/"), &["resource_contentchanged"]);
    let nothing = format!("/api/v1/devices/{}/nothing/subscriptions", light(&cloud));
    rest.post(nothing).token(&token).json(&content).send().is_problem(404);
    assert_eq!(receiver.connections(), 0, "nobody was connected to");
    let mut longer = good.clone();
    longer["signingSecret"] = json!("x".repeat(33));
    post(&longer).is(201);
    cloud.stop();
}

/// Rule 1 of cloud reference 9.2, and cases 104 and 106, with the configuration of production.
#[test]
fn without_the_switch_events_go_to_public_https_receivers_only() {
    let api = |config: &mut toml::Table| {
        let strict = ("strict_signing_secret".to_owned(), true.into());
        config.insert("events".into(), toml::Table::from_iter([strict]).into());
    };
    let cloud = TestCloud::start(Setup { api, ..Setup::default() });
    let receiver = Receiver::start();
    let port = receiver.url("").rsplit(':').next().unwrap().to_owned();
    let (rest, token) = (cloud.rest(), cloud.token());
    for url in [
        receiver.url("/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://10.0.0.1/".into(),
        "https://192.168.1.1/".into(),
        "https://[fe80::1]/".into(),
        "https://[fd00::1]/".into(),
        "https://metadata.localhost/".into(),
        "https://nothing.invalid/".into(),
    ] {
        let body = wish(&url, &["devices_online"]);
        let refused = rest.post("/api/v1/devices/subscriptions").token(&token).json(&body).send();
        let text = refused.is_problem(400).text();
        assert!(text.contains("not one that events are sent to"), "{url}: {text}");
    }
    assert_eq!(receiver.connections(), 0, "nobody is connected to");
    // Case 104, strictly.
    let mut long = wish("https://127.0.0.1/", &["devices_online"]);
    long["signingSecret"] = json!("x".repeat(33));
    let refused = rest.post("/api/v1/devices/subscriptions").token(&token).json(&long).send();
    assert!(refused.is_problem(400).text().contains("32 characters"));
    cloud.stop();
}

/// Cases 109, 115, 147: a subscription hangs on the grant, not on the token that made it.
#[test]
fn a_grant_carries_its_subscriptions_over_refreshes_and_ends_them() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, partner, receiver) = (cloud.rest(), cloud.partner(), Receiver::start());
    let code = code(&rest, &partner, &[("scope", Some("r:* offline_access"))]);
    let tokens = redeem(&rest, &partner, &code).is(200).value();
    let text = |tokens: &Value, key: &str| tokens[key].as_str().unwrap().to_owned();
    let token = text(&tokens, "access_token");
    let level = format!("/{}/light/1", light(&cloud));
    let url = receiver.url("/");
    subscribe(&rest, &token, &level, &url, &["resource_contentchanged"]);
    let first = receiver.wait_for(1).remove(0).value()["value"].as_bool().unwrap();
    let refresh = text(&tokens, "refresh_token");
    let ask = rest.post("/oauth/token").basic(&partner.client_id, &partner.client_secret);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
    let next = ask.form(&fields).send().is(200).value();
    let update = rest.post(format!("/api/v1/devices{level}")).token(&cloud.token());
    update.json(&json!({ "value": !first })).send().is(200);
    assert_eq!(receiver.wait_for(2)[1].value()["value"], json!(!first));
    let revoke = rest.post("/oauth/revoke").basic(&partner.client_id, &partner.client_secret);
    revoke.form(&[("token", &*text(&next, "refresh_token"))]).send().is(200);
    let all = receiver.wait_for(3);
    assert_eq!((all[2].number(), all[2].event_type()), (2, "subscription_cancelled"));
    check(&all);
    cloud.stop();
}

/// Vectors of cloud reference 7.1 and 7.2 through the command line.
#[test]
fn the_command_line_knows_events_that_are_ours() {
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    let verify = |secret: &str, body_text: &str, timestamp: &str, signature: &str| {
        std::fs::write(&body, body_text).unwrap();
        let mut command = std::process::Command::new(&tests::processes::binaries().api);
        command.args(["verify-event", "--secret", secret, "--body", body.to_str().unwrap()]);
        for header in [
            "content-type: application/json",
            "Event-Type: devices_unregistered",
            "Subscription-ID: 1eeb465c-5e8d-4305-a366-bbf035fff671",
            "Sequence-Number: 1",
            "Host: consumer.example",
            &format!("Event-Timestamp: {timestamp}"),
            &format!("Event-Signature: {signature}"),
        ] {
            command.args(["-H", header]);
        }
        command.output().unwrap()
    };
    let v3 = "e913841f4773782876f6200c016ae63537c8ab2b063a2e2817306bfa0d95b910";
    let good = verify(SECRET, "[]", "1585758000", &v3.to_uppercase());
    assert_eq!((good.status.code(), &*good.stdout), (Some(0), &b"valid\n"[..]));
    for bad in [
        verify(SECRET, "[]\n", "1585758000", v3),
        verify(SECRET, "[]", "1585758001", v3),
        verify("k7Tq2Wm9Xc4Vb6Np8Lz1Jh3Gf5Ds0RyA", "[]", "1585758000", v3),
    ] {
        assert_eq!((bad.status.code(), &*bad.stdout), (Some(1), &b""[..]));
    }
}

/// The crash run in small; in full it is the program `crash-run`.
#[test]
fn crashes_over_and_over_lose_nothing() {
    let ordeal =
        Ordeal { devices: 30, subscriptions: 8, rounds: 6, changes_per_sec: 30.0, seed: 7 };
    let counts = ordeal.run();
    assert!(counts.repeated > 0 && counts.contents > 0 && counts.compared > 0, "{counts}");
}
