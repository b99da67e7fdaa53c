//! The client: what it asks, and how answers and notifications come back.

use shared::coap::{MessageWriter, ResponseType};

use super::*;

fn client() -> World<Asker> {
    let mut world = World::with(Client::new(&Settings::default(), 11));
    world.station.configure(conf(), world.now);
    world.register(-1);
    world.events.clear();
    world
}

fn device() -> DeviceId {
    "11111111-2222-4333-8444-555555555555".parse().unwrap()
}

fn notify(world: &mut World<Asker>, request: u64, observe: Option<u32>, code: ResponseType) {
    let mut bytes = Vec::new();
    let mut message = MessageWriter::new(&mut bytes, code, Token::from_u64(request));
    if let Some(observe) = observe {
        message.option_uint(6, observe);
    }
    message.ocf_content().payload(b"\xbf\x65value\xf5\xff");
    message.finish();
    world.send_record(&bytes);
}

#[test]
fn answers_come_back_under_the_number_of_the_request() {
    let mut world = client();
    let due = world.now;
    world.pass_secs(1);
    let ask = Ask::Retrieve { device: device(), href: "/light/1", query: &[] };
    let request = world.station.ask(&ask, due, world.now);
    let seen = world.arrived().remove(0);
    assert_eq!(seen.path(), "/11111111-2222-4333-8444-555555555555/light/1");
    world.respond(&seen, ResponseType::Content, b"\xa0");
    let Event::Answer(answer) = &world.events[0] else { panic!("{:?}", world.events) };
    assert_eq!(answer.request, request);
    assert_eq!(answer.took, Duration::from_secs(1), "measured from when it was due");
    assert_eq!(answer.result.as_ref().unwrap().payload, b"\xa0");
}

#[test]
fn an_observation_lives_until_an_answer_without_observe() {
    let mut world = client();
    let ask = Ask::Observe { device: Some(device()), href: "/light/1" };
    let request = world.station.ask(&ask, world.now, world.now);
    assert_eq!(world.arrived()[0].observe(), Some(vec![]));
    notify(&mut world, request, Some(1), ResponseType::Content);
    assert!(matches!(&world.events[0], Event::Answer(answer) if answer.request == request));
    notify(&mut world, request, Some(2), ResponseType::Content);
    notify(&mut world, request, None, ResponseType::ServiceUnavailable);
    notify(&mut world, request, Some(3), ResponseType::Content);
    let notifications: Vec<_> = world.events[1..].iter().collect();
    assert_eq!(notifications.len(), 2, "{notifications:?}");
    assert!(matches!(notifications[0], Event::Notification(n) if n.response.observe == Some(2)));
}

#[test]
fn a_cancellation_has_the_token_of_the_observation() {
    let mut world = client();
    let observe = Ask::Observe { device: Some(device()), href: "/light/1" };
    let request = world.station.ask(&observe, world.now, world.now);
    notify(&mut world, request, Some(1), ResponseType::Content);
    let cancel = Ask::Cancel { device: Some(device()), href: "/light/1", request };
    world.station.ask(&cancel, world.now, world.now);
    let seen = world.arrived();
    assert_eq!(seen[1].token, seen[0].token);
    assert_eq!(seen[1].observe(), Some(vec![1]));
    world.events.clear();
    notify(&mut world, request, Some(2), ResponseType::Content);
    notify(&mut world, request, None, ResponseType::Content);
    notify(&mut world, request, Some(3), ResponseType::Content);
    assert!(matches!(world.events[0], Event::Notification(_)));
    assert!(matches!(world.events[1], Event::Answer(_)));
    assert_eq!(world.events.len(), 2);
}

#[test]
fn requests_fail_with_the_connection_and_after_their_limit() {
    let mut world = client();
    let ask = Ask::Discover { query: &[] };
    world.station.ask(&ask, world.now, world.now);
    world.close();
    let failures = |world: &World<Asker>| {
        let failures = world.events.iter().filter_map(|event| match event {
            Event::Answer(answer) => answer.result.clone().err(),
            _ => None,
        });
        failures.collect::<Vec<_>>()
    };
    assert_eq!(failures(&world), [Failure::Closed]);
    world.station.ask(&ask, world.now, world.now);
    world.pump();
    assert_eq!(failures(&world), [Failure::Closed, Failure::NotSignedIn]);
    world.sign_in(-1);
    world.station.ask(&ask, world.now, world.now);
    world.pass_secs(31);
    assert_eq!(failures(&world)[2], Failure::TimedOut);
}

/// RES-2 and RES-4.
#[test]
fn discovered_links_are_understood_in_both_shapes() {
    let endpoint = map(&[("ep", "coaps+tcp://cloud.example.com:5684".into()), ("pri", 1.into())]);
    let endpoint: ciborium::Value = shared::ocf::cbor::decode(&endpoint).unwrap();
    let link = ciborium::Value::Map(vec![
        ("anchor".into(), format!("ocf://{}", device()).into()),
        ("href".into(), format!("/{}/light/1", device()).into()),
        ("rt".into(), ciborium::Value::Array(vec!["oic.r.switch.binary".into()])),
        ("eps".into(), ciborium::Value::Array(vec![endpoint])),
    ]);
    let list = ciborium::Value::Array(vec![link]);
    let baseline =
        ciborium::Value::Array(vec![ciborium::Value::Map(vec![("links".into(), list.clone())])]);
    for shape in [list, baseline] {
        let mut body = Vec::new();
        shared::ocf::cbor::encode(&mut body, &shape);
        let links = discovered_links(&body);
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].device, device());
        assert_eq!(links[0].href, "/light/1");
        assert_eq!(links[0].endpoint, "coaps+tcp://cloud.example.com:5684");
    }
}

#[test]
fn rule_13_a_link_that_clients_misread_is_held_against_the_cloud() {
    let mut world = client();
    world.station.ask(&Ask::Discover { query: &[] }, world.now, world.now);
    let seen = world.arrived().remove(0);
    world.respond(&seen, ResponseType::Content, b"\x81\xa1\x64href\x62/a");
    assert_eq!(world.breaches(), ["rule 13 broken: a discovered link has no anchor"]);
}
