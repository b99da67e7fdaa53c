//! Device reference 5.2: sign-off, its forms and its effects.

use std::time::Duration;

use gateway::connection::CloseReason;
use shared::channel::message::{Command, Failure, Reply};
use shared::coap::ResponseType::*;
use shared::ids::ShardId;
use tests::{Disk, Msg, Peer, World, content, delete, get};

fn sign_off(query: &str) -> Msg {
    delete(&format!("/oic/sec/account?{query}"))
}

/// As iotivity-lite sends it: three options, with the token.
fn full(peer: &Peer) -> Msg {
    let account = peer.account();
    sign_off(&format!("uid={}&di={}&accesstoken={}", account.uid, peer.id, account.access))
}

/// In one option, joined with `&`.
fn joined(peer: &Peer) -> Msg {
    let account = peer.account();
    delete("/oic/sec/account").named(
        shared::coap::CoapOption::UriQuery,
        format!("di={}&uid={}&accesstoken={}", peer.id, account.uid, account.access),
    )
}

fn assert_gone(peer: &Peer) {
    peer.lose();
    peer.take_all();
    peer.connect();
    peer.expect(peer.session_request(true), Unauthorized);
    peer.expect(peer.refresh_request(), Unauthorized);
    assert!(!peer.is_connected());
}

/// Device reference 5.2: every documented form on a signed-in connection.
#[test]
fn a_signed_in_device_signs_off_in_every_documented_form() {
    let world = World::of_shards(2);
    let user = world.user();
    let forms: [fn(&Peer) -> Msg; 7] = [
        full,
        joined,
        |_| sign_off(""),
        |peer| sign_off(&format!("di={}", peer.id)),
        |peer| sign_off(&format!("di={}&uid={}", peer.id, peer.account().uid)),
        |peer| sign_off(&format!("di={}", peer.id.to_string().to_uppercase())),
        |peer| sign_off(&format!("di={}&accesstoken={}&x=y", peer.id, peer.account().access)),
    ];
    for form in forms {
        let peer = user.signed_in_device();
        let answer = peer.expect(form(&peer), Deleted);
        assert_eq!((answer.options, answer.payload), (vec![], vec![]));
        assert!(peer.is_connected(), "the device closes first");
        world.advance(Duration::from_millis(1500));
        assert!(!peer.is_connected(), "closed after a second");
        assert_gone(&peer);
    }
}

/// Device reference 5.2: percent-escapes, which some stacks send in queries (4.4).
#[test]
fn escapes_in_the_query_are_understood() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let escaped = peer.id.to_string().replace('-', "%2D").replacen('1', "%31", 1);
    peer.expect(sign_off(&format!("di={escaped}")), Deleted);
}

/// Device reference 5.2: without a session device id and token are needed.
#[test]
fn a_device_signs_off_without_a_session_by_its_token() {
    let world = World::of_shards(3);
    let user = world.user();
    let forms: [fn(&Peer) -> Msg; 3] = [full, joined, |peer| {
        sign_off(&format!("di={}&accesstoken={}", peer.id, peer.account().access))
    }];
    for form in forms {
        let peer = user.signed_in_device();
        peer.lose();
        peer.connect();
        peer.expect(form(&peer), Deleted);
        world.advance_secs(2);
        assert!(!peer.is_connected());
        assert_gone(&peer);
    }
}

/// Device reference 5.2: the answer was lost; within the repeat window the same again.
#[test]
fn a_repeated_sign_off_is_answered_as_the_first_time_for_an_hour() {
    let world = World::of_shards(2);
    let peer = world.user().signed_in_device();
    peer.expect(full(&peer), Deleted);
    for _ in 0..2 {
        peer.lose();
        peer.connect();
        peer.expect(full(&peer), Deleted);
    }
    // Somebody else's token was not right for it.
    let other = world.user().signed_in_device();
    peer.lose();
    peer.connect();
    let query = format!("di={}&accesstoken={}", peer.id, other.account().access);
    peer.expect(sign_off(&query), Unauthorized);
    world.advance_secs(3600);
    peer.connect();
    peer.expect(full(&peer), Unauthorized);
    assert!(!peer.is_connected());
}

/// Device reference 5.2: refusals.
#[test]
fn a_sign_off_that_is_not_the_devices_own_is_refused() {
    let world = World::new();
    let user = world.user();
    let other = user.signed_in_device();
    let stranger = world.user().signed_in_device();
    let case = |signed_in: bool, query: String, code| {
        let peer = user.signed_in_device();
        if !signed_in {
            peer.lose();
            peer.connect();
        }
        let query = query.replace("DI", &peer.id.to_string());
        peer.expect(sign_off(&query), code);
        assert!(!peer.is_connected(), "{query} closes");
        // The account is untouched.
        peer.connect();
        peer.sign_in();
    };
    case(false, String::new(), BadRequest);
    case(false, "di=DI".into(), BadRequest);
    case(false, format!("accesstoken={}", other.account().access), BadRequest);
    case(false, format!("di=DI&accesstoken={}", other.account().access), Unauthorized);
    case(false, "di=DI&accesstoken=nonsense".into(), Unauthorized);
    let wrong_user = format!("di={}&accesstoken={}", other.id, other.account().access);
    case(false, format!("{wrong_user}&uid={}", stranger.account().uid), Unauthorized);
    case(true, format!("di={}", other.id), Unauthorized);
    case(true, format!("di=DI&uid={}", stranger.account().uid), Unauthorized);
    case(true, format!("di=DI&accesstoken={}", other.account().access), Unauthorized);
    assert!(other.is_connected());
    other.expect(get("/oic/res"), Content);
}

