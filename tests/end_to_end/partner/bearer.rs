//! Scopes, and what is wrong with a token.

use serde_json::json;
use tests::browser::{code, link, redeem};
use tests::processes::{Setup, TestCloud};
use tests::rest::{Answer, Rest};

use super::DEVICES;

#[track_caller]
fn challenged(answer: Answer, status: u16, challenge: &str) {
    let answer = answer.is_problem(status);
    let said = answer.header("www-authenticate").unwrap();
    assert!(said.starts_with(r#"Bearer realm="c2c""#) && said.contains(challenge), "{said}");
}

fn ask(rest: &Rest, token: &str) -> Answer {
    rest.get(DEVICES).token(token).send()
}

/// Cases 58 and 64.
#[test]
fn a_token_comes_in_one_authorization_header_and_nowhere_else() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, token) = (cloud.rest(), cloud.token());
    for header in [None, Some("Basic YTpi"), Some("Bearer"), Some("Token x")] {
        let mut ask = rest.get(DEVICES);
        if let Some(header) = header {
            ask = ask.header("authorization", header);
        }
        let answer = ask.send().is_problem(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="c2c""#), "{header:?}");
    }
    let invalid = r#"error="invalid_request""#;
    for query in [format!("?access_token={token}"), format!("?a=b&access%5Ftoken={token}")] {
        challenged(rest.get(format!("{DEVICES}{query}")).send(), 400, invalid);
        challenged(rest.get(format!("{DEVICES}{query}")).token(&token).send(), 400, invalid);
    }
    let twice = rest.get(DEVICES).token(&token).header("authorization", "Bearer x").send();
    challenged(twice, 400, invalid);
    let form = rest.post("/api/v1/mediator").form(&[("access_token", &*token)]).send();
    challenged(form, 400, invalid);
    cloud.stop();
}

/// Case 59, but for a token that has expired, which takes its time.
#[test]
fn a_token_that_is_not_good_here_is_invalid() {
    let mut cloud = TestCloud::start(Setup::default());
    let partner = cloud.partner();
    let (access, _) = link(&cloud.rest(), &partner);
    ask(&cloud.rest(), &access).is(200);
    let invalid = r#"error="invalid_token""#;
    let (signed, signature) = access.rsplit_once('.').unwrap();
    let payload = signed.rsplit_once('.').unwrap().1;
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    for wrong in [
        "garbage",
        "a.b.c",
        &format!("{signed}.{flipped}{}", &signature[1..]),
        &format!("{signed}."),
        // {"alg":"none"}
        &format!("eyJhbGciOiJub25lIn0.{payload}."),
    ] {
        challenged(ask(&cloud.rest(), wrong), 401, invalid);
    }
    // The keys are those of the cloud; only what the api is called has changed.
    for key in ["audience", "issuer"] {
        let before = cloud.cloud.facts().api.to_owned();
        let set = |value: &'static str, config: &mut toml::Table| {
            config["authorization"].as_table_mut().unwrap().insert(key.into(), value.into());
        };
        cloud.restart_api(|config| set("https://other.example", config));
        challenged(ask(&cloud.rest(), &access), 401, invalid);
        cloud.restart_api(|config| {
            let value = if key == "issuer" { before.clone() } else { String::new() };
            config["authorization"].as_table_mut().unwrap().insert(key.into(), value.into());
        });
        ask(&cloud.rest(), &access).is(200);
    }
    cloud.stop();
}

/// Cases 60, 61, 62 and 63.
#[test]
fn scopes_decide_what_is_allowed() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let uid = cloud.cloud.facts().uid.to_string();
    for (token, scopes) in
        [("of-mail", &["user:email"][..]), ("of-old", &["r:deviceinformation:*"]), ("of-none", &[])]
    {
        cloud.admit(token, &uid, scopes);
    }
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let light = format!("{DEVICES}/{}/light/1", cloud.devices()[0]);
    let with_scope = |scope: &str| {
        let tokens = redeem(&rest, &partner, &code(&rest, &partner, &[("scope", Some(scope))]));
        tokens.is(200).value()["access_token"].as_str().unwrap().to_owned()
    };
    let update =
        |token: &str| rest.post(&*light).token(token).json(&json!({ "value": true })).send();
    let refused = r#"error="insufficient_scope", scope="r:* w:*""#;

    let write_only = with_scope("w:*");
    for token in [&*write_only, "of-mail", "of-old", "of-none"] {
        let insufficient = r#"error="insufficient_scope""#;
        for path in [DEVICES, &format!("{DEVICES}/{}", cloud.devices()[0]), &light] {
            challenged(rest.get(path).token(token).send(), 403, insufficient);
        }
        challenged(update(token), 403, insufficient);
    }
    let read_only = with_scope("r:*");
    ask(&rest, &read_only).is(200);
    rest.get(&*light).token(&read_only).send().is(200);
    challenged(update(&read_only), 403, refused);
    update(&with_scope("r:* w:*")).is(200);
    cloud.stop();
}
