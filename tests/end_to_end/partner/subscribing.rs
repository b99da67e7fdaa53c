//! How these tests subscribe, and check what comes.

use loadtest::demo::Partner;
use serde_json::{Value, json};
use tests::browser::SCOPE;
use tests::processes::TestCloud;
use tests::receiver::Notice;
use tests::rest::Rest;

/// What the events of these tests are signed with.
pub(super) const SECRET: &str = "3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql";

/// A request for events of these types.
pub(super) fn wish(url: &str, types: &[&str]) -> Value {
    json!({ "eventsUrl": url, "eventTypes": types, "signingSecret": SECRET })
}

/// The id of a subscription at `level`, a path below the devices.
pub(super) fn subscribe(
    rest: &Rest,
    token: &str,
    level: &str,
    url: &str,
    types: &[&str],
) -> String {
    let path = format!("/api/v1/devices{level}/subscriptions");
    let made = rest.post(&*path).token(token).json(&wish(url, types)).send().is(201);
    let id = made.value()["subscriptionId"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(&*format!("{path}/{id}")));
    id
}

/// Another partner cloud, with the same login.
pub(super) fn another_client(cloud: &TestCloud) -> Partner {
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let client = json!({
        "id": "other", "name": "Other", "scope": SCOPE, "redirect_uris": [partner.redirect_uri],
    });
    let added = rest.post("/operator/v1/clients").token(&cloud.operator_token()).json(&client);
    let secret = added.send().is(201).value()["client_secret"].as_str().unwrap().into();
    Partner { client_id: "other".into(), client_secret: secret, ..partner }
}

/// All of them are signed, and have nothing that they must not have.
#[track_caller]
pub(super) fn check(notices: &[Notice]) {
    for notice in notices {
        notice.check(SECRET).unwrap();
    }
}
