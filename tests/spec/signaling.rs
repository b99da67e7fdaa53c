//! Device reference 2.5 and 1.3: CSM, Ping, Pong, Release, Abort.

use std::time::Duration;

use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, Code};
use tests::vectors::vector;
use tests::{Disk, Msg, Peer, World, code, content, get};

const MAX_MESSAGE_SIZE: u16 = 2;
const BLOCK_WISE_TRANSFER: u16 = 4;

fn signal(signal: SignalCode) -> Msg {
    Msg::new(signal.code())
}

fn csm() -> Msg {
    signal(SignalCode::Csm)
}

fn last_reason(world: &World) -> CloseReason {
    world.ended().last().expect("a connection has ended").reason
}

/// Device reference 2.5, 12: the cloud's own CSM, vector CSM-2 and Block-Wise-Transfer.
#[test]
fn the_clouds_csm_comes_first_and_tells_its_limit_and_block_wise() {
    let world = World::new();
    let peer = world.peer(world.device_id(), tests::PKI.product());
    peer.knock();
    let csm = peer.take();
    assert_eq!(csm.token.expect("a token").as_bytes().len(), 8);
    let expected = vector("CSM-2").message.option(BLOCK_WISE_TRANSFER, []);
    assert_eq!(Msg { token: None, ..csm }, Msg { token: None, ..expected });
    peer.expect_silence();
}

/// Device reference 1.3, rule 1.
#[test]
fn a_peer_that_never_sends_a_csm_is_served() {
    let world = World::new();
    let light = world.user().light();
    world.advance_secs(3600);
    assert!(light.is_signed_in());
}

/// Device reference 2.5: CSM may come again at any time; options are cumulative; a CSM without
/// options changes nothing. Max-Message-Size is honoured strictly.
#[test]
fn a_csm_sets_what_it_names_and_leaves_the_rest() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    device.publish(&["/a", "/b", "/c", "/d"]);
    let length = device.expect(get("/oic/res"), Content).encode().len();

    device.send(csm().uint(MAX_MESSAGE_SIZE, length as u32 - 1));
    let refused = device.expect(get("/oic/res"), InternalServerError);
    assert!(refused.text().contains(&length.to_string()), "{}", refused.text());
    device.send(csm());
    device.expect(get("/oic/res"), InternalServerError);
    device.send(csm().option(BLOCK_WISE_TRANSFER, []));
    let block = device.expect(get("/oic/res"), Content);
    assert!(block.has(CoapOption::Block2) && block.encode().len() < length);
    device.send(csm());
    assert!(device.expect(get("/oic/res"), Content).has(CoapOption::Block2));
    device.send(csm().uint(MAX_MESSAGE_SIZE, length as u32));
    device.expect(get("/oic/res"), Content);
    device.send(csm().uint(MAX_MESSAGE_SIZE, 1).uint(MAX_MESSAGE_SIZE, u32::MAX));
    device.expect(get("/oic/res"), Content);
}

/// Device reference 2.5, 18: legal CSMs of every form.
#[test]
fn every_legal_csm_is_accepted() {
    let world = World::new();
    for name in ["CSM-1", "CSM-2", "CSM-3", "CSM-4", "CSM-5"] {
        let peer = world.connect();
        peer.send_bytes(&vector(name).bytes);
        peer.send_bytes(&vector("PING-1").bytes);
        assert_eq!(peer.take(), vector("PONG-1").message, "{name}");
    }
}

/// Device reference 2.5, 10.4: a limit so small that no text fits.
#[test]
fn a_peer_that_takes_next_to_nothing_gets_the_bare_code() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    device.publish(&["/a"]);
    for limit in [0, 1, 10, 20] {
        device.send(csm().uint(MAX_MESSAGE_SIZE, limit));
        let answer = device.expect(get("/oic/res"), InternalServerError);
        assert_eq!((answer.options, answer.payload), (vec![], vec![]));
        device.expect(get("/oic/nothing"), NotFound);
        device.expect(get("/oic/res?if=oic.if.b"), BadRequest);
    }
}

/// Device reference 4.5: on account, session and tokenrefresh never 5.00.
#[test]
fn on_the_security_resources_an_answer_that_is_too_large_is_5_03() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    peer.send(csm().uint(MAX_MESSAGE_SIZE, 64));
    peer.expect(peer.sign_up_request(&user.token()), ServiceUnavailable);
    assert!(peer.is_connected());
}

/// Device reference 2.5, 18: Ping and Pong.
#[test]
fn a_ping_is_answered_with_its_token_and_its_custody() {
    let world = World::new();
    let peer = world.connect();
    for (ping, pong) in [("PING-1", "PONG-1"), ("PING-2", "PONG-2")] {
        peer.send_bytes(&vector(ping).bytes);
        assert_eq!(peer.take().encode(), vector(pong).bytes);
    }
    let peer = world.user().signed_in_device();
    peer.send_bytes(&vector("PING-1").bytes);
    assert_eq!(peer.take().encode(), vector("PONG-1").bytes);
}

