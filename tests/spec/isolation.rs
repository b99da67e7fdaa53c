//! Device reference 10.1, step 3, and design, section 9: nothing of one user reaches another one.

use shared::coap::ResponseType::*;
use shared::coap::{RequestType, Token};
use tests::{Account, Msg, Peer, World, content, delete, get, link, map, post, request};

/// A user's device with a link and a secret, observed by a client of its own.
struct Home {
    device: Peer,
    client: Peer,
    observation: Token,
    registration: Msg,
}

fn home(world: &World) -> Home {
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    device.publish(&["/a"]);
    let observation = client.send(get(&device.path("/a")).observe(0));
    let registration = device.expect_request("/a");
    device.respond(&registration, content(b"\x61s").observe(0));
    client.answer_to(observation).expect("registered");
    Home { device, client, observation, registration }
}

/// Everything that a peer can ask about a device, none of which may show that it exists.
#[test]
fn a_stranger_can_do_nothing_with_a_device() {
    for shards in [1, 3] {
        let world = World::of_shards(shards);
        let Home { device, client, observation, registration } = home(&world);
        let stranger = world.user().signed_in_device();
        for method in [RequestType::Get, RequestType::Post, RequestType::Put, RequestType::Delete] {
            stranger.expect(request(method, &device.path("/a")), NotFound);
        }
        stranger.expect(get(&device.path("/a")).observe(0), NotFound);
        let token = observation.as_bytes();
        stranger.expect(get(&device.path("/a")).observe(1).token(token), NotFound);
        stranger.expect(get(&format!("/oic/res?di={}", device.id)), Content);
        stranger.expect(delete(&format!("/oic/rd?di={}", device.id)), BadRequest);
        let links = ciborium::Value::Array(vec![link("/b", "x.y")]);
        let foreign = map([("di", device.id.to_string().into()), ("links", links)]);
        stranger.expect(post("/oic/rd", foreign), BadRequest);
        device.expect_silence();
        client.expect_silence();
        device.respond(&registration, content(b"\x61t").observe(2));
        assert_eq!(client.answer_to(observation).expect("told").payload, b"\x61t");
        stranger.expect_silence();
        stranger.expect(delete(&format!("/oic/sec/account?di={}", device.id)), Unauthorized);
        assert!(device.is_connected());
    }
}

/// A stranger's response, with the token of a request or of an observation, is nobody's.
#[test]
fn a_stranger_cannot_answer_for_a_device() {
    let world = World::new();
    let Home { device, client, registration, .. } = home(&world);
    let stranger = world.user().signed_in_device();
    client.send(get(&device.path("/b")));
    let asked = device.expect_request("/b");
    for to in [&asked, &registration] {
        stranger.respond(to, content(b"\x61x").observe(9));
        client.respond(to, content(b"\x61x").observe(9));
    }
    client.expect_silence();
    assert!(stranger.is_connected());
}

/// The tokens of one account are good for no other one.
#[test]
fn tokens_are_good_for_their_own_device_only() {
    for shards in [1, 3] {
        let world = World::of_shards(shards);
        let user = world.user();
        let (one, two) = (user.signed_in_device(), user.signed_in_device());
        let stranger = world.user().signed_in_device();
        for other in [&two, &stranger] {
            let thief = world.connect_as(one.id, tests::PKI.product());
            thief.set_account(Account { uid: one.account().uid, ..other.account() });
            thief.expect(thief.session_request(true), Unauthorized);
            thief.expect(thief.refresh_request(), Unauthorized);
            let thief = world.connect_as(one.id, tests::PKI.product());
            let query = format!("di={}&accesstoken={}", one.id, other.account().access);
            thief.expect(delete(&format!("/oic/sec/account?{query}")), Unauthorized);
        }
        assert!(one.is_connected() && two.is_connected() && stranger.is_connected());
    }
}

