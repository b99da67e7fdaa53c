//! Design, section 2: connections between shards. A device never notices.

use std::time::Duration;

use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::ids::ShardId;
use tests::{Account, Disk, Moves, Msg, Peer, User, World, get, link};

fn last_reason(world: &World) -> CloseReason {
    world.ended().last().expect("a connection has ended").reason
}

/// A device of a user of this shard, connected to that one.
fn device_on(world: &World, user: &User, accepts: ShardId) -> Peer {
    let device = user.signed_in_device();
    device.lose();
    world.next_connection_on(accepts);
    device.connect();
    device
}

/// Every request that names a user brings the connection to the user's shard.
#[test]
fn a_connection_goes_where_its_user_lives() {
    let world = World::of_shards(3);
    for home in 0..3 {
        for accepts in 0..3 {
            let (home, accepts) = (ShardId(home), ShardId(accepts));
            let user = world.user_on(home);
            let token = user.token();
            world.next_connection_on(accepts);
            let peer = world.connect();
            assert_eq!(peer.shard(), Some(accepts));
            peer.sign_up(&token);
            assert_eq!(peer.shard(), Some(home));
            peer.sign_in();

            let again = device_on(&world, &user, accepts);
            again.refresh();
            assert_eq!(again.shard(), Some(home));
            let again = device_on(&world, &user, accepts);
            again.sign_in();
            assert_eq!(again.shard(), Some(home));
            let again = device_on(&world, &user, accepts);
            let account = again.account();
            let query = format!("di={}&accesstoken={}", again.id, account.access);
            again.expect(tests::delete(&format!("/oic/sec/account?{query}")), Deleted);
            assert_eq!(again.shard(), Some(home));
        }
    }
}

/// What the peer has announced, proved and sent goes with it, in its order.
#[test]
fn everything_of_a_connection_moves_with_it() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let peer = user.signed_in_device_with_identity();
    peer.lose();
    world.next_connection_on(ShardId(0));
    peer.connect();
    peer.send(Msg::new(SignalCode::Csm.code()).uint(2, 1500));
    let many: Vec<_> = (0..12).map(|n| link(&format!("/a/{n}"), "oic.r.switch.binary")).collect();
    let requests = [
        peer.session_request(true),
        get("/oic/rd"),
        Msg::new(SignalCode::Ping.code()),
        peer.publish_request(many),
    ];
    let tokens = peer.send_together(requests);
    let answers = peer.take_all();
    assert!(answers.iter().map(|answer| answer.token).eq(tokens.into_iter().map(Some)));
    let codes: Vec<_> = answers.iter().map(|answer| answer.code).collect();
    let expected = [Changed.into(), Content.into(), SignalCode::Pong.code(), Changed.into()];
    assert_eq!(codes, expected);
    // The limit of 1500 bytes still counts.
    peer.expect(get("/oic/res"), InternalServerError);
    assert_eq!(peer.shard(), Some(ShardId(1)));
    // So does the certificate.
    peer.sign_out();
    let other = world.connect_with_identity(world.device_id());
    other.set_account(peer.account());
    other.expect(other.session_request(true), Unauthorized);
}

/// The frame that brings the connection may come in pieces, and the next one after the move.
#[test]
fn a_frame_that_is_cut_by_the_move_is_whole_again() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let peer = device_on(&world, &user, ShardId(0));
    let sign_in = peer.session_request(true).token(&[1; 8]).encode();
    let next = get("/oic/res").token(&[2; 8]).encode();
    let (head, tail) = next.split_at(5);
    let first: Vec<u8> = [&sign_in[..], head].concat();
    for piece in first.chunks(40) {
        peer.send_bytes(piece);
    }
    peer.expect_reply(Changed);
    assert_eq!(peer.shard(), Some(ShardId(1)));
    peer.send_bytes(tail);
    peer.expect_reply(Content);
}

/// Descriptor and data are late: what the peer sends meanwhile waits, and nothing is lost.
#[test]
fn a_move_that_takes_its_time_loses_nothing() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let peer = device_on(&world, &user, ShardId(0));
    world.moves(Moves::Held);
    let tokens = peer.send_together([peer.session_request(true), get("/oic/res")]);
    let more = peer.send(get("/oic/rd"));
    world.advance_secs(60);
    peer.expect_silence();
    assert!(peer.is_connected());
    world.moves(Moves::Arrive);
    for token in [tokens[0], tokens[1], more] {
        assert!(peer.answer_to(token).expect("an answer").code.is_success());
    }
}

/// The peer goes while its connection is under way: nothing is left of it.
#[test]
fn a_peer_that_goes_during_its_move_leaves_nothing_behind() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    for close in [Peer::lose, Peer::close] {
        let peer = device_on(&world, &user, ShardId(0));
        world.moves(Moves::Held);
        peer.send(peer.session_request(true));
        close(&peer);
        world.moves(Moves::Arrive);
        world.advance_secs(1);
        assert_eq!(world.sizes(ShardId(0)).connections + world.sizes(ShardId(1)).connections, 0);
        assert_eq!(world.counted(|c| c.sessions), 0);
    }
}

