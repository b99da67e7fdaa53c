//! Device reference 10.4 and 17: requests to devices that get no answer, late ones, or too many at a
//! time.

use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use tests::{Msg, Peer, World, content, get, post};

use super::routing::{answered, device_and_client, routed};

/// Device reference 10.4: known, offline.
#[test]
fn an_offline_device_is_5_03() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.lose();
    let answer = client.expect(get(&device.path("/a")), ServiceUnavailable);
    assert_eq!(answer.text(), "device is offline");
    client.expect(get(&device.path("/a")).observe(0), ServiceUnavailable);
}

/// Device reference 10.4: the connection is lost while waiting.
#[test]
fn requests_under_way_are_5_03_when_the_device_goes() {
    let world = World::new();
    let user = world.user();
    let client = user.signed_in_client();
    let ends: [fn(&Peer); 4] = [
        Peer::lose,
        Peer::close,
        |device| {
            device.sign_out();
        },
        |device| {
            device.send(Msg::new(SignalCode::Release.code()));
        },
    ];
    for end in ends {
        let device = user.signed_in_device();
        let tokens: Vec<_> = (0..20).map(|_| client.send(get(&device.path("/a")))).collect();
        assert_eq!(device.take_all().len(), 16);
        end(&device);
        for token in tokens {
            assert_eq!(client.answer_to(token).expect("an answer").code, ServiceUnavailable);
        }
        client.expect_silence();
    }
}

/// Device reference 10.4: no answer within the limit; late answers are dropped silently.
#[test]
fn a_device_that_does_not_answer_is_5_04_after_twenty_seconds() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    world.advance_secs(19);
    client.expect_silence();
    world.advance_secs(2);
    assert_eq!(client.answer_to(token).expect("an answer").code, GatewayTimeout);
    device.respond_content(&routed, b"\xa0");
    client.expect_silence();
    assert!(device.is_connected());
    assert_eq!(world.counted(|c| c.responses_unexpected), 1);
}

/// Device reference 10.4: the token of an abandoned request is not used again, so that a late answer
/// is nobody else's.
#[test]
fn late_answers_reach_nobody_else() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.send(get(&device.path("/a")));
    let late = device.expect_request("/a");
    world.advance_secs(21);
    client.take_all();
    let mut seen = vec![late.token];
    for _ in 0..50 {
        let token = client.send(get(&device.path("/b")));
        let routed = device.expect_request("/b");
        assert!(!seen.contains(&routed.token), "a token is used once");
        seen.push(routed.token);
        device.respond_content(&late, b"\x61x");
        device.respond_content(&routed, b"\xa0");
        assert_eq!(client.answer_to(token).expect("an answer").payload, b"\xa0");
        client.expect_silence();
    }
}

/// Device reference 17: 16 open requests per device, then a queue of 64, then 5.03.
#[test]
fn a_device_gets_sixteen_requests_at_a_time_and_sixty_four_wait() {
    let world = World::new();
    let user = world.user();
    let (device, one, two) =
        (user.signed_in_device(), user.signed_in_client(), user.signed_in_client());
    let ask = |client: &Peer, count: usize| -> Vec<_> {
        (0..count).map(|n| client.send(get(&device.path(&format!("/{n}"))))).collect()
    };
    let (mut tokens, more) = (ask(&one, 40), ask(&two, 40));
    tokens.extend(more);
    let refused = two.expect(get(&device.path("/x")), ServiceUnavailable);
    assert!(refused.text().contains("wait"));
    assert!(two.is_connected());
    let mut answered = 0;
    loop {
        let under_way = device.take_all();
        assert!(under_way.len() <= 16);
        for routed in &under_way {
            device.respond_content(routed, b"\xa0");
            answered += 1;
        }
        if under_way.is_empty() {
            break;
        }
    }
    assert_eq!(answered, 80);
    let got = [one.take_all(), two.take_all()].concat();
    assert!(got.iter().all(|answer| answer.code == Content) && got.len() == 80);
    assert!(tokens.iter().all(|&token| got.iter().any(|answer| answer.token == Some(token))));
}

/// Device reference 17: open requests per client.
#[test]
fn a_client_has_sixty_four_requests_under_way_at_a_time() {
    let world = World::with(|setup| setup.limits.requests_per_device_max = 1000);
    let (device, client) = device_and_client(&world);
    let tokens: Vec<_> = (0..64).map(|_| client.send(get(&device.path("/a")))).collect();
    client.expect(get(&device.path("/a")), ServiceUnavailable);
    client.expect(get("/oic/res"), Content);
    let routed = device.take_all();
    device.respond_content(&routed[0], b"\xa0");
    assert!(client.answer_to(tokens[0]).is_some());
    client.send(get(&device.path("/a")));
    device.expect_request("/a");
}

