//! Device reference 16, points 11 to 13, and 5.1: a device id and its users. No id ever has two.

use std::time::Duration;

use gateway::config::Takeover;
use gateway::connection::CloseReason;
use shared::channel::message::{Command, Failure, Reply};
use shared::coap::ResponseType::*;
use shared::ids::ShardId;
use tests::{Disk, Peer, User, World, content, get};

/// Users, devices and clients may live anywhere.
const SHARDS: [u16; 3] = [1, 2, 5];

fn devices(world: &World, shards: u16) -> usize {
    (0..shards).map(|shard| world.sizes(ShardId(shard)).devices).sum()
}

/// A new connection of the same device.
fn again(peer: &Peer, is_bound: bool) -> Peer {
    match is_bound {
        true => peer.world.connect_with_identity(peer.id),
        false => peer.world.connect_as(peer.id, tests::PKI.product()),
    }
}

/// Everything of the first user's device is gone.
fn assert_moved(first: &User, older: &Peer, newer: &Peer) {
    assert!(!older.is_connected());
    let client = first.signed_in_client();
    assert_eq!(client.expect(get("/oic/res"), Content).payload, [0x80], "links are deleted");
    client.expect(get(&older.path("/a")), NotFound);
    older.connect();
    older.expect(older.session_request(true), Unauthorized);
    older.expect(older.refresh_request(), Unauthorized);
    newer.sign_in();
    assert_eq!(newer.expect(get("/oic/res"), Content).payload, [0x80], "nothing came along");
}

/// Device reference 16, point 12: the TLS identity proves the di: the new owner wins.
#[test]
fn a_device_that_proves_its_id_moves_to_another_user() {
    for shards in SHARDS {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let older = first.signed_in_device_with_identity();
        older.publish(&["/a"]);
        let watcher = first.signed_in_client();
        let observation = watcher.send(get(&older.path("/a")).observe(0));
        let registration = older.expect_request("/a");
        older.respond(&registration, content(b"\xa0").observe(0));
        watcher.answer_to(observation).expect("registered");
        let newer = again(&older, true);
        // Even with a token that was not made for it.
        newer.sign_up(&second.token());
        assert_eq!(newer.account().uid, second.id.to_string());
        assert_eq!(watcher.answer_to(observation).expect("the end").code, NotFound);
        watcher.lose();
        assert_moved(&first, &older, &newer);
        assert_eq!(devices(&world, shards), 3);
        world.restart();
        newer.connect();
        newer.sign_in();
    }
}

/// Device reference 16, point 12: only a manufacturer certificate: 4.03, and closed.
#[test]
fn a_device_that_proves_nothing_stays_with_its_user() {
    for shards in SHARDS {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let older = first.signed_in_device();
        older.publish(&["/a"]);
        let newer = again(&older, false);
        let token = second.token();
        newer.expect(newer.sign_up_request(&token), Forbidden);
        assert!(!newer.is_connected());
        assert_eq!(world.ended().last().expect("an end").reason, CloseReason::Refused);
        older.expect(get("/oic/res"), Content);
        assert_eq!(devices(&world, shards), 1);
        // The token is still good for a device of its user's own.
        world.connect().sign_up(&token);
    }
}

/// Device reference 16, point 12: what the operator allows, with a token for exactly this device.
#[test]
fn where_the_operator_allows_it_a_token_for_the_device_moves_it() {
    for shards in SHARDS {
        let world = World::with(|setup| {
            setup.shards = shards;
            setup.cloud.takeover = Takeover::Allow;
        });
        let (first, second) = (world.user(), world.user());
        let older = first.signed_in_device();
        older.publish(&["/a"]);
        let newer = again(&older, false);
        newer.expect(newer.sign_up_request(&second.token()), Forbidden);
        newer.connect();
        newer.sign_up(&second.token_for(older.id));
        assert_moved(&first, &older, &newer);
    }
}

/// Device reference 16, point 12: a Mediator gets no token for a device that is somebody else's.
#[test]
fn no_token_is_made_for_a_device_of_somebody_else() {
    for shards in SHARDS {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let device = first.signed_in_device().id;
        let ask = |user: &User| {
            world.command(user.id, Command::IssueDeviceToken { device: Some(device) })
        };
        let refused = ask(&second);
        assert!(matches!(refused, Reply::Failed(Failure::OwnedByAnother)), "{refused:?}");
        assert!(matches!(ask(&first), Reply::DeviceToken { .. }));
        let removed = world.command(first.id, Command::RemoveDevice { device });
        assert!(matches!(removed, Reply::Done));
        assert!(matches!(ask(&second), Reply::DeviceToken { .. }));
    }
}

/// Design, section 2: two users at the same time: one of them gets the device, whatever the disk does.
#[test]
fn of_two_users_who_want_a_new_device_one_gets_it() {
    for shards in SHARDS {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let (one, two) = (first.token(), second.token());
        let device = world.connect();
        let twin = again(&device, false);
        world.disk(Disk::Hangs);
        let asked = device.send(device.sign_up_request(&one));
        let also = twin.send(twin.sign_up_request(&two));
        world.disk(Disk::Takes(Duration::from_millis(5)));
        world.advance_secs(1);
        let mut codes = [device.answer_to(asked), twin.answer_to(also)]
            .map(|answer| answer.expect("an answer").code);
        codes.sort_by_key(|code| code.byte());
        assert_eq!(codes[0], Changed);
        // Who came second is refused, or told to try again because it could not be said.
        assert!(codes[1] == Forbidden || codes[1] == ServiceUnavailable, "{:?}", codes[1]);
        assert_eq!(devices(&world, shards), 1);
    }
}

