//! Device reference 6 and 4.6: sign-in, sign-out, and how sessions end.

use std::time::Duration;

use ciborium::Value;
use gateway::config::TokenLifetime;
use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::{CoapOption, RequestType, signal::SignalCode};
use tests::{Disk, Msg, Peer, World, content, get, map, post};

fn session(body: impl Into<tests::message::Body>) -> Msg {
    post("/oic/sec/session", body)
}

fn last_reason(world: &World) -> CloseReason {
    world.ended().last().expect("a connection has ended").reason
}

/// A device that has an account and a new connection, and no session.
fn signed_out(world: &World) -> Peer {
    let peer = world.user().signed_in_device();
    peer.lose();
    peer.connect();
    peer
}

fn keys(peer: &Peer) -> Vec<(Value, Value)> {
    let account = peer.account();
    vec![
        ("uid".into(), account.uid.into()),
        ("di".into(), peer.id.to_string().into()),
        ("accesstoken".into(), account.access.into()),
        ("login".into(), true.into()),
    ]
}

/// Device reference 6.1 and 1.3, rule 6.
#[test]
fn a_sign_in_is_answered_with_the_remaining_seconds() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    world.advance_secs(60);
    let answer = peer.sign_in();
    assert_eq!(answer.content_format(), Some(10_000));
    assert_eq!(answer.content_version(), Some(2048));
    assert_eq!(answer.member_integer("expiresin"), 24 * 3600 - 60);
    peer.expect(get("/oic/res"), Content);
}

/// Device reference 6.1: 0 makes devices schedule nothing, never send 0.
#[test]
fn a_token_in_its_last_second_expires_in_one_second() {
    let world = World::with(|setup| {
        setup.cloud.manufacturer_token = TokenLifetime::Limited(Duration::from_secs(100));
    });
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    world.advance(Duration::from_millis(19_500));
    world.step_wall_clock(80);
    assert_eq!(peer.sign_in().member_integer("expiresin"), 1);
}

/// Device reference 6.1: repeated on the same connection, same values.
#[test]
fn a_sign_in_may_be_repeated_on_its_connection() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    for _ in 0..3 {
        peer.sign_in();
    }
    assert!(peer.is_connected());
    assert_eq!(world.counted(|c| c.sessions), 1);
}

/// Device reference 4.3: bodies of every legal form.
#[test]
fn ids_are_taken_in_either_case_and_unknown_keys_ignored() {
    let world = World::new();
    let peer = signed_out(&world);
    let mut pairs = keys(&peer);
    pairs[0].1 = peer.account().uid.to_uppercase().into();
    pairs[1].1 = peer.id.to_string().to_uppercase().into();
    pairs.push(("x".into(), Value::Array(vec![])));
    peer.expect(session(Value::Map(pairs)), Changed);
}

/// Device reference 6.1: undecodable, key missing, wrong type: 4.00 and close.
#[test]
fn a_sign_in_that_cannot_be_understood_is_4_00_and_closes() {
    let world = World::new();
    let without = |key: usize| {
        move |peer: &Peer| {
            let mut pairs = keys(peer);
            pairs.remove(key);
            Value::Map(pairs)
        }
    };
    let with = |key: usize, value: Value| {
        move |peer: &Peer| {
            let mut pairs = keys(peer);
            pairs[key].1 = value.clone();
            Value::Map(pairs)
        }
    };
    let bodies: [&dyn Fn(&Peer) -> Value; 8] = [
        &without(0),
        &without(1),
        &without(2),
        &without(3),
        &with(0, "me".into()),
        &with(1, 1.into()),
        &with(3, 1.into()),
        &|_| Value::Null,
    ];
    for (at, body) in bodies.into_iter().enumerate() {
        let peer = signed_out(&world);
        peer.expect(session(body(&peer)), BadRequest);
        assert!(!peer.is_connected(), "case {at}");
    }
}

/// Device reference 6.1: uid, di and token do not match: 4.01, and open for five seconds, so that
/// the device can refresh on the same connection.
#[test]
fn a_wrong_token_is_4_01_and_leaves_time_to_refresh() {
    let world = World::of_shards(2);
    let (user, other) = (world.user(), world.user());
    let peer = user.signed_in_device();
    let foreign = other.signed_in_device();
    let account = peer.account();
    let wrong = [
        tests::Account { access: "nonsense".into(), ..account.clone() },
        tests::Account { access: account.refresh.clone(), ..account.clone() },
        tests::Account { access: foreign.account().access, ..account.clone() },
        tests::Account { uid: foreign.account().uid, ..account.clone() },
        foreign.account(),
    ];
    for wrong in wrong {
        peer.lose();
        peer.connect();
        peer.set_account(wrong.clone());
        let answer = peer.expect(peer.session_request(true), Unauthorized);
        assert!(!answer.payload.is_empty() && answer.content_format().is_none());
        world.advance_secs(4);
        assert!(peer.is_connected());
        peer.set_account(account.clone());
        peer.sign_in();
        peer.lose();
        peer.connect();
        peer.set_account(wrong);
        peer.expect(peer.session_request(true), Unauthorized);
        world.advance_secs(6);
        assert!(!peer.is_connected());
        peer.set_account(account.clone());
    }
}

