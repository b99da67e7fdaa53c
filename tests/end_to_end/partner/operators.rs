//! What operators do, over HTTPS and from the command line.

use hyper::Method;
use serde_json::{Value, json};
use tests::browser::{Browser, authorization, link, token};
use tests::processes::{Setup, TestCloud};

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
