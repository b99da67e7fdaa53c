//! Device reference 5.1: sign-up.

use std::time::Duration;

use ciborium::Value;
use gateway::config::Takeover;
use gateway::connection::CloseReason;
use shared::coap::CoapOption;
use shared::coap::ResponseType::*;
use tests::{CBOR, Disk, Msg, Peer, World, get, map, post};

fn sign_up_with(body: impl Into<tests::message::Body>) -> Msg {
    post("/oic/sec/account", body)
}

fn keys(peer: &Peer, token: &str) -> Vec<(Value, Value)> {
    vec![("di".into(), peer.id.to_string().into()), ("accesstoken".into(), token.into())]
}

fn last_reason(world: &World) -> CloseReason {
    world.ended().last().expect("a connection has ended").reason
}

/// Device reference 5.1 and 1.3, rule 6: the answer has all four keys, and says what it is.
#[test]
fn a_sign_up_is_answered_with_everything_that_devices_need() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let single_use = user.token_for(peer.id);
    let answer = peer.sign_up(&single_use);
    assert_eq!(answer.content_format(), Some(10_000));
    assert_eq!(answer.content_version(), Some(2048));
    assert_eq!(answer.member_text("uid"), user.id.to_string());
    assert_ne!(answer.member_text("accesstoken"), single_use);
    assert_ne!(answer.member_text("refreshtoken"), answer.member_text("accesstoken"));
    assert_eq!(answer.member_integer("expiresin"), 24 * 3600);
    assert!(answer.member("redirecturi").is_none(), "there is nothing to say");
    assert!(peer.is_connected());
}

/// Device reference 5.1: access tokens of at most 50 characters, or else sign-off lacks them.
#[test]
fn tokens_have_at_most_fifty_characters() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    assert!(peer.account().access.len() <= 50);
    assert!(peer.account().refresh.len() <= 50);
}

/// Device reference 16, point 36: permanent for devices that prove their id, a day otherwise.
#[test]
fn tokens_of_devices_that_prove_their_id_never_expire() {
    let world = World::new();
    let user = world.user();
    let device = world.connect_with_identity(world.device_id());
    let answer = device.sign_up(&user.token());
    assert_eq!(answer.member_integer("expiresin"), -1);
    assert_eq!(device.sign_in().member_integer("expiresin"), -1);
}

/// Device reference 5.1, 4.1 to 4.3: bodies of every legal form.
#[test]
fn every_legal_form_of_a_sign_up_is_understood() {
    let world = World::new();
    let user = world.user();
    let accepted = |name: &str, message: &dyn Fn(&Peer, &str) -> Msg| {
        let peer = world.connect();
        let message = message(&peer, &user.token());
        let answer = peer.request(message);
        assert_eq!(answer.code, Changed, "{name}: {}", tests::describe(&answer));
    };
    let body = |peer: &Peer, token: &str, more: &[(&str, Value)]| {
        let mut pairs = keys(peer, token);
        pairs.extend(more.iter().map(|(key, value)| ((*key).into(), value.clone())));
        Value::Map(pairs)
    };
    accepted("as iotivity-lite", &|peer, token| {
        let more = [("authprovider", "ocf-cloud".into()), ("devicetype", "device".into())];
        sign_up_with(body(peer, token, &more)).accept(10_000).uint(2049, 2048).uint(2053, 2048)
    });
    accepted("baseline", &|peer, token| {
        post("/oic/sec/account?if=oic.if.baseline", body(peer, token, &[]))
    });
    accepted("another uid is no more than a hint", &|peer, token| {
        sign_up_with(body(peer, token, &[("uid", world.user().id.to_string().into())]))
    });
    accepted("an empty provider", &|peer, token| {
        sign_up_with(body(peer, token, &[("authprovider", "".into())]))
    });
    accepted("unknown keys", &|peer, token| {
        let nested = Value::Array(vec![map([("a", 1.into())]), Value::Float(1.5)]);
        sign_up_with(body(peer, token, &[("x.vendor", nested)]))
    });
    accepted("authcode", &|peer, token| {
        sign_up_with(map([("di", peer.id.to_string().into()), ("authcode", token.into())]))
    });
    accepted("another order", &|peer, token| {
        let mut pairs = keys(peer, token);
        pairs.reverse();
        sign_up_with(Value::Map(pairs))
    });
    accepted("upper case", &|peer, token| {
        let id = peer.id.to_string().to_uppercase();
        sign_up_with(map([("di", id.into()), ("accesstoken", token.into())]))
    });
    accepted("tagged", &|peer, token| {
        let tagged = Value::Tag(55_799, Box::new(Value::Map(keys(peer, token))));
        sign_up_with(tagged)
    });
    accepted("without Content-Format", &|peer, token| {
        sign_up_with(body(peer, token, &[])).without(CoapOption::ContentFormat)
    });
    accepted("application/cbor", &|peer, token| sign_up_with(body(peer, token, &[])).format(CBOR));
    accepted("of indefinite length", &|peer, token| {
        sign_up_with(indefinite(&peer.id.to_string(), token))
    });
}

