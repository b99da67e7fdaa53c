//! Device reference 11.4 and 11.5: how observations end, and who is told.

use std::time::Duration;

use gateway::config::TokenLifetime;
use shared::channel::message::{Command, Reply};
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::ids::ShardId;
use tests::{Msg, Peer, World, content, get, plain};

use super::observe::{device_and_client, notification, observations, observe, state};

/// Device reference 11.5, 11.3: cancel by Observe 1; the last one cancels at the device, with the
/// token of the registration.
#[test]
fn the_last_client_who_cancels_cancels_at_the_device() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let (first, registration) = observe(&device, &one, "/a");
    let second = two.send(get(&device.path("/a")).observe(0));
    two.answer_to(second).expect("an answer");
    let answer = one.request(get(&device.path("/a")).observe(1).token(first.as_bytes()));
    assert_eq!((answer.code, answer.observed(), answer.payload), (Content.into(), None, state(0)));
    device.expect_silence();
    two.request(get(&device.path("/a")).observe(1).token(second.as_bytes()));
    let cancel = device.expect_request("/a");
    assert_eq!((cancel.token, cancel.observed()), (registration.token, Some(1)));
    let expected = get("/a").observe(1).accept(10_000).uint(2049, 2048);
    assert_eq!(Msg { token: None, ..cancel.clone() }, expected);
    // A notification that was under way, then the answer: both absorbed.
    device.respond(&cancel, content(state(1)));
    device.respond(&registration, notification(2, 3));
    one.expect_silence();
    two.expect_silence();
    assert_eq!((observations(&world), world.sizes(ShardId(0)).exchanges), (0, 0));
}

/// Device reference 11.5: the token decides, not the path.
#[test]
fn a_cancel_with_another_path_cancels_what_its_token_says() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (token, _) = observe(&device, &client, "/a");
    let answer = client.request(get(&device.path("/b")).observe(1).token(token.as_bytes()));
    assert_eq!((answer.code, answer.observed()), (Content.into(), None));
    assert_eq!(device.expect_request("/a").observed(), Some(1));
    assert_eq!(observations(&world), 0);
}

/// Device reference 11.5: a cancel of nothing is a plain GET.
#[test]
fn a_cancel_of_nothing_is_a_plain_get() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")).observe(1));
    let asked = device.expect_request("/a");
    assert_eq!(asked.observed(), None);
    device.respond(&asked, content(state(5)));
    assert_eq!(client.answer_to(token).expect("an answer").payload, state(5));
}

/// RFC 8323 §7.4: the end of the client's connection cancels everything.
#[test]
fn the_end_of_a_client_cancels_at_the_device() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let ends: [fn(&Peer); 5] = [
        Peer::lose,
        Peer::close,
        |client| {
            client.sign_out();
        },
        |client| {
            client.send(Msg::new(SignalCode::Release.code()));
        },
        |client| {
            client.expect(tests::delete("/oic/sec/account"), Deleted);
        },
    ];
    for end in ends {
        let client = user.signed_in_client();
        let (_, registration) = observe(&device, &client, "/a");
        end(&client);
        let cancel = device.expect_request("/a");
        assert_eq!((cancel.token, cancel.observed()), (registration.token, Some(1)));
        device.respond(&cancel, content(state(0)));
        assert_eq!(observations(&world), 0);
    }
    assert_eq!(world.sizes(ShardId(0)).exchanges, 0);
}

/// Device reference 11.4: the device's connection is lost: 5.03 without Observe, to everybody.
#[test]
fn observations_end_with_5_03_when_the_device_goes() {
    let world = World::new();
    let user = world.user();
    let clients = [user.signed_in_client(), user.signed_in_client()];
    let ends: [fn(&Peer); 3] = [Peer::lose, Peer::close, |device| {
        device.sign_out();
    }];
    for end in ends {
        let device = user.signed_in_device();
        let tokens = [observe(&device, &clients[0], "/a").0, {
            let token = clients[1].send(get(&device.path("/a")).observe(0));
            clients[1].answer_to(token).expect("an answer");
            token
        }];
        end(&device);
        for (client, token) in clients.iter().zip(tokens) {
            let last = client.answer_to(token).expect("the end");
            assert_eq!((last.code, last.observed()), (ServiceUnavailable.into(), None));
            assert_eq!(last.text(), "device is offline");
            client.expect_silence();
        }
        assert_eq!(observations(&world), 0);
    }
}