/// Device reference 6.1: an expired token; the refresh on the same connection mends it.
#[test]
fn an_expired_token_is_4_01_and_a_refresh_on_the_same_connection_mends_it() {
    let world = World::new();
    let peer = signed_out(&world);
    world.step_wall_clock(24 * 3600);
    peer.expect(peer.session_request(true), Unauthorized);
    peer.refresh();
    peer.sign_in();
    world.advance_secs(30);
    assert!(peer.is_connected());
}

/// Device reference 6.1: unknown account: 4.01, then its refresh too.
#[test]
fn a_device_without_account_is_4_01_on_sign_in_and_on_refresh() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    peer.expect(tests::delete("/oic/sec/account"), Deleted);
    peer.lose();
    peer.connect();
    peer.expect(peer.session_request(true), Unauthorized);
    peer.expect(peer.refresh_request(), Unauthorized);
}

/// Device reference 3.3: certificate bound to another device.
#[test]
fn a_certificate_of_another_device_cannot_sign_in() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let thief = world.connect_with_identity(world.device_id());
    thief.set_account(peer.account());
    let mut pairs = keys(&thief);
    pairs[1].1 = peer.id.to_string().into();
    thief.expect(session(Value::Map(pairs)), Unauthorized);
    assert!(!thief.is_connected());
    assert!(peer.is_connected());
}

/// Device reference 6.1: another di on a signed-in connection.
#[test]
fn a_sign_in_of_another_device_on_a_signed_in_connection_is_4_01_and_closes() {
    let world = World::new();
    let user = world.user();
    let (peer, other) = (user.signed_in_device(), user.signed_in_device());
    let mut pairs = keys(&other);
    pairs[3].1 = true.into();
    peer.expect(session(Value::Map(pairs)), Unauthorized);
    assert!(!peer.is_connected());
    assert!(other.is_connected());
}

/// Device reference 4.6, 16 point 33: newest wins; what the older one served and observed ends.
#[test]
fn a_second_sign_in_supersedes_the_first() {
    let world = World::new();
    let user = world.user();
    let (older, client) = (user.signed_in_device(), user.signed_in_client());
    older.publish(&["/a"]);
    let observation = client.send(get(&older.path("/a")).observe(0));
    let registration = older.expect_request("/a");
    older.respond(&registration, content(b"\xa0").observe(0));
    client.answer_to(observation).expect("registered");
    let pending = client.send(get(&older.path("/b")));
    let newer = world.connect_as(older.id, tests::PKI.product());
    newer.set_account(older.account());
    newer.sign_in();
    assert!(!older.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Superseded);
    assert_eq!(client.answer_to(pending).expect("an answer").code, ServiceUnavailable);
    assert_eq!(client.answer_to(observation).expect("the end").code, ServiceUnavailable);
    // Requests go to the newer one from now on; the links have stayed.
    let token = client.send(get(&newer.path("/a")));
    let request = newer.expect_request("/a");
    newer.respond_content(&request, b"\xa0");
    assert_eq!(client.answer_to(token).expect("an answer").code, Content);
}

/// Device reference 6.1: sign-out, from the session or with all keys; an empty map.
#[test]
fn a_sign_out_is_answered_with_an_empty_map_and_the_connection_stays() {
    let world = World::new();
    let forms: [fn(&Peer) -> Msg; 3] = [
        |peer| peer.session_request(false),
        |_| session(map([("login", false.into())])),
        |peer| session(map([("login", false.into()), ("di", peer.id.to_string().into())])),
    ];
    for form in forms {
        let peer = world.user().signed_in_device();
        let answer = peer.expect(form(&peer), Changed);
        assert_eq!(answer.payload, [0xa0]);
        assert_eq!(answer.content_format(), Some(10_000));
        assert!(peer.is_connected());
        // State Open: it may sign in again, and nothing else.
        peer.sign_in();
        peer.sign_out();
        peer.expect(get("/oic/res"), Unauthorized);
    }
}

