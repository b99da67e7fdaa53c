//! Device reference 7: token refresh, and answers that get lost.

use std::time::Duration;

use ciborium::Value;
use gateway::config::TokenLifetime;
use shared::coap::ResponseType::*;
use shared::ids::ShardId;
use tests::{Account, Disk, Msg, Peer, World, get, map, post};

fn refresh(body: impl Into<tests::message::Body>) -> Msg {
    post("/oic/sec/tokenrefresh", body)
}

/// The peer comes back on a new connection with these tokens.
fn back_with(peer: &Peer, account: &Account) {
    peer.lose();
    peer.connect();
    peer.set_account(account.clone());
}

fn assert_wiped(peer: &Peer) {
    peer.expect(peer.refresh_request(), Unauthorized);
    assert!(!peer.is_connected());
}

/// Device reference 7.1 and 1.3, rule 6.
#[test]
fn a_refresh_gives_a_new_pair_and_ends_the_old_access_token() {
    let world = World::of_shards(2);
    let peer = world.user().signed_in_device();
    let old = peer.account();
    world.advance_secs(20);
    let answer = peer.refresh();
    assert_eq!((answer.content_format(), answer.content_version()), (Some(10_000), Some(2048)));
    assert_eq!(answer.member_integer("expiresin"), 24 * 3600);
    let new = peer.account();
    assert!(new.access != old.access && new.refresh != old.refresh);
    peer.expect(get("/oic/res"), Content);
    back_with(&peer, &old);
    peer.expect(peer.session_request(true), Unauthorized);
    back_with(&peer, &new);
    peer.sign_in();
}

/// Device reference 7.1: allowed in every state; as real stacks write it.
#[test]
fn a_refresh_is_allowed_in_every_state_and_takes_unknown_keys() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    peer.refresh();
    peer.lose();
    peer.connect();
    let account = peer.account();
    let body = map([
        ("uid", account.uid.to_uppercase().into()),
        ("di", peer.id.to_string().into()),
        ("authprovider", "ocf-cloud".into()),
        ("granttype", "refresh_token".into()),
        ("refreshtoken", account.refresh.into()),
    ]);
    let answer = peer.expect(refresh(body), Changed);
    peer.keep_account(&answer);
    peer.sign_in();
    peer.refresh();
    peer.sign_out();
    peer.refresh();
    peer.sign_in();
}

/// Device reference 1.3, rule 9: the answer was lost; the previous refresh token still counts.
#[test]
fn when_the_answer_is_lost_the_same_refresh_gives_the_same_pair() {
    let world = World::of_shards(2);
    let peer = world.user().signed_in_device();
    let old = peer.account();
    let first = peer.refresh();
    for _ in 0..4 {
        back_with(&peer, &old);
        assert_eq!(peer.refresh().payload, first.payload);
        assert!(peer.is_connected());
    }
    world.restart();
    peer.connect();
    peer.set_account(old);
    assert_eq!(peer.refresh().payload, first.payload);
    peer.sign_in();
}

/// Device reference 17: no other limit than the use of the new pair; a device may be away for days.
#[test]
fn a_lost_refresh_can_be_repeated_after_a_month() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let old = peer.account();
    peer.refresh();
    peer.lose();
    world.step_wall_clock(30 * 24 * 3600);
    peer.connect();
    peer.set_account(old);
    let answer = peer.refresh();
    assert!(answer.member_integer("expiresin") > 3600, "the pair is worth having");
    peer.sign_in();
}

/// Device reference 7.1: the first use of the new access token retires the previous refresh token.
#[test]
fn the_use_of_the_new_access_token_retires_the_previous_refresh_token() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let old = peer.account();
    peer.refresh();
    peer.sign_in();
    let new = peer.account();
    back_with(&peer, &old);
    assert_wiped(&peer);
    world.restart();
    back_with(&peer, &old);
    assert_wiped(&peer);
    // Its use by somebody ends nothing for the device.
    back_with(&peer, &new);
    peer.sign_in();
}

/// Device reference 7.1: so does the first use of the new refresh token.
#[test]
fn the_use_of_the_new_refresh_token_retires_the_previous_one() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let generations: Vec<_> = (0..4)
        .map(|_| {
            let account = peer.account();
            peer.refresh();
            account
        })
        .collect();
    let newest = peer.account();
    for retired in &generations[..3] {
        back_with(&peer, retired);
        assert_wiped(&peer);
    }
    // The one before still counts: nothing of the newest pair has been used.
    back_with(&peer, &generations[3]);
    peer.refresh();
    assert_eq!(peer.account(), newest);
}

/// Device reference 1.3, rule 9: an answer lost at any step of its life leaves the device a way on.
#[test]
fn a_device_that_loses_every_answer_once_is_never_locked_out() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let single_use = user.token();
    // Sign-up, answer lost.
    peer.request(peer.sign_up_request(&single_use));
    peer.lose();
    peer.connect();
    peer.sign_up(&single_use);
    // Sign-in, answer lost: the session is there; it refreshes first when it comes back.
    peer.request(peer.session_request(true));
    for _ in 0..5 {
        world.advance_secs(4);
        peer.lose();
        peer.connect();
        // Refresh, answer lost.
        peer.request(peer.refresh_request());
        peer.lose();
        peer.connect();
        peer.refresh();
        peer.request(peer.session_request(true));
        peer.lose();
        peer.connect();
        peer.sign_in();
    }
}