/// Issue: a thousand requests in flight over one connection, answered out of order.
#[test]
fn a_thousand_requests_are_under_way_over_one_connection() {
    let world = World::with(|setup| {
        setup.limits.requests_per_device_max = 1000;
        setup.limits.requests_per_client_max = 1000;
    });
    let (device, client) = device_and_client(&world);
    let path = |n: usize| device.path(&format!("/{n}"));
    let tokens = client.send_together((0..1000).map(|n| get(&path(n))));
    let mut routed = device.take_all();
    assert_eq!(routed.len(), 1000);
    // In an order of their own.
    routed.sort_by_key(|routed| routed.path().bytes().rev().collect::<Vec<_>>());
    for routed in &routed {
        let number: u64 = routed.path()[1..].parse().expect("a number");
        device.respond_content(routed, ciborium::Value::from(number));
    }
    for (number, token) in tokens.into_iter().enumerate() {
        let answer = client.answer_to(token).expect("an answer");
        assert_eq!(answer.cbor(), ciborium::Value::from(number as u64));
    }
    client.expect_silence();
    assert_eq!(world.sizes(shared::ids::ShardId(0)).exchanges, 0);
}

/// RFC 7252 §5.3.1: a token that is used twice at a time is the client's own affair: each of its
/// requests is answered.
#[test]
fn requests_with_the_same_token_are_each_answered() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for _ in 0..2 {
        client.send(get(&device.path("/a")).token(&[7]));
    }
    for routed in device.take_all() {
        device.respond_content(&routed, b"\xa0");
    }
    assert_eq!(client.take_all().len(), 2);
}

/// Device reference 10.4: a device answers a request once.
#[test]
fn a_second_answer_to_a_request_is_ignored() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    device.respond_content(&routed, b"\xa0");
    device.respond_content(&routed, b"\xa0");
    assert_eq!(client.take_all().len(), 1);
    assert_eq!(world.counted(|c| c.responses_unexpected), 1);
}

/// Device reference 10.4: nobody else can answer for a device.
#[test]
fn an_answer_on_another_connection_is_nobodys() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let stranger = world.user().signed_in_device();
    let token = client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    stranger.respond_content(&routed, b"\x61x");
    client.respond_content(&routed, b"\x61x");
    client.expect_silence();
    device.respond_content(&routed, b"\xa0");
    assert_eq!(client.answer_to(token).expect("an answer").payload, b"\xa0");
}

/// Device reference 10.4: larger than the device takes, by its CSM or as assumed (2.7).
#[test]
fn a_request_that_is_larger_than_the_device_takes_is_4_13() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.expect(post(&device.path("/a"), vec![0; 7200]), RequestEntityTooLarge);
    assert_eq!(
        routed(&device, &client, post(&device.path("/a"), vec![0; 7000])).payload.len(),
        7000
    );
    device.send(Msg::new(SignalCode::Csm.code()).uint(2, 200));
    client.expect(post(&device.path("/a"), vec![0; 200]), RequestEntityTooLarge);
    assert_eq!(routed(&device, &client, post(&device.path("/a"), vec![0; 100])).payload.len(), 100);
}

/// Device reference 10.4: larger than the client takes: 5.00 with the size.
#[test]
fn an_answer_that_is_larger_than_the_client_takes_is_5_00() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let answer = answered(&device, &client, get(&device.path("/a")), content(vec![0; 8000]));
    assert_eq!(answer.code, InternalServerError);
    assert!(answer.text().contains("80"), "{}", answer.text());
    client.send(Msg::new(SignalCode::Csm.code()).uint(2, 10_000));
    let answer = answered(&device, &client, get(&device.path("/a")), content(vec![0; 8000]));
    assert_eq!((answer.code, answer.payload.len()), (Content.into(), 8000));
}

/// Device reference 10.4: the client is gone; the answer is dropped.
#[test]
fn the_answer_for_a_client_that_is_gone_is_dropped() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    client.lose();
    // Somebody else gets its slot.
    let other = user.signed_in_client();
    device.respond_content(&routed, b"\xa0");
    other.expect_silence();
    assert!(device.is_connected());
    assert_eq!(world.sizes(shared::ids::ShardId(0)).exchanges, 0);
}

/// RFC 8323 §3.3: there are no separate responses on TCP; a late answer is an answer.
#[test]
fn an_answer_may_take_its_time() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    // An empty message in between means nothing.
    device.send_bytes(&[0x08, 0x00, 1, 2, 3, 4, 5, 6, 7, 8]);
    world.advance_secs(15);
    device.respond_content(&routed, b"\xa0");
    assert_eq!(client.answer_to(token).expect("an answer").code, Content);
}
