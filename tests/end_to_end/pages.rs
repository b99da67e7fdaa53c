//! Login and consent in the browser that most people have, as wide as a small phone. The policy of
//! the pages lets no script run.

use tests::browser::{authorization, redeem};
use tests::chromium::{Chromium, PHONE_WIDTH};
use tests::processes::{Setup, TestCloud};
use tests::tools::tool;

#[test]
fn a_user_links_a_partner_in_chromium_on_a_phone() {
    if tool("chromium").is_none() || tool("chromedriver").is_none() {
        return;
    }
    let cloud = TestCloud::start(Setup::default());
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
    redeem(&cloud.rest(), &partner, code).is(200);

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
