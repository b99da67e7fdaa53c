//! Mediators: tokens for devices, and devices that leave.

use axum::http::Method;
use serde_json::json;

use crate::support::Cloud;
use crate::support::client::Asking;
use crate::support::gateway::{CLOUD_ID, ENDPOINT};
use crate::support::world::{ALICE, LIGHT, LOCK, SENSOR, UNKNOWN};

const MEDIATOR: &str = "/api/v1/mediator";
const DEVICES: &str = "/api/v1/mediator/devices";

fn ask(cloud: &Cloud, method: Method, path: &str) -> Asking {
    cloud.client.ask(method, path).token("alice-mediates")
}

#[tokio::test]
async fn a_mediator_registers_and_learns_its_user() {
    let cloud = Cloud::start().await;
    let answer = ask(&cloud, Method::POST, MEDIATOR).send().await;
    let body = answer.is_ok().json();
    assert_eq!(body["uid"], ALICE);
    assert_eq!(body["accesstoken"], "alice-mediates");
    assert!(body["expiresin"].as_i64().unwrap() > 0);
    cloud.stop().await;
}

#[tokio::test]
async fn a_device_gets_a_token_and_is_told_where_to_go() {
    let cloud = Cloud::start().await;
    let for_one = ask(&cloud, Method::POST, DEVICES)
        .body("application/json", format!(r#"{{"di":"{UNKNOWN}"}}"#))
        .send()
        .await;
    assert_eq!(for_one.status, 201);
    let expected = json!({
        "di": UNKNOWN, "accesstoken": "one-time", "cis": ENDPOINT, "sid": CLOUD_ID, "expiresin": 600,
    });
    assert_eq!(for_one.json(), expected);
    for asking in [
        ask(&cloud, Method::POST, DEVICES),
        ask(&cloud, Method::POST, DEVICES).body("application/json", "{}"),
    ] {
        let for_any = asking.send().await;
        assert_eq!(for_any.status, 201);
        assert!(for_any.json().get("di").is_none());
    }
    let listed = ask(&cloud, Method::GET, DEVICES).send().await;
    let expected =
        json!([{"di": UNKNOWN, "expiresin": 600}, {"expiresin": 600}, {"expiresin": 600}]);
    assert_eq!(listed.is_ok().json(), expected, "the tokens themselves were shown once");
    cloud.stop().await;
}

#[tokio::test]
async fn a_device_of_somebody_else_is_409() {
    let cloud = Cloud::start().await;
    let body = format!(r#"{{"di":"{LOCK}"}}"#);
    let asking = ask(&cloud, Method::POST, DEVICES).body("application/json", body);
    asking.send().await.is_problem(409);
    cloud.stop().await;
}

#[tokio::test]
async fn a_lost_device_is_removed() {
    let cloud = Cloud::start().await;
    let path = format!("{DEVICES}/{SENSOR}");
    let removed = ask(&cloud, Method::DELETE, &path).send().await;
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    ask(&cloud, Method::DELETE, &path).send().await.is_problem(404);
    ask(&cloud, Method::DELETE, &format!("{DEVICES}/{LOCK}")).send().await.is_problem(404);
    let left = cloud.get("/api/v1/devices").send().await.json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["device"]["di"], LIGHT);
    cloud.stop().await;
}

#[tokio::test]
async fn only_mediators_may_mediate() {
    let cloud = Cloud::start().await;
    for (method, path) in [
        (Method::POST, MEDIATOR.to_owned()),
        (Method::POST, DEVICES.to_owned()),
        (Method::GET, DEVICES.to_owned()),
        (Method::DELETE, format!("{DEVICES}/{SENSOR}")),
    ] {
        let refused = cloud.client.ask(method.clone(), path.clone()).token("alice").send().await;
        let challenge = refused.is_problem(403).header("www-authenticate").unwrap().to_owned();
        assert!(challenge.contains(r#"scope="mediator""#), "{challenge}");
        cloud.client.ask(method, path).send().await.is_problem(401);
    }
    assert!(cloud.world.state().tokens.is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let cloud = Cloud::start().await;
    let issue = || ask(&cloud, Method::POST, DEVICES);
    issue().body("text/plain", "x").send().await.is_problem(415);
    issue().accept("application/vnd.ocf+cbor").send().await.is_problem(406);
    for body in ["{", r#"{"di":"x"}"#, r#"{"di":1}"#, "1", r#"{"di":null,"di":null}"#] {
        issue().body("application/json", body).send().await.is_problem(400);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn without_the_gateway_mediators_are_told_to_come_back() {
    let cloud = Cloud::start_without_gateway(|_| {}).await;
    for (method, path) in
        [(Method::POST, MEDIATOR), (Method::POST, DEVICES), (Method::GET, DEVICES)]
    {
        let answer = ask(&cloud, method, path).send().await;
        assert!(answer.is_problem(503).header("retry-after").is_some());
    }
    cloud.stop().await;
}
