//! Design, «What is promised» 4: more come at once than there is time for.

use std::time::Duration;

use gateway::connection::CloseReason;
use gateway::shard::{Bound, Budgets};
use shared::coap::ResponseType::ServiceUnavailable;
use tests::{PKI, Peer, World};

/// A cloud with budgets, and peers of whom each has said hello.
fn storm(peers: usize, change: impl FnOnce(&mut Budgets)) -> (World, Vec<Peer>) {
    let world = World::with(|setup| change(&mut setup.budgets));
    let peers: Vec<_> = (0..peers).map(|_| world.peer(world.device_id(), PKI.product())).collect();
    peers.iter().for_each(Peer::knock);
    (world, peers)
}

/// Which of them have been told the cloud's CSM by now, and had not been before.
fn let_in(peers: &[Peer]) -> Vec<usize> {
    (0..peers.len()).filter(|&nth| !peers[nth].take_all().is_empty()).collect()
}

fn reasons(world: &World) -> Vec<CloseReason> {
    world.ended().into_iter().map(|ended| ended.reason).collect()
}

#[test]
fn the_log_says_once_a_minute_which_bound_turns_new_connections_away() {
    let world = World::with(|setup| {
        setup.connections_max = 2;
        setup.timers.ping_after = Duration::from_secs(80);
    });
    let user = world.user();
    let in_it = [user.signed_in_device(), user.signed_in_device()];
    assert_eq!(world.full(), []);
    let knock = |count| {
        (0..count).for_each(|_| world.peer(world.device_id(), PKI.product()).knock());
    };
    knock(3);
    assert_eq!(world.full(), [Bound::Connections]);
    world.advance(Duration::from_secs(59));
    knock(1);
    assert_eq!(world.full(), [Bound::Connections]);
    world.advance(Duration::from_secs(1));
    knock(1);
    assert_eq!(world.full(), [Bound::Connections; 2]);
    assert!(in_it.iter().all(Peer::is_connected));
}

#[test]
fn handshakes_beyond_the_rate_wait_in_the_order_of_their_coming() {
    let (world, peers) = storm(5, |budgets| budgets.handshakes.per_sec_max = 10);
    assert_eq!(let_in(&peers), [0, 1], "one, and another a tenth of a second early");
    for next in [2, 3, 4] {
        world.advance(Duration::from_millis(100));
        assert_eq!(let_in(&peers), [next]);
    }
    assert_eq!(reasons(&world), []);
}

#[test]
fn once_some_have_waited_for_long_the_newest_goes_first() {
    let (world, peers) = storm(4, |budgets| budgets.handshakes.per_sec_max = 2);
    assert_eq!(let_in(&peers), [0]);
    for (millis, next) in [(400, 1), (500, 3), (500, 2)] {
        world.advance(Duration::from_millis(millis));
        assert_eq!(let_in(&peers), [next]);
    }
    assert_eq!(reasons(&world), []);
}

#[test]
fn who_has_waited_as_long_as_devices_wait_is_reset_before_anything_is_done() {
    let (world, peers) = storm(3, |budgets| budgets.handshakes.per_sec_max = 1);
    assert_eq!(let_in(&peers), [0]);
    world.advance(Duration::from_millis(1700));
    assert_eq!(let_in(&peers), [2]);
    world.advance(Duration::from_millis(50));
    assert!(!peers[1].is_connected());
    assert_eq!(reasons(&world), [CloseReason::Overloaded]);
    assert_eq!(world.counted(|counted| counted.handshakes), 2);
}

#[test]
fn where_too_many_are_under_way_the_one_that_has_waited_longest_makes_room() {
    let (world, peers) = storm(4, |budgets| {
        budgets.handshakes.per_sec_max = 1;
        budgets.handshakes.in_flight_max = 2;
    });
    assert_eq!(let_in(&peers), [0]);
    let connected: Vec<_> = peers.iter().map(Peer::is_connected).collect();
    assert_eq!(connected, [true, false, true, true]);
    assert_eq!(reasons(&world), [CloseReason::Overloaded]);
    assert_eq!(world.full(), [Bound::Handshakes]);
}

#[test]
fn who_is_not_signed_in_has_a_bound_of_its_own() {
    let (world, peers) = storm(3, |budgets| budgets.not_signed_in_max = 2);
    assert_eq!(let_in(&peers), [0, 1], "nobody waits who could make room for the third");
    assert!(!peers[2].is_connected());
    assert_eq!(world.full(), [Bound::NotSignedIn]);
    peers[0].sign_up(&world.user().token());
    peers[0].sign_in();
    peers[2].connect();
    assert!(peers[1].is_connected());
}

/// Device reference 1.3, rule 11: serve sign-ups first.
#[test]
fn sign_ins_beyond_the_rate_wait_a_second_or_come_again_and_sign_ups_do_not_wait_for_them() {
    let world = World::with(|setup| setup.budgets.handshakes.sign_ins_per_sec_max = 1);
    let user = world.user();
    let peers: Vec<_> = (0..3).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| drop(peer.sign_up(&user.token())));
    world.advance_secs(10);
    let tokens: Vec<_> = peers.iter().map(|peer| peer.send(peer.session_request(true))).collect();
    let code = |nth: usize| peers[nth].answer_to(tokens[nth]).map(|answer| answer.code);
    assert!(code(0).is_some_and(|code| code != ServiceUnavailable));
    assert_eq!(code(1), None);
    assert!(code(2).is_some_and(|code| code == ServiceUnavailable));
    world.connect().sign_up(&user.token());
    world.advance_secs(1);
    assert!(code(1).is_some_and(|code| code != ServiceUnavailable));
    assert!(peers.iter().all(Peer::is_connected));
}