/// Device reference 2.5: with Custody after everything received before it is processed.
#[test]
fn a_ping_behind_a_request_is_answered_behind_it() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let ping = vector("PING-2").message;
    let tokens = peer.send_together([get("/oic/res"), ping.clone(), get("/oic/rd")]);
    let order: Vec<_> = peer.take_all().into_iter().filter_map(|message| message.token).collect();
    assert_eq!(order, tokens);
}

/// Device reference 2.5, 17: own pings only after 30 s of silence, with eight bytes of token.
#[test]
fn a_silent_peer_is_pinged_after_thirty_seconds() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    world.advance_secs(29);
    peer.expect_silence();
    world.advance_secs(2);
    let ping = peer.take();
    assert_eq!(ping.code, SignalCode::Ping.code());
    assert!(ping.encode().len() >= 7);
    peer.send(Msg { token: ping.token, ..signal(SignalCode::Pong) });
    world.advance_secs(29);
    peer.expect_silence();
    world.advance_secs(2);
    assert_eq!(peer.take().code, SignalCode::Ping.code());
}

/// Device reference 17: real devices ping every 20 s, so that most connections need no Ping of ours.
#[test]
fn whoever_says_anything_is_not_pinged() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    for _ in 0..20 {
        world.advance_secs(20);
        peer.send_bytes(&vector("PING-1").bytes);
        assert_eq!(peer.take(), vector("PONG-1").message);
        peer.expect_silence();
    }
}

/// Device reference 2.5, 17: never more than one unanswered; Pong wait 10 s.
#[test]
fn a_ping_without_pong_ends_the_connection_after_ten_seconds() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    world.advance_secs(31);
    assert_eq!(peer.take_all().len(), 1);
    world.advance_secs(8);
    assert!(peer.is_connected());
    peer.expect_silence();
    world.advance_secs(3);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::PingLost);
}

/// Device reference 2.5: match token.
#[test]
fn any_sign_of_life_is_as_good_as_the_pong() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    world.advance_secs(31);
    assert_eq!(peer.take().code, SignalCode::Ping.code());
    peer.send(signal(SignalCode::Pong));
    world.advance_secs(11);
    assert!(peer.is_connected());
}

/// Device reference 2.5: Release, finish open answers, close.
#[test]
fn a_release_ends_the_connection() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    peer.send_bytes(&vector("REL-1").bytes);
    assert!(!peer.is_connected());
    assert!(peer.was_told_goodbye());
    assert_eq!(last_reason(&world), CloseReason::PeerReleased);

    let peer = world.connect();
    peer.send_bytes(&vector("REL-2").bytes);
    assert!(!peer.is_connected());
}

/// A device with a resource, and a client of the same user.
fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

/// Device reference 2.5: Release, finish open answers, close.
#[test]
fn a_release_waits_for_the_answers_that_are_still_open() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")));
    client.send(signal(SignalCode::Release));
    assert!(client.is_connected());
    // Nothing new is served in the meantime.
    client.send(get("/oic/res"));
    client.expect_silence();
    let request = device.expect_request("/a");
    device.respond_content(&request, b"\xa0");
    assert_eq!(client.answer_to(token).expect("the open answer").code, Content);
    assert!(!client.is_connected());
    assert_eq!(last_reason(&world), CloseReason::PeerReleased);
}

/// Device reference 2.5: Release, finish open answers, close.
#[test]
fn a_release_waits_for_changes_that_are_on_their_way_to_the_store() {
    let world = World::new();
    let device = world.user().signed_in_device();
    world.disk(Disk::Hangs);
    let publish = device.publish_request([tests::link("/a", "oic.r.switch.binary")]);
    let token = device.send(publish);
    device.send(signal(SignalCode::Release));
    assert!(device.is_connected());
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(device.answer_to(token).expect("the open answer").code, Changed);
    assert!(!device.is_connected());
}

/// Device reference 2.5: whoever has released cannot keep the connection open.
#[test]
fn a_release_waits_no_longer_than_requests_do() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")));
    client.send(signal(SignalCode::Release));
    world.advance_secs(21);
    assert_eq!(client.answer_to(token).expect("an answer").code, GatewayTimeout);
    assert!(!client.is_connected());
}

/// Device reference 2.5: Abort, stop processing; close the socket.
#[test]
fn an_abort_ends_the_connection_at_once() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let abort = vector("ABT-1").message.encode();
    peer.send_bytes(&[abort, get("/oic/res").token(&[1]).encode()].concat());
    peer.expect_silence();
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::PeerAborted);
}

fn expect_abort(peer: &Peer, bad_csm_option: Option<u32>) {
    let abort = peer.take();
    assert_eq!(abort.code, SignalCode::Abort.code());
    assert_eq!(abort.token.expect("a token").as_bytes().len(), 8);
    let option = abort.numbered(2).first().map(|value| u32::from(value[0]));
    assert_eq!(option, bad_csm_option);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&peer.world), CloseReason::BadSignal);
}

