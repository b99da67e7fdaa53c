//! Login and consent in the browser that most people have, as wide as a small phone. The policy of
//! the pages lets no script run.

use serde_json::{Value, json};
use tests::browser::{authorization, redeem};
use tests::chromium::{Chromium, PHONE_WIDTH};
use tests::processes::{Setup, TestCloud};
use tests::receiver::Receiver;
use tests::tools::tool;

/// The partner subscribes, hears of a device, and gives the link up: the last word is that it has ended.
fn hear_and_revoke(cloud: &TestCloud, tokens: &Value) {
    let secret = "3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql";
    let (rest, partner, receiver) = (cloud.rest(), cloud.partner(), Receiver::start());
    let wish = json!({
        "eventsUrl": receiver.url("/events"),
        "eventTypes": ["devices_online"],
        "signingSecret": secret
    });
    let token = tokens["access_token"].as_str().unwrap();
    let path = "/api/v1/devices/subscriptions";
    let made = rest.post(path).token(token).json(&wish).send().is(201).value();
    let first = receiver.wait_for(1).remove(0);
    first.check(secret).unwrap();
    assert_eq!(json!(first.id()), made["subscriptionId"]);
    assert_eq!(first.value(), json!([{ "di": cloud.devices()[0].to_string() }]));
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let revoked = rest.post("/oauth/revoke").basic(&partner.client_id, &partner.client_secret);
    revoked.form(&[("token", refresh)]).send().is(200);
    let last = receiver.wait_for(2).remove(1);
    last.check(secret).unwrap();
    assert_eq!((last.number(), last.event_type()), (1, "subscription_cancelled"));
    assert_eq!(last.id(), first.id());
}

#[test]
fn a_user_links_a_partner_in_chromium_on_a_phone() {
    if tool("chromium").is_none() || tool("chromedriver").is_none() {
        return;
    }
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let partner = cloud.partner();
    let api = cloud.cloud.facts().api;
    let browser = Chromium::start();
    browser.open(&format!("{api}{}", authorization(&partner, &[])));
    assert_eq!(browser.title(), "Sign in · OCF Cloud");
    assert!(browser.text().contains("Demo Partner"));
    pictures(&browser, "login");
    // The policy lets our style through, and nothing is wider than the window.
    assert_eq!(browser.style("button", "border-radius"), "10px");
    assert!(browser.width("main") <= f64::from(PHONE_WIDTH));
    assert!(browser.width("html") <= f64::from(PHONE_WIDTH));

    browser.write("#name", &partner.login);
    browser.write("#password", "wrong password");
    browser.click("button");
    browser.until("the password is refused", |browser| browser.has(".problem"));
    assert!(browser.text().contains("do not belong together"));
    pictures(&browser, "login-refused");
    browser.write("#password", &partner.password);
    browser.click("button");
    let consent = "Connect Demo Partner · OCF Cloud";
    browser.until("consent is asked for", |browser| browser.title() == consent);
    let text = browser.text();
    for shown in ["See your devices", "Control your devices", "while you are away", "demo"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(browser.width("html") <= f64::from(PHONE_WIDTH));
    pictures(&browser, "consent");

    browser.click("button[value=allow]");
    browser.until("it is back", |browser| browser.address().contains("code="));
    let address = browser.address();
    let (uri, query) = address.split_once('?').unwrap();
    assert_eq!(uri, &*partner.redirect_uri, "the policy lets the browser go back");
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap();
    let tokens = redeem(&cloud.rest(), &partner, code).is(200).value();
    hear_and_revoke(&cloud, &tokens);

    // The session still stands: the second time asks for consent only.
    browser.open(&format!("{api}{}", authorization(&partner, &[])));
    browser.click("button[value=deny]");
    browser.until("it is back", |browser| browser.address().contains("error=access_denied"));
    browser.open(&format!("{api}{}", authorization(&partner, &[])));
    browser.click(".account a");
    let login = "Sign in · OCF Cloud";
    browser.until("somebody else may log in", |browser| browser.title() == login);
    cloud.stop();
}

/// The page on a phone and on a desk, light and dark.
fn pictures(browser: &Chromium, name: &str) {
    for (scheme, width, height, kind) in [
        ("light", 1000, 760, "light"),
        ("dark", 1000, 760, "dark"),
        ("dark", PHONE_WIDTH, 640, "phone-dark"),
        ("light", PHONE_WIDTH, 640, "phone"),
    ] {
        browser.prefer(scheme);
        browser.resize(width, height);
        browser.picture(&format!("{name}-{kind}"));
    }
    // Of a wrong password it says only that this was the answer.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|one| one.contains("a status of 403")), "{complaints:?}");
}
