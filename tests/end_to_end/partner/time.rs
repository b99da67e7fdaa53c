//! What time ends: codes, access tokens, and the minute in which a refresh token may come again. The
//! clock is the machine's, so the shortest times that may be configured are waited for.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::browser::{code, redeem, token};
use tests::processes::{LONG, Setup, TestCloud};
use tests::receiver::Receiver;
use tests::scripted::Scripted;

use super::DEVICES;
use super::subscribing::{check, subscribe};

const DI: &str = "00000000-0000-4000-8000-00000000000a";

/// An access token is good for so long, and a minute more because clocks differ.
const ACCESS_TOKEN_SECS: u32 = 60;

/// Between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn short_lived() -> Setup {
    let api = |config: &mut toml::Table| {
        let authorization = config["authorization"].as_table_mut().unwrap();
        authorization.insert("code_secs".into(), 1.into());
        authorization.insert("access_token_secs".into(), ACCESS_TOKEN_SECS.into());
    };
    Setup { api, ..Setup::default() }
}

/// When a link was made, and its tokens. A code is good for a second, which may be too short for a
/// machine with much to do: then there is another one.
fn linked(cloud: &TestCloud) -> (Instant, String, String) {
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let end = Instant::now() + LONG;
    loop {
        let begun = Instant::now();
        let answer = redeem(&rest, &partner, &code(&rest, &partner, &[]));
        if answer.status == 200 || Instant::now() > end {
            let tokens = answer.is(200).value();
            let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
            return (begun, text("access_token"), text("refresh_token"));
        }
    }
}

/// Case 34, case 115, and what is left of 42, 45 and 59.
#[test]
fn codes_tokens_and_the_minute_of_a_refresh_token_end() {
    let mut cloud = TestCloud::start(short_lived());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let late = code(&rest, &partner, &[]);
    let issued = unix_now();
    while unix_now() <= issued + 1 {
        thread::sleep(LOOK_AGAIN_AFTER);
    }
    let refused = redeem(&rest, &partner, &late).is(400).value();
    assert_eq!(refused["error"], "invalid_grant");

    let (begun, access, first) = linked(&cloud);
    let refresh = |refresh_token: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        token(&rest, &partner, &fields)
    };
    let second = refresh(&first).is(200).value();
    let again = refresh(&first).is(200).value();
    assert_eq!(again["refresh_token"], second["refresh_token"], "within a minute the same");
    let second = second["refresh_token"].as_str().unwrap();
    let ask = || rest.get(DEVICES).token(&access).send();
    let introspect = |token: &str| {
        let ask = rest.post("/oauth/introspect").basic(&partner.client_id, &partner.client_secret);
        ask.form(&[("token", token)]).send().is(200).value()
    };
    ask().is(200);
    assert_eq!(introspect(&access)["active"], true);
    let receiver = Receiver::start();
    subscribe(&rest, &access, "", &receiver.url("/"), &["devices_online"]);
    receiver.wait_for(1);

    cloud.wait_until("the access token has expired", |_| {
        thread::sleep(LOOK_AGAIN_AFTER);
        ask().status == 401
    });
    assert!(begun.elapsed() >= Duration::from_secs(ACCESS_TOKEN_SECS.into()));
    let expired = ask().is_problem(401);
    let challenge = expired.header("www-authenticate").unwrap();
    assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    assert!(challenge.contains("expired"), "{challenge}");
    assert_eq!(introspect(&access), json!({ "active": false }));
    // What was subscribed with it goes on: it hangs on the link.
    let _light = Scripted::online(&cloud, DI, &[]);
    let all = receiver.wait_for(2);
    assert_eq!((all[1].number(), all[1].value()), (1, json!([{ "di": DI }])));
    check(&all);

    // More than a minute has passed: whoever comes with the first token has stolen it, or was robbed.
    assert_eq!(introspect(second)["active"], true);
    assert_eq!(refresh(&first).is(400).value()["error"], "invalid_grant");
    assert_eq!(refresh(second).is(400).value()["error"], "invalid_grant");
    cloud.stop();
}