/// A map of indefinite length whose values are texts of indefinite length, as RFC 8949 §3.2 allows.
fn indefinite(di: &str, token: &str) -> Vec<u8> {
    let mut body = vec![0xbf];
    for (key, text) in [("di", di), ("accesstoken", token)] {
        body.push(0x60 | key.len() as u8);
        body.extend(key.as_bytes());
        let (first, second) = text.as_bytes().split_at(1);
        body.push(0x7f);
        body.extend([0x61, first[0], 0x78, second.len() as u8]);
        body.extend(second);
        body.push(0xff);
    }
    body.push(0xff);
    body
}

/// Device reference 5.1: 4.00 and close.
#[test]
fn a_sign_up_that_cannot_be_understood_is_4_00_and_closes() {
    let world = World::new();
    let user = world.user();
    let token = user.token();
    let refused = |name: &str, body: &dyn Fn(&Peer) -> Vec<u8>| {
        let peer = world.connect();
        let body = body(&peer);
        let answer = peer.request(sign_up_with(body));
        assert_eq!(answer.code, BadRequest, "{name}");
        assert!(answer.content_format().is_none() && answer.payload.len() <= 100, "{name}");
        assert!(!peer.is_connected(), "{name}");
        assert_eq!(last_reason(&world), CloseReason::Refused);
    };
    let encoded = |value: Value| tests::message::Body::from(value).0;
    let with = |di: Value, token: Value| encoded(map([("di", di), ("accesstoken", token)]));
    let id = |peer: &Peer| -> Value { peer.id.to_string().into() };
    refused("nothing", &|_| vec![]);
    refused("no CBOR", &|_| b"{\"di\":1}".to_vec());
    refused("cut short", &|peer| {
        let mut body = with(id(peer), token.clone().into());
        body.pop();
        body
    });
    refused("bytes behind it", &|peer| [with(id(peer), token.clone().into()), vec![0]].concat());
    refused("no map", &|_| encoded(Value::Array(vec![])));
    refused("no di", &|_| encoded(map([("accesstoken", token.clone().into())])));
    refused("no token", &|peer| encoded(map([("di", id(peer))])));
    refused("empty token", &|peer| with(id(peer), "".into()));
    refused("token of the wrong type", &|peer| with(id(peer), 7.into()));
    refused("di of the wrong type", &|_| with(Value::Bytes(vec![1; 16]), token.clone().into()));
    refused("no UUID", &|_| with("light".into(), token.clone().into()));
    refused("a key twice", &|peer| {
        let mut pairs = keys(peer, &token);
        pairs.push(("di".into(), id(peer)));
        encoded(Value::Map(pairs))
    });
    refused("too deep", &|peer| {
        let deep = (0..17).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let mut pairs = keys(peer, &token);
        pairs.push(("x".into(), deep));
        encoded(Value::Map(pairs))
    });
    refused("no UTF-8", &|_| {
        let mut body = with("1111".into(), "x".into());
        let at = body.iter().position(|&byte| byte == b'1').expect("it is in there");
        body[at] = 0xff;
        body
    });
    // None of these has used the token up.
    let peer = world.connect();
    peer.sign_up(&token);
}

fn assert_unauthorized(peer: &Peer, message: Msg) {
    let answer = peer.expect(message, Unauthorized);
    assert!(answer.content_format().is_none(), "the text has no format");
    assert!(!peer.is_connected(), "closed");
    assert_eq!(last_reason(&peer.world), CloseReason::Unauthorized);
}

/// Device reference 5.1: a token unknown, expired, used by another device, issued for another one.
#[test]
fn a_token_that_is_not_for_this_device_is_4_01_and_closes() {
    let world = World::new();
    let user = world.user();
    for unknown in ["first-token-0001", &"A".repeat(45), &"é".repeat(45)] {
        let peer = world.connect();
        assert_unauthorized(&peer, peer.sign_up_request(unknown));
    }

    let expired = user.token();
    world.advance_secs(15 * 60);
    let peer = world.connect();
    assert_unauthorized(&peer, peer.sign_up_request(&expired));

    let used = user.token();
    world.connect().sign_up(&used);
    let peer = world.connect();
    assert_unauthorized(&peer, peer.sign_up_request(&used));

    let device = world.connect();
    let bound = user.token_for(device.id);
    let peer = world.connect();
    assert_unauthorized(&peer, peer.sign_up_request(&bound));
    device.sign_up(&bound);
}