/// The other shard has no room: 5.03 with the connection open, as often as it takes (device
/// reference 1.3, rule 11).
#[test]
fn a_move_that_is_refused_is_5_03_and_can_be_repeated() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let token = user.token();
    world.next_connection_on(ShardId(0));
    let peer = world.connect();
    world.moves(Moves::Refused);
    for _ in 0..10 {
        peer.expect(peer.sign_up_request(&token), ServiceUnavailable);
        assert_eq!(peer.shard(), Some(ShardId(0)));
        // What came behind it is served.
        let tokens =
            peer.send_together([peer.sign_up_request(&token), Msg::new(SignalCode::Ping.code())]);
        assert_eq!(peer.answer_to(tokens[0]).expect("an answer").code, ServiceUnavailable);
        assert_eq!(peer.answer_to(tokens[1]).expect("an answer").code, SignalCode::Pong.code());
        world.advance_secs(20);
    }
    world.moves(Moves::Arrive);
    peer.sign_up(&token);
    peer.sign_in();
}

/// A peer that names users of ever other shards and never signs in is closed after four moves.
#[test]
fn a_connection_that_never_settles_is_closed() {
    let world = World::of_shards(2);
    let homes = [0, 1].map(|shard| world.user_on(ShardId(shard)).signed_in_device().account());
    world.next_connection_on(ShardId(0));
    let peer = world.connect();
    let mut moves = 0;
    while peer.is_connected() {
        let next = 1 - peer.shard().expect("it is connected").index();
        peer.set_account(Account { access: homes[next].refresh.clone(), ..homes[next].clone() });
        let token = peer.send(peer.session_request(true));
        if let Some(answer) = peer.answer_to(token) {
            assert_eq!(answer.code, Unauthorized);
            moves += 1;
        }
    }
    assert_eq!(moves, 4);
    assert_eq!(last_reason(&world), CloseReason::WrongShard);
}

/// After sign-out, a sign-in for a user of another shard closes the connection; the device comes back
/// and is let in.
#[test]
fn who_signs_in_as_somebody_of_another_shard_has_to_come_again() {
    let world = World::of_shards(2);
    let (here, there) = (world.user_on(ShardId(0)), world.user_on(ShardId(1)));
    let peer = here.signed_in_device();
    let other = there.signed_in_device();
    other.lose();
    peer.sign_out();
    let sign_in = other.session_request(true);
    let token = peer.send(sign_in);
    assert!(peer.answer_to(token).is_none());
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::WrongShard);
    other.connect();
    other.sign_in();

    // Of the same shard it may, on the same connection.
    let sibling = world.user_on(ShardId(0)).signed_in_device();
    sibling.lose();
    peer.connect();
    peer.sign_in();
    peer.sign_out();
    peer.expect(sibling.session_request(true), Changed);
}

/// A device that is signed in elsewhere while its connection moves: the newest wins all the same.
#[test]
fn of_two_connections_of_a_device_the_one_that_arrives_last_wins() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let moving = device_on(&world, &user, ShardId(0));
    world.next_connection_on(ShardId(1));
    let quick = world.connect_as(moving.id, tests::PKI.product());
    quick.set_account(moving.account());
    world.moves(Moves::Held);
    let token = moving.send(moving.session_request(true));
    quick.sign_in();
    world.moves(Moves::Arrive);
    assert_eq!(moving.answer_to(token).expect("an answer").code, Changed);
    assert!(!quick.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Superseded);
}

/// The shard of the device id answers late, the store too, the connection moves: all at once.
#[test]
fn a_sign_up_through_everything_that_is_late_is_answered_once() {
    let world = World::of_shards(3);
    let user = world.user_on(ShardId(1));
    let id = world.device_id_on(ShardId(2));
    let token = user.token();
    world.next_connection_on(ShardId(0));
    let peer = world.connect_as(id, tests::PKI.product());
    world.moves(Moves::Held);
    world.hold_mail(true);
    world.disk(Disk::Takes(Duration::from_secs(2)));
    let asked = peer.send(peer.sign_up_request(&token));
    world.advance_secs(5);
    world.moves(Moves::Arrive);
    world.advance_secs(5);
    peer.expect_silence();
    world.hold_mail(false);
    world.advance_secs(5);
    assert_eq!(peer.answer_to(asked).expect("an answer").code, Changed);
    peer.expect_silence();
}

/// Real devices and clients of many users on many shards.
#[test]
fn real_devices_never_notice() {
    use loadtest::device::Ask;
    let world = World::of_shards(4);
    for _ in 0..8 {
        let user = world.user();
        let (light, client) = (user.light(), user.client());
        let ask = Ask::Retrieve { device: light.id(), href: "/light/1", query: &[] };
        assert_eq!(client.ask(&ask).code, Content);
        light.lose();
        world.advance_secs(10);
        assert_eq!(client.ask(&ask).code, Content);
    }
    assert!(world.counted(|c| c.moved_in) > 0);
    assert_eq!(world.counted(|c| c.moved_in), world.counted(|c| c.moved_out));
}

/// An answer that is under way when the connection moves: it goes out before.
#[test]
fn what_was_answered_before_a_move_goes_out_first() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let peer = device_on(&world, &user, ShardId(0));
    peer.reads(false);
    let pings = [(); 20].map(|()| Msg::new(SignalCode::Ping.code()));
    let mut messages = pings.to_vec();
    messages.push(peer.session_request(true));
    let tokens = peer.send_together(messages);
    assert_eq!(peer.shard(), Some(ShardId(0)), "it waits for its sends");
    peer.reads(true);
    let answers = peer.take_all();
    assert!(answers.iter().map(|answer| answer.token).eq(tokens.into_iter().map(Some)));
    assert_eq!(peer.shard(), Some(ShardId(1)));
}
