//! Device reference 2.2, 2.4, 2.6 and 2.7: frames, codes that mean nothing, and what is no CoAP.

use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, RequestType};
use tests::vectors::{rows, unhex, vector};
use tests::{Msg, Peer, World, code, content, delete, get, post, request};

/// Bytes of a frame before sign-in.
const OPEN_LIMIT: usize = 4096;
/// Bytes of a frame afterwards.
const LIMIT: usize = 262_144;

/// The peer got an Abort that says this, with a token of eight bytes, and nothing more.
fn expect_abort(peer: &Peer, says: &str) {
    let abort = peer.take();
    assert_eq!(abort.code, SignalCode::Abort.code());
    assert_eq!(abort.token.expect("a token").as_bytes().len(), 8);
    assert!(abort.text().contains(says), "{}", abort.text());
    peer.expect_silence();
    assert!(!peer.is_connected(), "an aborted connection is closed");
    assert_eq!(peer.world.ended().last().expect("it has ended").reason, CloseReason::Framing);
}

/// Device reference 2.6, 18: malformed and borderline input.
#[test]
fn bytes_that_are_no_coap_are_answered_with_abort_and_the_end() {
    let world = World::new();
    for [bytes, verdict, fault] in rows::<3>("malformed-input.txt") {
        let peer = world.connect();
        peer.send_bytes(&unhex(&bytes));
        match &*verdict {
            "rejects" => expect_abort(&peer, ""),
            _ => assert!(peer.is_connected(), "{fault}"),
        }
    }
}

/// Device reference 18: a slow sender, one byte per TCP segment, must parse.
#[test]
fn a_frame_may_come_byte_by_byte() {
    let world = World::new();
    let peer = world.connect();
    let [slow, ..] = rows::<3>("malformed-input.txt").pop().expect("it is the last row");
    peer.send_byte_by_byte(&unhex(&slow));
    peer.send_byte_by_byte(&vector("PING-1").bytes);
    assert_eq!(peer.take(), vector("PONG-1").message);
}

/// Device reference 2.2.
#[test]
fn a_frame_may_be_spread_over_many_records() {
    let world = World::new();
    let peer = world.connect();
    for byte in vector("PING-1").bytes {
        peer.expect_silence();
        peer.send_bytes(&[byte]);
    }
    assert_eq!(peer.take(), vector("PONG-1").message);
}

/// Device reference 2.2.
#[test]
fn a_record_may_hold_many_frames() {
    let world = World::new();
    let peer = world.connect();
    peer.send_bytes(&vector("PING-1").bytes.repeat(100));
    assert_eq!(peer.take_all().len(), 100);
}

/// Device reference 2.1: no direction waits for the other.
#[test]
fn a_peer_that_speaks_in_the_flight_that_ends_the_handshake_is_heard() {
    let world = World::new();
    let user = world.user();
    let light = user.light();
    // Real stacks send their first request with the end of their handshake.
    assert!(light.is_signed_in());
}

/// Device reference 2.6: announced length above own limit, text: the limit.
#[test]
fn a_frame_above_the_limit_is_refused_by_its_head_alone() {
    let world = World::new();
    let peer = world.connect();
    // 269 + 3821 bytes after the token, of which this is the head.
    let head = [0xe8, 0x0e, 0xed, 0x02];
    peer.send_bytes(&head);
    expect_abort(&peer, &format!("{OPEN_LIMIT}"));
}

/// A message of exactly this length, above those whose head is shorter.
fn of_length(bytes: usize, message: Msg) -> Msg {
    let message = message.token(&[1; 8]);
    let head = message.clone().payload(vec![0; 70_000.min(bytes - 100)]);
    let missing = bytes - head.encode().len();
    let length = head.payload.len() + missing;
    message.payload(vec![0; length])
}

/// Device reference 17: receive limit per frame before sign-in.
#[test]
fn before_sign_in_a_frame_has_at_most_4096_bytes() {
    let world = World::new();
    let peer = world.connect();
    let longest = of_length(OPEN_LIMIT, post("/oic/sec/account", b"\0"));
    assert_eq!(longest.encode().len(), OPEN_LIMIT);
    peer.expect(longest, BadRequest);

    let peer = world.connect();
    let longer = of_length(OPEN_LIMIT + 1, post("/oic/sec/account", b"\0"));
    peer.send(longer);
    expect_abort(&peer, &format!("{OPEN_LIMIT}"));
}

/// Device reference 2.5, 17: receive limit per frame when signed in, told in the CSM.
#[test]
fn after_sign_in_a_frame_has_at_most_the_bytes_that_the_csm_tells() {
    let world = World::new();
    let user = world.user();
    let peer = user.signed_in_device();
    let longest = of_length(LIMIT, post("/oic/rd", b"\0"));
    assert_eq!(longest.encode().len(), LIMIT);
    peer.expect(longest, BadRequest);
    peer.send(of_length(LIMIT + 1, post("/oic/rd", b"\0")));
    expect_abort(&peer, &format!("{LIMIT}"));
}