/// Device reference 16, point 11: at most five tries of others.
#[test]
fn a_token_that_too_many_others_have_presented_is_dead() {
    let world = World::new();
    let user = world.user();
    let device = world.connect();
    let token = user.token_for(device.id);
    for _ in 0..5 {
        let peer = world.connect();
        assert_unauthorized(&peer, peer.sign_up_request(&token));
    }
    assert_unauthorized(&device, device.sign_up_request(&token));
}

/// Device reference 5.1: unknown `authprovider`.
#[test]
fn an_unknown_provider_is_4_01_and_closes() {
    let world = World::new();
    let peer = world.connect();
    let mut pairs = keys(&peer, &world.user().token());
    pairs.push(("authprovider".into(), "example".into()));
    assert_unauthorized(&peer, sign_up_with(Value::Map(pairs)));
}

/// Device reference 3.3, 5.1: a certificate bound to another device.
#[test]
fn a_certificate_of_another_device_is_4_01_and_closes() {
    let world = World::new();
    let user = world.user();
    let other = world.device_id();
    let peer = world.connect_with_identity(world.device_id());
    let body = map([("di", other.to_string().into()), ("accesstoken", user.token().into())]);
    assert_unauthorized(&peer, sign_up_with(body));
}

/// Device reference 5.1, 1.3 rules 10 and 11: our trouble is 5.03 with the connection open.
#[test]
fn when_the_store_refuses_a_sign_up_is_5_03_and_can_be_repeated() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let token = user.token();
    world.disk(Disk::Refuses);
    for _ in 0..6 {
        peer.expect(peer.sign_up_request(&token), ServiceUnavailable);
        assert!(peer.is_connected());
        world.advance_secs(10);
    }
    world.disk(Disk::Takes(Duration::ZERO));
    peer.sign_up(&token);
    peer.sign_in();
}

/// Device reference 5.1: the row is durable before the answer leaves.
#[test]
fn a_sign_up_is_answered_when_it_is_durable_and_not_before() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let token = user.token();
    world.disk(Disk::Hangs);
    let asked = peer.send(peer.sign_up_request(&token));
    peer.expect_silence();
    world.disk(Disk::Takes(Duration::from_millis(20)));
    world.advance(Duration::from_millis(100));
    let answer = peer.answer_to(asked).expect("the answer");
    assert_eq!(answer.code, Changed);
    peer.keep_account(&answer);
    world.restart();
    peer.connect();
    peer.sign_in();
}

/// Device reference 1.3, rule 12; 16, point 10: same device, token and certificate, same answer.
#[test]
fn a_repeated_sign_up_is_answered_as_the_first_time() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let token = user.token_for(peer.id);
    let first = peer.sign_up(&token);
    let same = |again: Msg| assert_eq!(again.payload, first.payload);
    same(peer.sign_up(&token));
    // The connection was lost with the answer.
    peer.lose();
    peer.connect();
    same(peer.sign_up(&token));
    world.restart();
    peer.connect();
    same(peer.sign_up(&token));
    assert!(peer.is_connected());
    peer.sign_in();
}

/// Device reference 16, point 10: until the first sign-in, which proves receipt.
#[test]
fn a_sign_up_cannot_be_repeated_after_the_first_sign_in() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let token = user.token();
    peer.sign_up(&token);
    peer.sign_in();
    let again = world.connect_as(peer.id, tests::PKI.product());
    assert_unauthorized(&again, again.sign_up_request(&token));
    assert!(peer.is_connected());
    world.restart();
    peer.connect();
    assert_unauthorized(&peer, peer.sign_up_request(&token));
}

/// Device reference 16, point 10: at most for the repeat window.
#[test]
fn a_sign_up_cannot_be_repeated_after_an_hour() {
    let world = World::new();
    let peer = world.connect();
    let token = world.user().token();
    peer.sign_up(&token);
    world.advance_secs(3600);
    peer.connect();
    assert_unauthorized(&peer, peer.sign_up_request(&token));
}

/// Device reference 16, point 10: with the same certificate only.
#[test]
fn a_sign_up_cannot_be_repeated_with_another_key() {
    let world = World::new();
    let peer = world.connect_with_identity(world.device_id());
    let token = world.user().token();
    peer.sign_up(&token);
    let thief = world.connect_as(peer.id, tests::PKI.product());
    assert_unauthorized(&thief, thief.sign_up_request(&token));
}

/// Device reference 16, point 13: a token without a device binds to the first that uses it, also
/// when two come at the same time.
#[test]
fn a_single_use_token_signs_one_device_up() {
    for shards in [1, 4] {
        let world = World::of_shards(shards);
        let user = world.user();
        let token = user.token();
        let (first, second) = (world.connect(), world.connect());
        world.disk(Disk::Hangs);
        let asked = first.send(first.sign_up_request(&token));
        // Its fate is undecided: it is told to come again, and learns it then.
        second.expect(second.sign_up_request(&token), ServiceUnavailable);
        world.disk(Disk::Takes(Duration::ZERO));
        assert_eq!(first.answer_to(asked).expect("an answer").code, Changed);
        assert_unauthorized(&second, second.sign_up_request(&token));
    }
}

