//! Device reference 11: observation across the cloud. How observations end is in `observe_ends`.

use std::time::Duration;

use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, Token};
use shared::ids::ShardId;
use tests::{CBOR, Msg, Peer, World, content, get, plain, post};

pub(super) fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

pub(super) fn state(value: u8) -> Vec<u8> {
    vec![0x18, value]
}

/// A notification of the device with this state.
pub(super) fn notification(value: u8, observe: u32) -> Msg {
    content(state(value)).observe(observe)
}

/// The client registers, the device accepts. Returns the client's token and the registration.
pub(super) fn observe(device: &Peer, client: &Peer, href: &str) -> (Token, Msg) {
    let token = client.send(get(&device.path(href)).observe(0));
    let registration = device.expect_request(href);
    device.respond(&registration, notification(0, 0));
    let first = client.answer_to(token).expect("the first answer");
    assert_eq!((first.code, first.observed()), (Content.into(), Some(1)));
    (token, registration)
}

pub(super) fn observations(world: &World) -> usize {
    world.sizes(ShardId(0)).observations
}

/// Device reference 11.1: register, first answer, notifications; 11.2: strictly rising values of the
/// cloud's own.
#[test]
fn an_observation_goes_through_the_cloud() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")).observe(0));
    let registration = device.expect_request("/a");
    let expected = get("/a").observe(0).accept(10_000).uint(2049, 2048);
    assert_eq!(Msg { token: None, ..registration.clone() }, expected);
    assert_eq!(registration.values(CoapOption::Observe), [b""], "0 is the empty option");
    assert_eq!(registration.token.expect("a token").as_bytes().len(), 8);
    client.expect_silence();
    // As iotivity-lite counts: 0, 2, 3 ...
    for (value, observe) in [(0, 0), (1, 2), (2, 3), (3, 0xff_ffff), (4, 0), (5, 1)] {
        device.respond(&registration, notification(value, observe));
        let got = client.take();
        assert_eq!((got.token, got.code), (Some(token), Content.into()));
        assert_eq!(got.observed(), Some(u32::from(value) + 1));
        assert_eq!(
            (got.payload.as_slice(), got.content_format()),
            (&state(value)[..], Some(10_000))
        );
        assert_eq!(got.content_version(), Some(2048));
        client.expect_silence();
    }
}

/// Device reference 11.1: accept a single zero byte; 11.5: other values are ignored.
#[test]
fn observe_is_zero_or_one_and_anything_else_is_no_observation() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.send(get(&device.path("/a")).named(CoapOption::Observe, [0]));
    assert_eq!(device.expect_request("/a").observed(), Some(0));
    for other in [&[2][..], &[1, 0], &[0xff; 3]] {
        client.send(get(&device.path("/b")).named(CoapOption::Observe, other));
        assert_eq!(device.expect_request("/b").observed(), None);
    }
    client.send(post(&device.path("/c"), b"\xa0").observe(0));
    assert_eq!(device.expect_request("/c").observed(), None, "on other methods it is removed");
    assert_eq!(observations(&world), 1);
}

/// Device reference 11.1, 11.3: 2.05 without Observe: not observable.
#[test]
fn a_resource_that_cannot_be_observed_is_a_plain_get() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let tokens = [&one, &two].map(|client| client.send(get(&device.path("/a")).observe(0)));
    let registration = device.expect_request("/a");
    device.respond(&registration, content(state(1)));
    for (client, token) in [&one, &two].into_iter().zip(tokens) {
        let got = client.answer_to(token).expect("an answer");
        assert_eq!((got.code, got.observed()), (Content.into(), None));
    }
    assert_eq!(observations(&world), 0);
    device.respond(&registration, notification(2, 2));
    one.expect_silence();
    device.expect_silence();
}