/// Device reference 6.1: the device is offline; observations in both directions end.
#[test]
fn a_sign_out_ends_what_the_session_served_and_observed() {
    let world = World::new();
    let user = world.user();
    let (one, two) = (user.signed_in_device(), user.signed_in_device());
    let observe = |client: &Peer, device: &Peer| {
        let token = client.send(get(&device.path("/a")).observe(0));
        let registration = device.expect_request("/a");
        device.respond(&registration, content(b"\xa0").observe(0));
        assert_eq!(client.answer_to(token).expect("registered").code, Content);
        token
    };
    let served = observe(&two, &one);
    observe(&one, &two);
    one.sign_out();
    assert_eq!(two.answer_to(served).expect("the end").code, ServiceUnavailable);
    let cancel = two.expect_request("/a");
    assert_eq!(cancel.observed(), Some(1));
    two.expect(get(&one.path("/a")), ServiceUnavailable);
    assert_eq!(world.sizes(shared::ids::ShardId(0)).observations, 0);
}

/// Device reference 6.1: sign-out without session.
#[test]
fn a_sign_out_without_session_needs_all_keys() {
    let world = World::new();
    let peer = signed_out(&world);
    peer.expect(session(map([("login", false.into())])), BadRequest);
    peer.expect(
        session(map([("login", false.into()), ("uid", peer.account().uid.into())])),
        BadRequest,
    );
    assert!(peer.is_connected());
    let answer = peer.expect(peer.session_request(false), Changed);
    assert_eq!(answer.payload, [0xa0]);
}

/// Device reference 6.1: uid, di and token do not match, for a sign-out too.
#[test]
fn a_sign_out_of_somebody_else_is_4_01() {
    let world = World::new();
    let user = world.user();
    let other = user.signed_in_device();
    let peer = user.signed_in_device();
    peer.expect(other.session_request(false), Unauthorized);
    assert!(!peer.is_connected() && other.is_connected());

    let peer = user.signed_in_device();
    let wrong = tests::Account { access: other.account().access, ..peer.account() };
    peer.set_account(wrong);
    peer.expect(peer.session_request(false), Unauthorized);
    assert_eq!(world.counted(|c| c.sessions), 2, "the session goes on");

    let nobody = world.connect();
    nobody.set_account(tests::Account { access: "nonsense".into(), ..other.account() });
    nobody.expect(nobody.session_request(false), Unauthorized);
    assert!(other.is_connected());
}

/// Device reference 6.1, 17: close if idle.
#[test]
fn whoever_signs_out_and_stays_is_closed_after_ninety_seconds() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    peer.sign_out();
    world.advance_secs(89);
    assert!(peer.is_connected());
    world.advance_secs(2);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::NotSignedIn);
}

/// Device reference 17: no sign-up or sign-in within the limit.
#[test]
fn whoever_asks_for_nothing_is_closed_after_thirty_seconds() {
    let world = World::new();
    let peer = world.connect();
    world.advance_secs(29);
    assert!(peer.is_connected());
    // What is no request on a security resource does not count.
    peer.send(Msg::new(SignalCode::Ping.code()));
    world.advance_secs(2);
    assert!(!peer.is_connected());
}

/// Device reference 17: ninety seconds since the last request on a security resource, longer than
/// the device's own wait.
#[test]
fn whoever_does_not_sign_in_is_closed_ninety_seconds_after_the_last_try() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let token = user.token();
    world.disk(Disk::Refuses);
    for _ in 0..3 {
        peer.expect(peer.sign_up_request(&token), ServiceUnavailable);
        world.advance_secs(80);
        assert!(peer.is_connected());
    }
    world.advance_secs(15);
    assert!(!peer.is_connected());
}

/// Device reference 17: the idle limit, and the connection that is cut without a word.
#[test]
fn a_peer_of_which_nothing_is_heard_is_closed() {
    let world = World::with(|setup| {
        setup.timers.ping_after = Duration::from_secs(80);
        setup.timers.idle = Duration::from_secs(85);
    });
    let peer = world.user().signed_in_device();
    world.advance_secs(86);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Idle);
}

/// Device reference 4.6, 16 point 35: the token expires on a live session: closed after 30 s of grace.
#[test]
fn a_session_whose_token_has_expired_is_closed_after_a_grace() {
    let world = World::with(|setup| {
        setup.cloud.manufacturer_token = TokenLifetime::Limited(Duration::from_secs(100));
    });
    let peer = world.user().signed_in_device();
    let alive = || {
        peer.send(Msg::new(SignalCode::Ping.code()));
        peer.take_all();
    };
    for _ in 0..6 {
        world.advance_secs(20);
        alive();
    }
    assert!(peer.is_connected(), "120 s: in the grace");
    world.advance_secs(12);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::TokenExpired);
}