/// Device reference 2.5, 18: CSM-6 is answered with ABT-1.
#[test]
fn an_unknown_critical_option_in_a_csm_aborts_and_is_named() {
    let world = World::new();
    let peer = world.connect();
    peer.send_bytes(&vector("CSM-6").bytes);
    let abort = peer.take();
    assert_eq!(Msg { token: None, ..abort }, Msg { token: None, ..vector("ABT-1").message });
    assert!(!peer.is_connected());
}

/// Device reference 2.5: a critical unknown one MUST abort the connection.
#[test]
fn an_unknown_critical_option_in_any_signal_aborts() {
    let world = World::new();
    for detail in [2, 3, 4, 5, 6, 31] {
        let peer = world.connect();
        peer.send(Msg::new(code(7, detail)).option(9, [1]));
        expect_abort(&peer, None);
    }
}

/// Device reference 2.5, 2.4: elective unknown ones are ignored, unknown signals too.
#[test]
fn unknown_elective_options_and_unknown_signals_are_ignored() {
    let world = World::new();
    let peer = world.connect();
    peer.send(csm().option(8, [1]).option(6, []).option(1000, [1; 20]));
    peer.send(Msg::new(code(7, 6)).option(8, [1]));
    peer.send(Msg::new(code(7, 31)).payload("for your information"));
    peer.expect_silence();
    let ping = vector("PING-1").message.option(100, [1]);
    peer.send(ping.payload("are you there?"));
    assert_eq!(peer.take(), vector("PONG-1").message);
}

/// Device reference 2.5: a Max-Message-Size that is no number is elective and malformed.
#[test]
fn a_malformed_max_message_size_is_ignored() {
    let world = World::new();
    let device = world.user().signed_in_device();
    device.send(csm().option(MAX_MESSAGE_SIZE, [0, 0, 0, 0, 1]));
    device.expect(get("/oic/res"), Content);
}

/// Device reference 2.5, 17: graceful shutdown.
#[test]
fn a_stop_releases_everybody_one_after_the_other_and_closes_those_who_stay() {
    let world = World::new();
    let user = world.user();
    let peers = [(); 4].map(|()| user.signed_in_device());
    world.drain(8);
    world.advance_secs(1);
    assert_eq!(peers.iter().filter(|peer| peer.next().is_some()).count(), 1);
    world.advance_secs(2);
    let told: Vec<_> = peers.iter().filter_map(Peer::next).collect();
    assert_eq!(told.len(), 1);
    let release = &told[0];
    assert_eq!(release.code, SignalCode::Release.code());
    assert_eq!(release.token.expect("a token").as_bytes().len(), 8);
    // Hold-Off, in seconds.
    assert_eq!(release.numbered(4), [[8]]);
    world.advance_secs(10);
    assert!(peers.iter().all(|peer| !peer.is_connected()));
    assert_eq!(last_reason(&world), CloseReason::Stopping);
}

/// Device reference 4.6: Draining, answers to open requests only.
#[test]
fn a_peer_that_was_released_gets_its_open_answers_and_is_not_served_any_more() {
    let world = World::new();
    let user = world.user();
    // Those who connected first are told first.
    let (client, device) = (user.signed_in_client(), user.signed_in_device());
    let token = client.send(get(&device.path("/a")));
    let request = device.expect_request("/a");
    world.drain(4);
    assert_eq!(client.take().code, SignalCode::Release.code());
    client.send(get("/oic/res"));
    client.expect_silence();
    device.respond_content(&request, b"\xa0");
    assert_eq!(client.answer_to(token).expect("the open answer").code, Content);
    world.advance_secs(10);
    assert!(!client.is_connected() && !device.is_connected());
}

/// Device reference 4.6: whoever arrives while the gateway stops is sent away.
#[test]
fn a_connection_that_moves_during_a_stop_is_closed_where_it_arrives() {
    let world = World::of_shards(2);
    let user = world.user_on(shared::ids::ShardId(1));
    let token = user.token();
    world.next_connection_on(shared::ids::ShardId(0));
    let peer = world.connect();
    world.moves(tests::Moves::Held);
    peer.send(peer.sign_up_request(&token));
    world.drain(0);
    world.moves(tests::Moves::Arrive);
    world.advance_secs(10);
    assert!(!peer.is_connected());
}

/// Device reference 1.3, rule 2: every frame of ours has seven bytes or more.
#[test]
fn no_frame_that_a_device_gets_is_shorter_than_seven_bytes() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.publish(&["/a"]);
    let observe = client.send(get(&device.path("/a")).observe(0));
    let request = device.expect_request("/a");
    device.respond(&request, content(b"\xa0").observe(0));
    assert!(client.answer_to(observe).is_some());
    client.close();
    device.expect_request("/a");
    world.advance_secs(31);
    device.send(Msg::new(Code::EMPTY));
    device.expect(get("/oic/rd"), Content);
    device.sign_out();
    assert!(device.frame_lengths().iter().all(|&bytes| bytes >= 7), "{:?}", device.frame_lengths());
    assert!(!device.take_all().iter().any(|message| message.has(CoapOption::Block1)));
}