/// Device reference 7.1, 1.3 rule 10: the store is unavailable: 5.03, open, and nothing has changed.
#[test]
fn when_the_store_refuses_a_refresh_is_5_03_and_the_old_pair_stays_good() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let old = peer.account();
    world.disk(Disk::Refuses);
    peer.expect(peer.refresh_request(), ServiceUnavailable);
    assert!(peer.is_connected());
    world.disk(Disk::Takes(Duration::ZERO));
    back_with(&peer, &old);
    peer.sign_in();
    peer.refresh();
}

/// Design, section 3: nothing of a new pair is known before it is durable.
#[test]
fn a_new_pair_is_given_out_when_it_is_durable() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let old = peer.account();
    world.disk(Disk::Hangs);
    let token = peer.send(peer.refresh_request());
    peer.expect_silence();
    // Killed before the commit: the old pair goes on.
    world.restart();
    world.disk(Disk::Takes(Duration::ZERO));
    assert!(peer.answer_to(token).is_none());
    peer.connect();
    peer.set_account(old);
    peer.sign_in();
}

/// Device reference 7.1: two refreshes with the same token at the same time get the same pair.
#[test]
fn two_refreshes_at_the_same_time_get_the_same_pair() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let second = world.connect_as(peer.id, tests::PKI.product());
    second.set_account(peer.account());
    world.disk(Disk::Hangs);
    let one = peer.send(peer.refresh_request());
    let two = second.send(second.refresh_request());
    world.disk(Disk::Takes(Duration::ZERO));
    let (one, two) = (peer.answer_to(one).expect("one"), second.answer_to(two).expect("two"));
    assert_eq!(one.payload, two.payload);
}

/// Device reference 7.1: missing key, bad CBOR: 4.00 and close.
#[test]
fn a_refresh_that_cannot_be_understood_is_4_00_and_closes() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let account = peer.account();
    let full = vec![
        (Value::from("uid"), Value::from(account.uid.clone())),
        ("di".into(), peer.id.to_string().into()),
        ("refreshtoken".into(), account.refresh.clone().into()),
    ];
    let mut bodies: Vec<_> = (0..3)
        .map(|key| {
            let mut pairs = full.clone();
            pairs.remove(key);
            Value::Map(pairs)
        })
        .collect();
    bodies.push(Value::Text("refresh".into()));
    let mut bad_id = full.clone();
    bad_id[1].1 = "me".into();
    bodies.push(Value::Map(bad_id));
    for body in bodies {
        peer.lose();
        peer.connect();
        peer.expect(refresh(body), BadRequest);
        assert!(!peer.is_connected());
    }
    peer.connect();
    peer.sign_in();
}

/// Device reference 7.1: only a token that is known to be bad is 4.01.
#[test]
fn a_refresh_token_that_is_not_this_devices_is_4_01_and_closes() {
    let world = World::of_shards(2);
    let user = world.user();
    let peer = user.signed_in_device();
    let (sibling, stranger) = (user.signed_in_device(), world.user().signed_in_device());
    let own = peer.account();
    for wrong in [
        "nonsense".to_owned(),
        own.access.clone(),
        sibling.account().refresh,
        stranger.account().refresh,
    ] {
        back_with(&peer, &Account { refresh: wrong, ..own.clone() });
        assert_wiped(&peer);
    }
    back_with(&peer, &own);
    peer.refresh();
}

/// Device reference 3.3: certificate bound to another device.
#[test]
fn a_certificate_of_another_device_cannot_refresh() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let thief = world.connect_with_identity(world.device_id());
    let account = peer.account();
    let body = map([
        ("uid", account.uid.into()),
        ("di", peer.id.to_string().into()),
        ("refreshtoken", account.refresh.into()),
    ]);
    thief.expect(refresh(body), Unauthorized);
    assert!(!thief.is_connected());
    peer.refresh();
}

/// Device reference 7.1: real devices follow their timers, and live through a token's expiry.
#[test]
fn real_devices_refresh_in_time_for_days() {
    let world = World::with(|setup| {
        setup.cloud.manufacturer_token = TokenLifetime::Limited(Duration::from_secs(1800));
    });
    let light = world.user().light();
    for _ in 0..100 {
        world.advance_secs(600);
        assert!(light.is_signed_in());
    }
    assert!(world.counted(|c| c.refreshes) >= 30);
}

/// Device reference 1.3, rule 9: a real device that loses its connection refreshes, then signs in.
#[test]
fn real_devices_come_back_after_any_loss() {
    let world = World::of_shards(2);
    let light = world.user().light();
    for round in 0..10 {
        light.lose();
        world.advance_secs(10);
        assert!(light.is_signed_in(), "round {round}");
        if round % 3 == 0 {
            world.restart();
            world.advance_secs(10);
            assert!(light.is_signed_in(), "round {round}, after a restart");
        }
    }
    assert_eq!((0..2).map(|n| world.sizes(ShardId(n)).devices).sum::<usize>(), 1);
}