/// Device reference 11.1: 4.xx or 5.xx: not registered.
#[test]
fn a_registration_that_the_device_refuses_is_none() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for code in [NotFound, Unauthorized, MethodNotAllowed, InternalServerError, ServiceUnavailable]
    {
        let token = client.send(get(&device.path("/a")).observe(0));
        let registration = device.expect_request("/a");
        device.respond(&registration, plain(code).observe(1));
        let got = client.answer_to(token).expect("an answer");
        assert_eq!((got.code, got.observed()), (code.into(), None));
        assert_eq!(observations(&world), 0);
    }
    device.expect_silence();
}

/// Device reference 11.3: the key is path and sorted query; all with the same key share one.
#[test]
fn clients_who_observe_the_same_share_one_observation_on_the_device() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let clients: Vec<_> = (0..5).map(|_| user.signed_in_client()).collect();
    let (_, registration) = observe(&device, &clients[0], "/a");
    for client in &clients[1..] {
        // Answered from the last notification, which is fresh.
        let first = client.request(get(&device.path("/a")).observe(0));
        assert_eq!((first.observed(), first.payload), (Some(1), state(0)));
    }
    device.expect_silence();
    device.respond(&registration, notification(7, 2));
    for client in &clients {
        let got = client.take();
        assert_eq!((got.observed(), got.payload), (Some(2), state(7)));
        client.expect_silence();
    }
    // Another query is another observation; the same in another order is the same.
    clients[0].send(get(&format!("{}?x=1&y=2", device.path("/a"))).observe(0));
    assert_eq!(device.expect_request("/a").queries(), ["x=1", "y=2"]);
    clients[1].send(get(&format!("{}?y=2&x=1", device.path("/a"))).observe(0));
    device.expect_silence();
    assert_eq!(observations(&world), 7);
}

/// Device reference 11.3, 17: who joins later than five seconds gets fresh state by a plain GET.
#[test]
fn who_joins_a_quiet_observation_gets_the_present_state() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let (first, registration) = observe(&device, &one, "/a");
    world.advance_secs(6);
    let token = two.send(get(&device.path("/a")).observe(0));
    let asked = device.expect_request("/a");
    assert_eq!(asked.observed(), None);
    two.expect_silence();
    device.respond(&asked, content(state(9)));
    let joined = two.answer_to(token).expect("the first answer");
    assert_eq!((joined.observed(), joined.payload), (Some(1), state(9)));
    one.expect_silence();
    device.respond(&registration, notification(10, 2));
    assert_eq!(one.answer_to(first).expect("a notification").observed(), Some(2));
    assert_eq!(two.answer_to(token).expect("a notification").observed(), Some(2));
}

/// Device reference 11.3: a GET that the device refuses joins nobody; the others go on.
#[test]
fn who_cannot_join_is_told_and_the_others_go_on() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let (_, registration) = observe(&device, &one, "/a");
    world.advance_secs(6);
    for (answer, code) in
        [(plain(Forbidden), Forbidden), (content(b"\xa0").option(9, []), BadGateway)]
    {
        let token = two.send(get(&device.path("/a")).observe(0));
        let asked = device.expect_request("/a");
        device.respond(&asked, answer);
        let got = two.answer_to(token).expect("an answer");
        assert_eq!((got.code, got.observed()), (code.into(), None));
    }
    let token = two.send(get(&device.path("/a")).observe(0));
    device.expect_request("/a");
    world.advance_secs(21);
    assert_eq!(two.answer_to(token).expect("an answer").code, GatewayTimeout);
    device.take_all();
    one.take_all();
    device.respond(&registration, notification(3, 3));
    assert_eq!(one.take().payload, state(3));
    two.take_all();
    assert_eq!(observations(&world), 1);
}

/// Device reference 11.3: several wait for the device's first answer.
#[test]
fn those_who_come_while_the_first_registers_wait_with_it() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let tokens = [&one, &two].map(|client| client.send(get(&device.path("/a")).observe(0)));
    let registration = device.expect_request("/a");
    device.expect_silence();
    device.respond(&registration, notification(1, 0));
    for (client, token) in [&one, &two].into_iter().zip(tokens) {
        assert_eq!(client.answer_to(token).expect("an answer").observed(), Some(1));
    }
}

