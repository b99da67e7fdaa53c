//! Linking a partner cloud: the cases of cloud reference 11 about it, against the real programs.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::browser::{Browser, SCOPE, authorization, code, hidden, link, redeem, sent_back, token};
use tests::processes::{Setup, TestCloud};
use tests::rest::Answer;

const DEVICES: u32 = 8;

#[track_caller]
fn is_error(answer: Answer, status: u16, error: &str) {
    let answer = answer.is(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.value()["error"], error);
}

fn payload(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Cases 17, 18, 38, 39, 46, 47, 48 and 61.
#[test]
fn a_partner_that_a_user_links_sees_and_controls_that_users_devices() {
    let mut cloud = TestCloud::start(Setup { users: 2, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let answer = redeem(&rest, &partner, &code(&rest, &partner, &[])).is(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.value();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&json!(3600), &json!(SCOPE)));
    let access = tokens["access_token"].as_str().unwrap();

    let list = rest.get("/api/v1/devices").token(access).send().is(200).value();
    let mine = rest.get("/api/v1/devices").token(&cloud.token()).send().is(200).value();
    assert_eq!(list, mine, "the same as the user's own token shows");
    assert_eq!(list.as_array().unwrap().len(), DEVICES as usize / 2);
    let light = cloud.devices()[0];
    let light = format!("/api/v1/devices/{light}/light/1");
    rest.post(&light).token(access).json(&json!({ "value": true })).send().is(200);

    let metadata = rest.get("/.well-known/oauth-authorization-server").send().is(200).value();
    let openid = rest.get("/.well-known/openid-configuration").send().is(200).value();
    assert_eq!(metadata, openid);
    let claims = payload(access);
    assert_eq!(claims["iss"], metadata["issuer"]);
    assert_eq!(claims["sub"], json!(cloud.cloud.facts().uid));
    assert_eq!(claims["client_id"], "demo");
    let keys = rest.get("/oauth/jwks").send().is(200).value();
    let header = access.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("at+jwt")));
    let known = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]);
    assert!(known.is_some_and(|key| key.get("d").is_none()));

    let next = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let next = token(&rest, &partner, &next).is(200).value();
    let next = next["access_token"].as_str().unwrap();
    for access in [access, next] {
        rest.get("/api/v1/devices").token(access).send().is(200);
    }
    let read_only = redeem(&rest, &partner, &code(&rest, &partner, &[("scope", Some("r:*"))]));
    let read_only = read_only.is(200).value();
    assert_eq!(read_only["scope"], "r:*");
    let read_only = read_only["access_token"].as_str().unwrap();
    rest.get(&light).token(read_only).send().is(200);
    let update = rest.post(&light).token(read_only).json(&json!({ "value": false })).send();
    let challenge = update.is_problem(403).header("www-authenticate").unwrap().to_owned();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    rest.post("/api/v1/mediator").token(access).send().is_problem(403);
    rest.get("/operator/v1/users").token(access).send().is_problem(403);
    cloud.stop();
}

