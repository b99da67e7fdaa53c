//! Lists of devices, and one device.

use std::time::Instant;

use loadtest::credentials::TlsVersion;
use serde_json::{Value, json};
use shared::coap::RequestType;
use shared::ids::DeviceId;
use tests::processes::{LONG, Setup, TestCloud};
use tests::rest::Rest;
use tests::scripted::{Says, Scripted};
use tests::wire::Wire;

use super::{CBOR, DEVICES, list, unhurried, waits};

const FIRST: &str = "00000000-0000-4000-8000-00000000000a";
const SECOND: &str = "00000000-0000-4000-8000-00000000000b";

fn of<'l>(list: &'l [Value], di: &str) -> Option<&'l Value> {
    list.iter().find(|entry| entry["device"]["di"] == di)
}

/// A device that says who it is.
fn described(cloud: &TestCloud, di: &str, description: &Value, platform: &Value) -> Scripted {
    let resources = [
        ("/oic/d", Says::json(description)),
        ("/oic/p", Says::json(platform)),
        ("/x", Says::json(&json!({ "value": 1 }))),
        ("/oic/sec/doxm", Says::json(&json!({ "devowneruuid": di }))),
    ];
    Scripted::online(cloud, di, &resources)
}

fn until_offline(cloud: &mut TestCloud, rest: &Rest, di: &str) {
    cloud.wait_until("the gateway knows", |cloud| {
        of(&list(cloud, rest, ""), di).unwrap()["status"] == "offline"
    });
}

/// Cases 65, 66, 67, 71, 72 and 73.
#[test]
fn every_device_is_listed_with_what_it_has_and_whether_it_is_there() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (rest, token) = (cloud.rest(), cloud.token());
    let mut lost = described(&cloud, FIRST, &json!({ "n": "x" }), &json!({}));
    let bare = Scripted::online(&cloud, SECOND, &[]);
    assert_eq!(of(&list(&cloud, &rest, ""), FIRST).unwrap()["status"], "online");
    lost.cut();
    until_offline(&mut cloud, &rest, FIRST);

    let all = list(&cloud, &rest, "?content=base");
    assert_eq!(all.len(), 5);
    let ids: Vec<_> = all.iter().map(|entry| entry["device"]["di"].as_str().unwrap()).collect();
    assert!(ids.is_sorted());
    assert_eq!(of(&all, &bare.di().to_string()).unwrap()["links"], json!([]));
    for entry in &all {
        let di = entry["device"]["di"].as_str().unwrap();
        for member in ["di", "rt", "n", "dmn"] {
            assert!(entry["device"].get(member).is_some(), "{member}: {entry}");
        }
        let online = di != FIRST;
        assert_eq!(entry["status"], if online { "online" } else { "offline" });
        for link in entry["links"].as_array().unwrap() {
            let href = link["href"].as_str().unwrap();
            assert!(href.starts_with(&format!("/{di}/")), "{href}");
            assert!(!link["rt"].as_array().unwrap().is_empty(), "{link}");
            assert!(!link["if"].as_array().unwrap().is_empty(), "{link}");
            let retrieved = rest.get(format!("{DEVICES}{href}")).token(&token).send();
            assert_eq!(retrieved.status, if online { 200 } else { 504 }, "{href}");
        }
    }
    for query in ["", "?content=base", "?content=all"] {
        let text = rest.get(format!("{DEVICES}{query}")).token(&token).send().is(200).text();
        assert!(!text.contains("/oic/sec") && !text.contains("\"eps\""), "{text}");
        assert!(!text.contains("192.168."), "an address of somebody's home: {text}");
    }
    let mut wire = {
        let credentials = cloud.manufacturer(TlsVersion::Tls12);
        let di: DeviceId = FIRST.parse().unwrap();
        Wire::connect(cloud.cloud.installation.coap(), credentials.config(di).unwrap()).unwrap()
    };
    wire.sign_in(&cloud, FIRST.parse().unwrap());
    assert_eq!(of(&list(&cloud, &rest, ""), FIRST).unwrap()["status"], "online");
    cloud.stop();
}