/// Device reference 5.2: a malformed query, the connection stays.
#[test]
fn a_malformed_query_is_4_00_and_the_connection_stays() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    for query in ["di=light", "uid=", "di=%zz"] {
        peer.expect(sign_off(query), BadRequest);
        assert!(peer.is_connected());
    }
}

/// Device reference 5.2: the store is unavailable, the connection stays, nothing has changed.
#[test]
fn when_the_store_refuses_a_sign_off_is_5_03_and_nothing_has_changed() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    peer.publish(&["/a"]);
    world.disk(Disk::Refuses);
    peer.expect(full(&peer), ServiceUnavailable);
    assert!(peer.is_connected());
    peer.expect(get("/oic/res"), Content);
    world.disk(Disk::Takes(Duration::ZERO));
    peer.expect(full(&peer), Deleted);
}

/// Device reference 5.2: links are deleted, also for those who restart.
#[test]
fn the_links_of_a_device_go_with_it() {
    let world = World::new();
    let user = world.user();
    let (peer, client) = (user.signed_in_device(), user.signed_in_client());
    peer.publish(&["/a", "/b"]);
    peer.expect(full(&peer), Deleted);
    assert_eq!(client.expect(get("/oic/res"), Content).payload, [0x80]);
    world.restart();
    client.connect();
    client.sign_in();
    assert_eq!(client.expect(get("/oic/res"), Content).payload, [0x80]);
}

/// Device reference 5.2: pending routed requests and observations end with 4.04.
#[test]
fn requests_and_observations_on_the_way_to_it_end_with_4_04() {
    let world = World::new();
    let user = world.user();
    let (peer, client) = (user.signed_in_device(), user.signed_in_client());
    let observation = client.send(get(&peer.path("/a")).observe(0));
    let registration = peer.expect_request("/a");
    peer.respond(&registration, content(b"\xa0").observe(0));
    assert_eq!(client.answer_to(observation).expect("an answer").code, Content);
    let pending = client.send(get(&peer.path("/b")));
    peer.expect_request("/b");
    peer.expect(full(&peer), Deleted);
    assert_eq!(client.answer_to(pending).expect("an answer").code, NotFound);
    let end = client.answer_to(observation).expect("the end");
    assert_eq!((end.code, end.observed()), (NotFound.into(), None));
    client.expect_silence();
    client.expect(get(&peer.path("/a")), NotFound);
}

/// Device reference 5.2: the id is free for another user then.
#[test]
fn a_device_that_has_signed_off_may_sign_up_for_another_user() {
    for shards in [1, 4] {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let peer = first.signed_in_device();
        peer.expect(full(&peer), Deleted);
        let again = world.connect_as(peer.id, tests::PKI.product());
        again.sign_up(&second.token());
        assert_eq!(again.account().uid, second.id.to_string());
    }
}

/// Device reference 4.6: the account row is deleted by somebody else: the connection is closed.
#[test]
fn a_device_that_a_mediator_removes_is_cut_off() {
    let world = World::of_shards(2);
    let user = world.user();
    let (peer, client) = (user.signed_in_device(), user.signed_in_client());
    let pending = client.send(get(&peer.path("/a")));
    let device = peer.id;
    let reply = world.command(user.id, Command::RemoveDevice { device });
    assert!(matches!(reply, Reply::Done), "{reply:?}");
    assert!(!peer.is_connected());
    assert_eq!(world.ended().last().expect("an end").reason, CloseReason::DeviceRemoved);
    assert_eq!(client.answer_to(pending).expect("an answer").code, NotFound);
    assert_gone(&peer);
    let again = world.command(user.id, Command::RemoveDevice { device });
    assert!(matches!(again, Reply::Failed(Failure::NoSuchDevice)), "{again:?}");
}

/// Design, section 3: a sign-off that is on its way to the store keeps others waiting, bounded.
#[test]
fn what_comes_during_a_sign_off_waits_for_it() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let second = world.connect_as(peer.id, tests::PKI.product());
    second.set_account(peer.account());
    world.disk(Disk::Hangs);
    let off = peer.send(full(&peer));
    let on = second.send(second.session_request(true));
    second.expect_silence();
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(peer.answer_to(off).expect("an answer").code, Deleted);
    assert_eq!(second.answer_to(on).expect("an answer").code, Unauthorized);
    assert_eq!(world.sizes(ShardId(0)).devices, 0);
}

/// RFC 5246 §7.2.1: nothing follows the goodbye, so what a device has asked of itself is answered
/// before.
#[test]
fn a_device_that_is_removed_hears_the_answers_to_itself_before_the_goodbye() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let asked = device.send(get(&device.path("/a")));
    let observed = device.send(get(&device.path("/b")).observe(0));
    world.command(user.id, Command::RemoveDevice { device: device.id });
    for token in [asked, observed] {
        assert!(device.answer_to(token).is_some());
    }
    assert!(device.was_told_goodbye());
}

/// A connection that has ended for one reason does not end again for another.
#[test]
fn a_sign_off_that_ends_after_the_goodbye_changes_nothing() {
    let world = World::new();
    let device = world.user().signed_in_device();
    world.disk(Disk::Hangs);
    device.send(delete("/oic/sec/account"));
    device.reads(false);
    // A token of fifteen bytes: Abort, and goodbye.
    device.send_bytes(&[0x0f, 0x01]);
    world.disk(Disk::Takes(Duration::ZERO));
    device.reads(true);
    let reasons: Vec<_> = world.ended().iter().map(|ended| ended.reason).collect();
    assert_eq!(reasons, [CloseReason::Framing]);
}
