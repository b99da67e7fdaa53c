//! Device reference 12: block-wise transfer is not announced, so that no peer may send blocks; what
//! comes all the same, and messages that are too large.

use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, RequestType};
use tests::{Msg, OCF_CBOR, Peer, World, content, get, link, plain, post, request};

fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

/// The value of a block option (RFC 7959 §2.2).
fn block(number: u32, more: bool, szx: u32) -> u32 {
    number << 4 | u32::from(more) << 3 | szx
}

fn block1(message: Msg, number: u32, more: bool, szx: u32) -> Msg {
    message.uint(CoapOption::Block1.into(), block(number, more, szx))
}

fn block2(message: Msg, number: u32, more: bool, szx: u32) -> Msg {
    message.uint(CoapOption::Block2.into(), block(number, more, szx))
}

/// Device reference 12, first row: what is not implemented is not announced.
#[test]
fn the_csm_does_not_announce_block_wise_transfer() {
    let world = World::new();
    let peer = world.peer(world.device_id(), tests::PKI.product());
    peer.knock();
    let csm = peer.take();
    assert_eq!(csm.code, SignalCode::Csm.code());
    assert!(csm.numbered(4).is_empty());
}

/// Device reference 12: Block1 number 0 without more is the whole body, for the cloud and routed; the
/// option is dropped (1.3, rule 4).
#[test]
fn a_single_block_is_the_whole_body() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for szx in 0..=7 {
        client.send(block1(post(&device.path("/a"), b"\xa0"), 0, false, szx));
        let routed = device.expect_request("/a");
        assert!(!routed.has(CoapOption::Block1));
        assert_eq!(routed.payload, b"\xa0");
        device.respond(&routed, plain(Changed));
        client.expect_reply(Changed);
        let publish = device.publish_request([link("/a", "oic.r.switch.binary")]);
        device.expect(block1(publish, 0, false, szx), Changed);
    }
    let peer = world.connect();
    let token = world.user().token();
    peer.expect(block1(peer.sign_up_request(&token), 0, false, 6), Changed);
}

/// Device reference 12: Block1 with more, or number above 0: 4.02 with the reason.
#[test]
fn bodies_in_several_blocks_are_4_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let open = world.connect();
    for (number, more) in [(0, true), (1, false), (1, true), (0xf_ffff, false)] {
        for message in [
            post(&device.path("/a"), b"\xa0"),
            request(RequestType::Put, &device.path("/a")),
            device.publish_request([link("/a", "x.y")]),
            client.session_request(true),
        ] {
            let answer = client.expect(block1(message, number, more, 6), BadOption);
            assert_eq!(answer.text(), "block-wise not supported");
            assert!(!answer.has(CoapOption::Block1) && answer.content_format().is_none());
        }
        open.expect(block1(open.sign_up_request("x"), number, more, 6), BadOption);
    }
    device.expect_silence();
    assert!(client.is_connected() && open.is_connected());
}

/// Device reference 12: Block2 number 0 is dropped, the answer whole.
#[test]
fn a_wish_for_small_blocks_is_answered_whole() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for szx in 0..=7 {
        client.send(block2(get(&device.path("/a")), 0, false, szx));
        let routed = device.expect_request("/a");
        assert!(!routed.has(CoapOption::Block2));
        device.respond(&routed, content(vec![7; 3000]));
        let whole = client.expect_reply(Content);
        assert_eq!((whole.payload.len(), whole.has(CoapOption::Block2)), (3000, false));
        let found = client.expect(block2(get("/oic/res"), 0, false, szx), Content);
        assert!(!found.has(CoapOption::Block2));
    }
}

/// Device reference 12: Block2 with number above 0: 4.02.
#[test]
fn a_later_block_of_an_answer_is_4_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for uri in [device.path("/a"), "/oic/res".into(), "/oic/rd".into()] {
        client.expect(block2(get(&uri), 1, false, 6), BadOption);
    }
    client.expect(get("/oic/res").named(CoapOption::Block2, [0; 4]), BadOption);
    device.expect_silence();
}

/// Device reference 12: a device answers with Block2 and more: 5.02, whether it has announced blocks
/// or not, because we have not; Block2 of a whole body is dropped.
#[test]
fn an_answer_in_several_blocks_is_5_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for announced in [false, true] {
        if announced {
            device.send(Msg::new(SignalCode::Csm.code()).option(4, []));
        }
        let ask = |answer: Msg| {
            let token = client.send(get(&device.path("/a")));
            let routed = device.expect_request("/a");
            device.respond(&routed, answer);
            client.answer_to(token).expect("an answer")
        };
        assert_eq!(ask(block2(content(vec![1; 1024]), 0, true, 6)).code, BadGateway);
        assert_eq!(ask(block2(content(vec![1; 100]), 1, false, 6)).code, BadGateway);
        let whole = ask(block2(content(vec![1; 100]), 0, false, 6));
        assert_eq!((whole.code, whole.has(CoapOption::Block2)), (Content.into(), false));
        let acknowledged = ask(block1(plain(Changed), 0, false, 6));
        assert_eq!(
            (acknowledged.code, acknowledged.has(CoapOption::Block1)),
            (Changed.into(), false)
        );
    }
    device.expect_silence();
    assert!(device.is_connected());
}

/// Device reference 1.3, rule 4: whatever clients send, no block option reaches a device.
#[test]
fn no_block_option_reaches_a_device() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for message in [get(&device.path("/a")).observe(0), post(&device.path("/a"), b"\xa0")] {
        client.send(block1(block2(message, 0, false, 2), 0, false, 2).uint(28, 5).uint(60, 5));
        let routed = device.expect_request("/a");
        let numbers: Vec<_> = routed.options.iter().map(|(number, _)| *number).collect();
        assert!([23, 27, 28, 60].iter().all(|number| !numbers.contains(number)), "{numbers:?}");
        assert_eq!(routed.values(CoapOption::Accept), [&OCF_CBOR.to_be_bytes()[2..]]);
    }
}