/// Case 74.
#[test]
fn a_device_that_signs_off_disappears() {
    let cloud = TestCloud::start(Setup::default());
    let rest = cloud.rest();
    let credentials = cloud.manufacturer(TlsVersion::Tls12);
    let di: DeviceId = FIRST.parse().unwrap();
    let mut wire =
        Wire::connect(cloud.cloud.installation.coap(), credentials.config(di).unwrap()).unwrap();
    wire.sign_in(&cloud, di);
    assert_eq!(list(&cloud, &rest, "").len(), 1);
    wire.request(RequestType::Delete, &["oic", "sec", "account"], &[], &[]);
    // The list has asked it who it is.
    let answers = std::iter::repeat_with(|| wire.answer().code());
    let answer = answers.into_iter().find(|code| !code.starts_with("0."));
    assert_eq!(answer.as_deref(), Some("2.02"));
    assert_eq!(list(&cloud, &rest, "").len(), 0);
    rest.get(format!("{DEVICES}/{di}")).token(&cloud.token()).send().is_problem(404);
    cloud.stop();
}

/// Cases 68, 69 and 70.
#[test]
fn content_decides_between_links_and_representations() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (rest, token) = (cloud.rest(), cloud.token());
    let mut lost = described(&cloud, FIRST, &json!({ "n": "x" }), &json!({ "pi": "y" }));
    for entry in list(&cloud, &rest, "?content=all") {
        let links = entry["links"].as_array().unwrap();
        assert!(!links.is_empty(), "{entry}");
        for link in links {
            let members: Vec<_> = link.as_object().unwrap().keys().collect();
            assert_eq!(members, ["href", "rep"]);
            let href = link["href"].as_str().unwrap();
            let single = rest.get(format!("{DEVICES}{href}")).token(&token).send().is(200);
            assert_eq!(single.value(), link["rep"], "{href}");
        }
    }
    let known = of(&list(&cloud, &rest, "?content=all"), FIRST).unwrap()["links"].clone();
    lost.cut();
    until_offline(&mut cloud, &rest, FIRST);
    let kept = of(&list(&cloud, &rest, "?content=all"), FIRST).unwrap()["links"].clone();
    assert_eq!(kept, known, "the last that is known of a device that is offline");

    assert_eq!(list(&cloud, &rest, ""), list(&cloud, &rest, "?content=base"));
    let device = format!("{DEVICES}/{FIRST}");
    for path in [DEVICES, &device] {
        for query in ["?content=x", "?content=", "?content=all&content=all"] {
            rest.get(format!("{path}{query}")).token(&token).send().is_problem(400);
        }
    }
    for query in ["", "?content=base", "?content=all"] {
        let none = rest.get(format!("{DEVICES}{query}")).token(&cloud.other_token()).send();
        assert_eq!(none.is(200).text(), "[]");
    }
    cloud.stop();
}

/// Cloud reference 4.5 and 4.12: the last that is known, and in time.
#[test]
fn devices_that_say_nothing_hold_a_list_up_for_moments_only() {
    let cloud = TestCloud::start(unhurried(|config| {
        waits(config, i64::try_from(LONG.as_millis()).unwrap())
    }));
    let rest = cloud.rest();
    let described: Vec<_> = [FIRST, SECOND]
        .into_iter()
        .map(|di| described(&cloud, di, &json!({ "n": "x" }), &json!({ "pi": "y" })))
        .collect();
    let known = list(&cloud, &rest, "?content=all");
    for href in ["/oic/d", "/oic/p", "/x"] {
        described[0].says(href, Says::Nothing);
    }
    described[1].says("/x", Says::json(&json!({ "value": 2 })));
    let begun = Instant::now();
    let late = list(&cloud, &rest, "?content=all");
    // One that is asked for by itself would be waited for longer.
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(late[0], known[0], "the last that is known");
    let fresh = late[1]["links"].as_array().unwrap().iter().find(|link| link["rep"]["value"] == 2);
    assert!(fresh.is_some(), "{late:?}");
    cloud.stop();
}