/// Design, section 2: killed at any point of a take-over, the device ends with one user, and is not
/// locked out.
#[test]
fn a_crash_at_any_point_of_a_take_over_leaves_one_owner() {
    for shards in SHARDS {
        for crash_after in (0..=60).step_by(5) {
            let world = World::of_shards(shards);
            let (first, second) = (world.user(), world.user());
            let device = first.signed_in_device_with_identity();
            let token = second.token();
            let newer = again(&device, true);
            world.disk(Disk::Takes(Duration::from_millis(12)));
            newer.send(newer.sign_up_request(&token));
            world.advance(Duration::from_millis(crash_after));
            world.restart();
            assert!(devices(&world, shards) <= 1);
            world.disk(Disk::Takes(Duration::ZERO));
            // It comes back as real devices do: the same sign-up again.
            newer.connect();
            newer.sign_up(&token);
            newer.sign_in();
            assert_eq!(newer.account().uid, second.id.to_string());
            assert_eq!(devices(&world, shards), 1);
            device.connect();
            device.expect(device.session_request(true), Unauthorized);
        }
    }
}

/// Design, section 2: what a crash leaves of a sign-up keeps nobody from the device.
#[test]
fn a_claim_without_account_is_found_out_when_somebody_wants_the_device() {
    for shards in SHARDS {
        for crash_after in (0..=40).step_by(5) {
            let world = World::of_shards(shards);
            let (first, second) = (world.user(), world.user());
            let (token, other) = (first.token(), second.token());
            let device = world.connect();
            world.disk(Disk::Takes(Duration::from_millis(12)));
            let asked = device.send(device.sign_up_request(&token));
            world.advance(Duration::from_millis(crash_after));
            let signed_up = device.answer_to(asked).is_some();
            world.restart();
            world.disk(Disk::Takes(Duration::ZERO));
            device.connect();
            let answer = device.request(device.sign_up_request(&other));
            // Whoever was acknowledged has it; before that it may be either's.
            assert!(answer.code == Changed || answer.code == Forbidden);
            assert!(!(signed_up && answer.code == Changed), "what was acknowledged holds");
            assert_eq!(devices(&world, shards), 1);
        }
    }
}

/// Design, section 2: messages between shards may be late: requests wait, bounded, and lose nothing.
#[test]
fn while_the_shard_of_the_device_id_is_slow_sign_ups_wait() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(0));
    let id = world.device_id_on(ShardId(1));
    let token = user.token();
    let peers: Vec<_> = (0..12).map(|_| world.connect_as(id, tests::PKI.product())).collect();
    world.hold_mail(true);
    let asked: Vec<_> = peers.iter().map(|peer| peer.send(peer.sign_up_request(&token))).collect();
    // One is under way, eight wait behind it; the others are told to come again.
    let refused = peers.iter().zip(&asked).filter_map(|(peer, &token)| peer.answer_to(token));
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|answer| answer.code == ServiceUnavailable));
    assert!(peers.iter().all(Peer::is_connected));
    world.hold_mail(false);
    // Five at once, then one a second.
    world.advance_secs(6);
    let granted = peers.iter().zip(&asked).filter_map(|(peer, &token)| peer.answer_to(token));
    let granted: Vec<_> = granted.collect();
    assert_eq!(granted.len(), 9);
    assert!(granted.iter().all(|answer| answer.code == Changed));
    let pair = granted[0].member_text("refreshtoken");
    assert!(granted.iter().all(|answer| answer.member_text("refreshtoken") == pair));
}

/// Design, section 2: who wants the device while its removal is under way is told to try again.
#[test]
fn a_device_whose_state_is_undecided_is_5_03_for_others() {
    let world = World::of_shards(2);
    let (first, second) = (world.user_on(ShardId(0)), world.user_on(ShardId(1)));
    let device = first.signed_in_device_with_identity();
    let token = second.token();
    let newer = again(&device, true);
    world.disk(Disk::Hangs);
    device.send(device.refresh_request());
    newer.expect(newer.sign_up_request(&token), ServiceUnavailable);
    assert!(newer.is_connected());
    world.disk(Disk::Takes(Duration::ZERO));
    newer.sign_up(&token);
}

/// Design, section 3: a take-over that the store refuses changes nothing.
#[test]
fn a_take_over_that_the_store_refuses_leaves_the_device_where_it_is() {
    for shards in SHARDS {
        let world = World::of_shards(shards);
        let (first, second) = (world.user(), world.user());
        let device = first.signed_in_device_with_identity();
        device.publish(&["/a"]);
        let token = second.token();
        let newer = again(&device, true);
        world.disk(Disk::Refuses);
        newer.expect(newer.sign_up_request(&token), ServiceUnavailable);
        assert!(newer.is_connected());
        assert!(device.is_connected());
        assert_eq!(device.request(get("/oic/res")).cbor().as_array().expect("links").len(), 1);
        world.disk(Disk::Takes(Duration::ZERO));
        newer.sign_up(&token);
        assert!(!device.is_connected());
    }
}
