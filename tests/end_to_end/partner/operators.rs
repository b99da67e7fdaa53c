//! What operators do, over HTTPS and from the command line.

use std::process::{Command, Output};

use hyper::Method;
use loadtest::demo::Partner;
use serde_json::{Value, json};
use tests::browser::{Browser, SCOPE, authorization, code, link, redeem, token};
use tests::processes::{Setup, TestCloud, binaries};
use tests::receiver::{Reaction, Receiver};
use tests::scripted::{Says, Scripted};

use super::subscribing::{SECRET, subscribe, wish};

const LIGHT: &str = "00000000-0000-4000-8000-00000000000a";

#[test]
fn operators_register_replace_and_switch_off() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner, operator) = (cloud.rest(), cloud.partner(), cloud.operator_token());
    let post = |path: &str, body: Value| rest.post(path).token(&operator).json(&body).send();
    rest.get("/operator/v1/clients").send().is_problem(401);
    rest.get("/operator/v1/clients").token(&cloud.token()).send().is_problem(403);
    let user = json!({ "name": "Anna@Example.org", "password": "correct horse" });
    let anna = post("/operator/v1/users", user.clone()).is(201).value();
    assert_eq!(anna["name"], "anna@example.org");
    post("/operator/v1/users", user).is_problem(409);
    post("/operator/v1/users", json!({ "name": "ben", "password": "short" })).is_problem(400);
    let all = rest.get("/operator/v1/users").token(&operator).send().is(200);
    assert_eq!(all.value().as_array().unwrap().len(), 2);
    assert!(!all.text().contains("argon2"));

    let (access, refresh) = link(&rest, &partner);
    let before = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
    let fresh = post("/operator/v1/clients/demo/secrets", json!({})).is(201).value();
    let fresh = fresh["client_secret"].as_str().unwrap();
    for secret in [fresh, &*partner.client_secret] {
        rest.post("/oauth/token").basic("demo", secret).form(&before).send().is(200);
    }
    let authorities = |pem: &str| {
        let path = "/operator/v1/clients/demo/authorities";
        rest.ask(Method::PUT, path).token(&operator).json(&json!({ "authorities": pem })).send()
    };
    let pem = std::fs::read_to_string(cloud.cloud.facts().trust_anchor).unwrap();
    for (pem, private) in [(&*pem, true), ("", false)] {
        authorities(pem).is(204);
        let clients = rest.get("/operator/v1/clients").token(&operator).send().is(200).value();
        assert_eq!(clients[0]["private_authorities"], private);
    }
    authorities("no certificate").is_problem(400);
    post("/operator/v1/clients/demo/disable", json!({})).is(204);
    let refused = token(&rest, &partner, &before).is(401).value();
    assert_eq!(refused["error"], "invalid_client");
    rest.get("/api/v1/devices").token(&access).send().is_problem(401);
    post("/operator/v1/clients/demo/enable", json!({})).is(204);
    rest.get("/api/v1/devices").token(&access).send().is(200);
    post("/operator/v1/users/demo/disable", json!({})).is(204);
    rest.get("/api/v1/devices").token(&access).send().is_problem(401);
    let refused = token(&rest, &partner, &before).is(400).value();
    assert_eq!(refused["error"], "invalid_grant");
    let browser = Browser::new(&rest);
    let page = browser.open(authorization(&partner, &[])).is(200);
    browser.log_in(&page, &partner.login, &partner.password).is(403);
    cloud.stop();
}

/// Runs `ocf-api` with these words, as operators do.
fn command(cloud: &TestCloud, words: &[&str]) -> Output {
    let config = cloud.cloud.installation.path("api.toml");
    let mut command = Command::new(&binaries().api);
    command.arg("--config").arg(config).args(words).output().unwrap()
}