/// Cloud reference 10, OP-39: a list of many pages is sent while it is made.
#[test]
fn a_long_list_is_complete_and_in_order_in_either_form() {
    let mut cloud = TestCloud::start(Setup { devices: 200, ..Setup::default() });
    cloud.start_swarm(150);
    let (rest, token) = (cloud.rest(), cloud.token());
    let mut expected: Vec<String> = cloud.devices().iter().map(ToString::to_string).collect();
    expected.sort();
    let ids = |list: &Value| -> Vec<String> {
        let all = list.as_array().unwrap().iter();
        all.map(|entry| entry["device"]["di"].as_str().unwrap().to_owned()).collect()
    };
    for query in ["", "?content=all"] {
        let json = rest.get(format!("{DEVICES}{query}")).token(&token).send().is(200);
        assert_eq!(json.header("transfer-encoding"), Some("chunked"), "nobody waits for all of it");
        assert_eq!(ids(&json.value()), expected);
        let cbor = rest.get(format!("{DEVICES}{query}")).token(&token).accept(CBOR).send().is(200);
        let cbor: Value = ciborium::from_reader(&*cbor.body).unwrap();
        assert_eq!(ids(&cbor), expected);
    }
    cloud.stop();
}

/// Case 75.
#[test]
fn the_manufacturer_name_is_a_list_of_languages() {
    let cloud = TestCloud::start(Setup::default());
    let rest = cloud.rest();
    let names =
        json!([{ "language": "en", "value": "Example" }, { "language": "de", "value": "X" }]);
    let platform = json!({ "mnmn": "Of the platform" });
    let unknown = json!([{ "language": "en", "value": "unknown" }]);
    let own = json!([{ "language": "en", "value": "Of the platform" }]);
    let third = "00000000-0000-4000-8000-00000000000c";
    let described = [
        described(&cloud, FIRST, &json!({ "n": "x", "dmn": names.clone() }), &platform),
        described(&cloud, SECOND, &json!({ "n": "x" }), &platform),
        described(&cloud, third, &json!({ "n": "x" }), &json!({})),
    ];
    let all = list(&cloud, &rest, "");
    for (device, expected) in described.iter().zip([names, own, unknown]) {
        assert_eq!(of(&all, &device.di().to_string()).unwrap()["device"]["dmn"], expected);
    }
    cloud.stop();
}

/// Cases 78 to 81.
#[test]
fn one_device_is_an_object_and_nobody_elses() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(1);
    let (rest, token) = (cloud.rest(), cloud.token());
    let di = cloud.devices()[0].to_string();
    let path = format!("{DEVICES}/{di}");
    let base = rest.get(&*path).token(&token).send().is(200).value();
    assert_eq!(base, list(&cloud, &rest, "")[0]);
    let all = rest.get(format!("{path}?content=all")).token(&token).send().is(200).value();
    assert!(all["links"].as_array().unwrap().iter().all(|link| link.get("rep").is_some()));
    let cbor = rest.get(&*path).token(&token).accept(CBOR).send().is(200);
    let cbor: Value = ciborium::from_reader(&*cbor.body).unwrap();
    assert_eq!(cbor, base);

    let unknown = rest.get(format!("{DEVICES}/{FIRST}")).token(&token).send().is_problem(404);
    let foreign = rest.get(&*path).token(&cloud.other_token()).send().is_problem(404);
    assert_eq!(foreign.text(), unknown.text());
    for malformed in ["x", "53080a4f-5e3e-4291-802f", &di.replace('-', "")] {
        rest.get(format!("{DEVICES}/{malformed}")).token(&token).send().is_problem(400);
    }
    let upper = format!("{DEVICES}/{}", di.to_uppercase());
    assert_eq!(rest.get(&*upper).token(&token).send().is(200).value(), base);
    rest.get(format!("{upper}/light/1")).token(&token).send().is(200);
    cloud.stop();
}
