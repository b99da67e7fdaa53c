//! The OpenAPI document, OCF's own beside it, and the page to try them.

use serde_json::{Value, json};
use tests::chromium::Chromium;
use tests::processes::{Setup, TestCloud};
use tests::tools::tool;

const OCF: &str = "/ocf/oic.r.cloudapiforcloudservices.swagger.json";

#[test]
fn the_documents_are_served_to_anybody() {
    let cloud = TestCloud::start(Setup::default());
    let rest = cloud.rest();
    let document = rest.get("/openapi.json").send().is(200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.value()["openapi"], "3.1.0");
    let paths = document.value()["paths"].as_object().unwrap().clone();
    assert!(paths.contains_key("/api/v1/devices/{di}/{href}"));

    let ocf = rest.get(OCF).send().is(200);
    assert_eq!(ocf.header("content-type"), Some("application/json"));
    assert_eq!(ocf.value()["swagger"], "2.0");
    let licence = rest.get("/ocf/LICENSE.md").send().is(200).text();
    assert!(licence.contains("must reproduce the above copyright notice"), "{licence}");
    assert!(licence.contains("'AS IS'"), "{licence}");

    let page = rest.get("/docs/").send().is(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!page.text().contains("://"), "nothing of another host");
    assert_eq!(rest.get("/docs").send().is(308).header("location"), Some("/docs/"));
    rest.get("/docs/swagger-ui.css").send().is(200);
    for missing in ["/docs/nothing.js", "/docs/index.html", "/docs/%2e%2e", "/ocf/nothing"] {
        rest.get(missing).send().is_problem(404);
    }
    cloud.stop();
}

#[test]
fn the_page_works_in_chromium_and_asks_no_other_host() {
    if tool("chromium").is_none() || tool("chromedriver").is_none() {
        return;
    }
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let api = cloud.cloud.facts().api.to_owned();
    let browser = Chromium::start();
    browser.open(&format!("{api}/docs/"));
    browser.resize(1200, 900);
    assert_eq!(browser.title(), "The API of this OCF Cloud");
    browser.until("the document is shown", |browser| browser.has("#operations-devices-list"));
    browser.picture("docs");

    // Somebody pastes a token and tries the list.
    browser.click("button.authorize");
    browser.until("it asks for a token", |browser| browser.has("#auth-bearer-value"));
    browser.write("#auth-bearer-value", &cloud.token());
    browser.picture("docs-token");
    browser.click("button.modal-btn.authorize");
    browser.click("button.btn-done");
    browser.click("#operations-devices-list .opblock-summary-control");
    browser.until("it can be tried", |browser| browser.has("#operations-devices-list .execute"));
    browser.click("#operations-devices-list .execute");
    browser.until("the answer is there", |browser| {
        browser.has("#operations-devices-list .live-responses-table .response-col_status")
    });
    let device = cloud.devices()[0].to_string();
    browser.until("the device is shown", |browser| browser.text().contains(&device));
    browser.picture("docs-tried");
    let complaints = browser.complaints();
    assert_eq!(complaints, Vec::<String>::new());

    // OCF's own definition is one of the two that can be chosen.
    browser.open(&format!("{api}/docs/?urls.primaryName=As%20OCF%20has%20published%20it"));
    browser.resize(1200, 900);
    browser.until("it is shown", |browser| browser.text().contains("0.0.3-20190828"));
    browser.picture("docs-ocf");
    assert_eq!(json!(browser.complaints()), Value::Array(Vec::new()));
    cloud.stop();
}