/// A cloud in which the tokens of devices that prove nothing live for a hundred seconds.
fn world_of_short_tokens() -> World {
    World::with(|setup| {
        setup.cloud.manufacturer_token = TokenLifetime::Limited(Duration::from_secs(100));
    })
}

/// Two minutes go by in which nobody is silent: a token of a hundred seconds is over, its grace not yet.
fn live_for_two_minutes(world: &World, peers: [&Peer; 2]) {
    for _ in 0..6 {
        world.advance_secs(20);
        for peer in peers {
            peer.send(Msg::new(SignalCode::Ping.code()));
            peer.take_all();
        }
    }
}

/// Another connection signs in as this device.
fn supersede(world: &World, device: &Peer) {
    let newer = world.connect_as(device.id, tests::PKI.product());
    newer.set_account(device.account());
    newer.refresh();
    newer.sign_in();
}

/// What ends the session of a device, and the code that others hear.
type End<'a> = (&'a dyn Fn(&Peer), shared::coap::ResponseType);

/// Device reference 11.4, 4.6: superseded, the token expired: 5.03, as when the connection is lost;
/// removed by a Mediator: 4.04, as when it has signed off. So end the requests under way, too.
#[test]
fn whatever_ends_a_session_ends_what_it_serves_with_the_code_of_its_reason() {
    let world = world_of_short_tokens();
    let user = world.user();
    // Its token does not expire.
    let client = user.signed_in_device_with_identity();
    let remove = |device: &Peer| {
        let reply = world.command(user.id, Command::RemoveDevice { device: device.id });
        assert!(matches!(reply, Reply::Done), "{reply:?}");
    };
    let expire = |_: &Peer| world.advance_secs(12);
    let ends: [End<'_>; 3] = [
        (&|device| supersede(&world, device), ServiceUnavailable),
        (&expire, ServiceUnavailable),
        (&remove, NotFound),
    ];
    for (end, code) in ends {
        let device = user.signed_in_device();
        live_for_two_minutes(&world, [&device, &client]);
        let tokens = [observe(&device, &client, "/a").0, client.send(get(&device.path("/b")))];
        device.expect_request("/b");
        end(&device);
        assert!(!device.is_connected());
        for token in tokens {
            let last = client.answer_to(token).expect("the end");
            assert_eq!((last.code, last.observed()), (code.into(), None));
        }
        client.expect_silence();
        assert_eq!((observations(&world), world.sizes(ShardId(0)).exchanges), (0, 0));
    }
}

/// Device reference 11.4: superseded, expired and removed clients observe nothing any more.
#[test]
fn whatever_ends_a_session_cancels_what_it_observes() {
    let world = world_of_short_tokens();
    let user = world.user();
    let device = user.signed_in_device_with_identity();
    let remove = |client: &Peer| {
        world.command(user.id, Command::RemoveDevice { device: client.id });
    };
    let expire = |_: &Peer| world.advance_secs(12);
    let ends: [&dyn Fn(&Peer); 3] = [&|client| supersede(&world, client), &expire, &remove];
    for end in ends {
        let client = user.signed_in_client();
        live_for_two_minutes(&world, [&client, &device]);
        let (_, registration) = observe(&device, &client, "/a");
        end(&client);
        assert!(!client.is_connected());
        let cancel = device.expect_request("/a");
        assert_eq!((cancel.token, cancel.observed()), (registration.token, Some(1)));
        device.respond(&cancel, content(state(0)));
        assert_eq!((observations(&world), world.sizes(ShardId(0)).exchanges), (0, 0));
    }
}

