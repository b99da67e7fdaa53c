//! Subscriptions as their clients have them: whose they are, and where they are found.

use std::collections::BTreeSet;

use serde_json::json;
use shared::ids::SubscriptionId;
use tests::browser::{code, link, redeem};
use tests::processes::{Setup, TestCloud};
use tests::receiver::Receiver;
use tests::scripted::{Says, Scripted};

use super::subscribing::{another_client, subscribe};

const FIRST: &str = "00000000-0000-4000-8000-00000000000a";
const SECOND: &str = "00000000-0000-4000-8000-00000000000b";

/// Each level, with a type of it.
fn levels() -> [(String, &'static str); 3] {
    [
        (String::new(), "devices_registered"),
        (format!("/{FIRST}"), "resources_published"),
        (format!("/{FIRST}/x"), "resource_contentchanged"),
    ]
}

fn devices(cloud: &TestCloud) -> [Scripted; 2] {
    let resources = ["/x", "/y"].map(|href| (href, Says::json(&json!({ "value": 1 }))));
    [FIRST, SECOND].map(|di| Scripted::online(cloud, di, &resources))
}

/// Cases 61, 101, 109, 110 and 113: with the read scope alone, on each level.
#[test]
fn a_subscription_is_made_looked_at_and_ended_on_each_level() {
    let cloud = TestCloud::start(Setup::default());
    let _devices = devices(&cloud);
    let (rest, partner, receiver) = (cloud.rest(), cloud.partner(), Receiver::start());
    let tokens = redeem(&rest, &partner, &code(&rest, &partner, &[("scope", Some("r:*"))]));
    let token = tokens.is(200).value()["access_token"].as_str().unwrap().to_owned();
    let mut ids = BTreeSet::new();
    for (level, event_type) in levels() {
        for _ in 0..3 {
            let id = subscribe(&rest, &token, &level, &receiver.url("/"), &[event_type]);
            assert!(id.parse::<SubscriptionId>().is_ok(), "{id}");
            let one = format!("/api/v1/devices{level}/subscriptions/{id}");
            let known = rest.get(&*one).token(&token).send().is(200);
            assert_eq!(known.value(), json!({ "subscriptionId": id }), "and no secret");
            assert!(rest.delete(&*one).token(&token).send().is(202).body.is_empty());
            rest.delete(&*one).token(&token).send().is_problem(404);
            rest.get(&*one).token(&token).send().is_problem(404);
            assert!(ids.insert(id), "ids never repeat");
        }
    }
    cloud.stop();
}

/// Cases 111 and 112: who has the right id and nothing else finds nothing, and ends nothing.
#[test]
fn a_subscription_is_found_by_its_own_client_at_its_own_place_only() {
    let cloud = TestCloud::start(Setup::default());
    let _devices = devices(&cloud);
    let (rest, partner, receiver) = (cloud.rest(), cloud.partner(), Receiver::start());
    let (token, _) = link(&rest, &partner);
    let (of_other_client, _) = link(&rest, &another_client(&cloud));
    let of_other_user = cloud.other_token();
    let places = ["".to_owned(), format!("/{FIRST}"), format!("/{SECOND}")];
    let places = places.into_iter().chain(["/x", "/y"].map(|href| format!("/{FIRST}{href}")));
    let places: Vec<_> = places.chain([format!("/{SECOND}/x")]).collect();
    for (level, event_type) in levels() {
        let id = subscribe(&rest, &token, &level, &receiver.url("/"), &[event_type]);
        let at = |place: &str| format!("/api/v1/devices{place}/subscriptions/{id}");
        for stranger in [&of_other_client, &of_other_user] {
            rest.get(at(&level)).token(stranger).send().is_problem(404);
            rest.delete(at(&level)).token(stranger).send().is_problem(404);
        }
        for elsewhere in places.iter().filter(|place| **place != level) {
            rest.get(at(elsewhere)).token(&token).send().is_problem(404);
            rest.delete(at(elsewhere)).token(&token).send().is_problem(404);
        }
        rest.get(at(&level)).token(&token).send().is(200);
    }
    rest.delete("/api/v1/devices/subscriptions/one").token(&token).send().is_problem(400);
    cloud.stop();
}
