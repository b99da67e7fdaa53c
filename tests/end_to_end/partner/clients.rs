//! A client that is switched off or removed: what becomes of what it was told.

use std::process::Command;

use loadtest::demo::Partner;
use serde_json::json;
use shared::ids::{ShardId, UserId};
use shared::placement::Placement;
use tests::browser::link;
use tests::processes::{Setup, TestCloud, binaries};
use tests::receiver::{Notice, Receiver};
use tests::scripted::{Says, Scripted};

use super::subscribing::{check, subscribe};

const DI: &str = "00000000-0000-4000-8000-00000000000a";
const PASSWORD: &str = "correct horse";

/// Somebody who is served by this shard, and may log in.
fn login_on(cloud: &TestCloud, shard: u16) -> Partner {
    let placement = Placement::new(Setup::default().shards).unwrap();
    let mut users = (0..=u8::MAX).map(|nth| UserId::from_bytes([nth; 16]));
    let uid = users.find(|user| placement.shard_of_user(*user) == ShardId(shard)).unwrap();
    let name = format!("user-of-{shard}");
    let user = json!({ "name": name, "uid": uid.to_string(), "password": PASSWORD });
    let rest = cloud.rest();
    let added = rest.post("/operator/v1/users").token(&cloud.operator_token()).json(&user);
    added.send().is(201);
    Partner { login: name.into(), password: PASSWORD.into(), ..cloud.partner() }
}

#[track_caller]
fn is_last_word(notice: &Notice, number: u64) {
    assert_eq!((notice.number(), notice.event_type()), (number, "subscription_cancelled"));
    assert!(notice.body.is_empty());
}

/// Case 147, and the table of cloud reference 5.11: with the client its subscriptions end, of users of
/// every shard, at once, whether something happens or not.
#[test]
fn what_a_client_is_told_ends_with_it() {
    let cloud = TestCloud::start(Setup::default());
    let (rest, operator) = (cloud.rest(), cloud.operator_token());
    let demo = cloud.partner().client_id;
    let types = ["devices_online"];
    let told: Vec<_> = [0, 1]
        .map(|shard| {
            let (token, _) = link(&rest, &login_on(&cloud, shard));
            let receiver = Receiver::start();
            let id = subscribe(&rest, &token, "", &receiver.url("/"), &types);
            receiver.wait_for(1);
            (token, receiver, id)
        })
        .into();
    // Under a token of the credentials file, which nobody has granted.
    let (other, others) = (Receiver::start(), cloud.token());
    subscribe(&rest, &others, "", &other.url("/"), &types);
    other.wait_for(1);

    let switch = |how: &str| {
        rest.post(format!("/operator/v1/clients/{demo}/{how}")).token(&operator).send().is(204);
    };
    switch("disable");
    for (_, receiver, _) in &told {
        let all = receiver.wait_for(2);
        is_last_word(&all[1], 1);
        check(&all);
    }
    switch("enable");
    for (token, _, id) in &told {
        let one = format!("/api/v1/devices/subscriptions/{id}");
        rest.get(one).token(token).send().is_problem(404);
    }
    let _light = Scripted::online(&cloud, DI, &[("/x", Says::json(&json!({ "value": 1 })))]);
    assert_eq!(other.wait_for(2)[1].value(), json!([{ "di": DI }]), "this one goes on");

    let (token, _, _) = &told[0];
    let receiver = Receiver::start();
    subscribe(&rest, token, "", &receiver.url("/"), &types);
    receiver.wait_for(1);
    let config = cloud.cloud.installation.path("api.toml");
    let mut remove = Command::new(&binaries().api);
    let removed = remove.arg("--config").arg(config).args(["clients", "remove", &demo]).output();
    assert!(removed.as_ref().unwrap().status.success(), "{removed:?}");
    is_last_word(&receiver.wait_for(2)[1], 1);
    for (_, receiver, _) in &told {
        assert_eq!(receiver.count(), 2, "nothing follows the last word");
    }
    cloud.stop();
}

/// Where the shards cannot be told, the operator hears so, and nobody is told anything meanwhile.
#[test]
fn a_client_that_cannot_be_switched_off_now_is_so_later() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, operator) = (cloud.rest(), cloud.operator_token());
    let path = format!("/operator/v1/clients/{}/disable", cloud.partner().client_id);
    let (token, _) = link(&rest, &cloud.partner());
    let receiver = Receiver::start();
    subscribe(&rest, &token, "", &receiver.url("/"), &["devices_online"]);
    receiver.wait_for(1);
    cloud.kill_gateway();
    cloud.wait_until("the api knows", |cloud| cloud.rest().get("/readyz").send().status == 503);
    rest.post(&*path).token(&operator).send().is_problem(503);
    cloud.start_gateway();
    cloud.wait_until("it is done", |_| {
        let switched = rest.post(&*path).token(&operator).send();
        assert!([204, 503].contains(&switched.status.as_u16()), "{}", switched.text());
        switched.status == 204
    });
    // What was on its way when the gateway was killed may have come twice.
    let is_last = |notice: &Notice| notice.event_type() == "subscription_cancelled";
    is_last_word(&receiver.wait_until("the last word", is_last), 1);
    cloud.stop();
}
