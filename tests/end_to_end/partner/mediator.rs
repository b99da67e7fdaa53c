//! Mediators: apps that bring a user's devices into the cloud and out of it.

use hyper::Method;
use serde_json::{Value, json};
use shared::ids::DeviceId;
use tests::browser::link;
use tests::processes::{Setup, TestCloud};
use tests::rest::Answer;
use tests::scripted::{Says, Scripted};

use super::DEVICES;

const DI: &str = "00000000-0000-4000-8000-00000000000a";
const TOKENS: &str = "/api/v1/mediator/devices";

#[test]
fn a_mediator_registers_and_its_user_exists_from_then_on() {
    let mut cloud = TestCloud::start(Setup::default());
    let uid = "0f3c2a9e-5d0e-4a06-8d4f-0d6c7d1b6a11";
    cloud.admit("of-a-new-user", uid, &["r:*"]);
    let rest = cloud.rest();
    let register = |token: &str| rest.post("/api/v1/mediator").token(token).send();
    let registered = register(&cloud.token()).is(200).value();
    assert_eq!(registered["uid"], json!(cloud.cloud.facts().uid));
    assert_eq!(registered["accesstoken"], json!(cloud.token()));
    assert_eq!(registered["expiresin"], -1, "a token of the credentials file never expires");
    register(&cloud.token()).is(200);
    rest.post("/api/v1/mediator").send().is_problem(401);
    register("of-a-new-user").is_problem(403);
    // What a partner is linked with opens nothing of Mediators.
    let (access, _) = link(&rest, &cloud.partner());
    register(&access).is_problem(403);
    rest.get(TOKENS).token(&access).send().is_problem(403);
    cloud.stop();
}

#[test]
fn tokens_are_issued_once_listed_and_revoked() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let issue = |body: &Value| rest.post(TOKENS).token(&token).json(body).send();
    let list = || {
        let answer = rest.get(TOKENS).token(&token).send().is(200);
        (answer.value(), answer.text())
    };
    let bound = issue(&json!({ "di": DI })).is(201).value();
    assert_eq!(bound["di"], DI);
    let facts = cloud.cloud.facts();
    assert_eq!(bound["sid"], json!(facts.cloud_id.to_string()));
    assert_eq!(bound["cis"], json!(cloud.cloud.installation.cis()));
    assert!(bound["expiresin"].as_u64().unwrap() > 0);
    assert!(bound.get("authprovider").is_none(), "the token is our own");
    let free = issue(&json!({})).is(201).value();
    assert!(free.get("di").is_none());
    rest.post(TOKENS).token(&token).send().is(201);
    let (outstanding, text) = list();
    assert_eq!(outstanding.as_array().unwrap().len(), 3);
    let of_device = outstanding.as_array().unwrap().iter().filter(|one| one["di"] == DI);
    assert_eq!(of_device.count(), 1);
    assert!(!text.contains(bound["accesstoken"].as_str().unwrap()), "they were shown once");

    let revoke = |di: &str| -> Answer {
        rest.ask(Method::DELETE, format!("{TOKENS}/{di}")).token(&token).send()
    };
    revoke(DI).is(204);
    revoke(DI).is_problem(404);
    revoke("no-uuid").is_problem(400);
    assert_eq!(list().0.as_array().unwrap().len(), 2);
    for wrong in [json!({ "di": "no-uuid" }), json!({ "di": 1 }), json!([1]), json!([])] {
        issue(&wrong).is_problem(400);
    }
    rest.post(TOKENS).token(&token).body("text/plain", "{}").send().is_problem(415);
    rest.get(TOKENS).token(&token).accept("application/xml").send().is_problem(406);
    cloud.stop();
}

#[test]
fn a_device_that_is_lost_or_sold_is_removed_with_links_and_session() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    let device = Scripted::online(&cloud, DI, &[("/x", Says::json(&json!({ "value": 1 })))]);
    rest.get(device.path("/x")).token(&token).send().is(200);
    let di: DeviceId = device.di();
    // It is somebody's: nobody else gets a token for it, or removes it.
    let foreign = rest.post(TOKENS).token(&cloud.other_token()).json(&json!({ "di": DI })).send();
    foreign.is_problem(409);
    let path = format!("{TOKENS}/{di}");
    rest.ask(Method::DELETE, &*path).token(&cloud.other_token()).send().is_problem(404);
    rest.get(device.path("/x")).token(&token).send().is(200);

    rest.ask(Method::DELETE, &*path).token(&token).send().is(204);
    rest.get(format!("{DEVICES}/{di}")).token(&token).send().is_problem(404);
    rest.get(device.path("/x")).token(&token).send().is_problem(404);
    assert!(device.is_cut_off(), "its session ends");
    // Now it may be somebody else's.
    rest.post(TOKENS).token(&cloud.other_token()).json(&json!({ "di": DI })).send().is(201);

    cloud.kill_gateway();
    cloud.wait_until("the api knows", |cloud| cloud.rest().get("/readyz").send().status == 503);
    let gone = rest.post(TOKENS).token(&token).json(&json!({})).send().is_problem(503);
    assert!(gone.header("retry-after").is_some());
    rest.post("/api/v1/mediator").token(&token).send().is_problem(503);
    cloud.start_gateway();
    cloud.stop();
}
