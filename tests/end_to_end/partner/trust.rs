//! Receivers whose certificates are of their partner's own authority (cloud reference 2.1, 3.1).

use hyper::Method;
use serde_json::json;
use tests::browser::link;
use tests::processes::{Setup, TestCloud};
use tests::receiver::Receiver;
use tests::scripted::{Says, Scripted};
use tests::web::WebAuthority;

use super::subscribing::{another_client, check, subscribe};

const HOST: &str = "127.0.0.1";
const DI: &str = "00000000-0000-4000-8000-00000000000a";

/// The operator names the authority of the partner's own servers.
fn name_authority(cloud: &TestCloud, authority: &WebAuthority) {
    let path = format!("/operator/v1/clients/{}/authorities", cloud.partner().client_id);
    let rest = cloud.rest();
    let ask = rest.ask(Method::PUT, path).token(&cloud.operator_token());
    ask.json(&json!({ "authorities": authority.pem })).send().is(204);
}

/// Events go over https with the certificate checked; of an authority that nobody has named they are
/// kept, and sent when it is named.
#[test]
fn events_go_to_receivers_of_the_clients_own_authority() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let (token, _) = link(&rest, &partner);
    let authority = WebAuthority::new("the partner's own");
    let receiver = Receiver::secure(authority.server(HOST));
    let id = subscribe(&rest, &token, "", &receiver.url("/events"), &["devices_online"]);
    receiver.wait_for_refusals(1);
    name_authority(&cloud, &authority);
    let first = receiver.wait_for(1).remove(0);
    assert_eq!((first.number(), first.id(), first.value()), (0, &*id, json!([])));
    let _light = Scripted::online(&cloud, DI, &[("/x", Says::json(&json!({ "value": 1 })))]);
    let all = receiver.wait_for(2);
    assert_eq!((all[1].number(), all[1].value()), (1, json!([{ "di": DI }])));
    assert_eq!(all[1].nth, 1, "the connection is kept");
    check(&all);
    // The authority is this client's and nobody else's.
    let (others, _) = link(&rest, &another_client(&cloud));
    let strange = Receiver::secure(authority.server(HOST));
    subscribe(&rest, &others, "", &strange.url("/"), &["devices_online"]);
    strange.wait_for_refusals(2);
    assert_eq!(strange.count(), 0);
    let advice = "ocf-api clients authorities";
    cloud.wait_until("it is logged", |cloud| cloud.log(loadtest::demo::API).contains(advice));
    cloud.stop();
}

/// Who cannot show a certificate of the right authority, for the right name, at the right time, gets
/// nothing; it is tried again, and the log says what to do.
#[test]
fn a_receiver_that_cannot_show_who_it_is_gets_nothing_until_it_can() {
    let mut cloud = TestCloud::start(Setup::default());
    let (rest, partner) = (cloud.rest(), cloud.partner());
    let (token, _) = link(&rest, &partner);
    let authority = WebAuthority::new("the partner's own");
    name_authority(&cloud, &authority);
    let wrong = [
        (WebAuthority::new("another").server(HOST), "its authority does not count for this client"),
        (authority.server("receiver.example"), "the certificate is for another name"),
        (authority.expired_server(HOST), "the certificate has expired"),
    ];
    let receivers = wrong.map(|(certificate, advice)| {
        let receiver = Receiver::secure(certificate);
        let id = subscribe(&rest, &token, "", &receiver.url("/"), &["devices_online"]);
        (receiver, id, advice)
    });
    for (receiver, id, advice) in &receivers {
        receiver.wait_for_refusals(2);
        assert_eq!(receiver.count(), 0);
        cloud.wait_until("it is logged", |cloud| {
            let log = cloud.log(loadtest::demo::API);
            log.lines().any(|line| line.contains(&**id) && line.contains(advice))
        });
    }
    for (receiver, id, _) in &receivers {
        receiver.present(authority.server(HOST));
        let first = receiver.wait_for(1);
        assert_eq!((first[0].number(), first[0].id()), (0, &**id), "and nothing is lost");
        check(&first);
    }
    cloud.stop();
}