/// Cases 19 to 28.
#[test]
fn the_authorization_endpoint_answers_as_the_table_says() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let browser = Browser::new(&rest);
    let open = |changes: &[(&str, Option<&str>)]| browser.open(authorization(&partner, changes));
    for (name, value) in [
        ("client_id", "nobody"),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", &format!("{}/", partner.redirect_uri)),
        ("redirect_uri", &format!("{}?a=1", partner.redirect_uri)),
        ("redirect_uri", &partner.redirect_uri.to_uppercase()),
    ] {
        let page = open(&[(name, Some(value))]).is(400);
        assert_eq!(page.header("location"), None, "{name} {value}");
        assert!(!page.text().contains("evil"), "nothing of the query is shown");
    }
    for (name, value, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", None, "invalid_request"),
        ("scope", Some("r:* everything"), "invalid_scope"),
        ("scope", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
    ] {
        let back = sent_back(&open(&[(name, value)]), &partner);
        assert_eq!((&*back["error"], &*back["state"]), (error, "state-1"), "{name} {value:?}");
        assert_eq!(back["iss"], cloud.cloud.facts().api);
    }
    let repeated = browser.open(format!("{}&scope=r:*", authorization(&partner, &[])));
    assert_eq!(sent_back(&repeated, &partner)["error"], "invalid_request");

    let state = "ä &=+%/?#\"<>";
    let page = open(&[("state", Some(state))]).is(200);
    let page = browser.log_in(&page, &partner.login, &partner.password).is(200);
    let text = page.text();
    for shown in ["Demo Partner", "See your devices", "Control your devices", "while you are away"]
    {
        assert!(text.contains(shown), "{shown}");
    }
    let back = sent_back(&browser.decide(&page, "deny"), &partner);
    assert_eq!((&*back["error"], &*back["state"]), ("access_denied", state));
    assert!(!back.contains_key("code"));
    cloud.stop();
}

/// Case 27.
#[test]
fn a_query_of_the_redirect_uri_or_of_the_authorization_url_survives() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let uri = format!("{}?keep=1&also=%20%2B", partner.redirect_uri);
    let client =
        json!({ "id": "asking", "name": "Asking", "scope": SCOPE, "redirect_uris": [uri] });
    let client = rest.post("/operator/v1/clients").token(&cloud.operator_token()).json(&client);
    let secret = client.send().is(201).value()["client_secret"].as_str().unwrap().to_owned();
    let browser = Browser::new(&rest);
    let changes = [("client_id", Some("asking")), ("redirect_uri", Some(&*uri))];
    let path = authorization(&partner, &changes).replace('?', "?audience=x&access_type=offline&");
    let page = browser.open(path).is(200);
    let page = browser.log_in(&page, &partner.login, &partner.password).is(200);
    let back = browser.decide(&page, "allow");
    let address = back.header("location").unwrap();
    let added = address.strip_prefix(&format!("{uri}&")).unwrap_or_else(|| panic!("{address}"));
    let pairs: BTreeMap<_, _> = form_urlencoded::parse(added.as_bytes()).into_owned().collect();
    assert_eq!(pairs["state"], "state-1");
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*pairs["code"]),
        ("redirect_uri", &*uri),
        ("client_id", "asking"),
        ("client_secret", &*secret),
    ];
    rest.post("/oauth/token").form(&fields).send().is(200);
    cloud.stop();
}