/// Device reference 2.6: process nothing more.
#[test]
fn what_follows_malformed_bytes_is_not_processed() {
    let world = World::new();
    let peer = world.connect();
    let [malformed, ..] = rows::<3>("malformed-input.txt").swap_remove(2);
    let ping = vector("PING-1").bytes;
    peer.send_bytes(&[&ping[..], &unhex(&malformed), &ping].concat());
    assert_eq!(peer.take(), vector("PONG-1").message);
    expect_abort(&peer, "");
}

/// Device reference 17: options per message.
#[test]
fn a_message_has_at_most_64_options() {
    let world = World::new();
    let user = world.user();
    let peer = user.signed_in_device();
    let with = |count: usize| {
        let queries = (0..count - 2).map(|n| format!("x={n}"));
        queries.fold(get("/oic/res"), |message, query| message.named(CoapOption::UriQuery, query))
    };
    peer.expect(with(64), Content);
    peer.send(with(65));
    expect_abort(&peer, "64 options");
}

/// Device reference 2.4: 0.00, ignore the whole frame, whatever its token.
#[test]
fn empty_messages_are_ignored_whatever_they_carry() {
    let world = World::new();
    let peer = world.connect();
    peer.send_bytes(&vector("EMPTY-1").bytes);
    peer.send_bytes(&[0x08, 0x00, 1, 2, 3, 4, 5, 6, 7, 8]);
    peer.send_bytes(&[0x31, 0x00, 7, 0xf0, 0x0f, 0xff]);
    peer.expect_silence();
    peer.send_bytes(&vector("PING-1").bytes);
    assert_eq!(peer.take(), vector("PONG-1").message);
    assert_eq!(world.counted(|c| c.messages_ignored), 3);
}

/// Device reference 2.4: class 1, 3, 6.
#[test]
fn messages_of_reserved_classes_are_ignored_and_counted() {
    let world = World::new();
    let peer = world.connect();
    for class in [1, 3, 6] {
        peer.send(Msg::new(code(class, 1)));
    }
    peer.expect_silence();
    assert!(peer.is_connected());
    assert_eq!(world.counted(|c| c.messages_ignored), 3);
}

/// Device reference 2.4: request class 0, unknown detail.
#[test]
fn an_unknown_method_is_answered_4_05() {
    let world = World::new();
    let peer = world.connect();
    for detail in [8, 31] {
        peer.expect(Msg::new(code(0, detail)), MethodNotAllowed);
    }
    assert!(peer.is_connected());
}

/// Device reference 2.4: class 2, 4, 5 with an unknown token.
#[test]
fn responses_that_nobody_waits_for_are_ignored_and_counted() {
    let world = World::new();
    let peer = world.connect();
    for class in [2, 4, 5] {
        peer.send(Msg::new(code(class, 3)));
    }
    peer.send(content(b"\xa0").token(&[]));
    peer.expect_silence();
    assert!(peer.is_connected());
    assert_eq!(world.counted(|c| c.responses_unexpected), 4);
}

/// Device reference 2.1: match by token only, of any length.
#[test]
fn a_request_may_have_a_token_of_any_length() {
    let world = World::new();
    let user = world.user();
    let peer = user.signed_in_device();
    for length in 0..=8 {
        let token = &[9; 8][..length];
        let answer = peer.expect(get("/oic/res").token(token), Content);
        assert_eq!(answer.token.expect("a token").as_bytes(), token);
    }
}

/// Device reference 1.2: paths that the cloud does not have.
#[test]
fn unknown_paths_are_4_01_without_session_and_4_04_with_one() {
    let world = World::new();
    let user = world.user();
    for path in ["/", "/oic", "/oic/d", "/oic/sec", "/oic/sec/acl2", "/oic/res/", "/OIC/res", "/a"]
    {
        let peer = world.connect();
        peer.expect(get(path), Unauthorized);
        assert!(!peer.is_connected(), "{path}");
        user.signed_in_device().expect(get(path), NotFound);
    }
}

/// Device reference 1.2: methods of the cloud's own paths.
#[test]
fn methods_that_a_path_does_not_have_are_4_05() {
    use RequestType::*;
    let world = World::new();
    let user = world.user();
    let peer = user.signed_in_device();
    for (path, methods) in [
        ("/oic/sec/account", &[Get, Put, Fetch, Patch, IPatch][..]),
        ("/oic/sec/session", &[Get, Put, Delete, Fetch, Patch, IPatch]),
        ("/oic/sec/tokenrefresh", &[Get, Put, Delete, Fetch, Patch, IPatch]),
        ("/oic/rd", &[Put, Fetch, Patch, IPatch]),
        ("/oic/res", &[Post, Put, Delete, Fetch, Patch, IPatch]),
    ] {
        for &method in methods {
            peer.expect(request(method, path), MethodNotAllowed);
        }
    }
    // The three security resources answer so without a session, and the connection stays.
    let open = world.connect();
    for path in ["/oic/sec/account", "/oic/sec/session", "/oic/sec/tokenrefresh"] {
        open.expect(get(path), MethodNotAllowed);
    }
    open.expect(delete("/oic/sec/session"), MethodNotAllowed);
    assert!(open.is_connected());
}