/// Device reference 11.3: same client, same token: answered with the current state, values go on.
#[test]
fn a_client_may_register_again_with_its_token() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (token, registration) = observe(&device, &client, "/a");
    let again = client.request(get(&device.path("/a")).observe(0).token(token.as_bytes()));
    assert_eq!((again.observed(), again.payload), (Some(2), state(0)));
    assert_eq!(observations(&world), 1);
    device.expect_silence();
    device.respond(&registration, notification(1, 2));
    assert_eq!(client.take().observed(), Some(3));
    client.expect_silence();
}

/// Device reference 11.3: same client, other token: a separate observation.
#[test]
fn a_client_may_observe_the_same_twice() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (first, registration) = observe(&device, &client, "/a");
    let second = client.send(get(&device.path("/a")).observe(0));
    client.answer_to(second).expect("an answer");
    device.respond(&registration, notification(1, 2));
    let mut tokens: Vec<_> = client.take_all().into_iter().filter_map(|got| got.token).collect();
    tokens.sort_by_key(|token| token.as_u64());
    assert_eq!(tokens, [first, second]);
    let cancelled = client.request(get(&device.path("/a")).observe(1).token(first.as_bytes()));
    assert_eq!((cancelled.code, cancelled.observed()), (Content.into(), None));
    device.expect_silence();
    device.respond(&registration, notification(2, 3));
    assert_eq!(client.take().token, Some(second));
    client.expect_silence();
}

/// Device reference 11.3: the token of a running observation belongs to it.
#[test]
fn the_token_of_an_observation_cannot_be_used_for_anything_else() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let (token, registration) = observe(&device, &client, "/a");
    for other in [
        get(&device.path("/b")).observe(0),
        get(&client.path("/a")).observe(0),
        get(&device.path("/a")),
        post(&device.path("/a"), b"\xa0"),
        get("/oic/res"),
        get("/oic/res").observe(0),
    ] {
        let said = tests::describe(&other);
        let got = client.request(other.token(token.as_bytes()));
        assert_eq!((got.code, got.observed()), (BadRequest.into(), None), "{said}");
    }
    device.expect_silence();
    device.respond(&registration, notification(1, 2));
    assert_eq!(client.take().observed(), Some(2));
}

/// Device reference 10.2, 4.1: formats on the client's leg, per observer.
#[test]
fn each_observer_gets_the_format_that_it_accepts() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let (_, registration) = observe(&device, &one, "/a");
    let first = two.request(get(&device.path("/a")).observe(0).accept(CBOR));
    assert_eq!((first.content_format(), first.content_version()), (Some(CBOR), None));
    device.respond(&registration, notification(1, 2));
    assert_eq!(two.take().content_format(), Some(CBOR));
    assert_eq!(one.take().content_format(), Some(10_000));
}

/// Device reference 11.3: a slow client gets the newest state when it reads again, and no more.
#[test]
fn who_does_not_read_misses_states_and_gets_the_newest() {
    let world = World::with(|setup| setup.limits.send_queue_bytes_max = 300 * 1024);
    let user = world.user();
    let (device, slow, quick) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let (_, registration) = observe(&device, &slow, "/a");
    quick.request(get(&device.path("/a")).observe(0));
    slow.reads(false);
    let large = |value: u8| content(vec![value; 7000]);
    for round in 1..=100u8 {
        device.respond(&registration, large(round).observe(u32::from(round)));
        assert_eq!(quick.take().payload[0], round);
    }
    assert!(slow.is_connected());
    slow.reads(true);
    let got = slow.take_all();
    assert!(got.len() < 60, "{} notifications", got.len());
    assert_eq!(got.last().expect("the newest").payload[0], 100);
    let values: Vec<_> = got.iter().filter_map(Msg::observed).collect();
    assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
    // From then on it is told at once.
    device.respond(&registration, large(101).observe(101));
    assert_eq!(slow.take().payload[0], 101);
}