/// What operators look at when a partner says that events are missing.
#[test]
fn operators_see_subscriptions_and_how_their_deliveries_go() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, token, operator) = (cloud.rest(), cloud.token(), cloud.operator_token());
    let failing = Receiver::reacting(|_| Reaction::Status(500));
    let taking = Receiver::start();
    let of_failing =
        subscribe(&rest, &token, "", &failing.url("/secret/path"), &["devices_online"]);
    let of_taking = subscribe(&rest, &token, "", &taking.url("/"), &["devices_online"]);
    let see = |query: &str| {
        rest.get(format!("/operator/v1/subscriptions{query}")).token(&operator).send()
    };
    let one = |id: &str| {
        let page = see("").is(200).value();
        let mut all = page["subscriptions"].as_array().unwrap().clone();
        all.retain(|one| one["id"] == id);
        all.remove(0)
    };
    cloud.wait_until("both attempts are told of", |_| {
        one(&of_failing)["failed_attempts"] != 0 && one(&of_taking)["delivered"] == 1
    });
    let failed = one(&of_failing);
    assert_eq!(failed["last_error"]["kind"], "status");
    assert_eq!(failed["last_error"]["status"], 500);
    assert_eq!((&failed["waiting"], &failed["next_number"]), (&json!(1), &json!(0)));
    assert!(failed["failing_since"].is_u64() && failed["state"] == "active");
    assert_eq!(failed["receiver"], failing.url(""));
    let taken = one(&of_taking);
    assert_eq!((&taken["waiting"], &taken["next_number"]), (&json!(0), &json!(1)));
    assert!(taken["last_delivered"].is_u64() && taken.get("last_error").is_none());
    let text = see("").text();
    assert!(!text.contains(SECRET) && !text.contains("/secret/path"), "{text}");
    assert_eq!(see("?client=nobody").is(200).value(), json!({ "subscriptions": [] }));
    let last = [&of_failing, &of_taking].into_iter().max().unwrap();
    assert_eq!(see(&format!("?after={last}")).is(200).value()["subscriptions"], json!([]));
    see("?after=nonsense").is_problem(400);
    rest.get("/operator/v1/subscriptions").token(&token).send().is_problem(403);

    let client = failed["client"].as_str().unwrap();
    let listed = command(&cloud, &["subscriptions", "list", "--client", client]);
    assert!(listed.status.success(), "{listed:?}");
    let lines = String::from_utf8(listed.stdout).unwrap();
    let ids: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert!(ids.len() == 2 && ids.contains(&json!(of_failing)), "{lines}");
    cloud.stop();
}

/// Cloud reference 9.2, rule 9.
#[test]
fn events_of_a_client_with_hosts_of_its_own_go_nowhere_else() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let client = json!({
        "id": "bound", "name": "Bound", "scope": SCOPE,
        "redirect_uris": [partner.redirect_uri], "events_hosts": ["localhost"],
    });
    let made = rest.post("/operator/v1/clients").token(&cloud.operator_token()).json(&client);
    let made = made.send().is(201).value();
    assert_eq!(made["events_hosts"], json!(["localhost"]));
    let bound = Partner {
        client_id: "bound".into(),
        client_secret: made["client_secret"].as_str().unwrap().into(),
        ..partner
    };
    let (access, _) = link(&rest, &bound);
    let receiver = Receiver::start();
    let here = receiver.url("/");
    let refused = wish(&here, &["devices_online"]);
    let ask = rest.post("/api/v1/devices/subscriptions").token(&access);
    ask.json(&refused).send().is_problem(400);
    subscribe(&rest, &access, "", &here.replace("127.0.0.1", "localhost"), &["devices_online"]);
    receiver.wait_for(1);
    cloud.stop();
}

#[test]
fn the_memory_of_every_table_is_accounted_for() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, operator) = (cloud.rest(), cloud.operator_token());
    let _light = Scripted::online(&cloud, LIGHT, &[("/x", Says::Nothing)]);
    rest.get("/operator/v1/shards").send().is_problem(401);
    rest.get("/operator/v1/shards").token(&cloud.token()).send().is_problem(403);
    let told = rest.get("/operator/v1/shards").token(&operator).send().is(200).value();
    let entries = |name: &str| -> u64 {
        let tables = told["shards"].as_array().unwrap().iter().map(|shard| &shard["tables"]);
        let tables = tables.flat_map(|tables| tables.as_array().unwrap());
        let named = tables.filter(|table| table["name"] == name);
        named.map(|table| table["entries"].as_u64().unwrap()).sum()
    };
    for name in
        ["connections", "connections.identities", "ring.sockets", "devices", "devices.links"]
    {
        assert!(entries(name) >= 1, "{name}: {told}");
    }
    let process = |name: &str| told["process"][name].as_u64().unwrap();
    assert!(process("tables_bytes") < process("anonymous_bytes"), "{told}");
    assert!(process("anonymous_bytes") < process("resident_bytes"), "{told}");
    let delays = &told["shards"][0]["read_to_send"];
    assert!(delays["p50_micros"].as_u64() <= delays["p99_micros"].as_u64(), "{told}");
    let counted = told["shards"].as_array().unwrap().iter();
    assert!(counted.map(|shard| shard["read_to_send"]["count"].as_u64().unwrap()).sum::<u64>() > 0);

    let printed = command(&cloud, &["shards"]);
    assert!(printed.status.success(), "{printed:?}");
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(
        printed["shards"].as_array().unwrap().len(),
        told["shards"].as_array().unwrap().len()
    );
    cloud.stop();
}