/// A connection that changes its user takes nothing along: no answer, no observation, no link.
#[test]
fn a_connection_that_signs_in_for_another_user_takes_nothing_along() {
    let world = World::new();
    let (first, second) = (world.user(), world.user());
    let (device, client) = (first.signed_in_device(), first.signed_in_client());
    device.publish(&["/a"]);
    let observation = client.send(get(&device.path("/a")).observe(0));
    let registration = device.expect_request("/a");
    device.respond(&registration, content(b"\x61s").observe(0));
    client.answer_to(observation).expect("registered");
    client.request(get("/oic/res").observe(0));
    let asked = client.send(get(&device.path("/b")));
    let pending = device.expect_request("/b");
    client.sign_out();
    device.expect_request("/a");

    // The same connection signs up and in for somebody else.
    client.set_account(Account::default());
    let body =
        map([("di", world.device_id().to_string().into()), ("accesstoken", second.token().into())]);
    let answer = client.expect(post("/oic/sec/account", body.clone()), Changed);
    client.keep_account(&answer);
    let session = map([
        ("uid", client.account().uid.into()),
        ("di", tests::member(&body, "di").expect("di").clone()),
        ("accesstoken", client.account().access.into()),
        ("login", true.into()),
    ]);
    client.expect(post("/oic/sec/session", session), Changed);
    assert_eq!(client.expect(get("/oic/res"), Content).payload, [0x80]);
    device.respond_content(&pending, b"\x61s");
    device.respond(&registration, content(b"\x61s").observe(2));
    device.publish(&["/c"]);
    world.advance_secs(2);
    assert!(client.answer_to(asked).is_none(), "the answer was for the first user");
    client.expect_silence();
    client.expect(get(&device.path("/a")), NotFound);
}

/// Slots of sockets are used again at once: who gets one inherits nothing.
#[test]
fn who_gets_the_slot_of_another_inherits_nothing() {
    let world = World::new();
    let Home { device, client, registration, .. } = home(&world);
    client.send(get(&device.path("/b")));
    let pending = device.expect_request("/b");
    client.lose();
    let stranger = world.user().signed_in_device();
    device.respond_content(&pending, b"\x61s");
    device.respond(&registration, content(b"\x61s").observe(2));
    stranger.expect_silence();

    let Home { device, client, .. } = home(&world);
    let pending = client.send(get(&device.path("/b")));
    let asked = device.expect_request("/b");
    device.lose();
    assert_eq!(client.answer_to(pending).expect("the end").code, ServiceUnavailable);
    client.take_all();
    let stranger = world.user().signed_in_device();
    stranger.respond_content(&asked, b"\x61x");
    client.expect_silence();
}

/// Values of many users, each with a canary of its own, in every answer that any of them gets.
#[test]
fn no_value_of_one_user_is_ever_seen_by_another() {
    let world = World::of_shards(3);
    let users: Vec<_> = (0..6).map(|_| world.user()).collect();
    let homes: Vec<_> = users
        .iter()
        .map(|user| (user.signed_in_device(), user.signed_in_device(), user.signed_in_client()))
        .collect();
    let canary = |user: usize| format!("canary-{user}-").into_bytes();
    for (user, (one, two, _)) in homes.iter().enumerate() {
        for device in [one, two] {
            let secret = String::from_utf8(canary(user)).expect("text");
            device.expect(device.publish_request([link("/a", &secret)]), Changed);
        }
    }
    let mut received: Vec<Vec<Msg>> = vec![Vec::new(); homes.len()];
    for round in 0..60usize {
        for (user, (_, _, client)) in homes.iter().enumerate() {
            let target = &homes[(user * 7 + round * 5) % homes.len()];
            let target = if round % 2 == 0 { &target.0 } else { &target.1 };
            client.send(get(&target.path("/a")));
            client.send(get("/oic/res"));
            client.send(get(&format!("/oic/res?di={}", target.id)));
        }
        for (user, (one, two, client)) in homes.iter().enumerate() {
            for device in [one, two] {
                for asked in device.take_all() {
                    device.respond_content(&asked, canary(user));
                }
            }
            received[user].extend(client.take_all());
        }
    }
    for (user, answers) in received.iter().enumerate() {
        let seen = |other: usize| {
            let canary = canary(other);
            answers
                .iter()
                .filter(|answer| answer.payload.windows(canary.len()).any(|w| w == canary))
                .count()
        };
        assert!(seen(user) >= 60);
        assert!((0..homes.len()).filter(|&other| other != user).all(|other| seen(other) == 0));
    }
}