/// Device reference 16, point 13: who could not be signed up leaves the token to others.
#[test]
fn a_single_use_token_is_free_again_when_its_sign_up_was_refused() {
    let world = World::new();
    let token = world.user().token();
    let (first, second) = (world.connect(), world.connect());
    world.disk(Disk::Refuses);
    first.expect(first.sign_up_request(&token), ServiceUnavailable);
    world.disk(Disk::Takes(Duration::ZERO));
    second.sign_up(&token);
}

/// Device reference 5.1, side effects: other connections of the device are closed, earlier tokens
/// become invalid, links stay.
#[test]
fn a_new_sign_up_closes_the_older_session_and_ends_its_tokens() {
    let world = World::new();
    let user = world.user();
    let older = user.signed_in_device();
    older.publish(&["/a"]);
    let newer = world.connect_as(older.id, tests::PKI.product());
    newer.sign_up(&user.token());
    assert!(!older.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Superseded);
    newer.sign_in();
    assert_eq!(newer.request(get("/oic/res")).cbor().as_array().expect("links").len(), 1);
    older.connect();
    older.expect(older.session_request(true), Unauthorized);
}

/// Device reference 4.6: a sign-up alone does not make a session.
#[test]
fn who_has_signed_up_and_not_in_is_not_served() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    assert_unauthorized(&peer, get("/oic/res"));
}

/// Device reference 4.6: sign-up again, for another user, on a signed-in connection of its own.
#[test]
fn a_signed_in_device_may_sign_up_again_on_its_connection() {
    let world = World::new();
    let user = world.user();
    let peer = user.signed_in_device();
    let before = peer.account();
    peer.sign_up(&user.token());
    assert_ne!(peer.account().access, before.access);
    peer.sign_in();
    peer.expect(get("/oic/res"), Content);
}

/// Device reference 13.5, 16 point 40: a redirect, where the operator has configured one.
#[test]
fn devices_are_told_another_endpoint_of_the_cloud_if_there_is_one() {
    let other = "coaps+tcp://new.example.com:5684";
    let world = World::with(|setup| setup.cloud.redirect = Some(other.into()));
    let peer = world.connect();
    let answer = peer.sign_up(&world.user().token());
    assert_eq!(answer.member_text("redirecturi"), other);
    // The device signs in there directly; and here, if it does not know what a redirect is.
    let there = world.connect_as(peer.id, tests::PKI.product());
    there.set_account(peer.account());
    there.sign_in();
    peer.sign_in();
}

/// Design, section 9: the devices of a user are bounded.
#[test]
fn one_device_more_than_a_user_may_have_is_5_03() {
    let world = World::with(|setup| setup.limits.devices_per_user_max = 2);
    let user = world.user();
    let devices = [user.signed_in_device(), user.signed_in_device()];
    let peer = world.connect();
    peer.expect(peer.sign_up_request(&user.token()), ServiceUnavailable);
    assert!(peer.is_connected());
    // Those who are in may sign up again.
    devices[0].sign_up(&user.token());
    assert_eq!(world.sizes(shared::ids::ShardId(0)).devices, 2);
}

/// Device reference 16, point 12: what an operator allows changes nothing for a device's own user.
#[test]
fn a_user_may_sign_a_device_up_again_whatever_the_operator_says_of_others() {
    for takeover in [Takeover::Refuse, Takeover::Allow] {
        let world = World::with(|setup| setup.cloud.takeover = takeover);
        let user = world.user();
        let device = user.signed_in_device();
        device.sign_up(&user.token_for(device.id));
        device.sign_in();
    }
}

/// Device reference 5.1: nobody without certificate gets as far.
#[test]
fn the_answer_is_for_whoever_asked_and_nobody_else() {
    let world = World::of_shards(3);
    let users = [world.user(), world.user(), world.user()];
    let peers: Vec<_> = users.iter().map(|_| world.connect()).collect();
    world.disk(Disk::Hangs);
    world.disk(Disk::Takes(Duration::ZERO));
    let tokens: Vec<_> = users.iter().map(tests::User::token).collect();
    world.disk(Disk::Hangs);
    let asked: Vec<_> = peers
        .iter()
        .zip(&tokens)
        .map(|(peer, token)| peer.send(peer.sign_up_request(token)))
        .collect();
    world.disk(Disk::Takes(Duration::ZERO));
    for ((peer, token), user) in peers.iter().zip(asked).zip(&users) {
        let answer = peer.answer_to(token).expect("an answer");
        assert_eq!(answer.member_text("uid"), user.id.to_string());
        peer.expect_silence();
    }
}