#[test]
fn a_user_is_deleted_with_everything_that_is_theirs() {
    let mut cloud = TestCloud::start(Setup { users: 2, ..Setup::default() });
    let (rest, partner, operator) = (cloud.rest(), cloud.partner(), cloud.operator_token());
    let light = Scripted::online(&cloud, LIGHT, &[("/x", Says::json(&json!({ "value": 1 })))]);
    let (access, refresh) = link(&rest, &partner);
    rest.get(light.path("/x")).token(&access).send().is(200);
    let unused = code(&rest, &partner, &[]);
    rest.post("/api/v1/mediator/devices").token(&cloud.token()).send().is(201);

    let deleted = command(&cloud, &["users", "delete", "demo"]);
    assert!(deleted.status.success(), "{deleted:?}");
    for token in [&*access, &*cloud.token()] {
        let list = rest.get("/api/v1/devices").token(token).send();
        // The token of the credentials file is the operator's to take out.
        assert!(list.status == 401 || list.text() == "[]", "{}", list.text());
    }
    rest.get(light.path("/x")).token(&cloud.token()).send().is_problem(404);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
    token(&rest, &partner, &fields).is(400);
    redeem(&rest, &partner, &unused).is(400);
    let outstanding = rest.get("/api/v1/mediator/devices").token(&cloud.token()).send();
    assert_eq!(outstanding.is(200).text(), "[]");
    let all = rest.get("/operator/v1/users").token(&operator).send().is(200);
    assert_eq!(all.text(), "[]");
    let browser = Browser::new(&rest);
    let page = browser.open(authorization(&partner, &[])).is(200);
    browser.log_in(&page, &partner.login, &partner.password).is(403);
    let again = command(&cloud, &["users", "delete", "demo"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("there is none of this name"));

    cloud.kill_gateway();
    cloud.start_gateway();
    cloud.wait_until("the api has found it", |cloud| {
        cloud.rest().get("/readyz").send().status == 200
    });
    let rest = cloud.rest();
    rest.get(light.path("/x")).token(&cloud.token()).send().is_problem(404);
    // The same over HTTPS, for a user without a login.
    let uid = cloud.cloud.facts().uid.to_string();
    let _light = Scripted::online(&cloud, LIGHT, &[("/x", Says::Nothing)]);
    let delete = |name: &str| {
        rest.ask(Method::DELETE, format!("/operator/v1/users/{name}")).token(&operator).send()
    };
    delete(&uid).is(204);
    rest.get(light.path("/x")).token(&cloud.token()).send().is_problem(404);
    delete("nobody").is_problem(404);
    rest.ask(Method::DELETE, format!("/operator/v1/users/{uid}"))
        .token(&cloud.token())
        .send()
        .is_problem(403);
    cloud.stop();
}

#[test]
fn a_deletion_goes_on_after_a_power_cut() {
    let mut cloud = TestCloud::start(Setup { devices: 200, ..Setup::default() });
    cloud.start_swarm(100);
    // The swarm would sign up again, if it could.
    cloud.stop_swarm();
    let operator = cloud.operator_token();
    let uid = cloud.cloud.facts().uid.to_string();
    let path = format!("/operator/v1/users/{uid}");
    let deleting = std::thread::spawn({
        let rest = cloud.rest();
        let (path, operator) = (path.clone(), operator.clone());
        move || rest.ask(Method::DELETE, path).token(&operator).send().status.as_u16()
    });
    cloud.kill_gateway();
    let answered = deleting.join().unwrap();
    assert!([202, 204, 503].contains(&answered), "{answered}");
    cloud.start_gateway();
    let rest = cloud.rest();
    cloud.wait_until("it is done", |_| {
        let deleted = rest.ask(Method::DELETE, &*path).token(&operator).send();
        assert!([202, 204, 503].contains(&deleted.status.as_u16()), "{}", deleted.text());
        deleted.status == 204
    });
    let list = rest.get("/api/v1/devices").token(&cloud.token()).send().is(200);
    assert_eq!(list.text(), "[]");
    cloud.stop();
}
