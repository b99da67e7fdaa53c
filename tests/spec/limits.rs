//! Device reference 17 and 6.1: who tries too often is answered later, not refused.

use std::time::Duration;

use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use tests::{Account, Msg, Peer, World, delete, get};

/// Device reference 17: sign-ins per di, one per second, burst five; above: delay, not close.
#[test]
fn sign_ins_of_a_device_are_answered_once_a_second_after_the_first_five() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    world.advance_secs(10);
    let tokens = peer.send_together((0..12).map(|_| peer.session_request(true)));
    assert_eq!(peer.take_all().len(), 5);
    for second in 1..=7 {
        world.advance_secs(1);
        let answered = peer.take_all().len();
        assert!(answered <= 1, "second {second}: {answered}");
    }
    world.advance_secs(2);
    assert!(peer.is_connected());
    let _ = tokens;
    world.advance_secs(6);
    peer.take_all();
    peer.sign_in();
    assert_eq!(world.counted(|c| c.sign_ins), 13);
}

/// Device reference 6.1: a device that loops over new connections is slowed down by its answers.
#[test]
fn a_device_that_comes_back_again_and_again_waits_for_its_answer() {
    let world = World::new();
    let peer = world.user().signed_in_device();
    let mut waited = 0;
    for _ in 0..10 {
        peer.lose();
        peer.connect();
        let token = peer.send(peer.session_request(true));
        let mut answer = peer.answer_to(token);
        while answer.is_none() {
            world.advance(Duration::from_millis(100));
            waited += 1;
            answer = peer.answer_to(token);
        }
        assert_eq!(answer.expect("an answer").code, Changed);
    }
    assert!((50..=90).contains(&waited), "{waited} tenths of a second");
}

/// Device reference 6.1: the device repeats on the same connection with a new token and ignores
/// answers to old ones: what waits is answered in its order, the newest too.
#[test]
fn what_waits_is_answered_in_its_order() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    let mut tokens: Vec<_> = (0..6).map(|_| peer.send(peer.session_request(true))).collect();
    world.advance(Duration::from_millis(200));
    tokens.push(peer.send(get("/oic/res")));
    tokens.push(peer.send(Msg::new(SignalCode::Ping.code())));
    world.advance_secs(5);
    let answered: Vec<_> = peer.take_all().into_iter().filter_map(|answer| answer.token).collect();
    assert_eq!(answered, tokens);
}

/// Device reference 17: sign-ups count with the sign-ins.
#[test]
fn sign_ups_of_a_device_are_paced_too() {
    let world = World::new();
    let user = world.user();
    let peer = world.connect();
    let tokens: Vec<_> = (0..6).map(|_| user.token_for(peer.id)).collect();
    for token in &tokens[..5] {
        peer.sign_up(token);
    }
    let last = peer.send(peer.sign_up_request(&tokens[5]));
    assert!(peer.answer_to(last).is_none());
    world.advance_secs(2);
    assert_eq!(peer.answer_to(last).expect("an answer").code, Changed);
}

/// Device reference 17: other devices are not held up.
#[test]
fn the_pace_of_one_device_is_not_that_of_others() {
    let world = World::new();
    let user = world.user();
    for _ in 0..30 {
        user.signed_in_device();
    }
    // Nor can a stranger use up what a device may: wrong tokens do not count for it.
    let device = user.signed_in_device();
    let stranger = world.connect_as(device.id, tests::PKI.product());
    stranger.set_account(Account { access: "nonsense".into(), ..device.account() });
    for _ in 0..20 {
        stranger.expect(stranger.session_request(true), Unauthorized);
    }
    device.lose();
    device.connect();
    device.sign_in();
}

/// The connection ends while its request waits: nothing is left.
#[test]
fn who_goes_while_it_waits_leaves_nothing_behind() {
    let world = World::new();
    let peer = world.connect();
    peer.sign_up(&world.user().token());
    peer.send_together((0..8).map(|_| peer.session_request(true)));
    peer.lose();
    world.advance_secs(10);
    assert_eq!(world.sizes(shared::ids::ShardId(0)).connections, 0);
    assert_eq!(world.counted(|c| c.sessions), 0);
}

fn wrong(peer: &Peer) -> Msg {
    peer.session_request(true)
}

/// Issue: rate limits on wrong tokens by the address of the peer.
#[test]
fn wrong_tokens_from_one_address_are_answered_ever_later() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let guesser = world.connect();
    let guess = Account { access: "A".repeat(45), ..device.account() };
    guesser.set_account(guess);
    // A hundred at once, behind which may be many devices.
    for _ in 0..100 {
        guesser.expect(wrong(&guesser), Unauthorized);
    }
    let token = guesser.send(wrong(&guesser));
    assert!(guesser.answer_to(token).is_none());
    world.advance(Duration::from_millis(300));
    assert_eq!(guesser.answer_to(token).expect("an answer").code, Unauthorized);
    // Ten a second, for all kinds of tokens.
    let mut answers = 0;
    for _ in 0..50 {
        guesser.send(wrong(&guesser));
    }
    for _ in 0..4 {
        world.advance(Duration::from_millis(500));
        let answered = guesser.take_all().len();
        assert!(answered <= 8, "{answered} in half a second");
        answers += answered;
    }
    assert!(answers >= 15);
    assert!(guesser.is_connected());
}

/// Those who present right tokens from the same address are not held up.
#[test]
fn right_tokens_from_the_same_address_are_answered_at_once() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let guesser = world.connect();
    guesser.set_account(Account { access: "A".repeat(45), ..device.account() });
    for _ in 0..100 {
        guesser.expect(wrong(&guesser), Unauthorized);
    }
    user.signed_in_device();
    device.lose();
    device.connect();
    device.refresh();
    device.sign_in();
}

/// Wrong tokens of every kind count: sign-up, refresh, sign-off.
#[test]
fn every_kind_of_wrong_token_counts() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let kinds: [fn(&Peer) -> Msg; 4] = [
        |peer| peer.sign_up_request(&"A".repeat(45)),
        |peer| peer.session_request(true),
        |peer| peer.refresh_request(),
        |peer| delete(&format!("/oic/sec/account?di={}&accesstoken=x", peer.id)),
    ];
    let peers: Vec<_> = (0..104)
        .map(|number| {
            let peer = world.connect();
            let wrong = Account { access: "x".into(), refresh: "x".into(), ..device.account() };
            peer.set_account(wrong);
            let token = peer.send(kinds[number % 4](&peer));
            (peer, token)
        })
        .collect();
    let answered = peers.iter().filter(|(peer, token)| peer.answer_to(*token).is_some()).count();
    assert_eq!(answered, 100);
    world.advance_secs(1);
    let answered = peers.iter().filter(|(peer, token)| peer.answer_to(*token).is_some()).count();
    assert_eq!(answered, 4);
}

/// Beyond half a minute of waiting a connection is reset: nobody who is right gets there.
#[test]
fn an_address_that_does_nothing_but_guess_is_cut_off() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let guess = Account { access: "x".into(), ..device.account() };
    let guessers: Vec<_> = (0..420)
        .map(|_| {
            let peer = world.connect();
            peer.set_account(guess.clone());
            peer.send(wrong(&peer));
            peer
        })
        .collect();
    let cut = guessers.iter().filter(|peer| !peer.is_connected()).count();
    assert!((1..=30).contains(&cut), "{cut}");
    assert_eq!(world.ended().last().expect("an end").reason, CloseReason::Refused);
    device.expect(get("/oic/res"), Content);
}