/// Cases 29 to 33 and 35 to 37.
#[test]
fn a_code_is_exchanged_once_by_its_own_client_as_it_was_issued() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let other = json!({
        "id": "other", "name": "Other", "scope": SCOPE, "redirect_uris": [partner.redirect_uri],
    });
    let other = rest.post("/operator/v1/clients").token(&cloud.operator_token()).json(&other);
    let other = other.send().is(201).value()["client_secret"].as_str().unwrap().to_owned();
    let granted = |code: &str, changes: &[(&'static str, Option<&str>)], secret: &str| {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &*partner.redirect_uri),
            ("client_id", "demo"),
            ("client_secret", secret),
        ];
        for (name, value) in changes {
            fields.retain(|(known, _)| known != name);
            fields.extend(value.map(|value| (*name, value)));
        }
        rest.post("/oauth/token").form(&fields).send()
    };
    let right = &*partner.client_secret;

    let first = code(&rest, &partner, &[]);
    let wrong = rest.post("/oauth/token").basic("demo", "wrong");
    let wrong = wrong.form(&[("grant_type", "authorization_code"), ("code", &first)]).send();
    assert_eq!(wrong.header("www-authenticate"), Some(r#"Basic realm="c2c""#));
    is_error(wrong, 401, "invalid_client");
    is_error(granted(&first, &[], "wrong"), 401, "invalid_client");
    let uri = format!("{}/", partner.redirect_uri);
    is_error(granted(&first, &[("redirect_uri", Some(&uri))], right), 400, "invalid_grant");
    is_error(granted(&first, &[("redirect_uri", None)], right), 400, "invalid_request");
    is_error(granted(&first, &[("client_id", Some("other"))], &other), 400, "invalid_grant");
    is_error(
        granted(&first, &[("grant_type", Some("password"))], right),
        400,
        "unsupported_grant_type",
    );
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let unasked = ("code_verifier", Some(verifier));
    is_error(granted(&first, &[unasked], right), 400, "invalid_grant");
    let tokens = granted(&first, &[], right).is(200).value();
    let access = tokens["access_token"].as_str().unwrap();
    rest.get("/api/v1/devices").token(access).send().is(200);
    is_error(granted(&first, &[], right), 400, "invalid_grant");
    let revoked = rest.get("/api/v1/devices").token(access).send().is_problem(401);
    assert!(revoked.header("www-authenticate").unwrap().contains("invalid_token"));

    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let with = [("code_challenge", Some(&*challenge)), ("code_challenge_method", Some("S256"))];
    let bound = code(&rest, &partner, &with);
    is_error(granted(&bound, &[], right), 400, "invalid_grant");
    let foreign = "a".repeat(43);
    is_error(granted(&bound, &[("code_verifier", Some(&foreign))], right), 400, "invalid_grant");
    granted(&bound, &[unasked], right).is(200);
    cloud.stop();
}

/// Cases 40, 41, 43, 44 and 45; tokens that have expired are with what time ends.
#[test]
fn tokens_are_refreshed_introspected_and_revoked() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let (access, refresh) = link(&rest, &partner);
    let refreshed = |scope: &str| {
        let fields =
            [("grant_type", "refresh_token"), ("refresh_token", &*refresh), ("scope", scope)];
        token(&rest, &partner, &fields)
    };
    is_error(refreshed("r:* mediator"), 400, "invalid_scope");
    let other = json!({
        "id": "other", "name": "Other", "scope": SCOPE, "redirect_uris": [partner.redirect_uri],
    });
    let other = rest.post("/operator/v1/clients").token(&cloud.operator_token()).json(&other);
    let other = other.send().is(201).value()["client_secret"].as_str().unwrap().to_owned();
    let foreign = [("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
    let foreign = rest.post("/oauth/token").basic("other", &other).form(&foreign).send();
    is_error(foreign, 400, "invalid_grant");
    let narrow = refreshed("r:*").is(200).value();
    assert_eq!(narrow["scope"], "r:*");
    assert_ne!(narrow["refresh_token"], json!(refresh));
    let narrow_access = narrow["access_token"].as_str().unwrap();
    rest.get("/api/v1/devices").token(narrow_access).send().is(200);
    let nowhere = "/api/v1/devices/00000000-0000-4000-8000-00000000dead/x";
    rest.post(nowhere).token(narrow_access).json(&json!({})).send().is_problem(403);
    rest.post(nowhere).token(&access).json(&json!({})).send().is_problem(404);

    let ask = |path: &str, token: &str| {
        let ask = rest.post(path).basic(&partner.client_id, &partner.client_secret);
        ask.form(&[("token", token), ("token_type_hint", "nonsense")]).send()
    };
    let about = |token: &str| ask("/oauth/introspect", token).is(200).value();
    let known = about(&access);
    assert_eq!((&known["active"], &known["scope"]), (&json!(true), &json!(SCOPE)));
    assert_eq!(known["client_id"], "demo");
    assert_eq!(known["sub"], json!(cloud.cloud.facts().uid));
    assert_eq!(about(&refresh)["active"], true);
    for unknown in ["garbage", "a.b.c", &format!("{access}x"), &cloud.token()] {
        assert_eq!(about(unknown), json!({ "active": false }), "{unknown}");
    }
    let anonymous = rest.post("/oauth/introspect").form(&[("token", &access)]).send();
    is_error(anonymous, 401, "invalid_client");

    ask("/oauth/revoke", "garbage").is(200);
    let latest = narrow["refresh_token"].as_str().unwrap();
    let revoked = ask("/oauth/revoke", latest).is(200);
    assert!(revoked.body.is_empty());
    is_error(refreshed("r:*"), 400, "invalid_grant");
    rest.get("/api/v1/devices").token(&access).send().is_problem(401);
    assert_eq!(about(&access), json!({ "active": false }));

    let (access, refresh) = link(&rest, &partner);
    ask("/oauth/revoke", &access).is(200);
    rest.get("/api/v1/devices").token(&access).send().is_problem(401);
    assert_eq!(about(&refresh), json!({ "active": false }), "the link has ended");
    cloud.stop();
}

#[test]
fn a_link_survives_power_cuts_of_api_and_gateway() {
    let mut cloud = TestCloud::start(Setup::default());
    let partner = cloud.partner();
    let pending = code(&cloud.rest(), &partner, &[]);
    let (access, refresh) = link(&cloud.rest(), &partner);
    let (ended, _) = link(&cloud.rest(), &partner);
    let revoke = cloud
        .rest()
        .post("/oauth/revoke")
        .basic(&partner.client_id, &partner.client_secret)
        .form(&[("token", &ended)])
        .send();
    revoke.is(200);
    cloud.kill_api();
    cloud.kill_gateway();
    cloud.start_gateway();
    cloud.start_api();
    let rest = cloud.rest();
    rest.get("/api/v1/devices").token(&access).send().is(200);
    rest.get("/api/v1/devices").token(&ended).send().is_problem(401);
    redeem(&rest, &partner, &pending).is(200);
    token(&rest, &partner, &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).is(200);
    cloud.stop();
}

#[test]
fn forms_that_are_not_ours_do_nothing_and_guessing_ends() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let browser = Browser::new(&rest);
    let page = browser.open(authorization(&partner, &[])).is(200);
    let (request, proof) = (hidden(&page, "request"), hidden(&page, "proof"));
    let fields = [
        ("request", &*request),
        ("proof", &*proof),
        ("name", &*partner.login),
        ("password", &*partner.password),
    ];
    let foreign = Browser::new(&rest).submit("/oauth/login", &fields).is(400);
    assert!(foreign.header("location").is_none(), "another browser's form");
    let crossing = rest.post("/oauth/login").header("sec-fetch-site", "cross-site").form(&fields);
    crossing.send().is(400);
    let page = browser.log_in(&page, &partner.login, &partner.password).is(200);
    let consent = (hidden(&page, "request"), hidden(&page, "proof"));
    let changed = consent.0.replace("offline_access", "mediator");
    let decided = |request: &str, proof: &str| {
        let fields = [("request", request), ("proof", proof), ("decision", "allow")];
        browser.submit("/oauth/authorize", &fields)
    };
    assert!(
        decided(&changed, &consent.1).header("location").is_none_or(|to| !to.contains("code="))
    );
    decided(&consent.0, "AAAA").is(400);
    decided(&consent.0, &consent.1).is(303);

    let guesser = Browser::new(&rest);
    let page = guesser.open(authorization(&partner, &[])).is(200);
    for _ in 0..10 {
        let page = guesser.log_in(&page, &partner.login, "wrong password").is(403);
        assert!(page.text().contains("do not belong together"));
    }
    let blocked = guesser.log_in(&page, &partner.login, &partner.password).is(429);
    assert!(blocked.header("retry-after").is_some());
    let log = cloud.log(loadtest::demo::API);
    for secret in [&*partner.password, &*partner.client_secret, "wrong password"] {
        assert!(!log.contains(secret), "secrets are never logged");
    }
    cloud.stop();
}
