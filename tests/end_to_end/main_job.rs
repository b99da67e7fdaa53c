//! The main job: a device goes in, a partner's REST call comes out.

use serde_json::{Value, json};
use tests::processes::{Setup, TestCloud};

#[test]
fn devices_come_online_and_a_partner_lists_reads_and_switches_them() {
    const DEVICES: u32 = 60;
    let mut cloud = TestCloud::start(Setup { devices: DEVICES, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    let (rest, token) = (cloud.rest(), cloud.token());

    let list = rest.get("/api/v1/devices?content=base").token(&token).send().is(200).value();
    let mut listed: Vec<_> = list.as_array().unwrap().iter().map(|d| &d["device"]["di"]).collect();
    let mut devices: Vec<_> = cloud.devices().iter().map(|di| json!(di.to_string())).collect();
    listed.sort_by_key(|di| di.to_string());
    devices.sort_by_key(|di| di.to_string());
    assert_eq!(listed, devices.iter().collect::<Vec<_>>());
    for device in list.as_array().unwrap() {
        assert_eq!(device["status"], "online");
        let links = device["links"].as_array().unwrap();
        let di = device["device"]["di"].as_str().unwrap();
        assert!(links.iter().any(|link| link["href"] == format!("/{di}/oic/d")), "{links:?}");
        assert!(links.iter().all(|link| link.get("eps").is_none()), "{links:?}");
    }

    // What a partner does with a link's href: it goes behind the address of the list.
    let href = list.as_array().unwrap().iter().find_map(switch_of).unwrap();
    let path = format!("/api/v1/devices{href}");
    let read = || rest.get(&*path).token(&token).send().is(200).value();
    let switch = |on: bool| rest.post(&*path).token(&token).json(&json!({ "value": on })).send();
    for on in [true, false, true] {
        switch(on).is(200);
        assert_eq!(read()["value"], on);
    }
    cloud.stop();
}

/// The href of the device's switch, if it has one.
fn switch_of(device: &Value) -> Option<String> {
    let is_switch =
        |link: &&Value| link["rt"].as_array().unwrap().contains(&json!("oic.r.switch.binary"));
    let switch = device["links"].as_array().unwrap().iter().find(is_switch)?;
    Some(switch["href"].as_str().unwrap().to_owned())
}