/// Device reference 10.4: larger than this client takes: 5.00 for it, the others go on.
#[test]
fn a_notification_that_is_too_large_ends_the_observation_of_who_cannot_take_it() {
    let world = World::new();
    let user = world.user();
    let (device, small, large) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    large.send(Msg::new(SignalCode::Csm.code()).uint(2, 100_000));
    let (token, registration) = observe(&device, &small, "/a");
    large.request(get(&device.path("/a")).observe(0));
    device.respond(&registration, content(vec![1; 9000]).observe(2));
    let last = small.answer_to(token).expect("the end");
    assert_eq!((last.code, last.observed()), (InternalServerError.into(), None));
    assert_eq!(large.take().payload.len(), 9000);
    assert_eq!(observations(&world), 1);
}

/// Device reference 17: observations per client and per device leg.
#[test]
fn observations_are_bounded_per_client_and_per_device() {
    let world = World::with(|setup| {
        setup.limits.observations_per_client_max = 3;
        setup.limits.observations_per_device_max = 4;
    });
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    for href in ["/a", "/b", "/c"] {
        observe(&device, &one, href);
    }
    one.expect(get(&device.path("/d")).observe(0), ServiceUnavailable);
    let (token, _) = observe(&device, &two, "/d");
    two.expect(get(&device.path("/e")).observe(0), ServiceUnavailable);
    two.expect(get(&device.path("/a")).observe(0), Content);
    device.expect_silence();
    two.request(get(&device.path("/d")).observe(1).token(token.as_bytes()));
    device.take();
    two.send(get(&device.path("/e")).observe(0));
    device.expect_request("/e");
}

/// Device reference 11.2: values rise modulo 2^24, per observer, whatever the device sends.
#[test]
fn the_order_of_notifications_is_kept() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (token, registration) = observe(&device, &client, "/a");
    for value in 1..=200u8 {
        device.respond(&registration, notification(value, 5));
    }
    let got = client.take_all();
    assert!(got.iter().all(|got| got.token == Some(token)));
    assert!(got.iter().map(|got| got.payload[1]).eq(1..=200));
    assert!(got.iter().filter_map(Msg::observed).eq(2..=201));
}

/// Device reference 15.1: an answer to a POST and the notification that follows it.
#[test]
fn real_clients_observe_real_devices() {
    use loadtest::device::Ask;
    let world = World::of_shards(2);
    let user = world.user();
    let (light, watcher, switch) = (user.light(), user.client(), user.client());
    let observe = Ask::Observe { device: Some(light.id()), href: "/light/1" };
    let observation = watcher.begin(&observe);
    assert_eq!(watcher.answer(observation).expect("an answer").observe, Some(1));
    let update = Ask::Update { device: light.id(), href: "/light/1", body: b"\xa1\x65value\xf5" };
    assert_eq!(switch.ask(&update).code, Changed);
    light.change();
    world.advance(Duration::from_millis(100));
    let seen = watcher.notifications(observation);
    assert!(!seen.is_empty());
    let values: Vec<_> = seen.iter().filter_map(|got| got.observe).collect();
    assert!(values.is_sorted_by(|a, b| a < b) && values[0] == 2, "{values:?}");
    light.lose();
    let last = watcher.notifications(observation).pop().expect("the end");
    assert_eq!((last.code, last.observe), (ServiceUnavailable.into(), None));
}

/// Device reference 11.6: the cloud observes nothing by itself.
#[test]
fn nobody_is_observed_unless_somebody_listens() {
    let world = World::new();
    let device = world.user().signed_in_device();
    device.publish(&["/a", "/b"]);
    world.advance_secs(20);
    device.expect_silence();
    assert!(device.is_connected(), "never disconnected for lack of a batch observation");
}
