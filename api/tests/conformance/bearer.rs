//! Scopes and bearer errors: cases 58 to 64.

use axum::http::Method;

use crate::support::cloud::{CREDENTIALS, write_credentials};
use crate::support::world::SENSOR;
use crate::support::{Answer, Cloud};

const DEVICES: &str = "/api/v1/devices";

#[track_caller]
fn challenged(answer: &Answer, status: u16, challenge: &str) {
    assert_eq!(answer.is_problem(status).header("www-authenticate"), Some(challenge));
}

const INSUFFICIENT: &str = r#"Bearer realm="c2c", error="insufficient_scope", scope="r:* w:*""#;

#[tokio::test]
async fn case_58_no_token_is_401() {
    let cloud = Cloud::start().await;
    for path in [DEVICES, "/api/v1/devices/x", "/api/v1/mediator", "/api/v1/nothing"] {
        let answer = cloud.client.ask(Method::GET, path).send().await;
        challenged(&answer, 401, r#"Bearer realm="c2c""#);
    }
    let other = cloud.client.ask(Method::GET, DEVICES).header("authorization", "Basic YTpi");
    challenged(&other.send().await, 401, r#"Bearer realm="c2c""#);
    cloud.stop().await;
}

#[tokio::test]
async fn case_59_garbage_and_expired_tokens_are_401() {
    let cloud = Cloud::start().await;
    for (token, why) in [("garbage", "token unknown"), ("alice-expired", "token expired")] {
        let answer = cloud.client.ask(Method::GET, DEVICES).token(token).send().await;
        let challenge =
            format!(r#"Bearer realm="c2c", error="invalid_token", error_description="{why}""#);
        challenged(&answer, 401, &challenge);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_60_to_63_scopes_decide_what_is_allowed() {
    let cloud = Cloud::start().await;
    let resource = format!("{DEVICES}/{SENSOR}/humidity");
    for (token, list, retrieve, update) in [
        ("alice", 200, 200, 200),
        ("alice-reads", 200, 200, 403),
        ("alice-writes", 403, 403, 403),
        ("alice-mails", 403, 403, 403),
        ("alice-of-old", 403, 403, 403),
        ("alice-mediates", 403, 403, 403),
    ] {
        let update_it = cloud.client.ask(Method::POST, &resource);
        let answers = [
            (cloud.client.ask(Method::GET, DEVICES), list),
            (cloud.client.ask(Method::GET, &resource), retrieve),
            (update_it.body("application/json", r#"{"desiredHumidity":55}"#), update),
        ];
        for (asking, status) in answers {
            let answer = asking.token(token).send().await;
            assert_eq!(answer.status, status, "{token} {answer:?}");
            if status == 403 {
                challenged(&answer, 403, INSUFFICIENT);
            }
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn case_64_a_token_anywhere_but_in_one_header_is_400() {
    let cloud = Cloud::start().await;
    let invalid = r#"Bearer realm="c2c", error="invalid_request""#;
    let in_query = format!("{DEVICES}?access_token=alice");
    challenged(&cloud.client.ask(Method::GET, &in_query).send().await, 400, invalid);
    challenged(&cloud.get(&in_query).send().await, 400, invalid);
    challenged(&cloud.get(DEVICES).token("alice").send().await, 400, invalid);
    let resource = format!("{DEVICES}/{SENSOR}/humidity");
    let form = "application/x-www-form-urlencoded";
    let in_form = cloud.client.ask(Method::POST, &resource).body(form, "a=b&access_token=alice");
    challenged(&in_form.send().await, 400, invalid);
    let other_form = cloud.client.ask(Method::POST, &resource).body(form, "a=b").token("alice");
    other_form.send().await.is_problem(415);
    cloud.stop().await;
}

#[tokio::test]
async fn credentials_are_reloaded_and_a_bad_file_changes_nothing() {
    let cloud = Cloud::start().await;
    let status = |token: &'static str| {
        let asking = cloud.client.ask(Method::GET, DEVICES).token(token);
        async move { asking.send().await.status }
    };
    let directory = cloud.directory.path();
    std::fs::write(directory.join("credentials.json"), "[{}]").unwrap();
    let error = cloud.reloader.reload().await.unwrap_err().to_string();
    assert!(error.contains("credentials.json") && error.contains("token_sha256"), "{error}");
    assert_eq!(status("alice").await, 200);
    write_credentials(directory, CREDENTIALS.iter().filter(|entry| entry.token != "alice"));
    cloud.reloader.reload().await.unwrap();
    assert_eq!(status("alice").await, 401);
    assert_eq!(status("bob").await, 200);
    cloud.stop().await;
}