/// Device reference 11.4: a link is unpublished: 4.04 to the clients, cancel at the device.
#[test]
fn observations_of_a_link_that_is_unpublished_end_with_4_04() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.publish(&["/a", "/b"]);
    let (gone, registration) = observe(&device, &client, "/a");
    let (stays, kept) = observe(&device, &client, "/b");
    let ins = shared::ids::Href::parse("/a").expect("a path").instance();
    device.expect(tests::delete(&format!("/oic/rd?ins={ins}")), Deleted);
    let last = client.answer_to(gone).expect("the end");
    assert_eq!((last.code, last.observed()), (NotFound.into(), None));
    let cancel = device.expect_request("/a");
    assert_eq!((cancel.token, cancel.observed()), (registration.token, Some(1)));
    device.respond(&kept, notification(1, 2));
    assert_eq!(client.take().token, Some(stays));
}

/// Device reference 11.4: the device ends it with an error.
#[test]
fn an_error_of_the_device_ends_the_observation_for_everybody() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    for code in [NotFound, Forbidden, ServiceUnavailable] {
        let (first, registration) = observe(&device, &one, "/a");
        let second = two.send(get(&device.path("/a")).observe(0));
        two.answer_to(second).expect("an answer");
        // Error notifications of iotivity-lite carry 1.
        device.respond(&registration, plain(code).observe(1));
        for (client, token) in [(&one, first), (&two, second)] {
            let last = client.answer_to(token).expect("the end");
            assert_eq!((last.code, last.observed()), (code.into(), None));
        }
        device.expect_silence();
        assert_eq!(observations(&world), 0);
    }
}

/// Device reference 10.3: a notification that must not be passed on ends it with 5.02, and at the
/// device.
#[test]
fn a_bad_notification_ends_the_observation() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (token, registration) = observe(&device, &client, "/a");
    device.respond(&registration, notification(1, 2).option(9, [1]));
    let last = client.answer_to(token).expect("the end");
    assert_eq!((last.code, last.observed()), (BadGateway.into(), None));
    assert_eq!(device.expect_request("/a").observed(), Some(1));
    assert!(device.is_connected());
}

/// Device reference 11.4: after 5.03 the client registers anew when it wants.
#[test]
fn after_the_end_a_client_may_register_anew_with_the_same_token() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let (token, _) = observe(&device, &client, "/a");
    device.lose();
    client.answer_to(token).expect("the end");
    device.connect();
    device.sign_in();
    device.expect_silence();
    client.send(get(&device.path("/a")).observe(0).token(token.as_bytes()));
    let registration = device.expect_request("/a");
    device.respond(&registration, notification(0, 0));
    assert_eq!(client.answer_to(token).expect("an answer").observed(), Some(1));
}

/// Device reference 10.4: the device does not answer the registration; it is told to forget it.
#[test]
fn a_registration_that_is_not_answered_is_5_04_and_cancelled() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")).observe(0));
    let registration = device.expect_request("/a");
    world.advance_secs(21);
    let got = client.answer_to(token).expect("an answer");
    assert_eq!((got.code, got.observed()), (GatewayTimeout.into(), None));
    let cancel = device.expect_request("/a");
    assert_eq!((cancel.token, cancel.observed()), (registration.token, Some(1)));
    device.respond(&registration, notification(1, 0));
    client.expect_silence();
    world.advance_secs(25);
    assert_eq!(world.sizes(ShardId(0)).exchanges, 0);
}

/// RFC 7252 §5.2: every request has an answer, also that of a client whose session ends meanwhile.
#[test]
fn a_registration_under_way_is_answered_when_its_client_signs_out() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let registration = client.send(get(&device.path("/a")).observe(0));
    device.expect_request("/a");
    client.sign_out();
    assert_eq!(client.answer_to(registration).expect("an answer").code, ServiceUnavailable);
    assert_eq!(observations(&world), 0);
}