/// Device reference 16, point 35: a refresh on any connection prolongs.
#[test]
fn a_refresh_prolongs_a_live_session() {
    let world = World::with(|setup| {
        setup.cloud.manufacturer_token = TokenLifetime::Limited(Duration::from_secs(100));
    });
    let peer = world.user().signed_in_device();
    for round in 0..20 {
        world.advance_secs(20);
        if round % 4 == 3 {
            peer.refresh();
        } else {
            peer.send(Msg::new(SignalCode::Ping.code()));
        }
        peer.take_all();
        assert!(peer.is_connected(), "round {round}");
    }
    let elsewhere = world.connect_as(peer.id, tests::PKI.product());
    elsewhere.set_account(peer.account());
    elsewhere.refresh();
    for _ in 0..5 {
        world.advance_secs(20);
        peer.send(Msg::new(SignalCode::Ping.code()));
    }
    assert!(peer.is_connected());
}

/// Issue: clock steps. A clock that is set forward ends sessions that are over by it, no later than
/// their next sign of life; one that is set back ends nothing early.
#[test]
fn the_wall_clock_may_be_set() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    world.step_wall_clock(-3600);
    world.advance_secs(40);
    peer.take_all();
    peer.send(Msg::new(SignalCode::Ping.code()));
    assert!(peer.is_connected());
    world.step_wall_clock(48 * 3600);
    world.advance_secs(40);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::TokenExpired);
    peer.connect();
    peer.refresh();
    peer.sign_in();
}

/// Device reference 4.6: links outlive the connection; requests for who is offline are 5.03.
#[test]
fn who_loses_its_connection_is_offline_and_keeps_its_links() {
    let world = World::new();
    let user = world.user();
    let (peer, client) = (user.signed_in_device(), user.signed_in_client());
    peer.publish(&["/a"]);
    peer.lose();
    assert_eq!(client.request(get("/oic/res")).cbor().as_array().expect("links").len(), 1);
    let answer = client.expect(get(&peer.path("/a")), ServiceUnavailable);
    assert_eq!(answer.text(), "device is offline");
    assert!(answer.content_format().is_none());
}

/// Device reference 3.3: `/oic/sec/roles` is answered promptly, and the connection stays.
#[test]
fn devices_with_role_certificates_are_answered_and_kept() {
    let world = World::new();
    let peer = world.connect();
    for method in [RequestType::Post, RequestType::Get] {
        peer.expect(tests::request(method, "/oic/sec/roles"), Unauthorized);
        assert!(peer.is_connected());
    }
    peer.sign_up(&world.user().token());
    peer.sign_in();
    peer.expect(post("/oic/sec/roles", b"\xa0"), NotFound);
    assert!(peer.is_connected());
}

/// Device reference 4.1, 4.2 on the security resources.
#[test]
fn formats_and_versions_are_checked_on_the_security_resources() {
    let world = World::new();
    let peer = signed_out(&world);
    let refused = |message: Msg, code| {
        peer.expect(message, code);
        assert!(peer.is_connected());
    };
    for format in [0, 40, 50, 11_060] {
        refused(peer.session_request(true).format(format), UnsupportedContentFormat);
        refused(peer.session_request(true).accept(format), NotAcceptable);
    }
    for version in [0, 1, 2047, 4096, 65_535] {
        refused(peer.session_request(true).uint(2049, version), NotAcceptable);
        refused(peer.session_request(true).uint(2053, version), UnsupportedContentFormat);
    }
    refused(peer.session_request(true).option(2049, [8, 0, 0]), BadOption);
    refused(peer.session_request(true).option(2053, [8, 0, 0]), BadOption);
    for critical in [1, 5, 9, 13, 2051, 65_001] {
        let answer = peer.expect(peer.session_request(true).option(critical, [1]), BadOption);
        assert!(answer.text().contains(&critical.to_string()), "{}", answer.text());
    }
    refused(
        peer.session_request(true).named(CoapOption::ProxyScheme, "coap"),
        ProxyingNotSupported,
    );
    refused(
        peer.session_request(true).named(CoapOption::ProxyUri, "coap://a/"),
        ProxyingNotSupported,
    );
    for (accepts, version) in [(2048, 2048), (2112, 2240), (4095, 4095)] {
        world.advance_secs(2);
        let request = peer.session_request(true).uint(2049, accepts).uint(2053, version);
        let answer = peer.expect(request.named(CoapOption::UriHost, "x"), Changed);
        assert_eq!(answer.content_version(), Some(2048));
    }
    let old = peer.expect(peer.session_request(true).accept(tests::CBOR), Changed);
    assert_eq!((old.content_format(), old.content_version()), (Some(60), None));
}
