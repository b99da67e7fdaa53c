//! Device reference 12: block-wise transfer ends at the cloud. Bodies come in blocks and are put
//! together, answers go out in blocks where nothing else helps or it was asked for; devices get whole
//! requests, or blocks if they have announced them.

use std::time::Duration;

use shared::coap::ResponseType::*;
use shared::coap::block::{BERT, Block};
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, RequestType, ResponseType};
use shared::ids::ShardId;
use tests::{Msg, OCF_CBOR, Peer, World, content, delete, get, link, plain, post, request};

const SIZE_1: u16 = 60;
const REQUEST_TAG: u16 = 292;

fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

/// A CSM with Block-Wise-Transfer and this Max-Message-Size.
fn announce(peer: &Peer, max_message_size: u32) {
    peer.send(Msg::new(SignalCode::Csm.code()).uint(2, max_message_size).option(4, []));
}

fn block(number: u32, more: bool, szx: u8) -> Block {
    Block { number, more, szx }
}

fn block1(message: Msg, block: Block) -> Msg {
    message.uint(CoapOption::Block1.into(), block.value())
}

fn block2(message: Msg, block: Block) -> Msg {
    message.uint(CoapOption::Block2.into(), block.value())
}

fn block_of(message: &Msg, name: CoapOption) -> Option<Block> {
    message.number(name).map(Block::parse)
}

/// Some bytes of which no two blocks are the same.
fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 16 * 31 + at) as u8).collect()
}

/// Sends a request with this body in blocks; the answer to the last one.
fn send_in_blocks(peer: &Peer, message: &Msg, body: &[u8], szx: u8) -> Msg {
    let step = if szx == BERT { 3072 } else { 16 << szx };
    let count = body.len().div_ceil(step);
    for (at, part) in body.chunks(step).enumerate() {
        let number = (at * step / block(0, false, szx).size()) as u32;
        let this = block(number, at + 1 < count, szx);
        let answer = peer.request(block1(message.clone().body(part), this));
        if !this.more {
            return answer;
        }
        assert_eq!(answer.code, Continue);
        assert_eq!(block_of(&answer, CoapOption::Block1), Some(this));
        assert!(answer.payload.is_empty() && answer.content_format().is_none());
    }
    unreachable!("the last block was answered")
}

/// What a client does that asks for all blocks of an answer, beginning with the first.
fn fetch(peer: &Peer, message: &Msg, mut answer: Msg) -> Msg {
    let mut whole = Vec::new();
    let etag = answer.values(CoapOption::ETag).concat();
    loop {
        let this = block_of(&answer, CoapOption::Block2).expect("a block");
        assert_eq!(this.offset(), whole.len());
        assert_eq!(answer.values(CoapOption::ETag).concat(), etag, "the same body");
        whole.extend_from_slice(&answer.payload);
        if !this.more {
            return Msg { payload: whole, ..answer };
        }
        let number = (whole.len() / this.size()) as u32;
        answer = peer.request(block2(message.clone(), block(number, false, this.szx)));
        assert_eq!(answer.code, Content);
    }
}

fn nothing_is_kept(world: &World) {
    let sizes = world.sizes(ShardId(0));
    assert_eq!((sizes.transfers, sizes.transfer_bytes), (0, 0));
}

/// Device reference 12, first row: what is implemented is announced.
#[test]
fn the_csm_announces_block_wise_transfer() {
    let world = World::new();
    let peer = world.peer(world.device_id(), tests::PKI.product());
    peer.knock();
    let csm = peer.take();
    assert_eq!(csm.code, SignalCode::Csm.code());
    assert_eq!(csm.numbered(4), [b""]);
}

/// Device reference 12: Block1 number 0 without more is the whole body, for the cloud and routed; the
/// option is dropped (1.3, rule 4).
#[test]
fn a_single_block_is_the_whole_body() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for szx in 0..=7 {
        client.send(block1(post(&device.path("/a"), b"\xa0"), block(0, false, szx)));
        let routed = device.expect_request("/a");
        assert!(!routed.has(CoapOption::Block1));
        assert_eq!(routed.payload, b"\xa0");
        device.respond(&routed, plain(Changed));
        client.expect_reply(Changed);
        let publish = device.publish_request([link("/a", "oic.r.switch.binary")]);
        device.expect(block1(publish, block(0, false, szx)), Changed);
    }
    let peer = world.connect();
    let token = world.user().token();
    peer.expect(block1(peer.sign_up_request(&token), block(0, false, 6)), Changed);
    nothing_is_kept(&world);
}

/// Device reference 12: a body that comes in blocks is put together and routed whole, without block
/// options; the answer repeats the last block (RFC 7959 §2.3).
#[test]
fn a_body_that_comes_in_blocks_is_routed_whole() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for (szx, len) in [(0, 100), (2, 128), (6, 5000), (BERT, 7000)] {
        let update = request(RequestType::Post, &device.path("/a?if=oic.if.a"));
        let step = if szx == BERT { 3072 } else { 16 << szx };
        let body = body(len);
        let parts: Vec<_> = body.chunks(step).collect();
        let mut token = None;
        for (at, part) in parts.iter().enumerate() {
            device.expect_silence();
            let number = (at * step / block(0, false, szx).size()) as u32;
            let this = block(number, at + 1 < parts.len(), szx);
            token = Some(client.send(block1(update.clone().body(*part), this)));
            if this.more {
                let taken = client.expect_reply(Continue);
                assert_eq!(block_of(&taken, CoapOption::Block1), Some(this));
            }
        }
        let routed = device.expect_request("/a");
        assert_eq!((routed.code, &routed.payload), (RequestType::Post.into(), &body));
        assert!(!routed.has(CoapOption::Block1) && routed.queries() == ["if=oic.if.a"]);
        device.respond(&routed, plain(Changed));
        let answer = client.answer_to(token.unwrap()).expect("an answer");
        let last = block_of(&answer, CoapOption::Block1).expect("the last block");
        assert_eq!((answer.code, last.more), (Changed.into(), false));
        assert_eq!(last.offset(), (parts.len() - 1) * step);
        nothing_is_kept(&world);
    }
}

/// Device reference 12: the cloud's own resources take bodies in blocks too, before and after
/// sign-in, also where the request has to wait or to move to another shard.
#[test]
fn the_clouds_own_resources_take_bodies_in_blocks() {
    let world = World::of_shards(4);
    for _ in 0..8 {
        let user = world.user();
        let peer = world.connect();
        let sign_up = peer.sign_up_request(&user.token());
        let answer =
            send_in_blocks(&peer, &Msg { payload: vec![], ..sign_up.clone() }, &sign_up.payload, 1);
        assert_eq!(answer.code, Changed, "{}", tests::describe(&answer));
        peer.keep_account(&answer);
        peer.sign_in();
        let links = (0..20).map(|n| link(&format!("/{n}"), "oic.r.switch.binary"));
        let publish = peer.publish_request(links);
        let answer =
            send_in_blocks(&peer, &Msg { payload: vec![], ..publish.clone() }, &publish.payload, 4);
        assert_eq!(answer.code, Changed);
        assert_eq!(peer.expect(get("/oic/res"), Content).cbor().as_array().unwrap().len(), 20);
    }
}

/// A request that completes a body and has to wait for an earlier change is answered once, in order.
#[test]
fn a_body_that_is_whole_may_have_to_wait() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    world.disk(tests::Disk::Hangs);
    let first = device.send(device.publish_request([link("/a", "x.y")]));
    let publish = device.publish_request([link("/b", "x.y")]);
    let half = Msg { payload: publish.payload[..64].to_vec(), ..publish.clone() };
    let rest = Msg { payload: publish.payload[64..].to_vec(), ..publish };
    let early = device.send(block1(half, block(0, true, 2)));
    let late = device.send(block1(rest, block(1, false, 2)));
    assert!(device.answer_to(late).is_none());
    world.disk(tests::Disk::Takes(Duration::ZERO));
    world.advance_secs(1);
    let answers = [first, early, late].map(|token| device.answer_to(token).expect("one").code);
    assert_eq!(answers, [Changed, Continue, Changed]);
    assert_eq!(device.expect(get("/oic/res"), Content).cbor().as_array().unwrap().len(), 2);
    nothing_is_kept(&world);
}

/// Device reference 12: 4.08 on gaps; the transfer is over. 4.00 for a block of another length than it
/// says (RFC 7959 §2.2).
#[test]
fn a_body_with_a_gap_is_4_08() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let part = |number, more, len: usize| {
        block1(
            request(RequestType::Post, &device.path("/a")).body(body(len)),
            block(number, more, 2),
        )
    };
    client.expect(part(0, true, 64), Continue);
    let gap = client.expect(part(2, true, 64), RequestEntityIncomplete);
    assert!(!gap.has(CoapOption::Block1) && gap.content_format().is_none());
    client.expect(part(1, false, 10), RequestEntityIncomplete);
    client.expect(part(0xf_ffff, false, 10), RequestEntityIncomplete);
    client.expect(part(0, true, 64), Continue);
    client.expect(part(1, true, 63), BadRequest);
    client.expect(part(0, true, 65), BadRequest);
    device.expect_silence();
    nothing_is_kept(&world);
    // From the beginning again it goes through; a repeated beginning begins anew.
    client.expect(part(0, true, 64), Continue);
    client.expect(part(0, true, 64), Continue);
    client.send(part(1, false, 3));
    assert_eq!(device.expect_request("/a").payload.len(), 67);
}

/// Device reference 12: 4.13 with Size1 above the limit.
#[test]
fn a_body_above_the_limit_is_4_13_with_the_limit() {
    let world = World::with(|setup| setup.limits.body_bytes_max = 4096);
    let (device, client) = device_and_client(&world);
    let update = request(RequestType::Post, &device.path("/a"));
    for number in 0..4 {
        let this = block1(update.clone().body(body(1024)), block(number, true, 6));
        client.expect(this, Continue);
    }
    let this = block1(update.clone().body(body(1)), block(4, false, 6));
    let refused = client.expect(this, RequestEntityTooLarge);
    assert_eq!(refused.numbered(SIZE_1), [&4096u16.to_be_bytes()[..]]);
    let open = world.connect();
    let large = block1(open.sign_up_request("x").body(body(1024)), block(0, true, 6));
    open.expect(large.clone(), Continue);
    for number in 1..4 {
        open.expect(
            block1(open.sign_up_request("x").body(body(1024)), block(number, true, 6)),
            Continue,
        );
    }
    open.expect(
        block1(open.sign_up_request("x").body(body(1)), block(4, false, 6)),
        RequestEntityTooLarge,
    );
    device.expect_silence();
    nothing_is_kept(&world);
}

/// Bodies to different resources, and those with different Request-Tags (RFC 9175 §3), may come at
/// the same time; so many and no more.
#[test]
fn bodies_may_come_interleaved_and_are_bounded_in_number() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let part = |tag: u8, number, more| {
        let update = request(RequestType::Put, &device.path("/a")).body(vec![tag; 16]);
        block1(update.option(REQUEST_TAG, [tag]), block(number, more, 0))
    };
    for tag in 0..8 {
        client.expect(part(tag, 0, true), Continue);
    }
    client.expect(part(8, 0, true), ServiceUnavailable);
    for tag in 0..8 {
        client.send(part(tag, 1, false));
        let routed = device.expect_request("/a");
        assert_eq!(routed.payload, [tag; 32]);
        assert!(routed.numbered(REQUEST_TAG).is_empty());
        device.respond(&routed, plain(Changed));
        client.expect_reply(Changed);
    }
    nothing_is_kept(&world);
}

/// Time limits: a body whose next block does not come is given up; so is an answer that nobody
/// fetches. What belongs to a connection goes with it.
#[test]
fn transfers_that_do_not_go_on_are_given_up() {
    let world = World::with(|setup| {
        (setup.timers.ping_after, setup.timers.idle) = (minutes(10), minutes(20));
    });
    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }
    let (device, client) = device_and_client(&world);
    let part = |number, more| {
        block1(
            request(RequestType::Post, &device.path("/a")).body(body(16)),
            block(number, more, 0),
        )
    };
    client.expect(part(0, true), Continue);
    world.advance_secs(29);
    client.expect(part(1, true), Continue);
    world.advance_secs(31);
    nothing_is_kept(&world);
    client.expect(part(2, false), RequestEntityIncomplete);

    let small = block2(get(&device.path("/a")), block(0, false, 0));
    let token = client.send(small);
    let routed = device.expect_request("/a");
    device.respond(&routed, content(body(100)));
    assert!(client.answer_to(token).unwrap().has(CoapOption::Block2));
    assert_ne!(world.sizes(ShardId(0)).transfers, 0);
    world.advance_secs(31);
    nothing_is_kept(&world);

    client.expect(part(0, true), Continue);
    assert_ne!(world.sizes(ShardId(0)).transfers, 0);
    client.close();
    nothing_is_kept(&world);
}

/// A sign-out ends what was under way: nothing of it is seen by who signs in next.
#[test]
fn a_sign_out_ends_transfers() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let part = |number, more| {
        block1(
            request(RequestType::Post, &device.path("/a")).body(body(16)),
            block(number, more, 0),
        )
    };
    client.expect(part(0, true), Continue);
    client.sign_out();
    nothing_is_kept(&world);
    client.sign_in();
    client.expect(part(1, false), RequestEntityIncomplete);
}

/// Who has no session gets nothing kept for what needs one.
#[test]
fn without_a_session_no_block_is_taken_for_what_needs_one() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    let peer = world.connect();
    let update = request(RequestType::Post, &device.path("/a")).body(body(16));
    peer.expect(block1(update, block(0, true, 0)), Unauthorized);
    nothing_is_kept(&world);
}

/// Device reference 12: Block2 number 0 wishes for a size; an answer that fits it is whole.
#[test]
fn an_answer_that_fits_the_wish_is_whole() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for szx in 0..=7 {
        client.send(block2(get(&device.path("/a")), block(0, false, szx)));
        let routed = device.expect_request("/a");
        assert!(!routed.has(CoapOption::Block2));
        device.respond(&routed, content(vec![7; 16]));
        let whole = client.expect_reply(Content);
        assert_eq!((whole.payload.len(), whole.has(CoapOption::Block2)), (16, false));
        let found = client.expect(block2(get("/oic/res"), block(0, false, szx)), Content);
        assert!(!found.has(CoapOption::Block2));
    }
    nothing_is_kept(&world);
}

/// Device reference 12: an answer goes out in blocks of the size that is wished for; the device is
/// asked once.
#[test]
fn an_answer_is_given_in_blocks_of_the_size_that_is_wished_for() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for (szx, len) in [(0, 100), (2, 128), (6, 5000)] {
        let ask = get(&device.path("/a?x=y"));
        let token = client.send(block2(ask.clone(), block(0, false, szx)));
        let routed = device.expect_request("/a");
        device.respond(&routed, content(body(len)));
        let first = client.answer_to(token).expect("an answer");
        assert_eq!(block_of(&first, CoapOption::Block2), Some(block(0, true, szx)));
        assert_eq!(first.payload.len(), 16 << szx);
        let whole = fetch(&client, &ask, first);
        assert_eq!((whole.content_format(), whole.payload), (Some(OCF_CBOR), body(len)));
        device.expect_silence();
        nothing_is_kept(&world);
    }
}

/// Device reference 12: an answer above the Max-Message-Size of a peer that has announced blocks is
/// split without being asked, with BERT where both sides announced it (RFC 8323 §6); no message is
/// larger than the peer takes.
#[test]
fn an_answer_above_the_clients_limit_is_split() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for (limit, szx, first_len) in
        [(100, 1, 32), (1152, 6, 1024), (1153, BERT, 1024), (4200, BERT, 4096)]
    {
        announce(&client, limit);
        let ask = get(&device.path("/a"));
        let token = client.send(ask.clone());
        let routed = device.expect_request("/a");
        device.respond(&routed, content(body(9000)));
        let first = client.answer_to(token).expect("an answer");
        assert_eq!(block_of(&first, CoapOption::Block2), Some(block(0, true, szx)), "{limit}");
        assert_eq!(first.payload.len(), first_len);
        assert_eq!(fetch(&client, &ask, first).payload, body(9000));
        let lengths = client.frame_lengths();
        let longest = lengths[lengths.len() - 9000 / first_len..].iter().max();
        assert!(longest <= Some(&(limit as usize)), "{longest:?}");
        device.expect_silence();
        nothing_is_kept(&world);
    }
    // Where not even the smallest block fits, nothing helps.
    announce(&client, 40);
    let token = client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    device.respond(&routed, content(body(9000)));
    assert_eq!(client.answer_to(token).unwrap().code, InternalServerError);
}

/// Device reference 12: `/oic/res` in blocks, for who takes them.
#[test]
fn links_are_discovered_in_blocks() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let links = (0..50).map(|n| link(&format!("/{n}"), "oic.r.switch.binary"));
    device.expect(device.publish_request(links), Changed);
    announce(&client, 1 << 20);
    let whole = client.expect(get("/oic/res"), Content);
    assert!(!whole.has(CoapOption::Block2));
    announce(&client, 1152);
    let first = client.expect(get("/oic/res"), Content);
    assert_eq!(fetch(&client, &get("/oic/res"), first).payload, whole.payload);
    nothing_is_kept(&world);
}

/// Device reference 12: never a block option to a peer that did not announce it.
#[test]
fn who_has_not_announced_blocks_gets_none() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.send(Msg::new(SignalCode::Csm.code()).uint(2, 1152));
    let token = client.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    device.respond(&routed, content(body(3000)));
    let refused = client.answer_to(token).unwrap();
    assert_eq!(
        (refused.code, refused.has(CoapOption::Block2)),
        (InternalServerError.into(), false)
    );
    device.send(Msg::new(SignalCode::Csm.code()).uint(2, 1152));
    client.expect(post(&device.path("/a"), body(3000)), RequestEntityTooLarge);
    device.expect_silence();
}

/// A later block of an answer that is not kept: a GET is made again, and cut where it is asked for;
/// what has changed something is 4.08; beyond the end 4.00.
#[test]
fn a_later_block_may_be_asked_for_at_any_time() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let ask = |number| block2(get(&device.path("/a")), block(number, false, 2));
    let answer = |message: Msg| {
        let token = client.send(message);
        let routed = device.expect_request("/a");
        assert!(!routed.has(CoapOption::Observe));
        device.respond(&routed, content(body(100)));
        client.answer_to(token).expect("an answer")
    };
    let second = answer(ask(1));
    assert_eq!(block_of(&second, CoapOption::Block2), Some(block(1, false, 2)));
    assert_eq!(second.payload, body(100)[64..]);
    assert_eq!(answer(ask(1).observe(0)).payload, body(100)[64..]);
    let beyond = answer(ask(2));
    assert_eq!((beyond.code, beyond.has(CoapOption::Block2)), (BadRequest.into(), false));
    for message in [post(&device.path("/a"), b"\xa0"), delete(&device.path("/a"))] {
        client.expect(block2(message, block(1, false, 2)), RequestEntityIncomplete);
    }
    client.expect(get("/oic/res").named(CoapOption::Block2, [0; 4]), BadOption);
    device.expect_silence();
    nothing_is_kept(&world);
}

/// An answer to a POST may be large too: its rest is fetched with the same method and no body
/// (RFC 7959 §3.3).
#[test]
fn both_body_and_answer_may_go_in_blocks() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let update = request(RequestType::Post, &device.path("/a"));
    let first = block1(update.clone().body(body(64)), block(0, true, 2));
    client.expect(first, Continue);
    let last = block1(block2(update.clone().body(body(5)), block(0, false, 2)), block(1, false, 2));
    let token = client.send(last);
    let routed = device.expect_request("/a");
    assert_eq!(routed.payload.len(), 69);
    device.respond(&routed, content(body(100)));
    let first = client.answer_to(token).unwrap();
    assert_eq!(block_of(&first, CoapOption::Block1), Some(block(1, false, 2)));
    assert_eq!(block_of(&first, CoapOption::Block2), Some(block(0, true, 2)));
    assert_eq!(fetch(&client, &update, first).payload, body(100));
    device.expect_silence();
    nothing_is_kept(&world);
}

/// A notification that is too large goes out as its first block, with Observe; the rest is fetched
/// without (RFC 7959 §2.6).
#[test]
fn notifications_go_out_in_blocks() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    announce(&client, 1152);
    let ask = get(&device.path("/a"));
    let token = client.send(ask.clone().observe(0));
    let routed = device.expect_request("/a");
    for (count, len) in [(1, 3000), (2, 4000), (3, 10)] {
        device.respond(&routed, content(body(len)).observe(count));
        let first = client.answer_to(token).expect("a notification");
        assert_eq!(first.observed(), Some(count));
        if len > 1152 {
            let whole = fetch(&client, &ask, first);
            assert_eq!((whole.observed(), whole.payload), (None, body(len)));
        } else {
            assert_eq!((first.payload, first.options.len()), (body(len), 3));
        }
    }
    client.expect(ask.clone().observe(1).token(token.as_bytes()), Content);
    let cancelled = device.expect_request("/a");
    device.respond(&cancelled, content(body(10)));
    nothing_is_kept(&world);
}

/// Device reference 12: a device that never spoke of blocks answers with Block2 and more: 5.02; Block2
/// of a whole body is dropped.
#[test]
fn an_answer_in_blocks_of_who_never_spoke_of_them_is_5_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let ask = |answer: Msg| {
        let token = client.send(get(&device.path("/a")));
        let routed = device.expect_request("/a");
        device.respond(&routed, answer);
        client.answer_to(token).expect("an answer")
    };
    assert_eq!(ask(block2(content(vec![1; 1024]), block(0, true, 6))).code, BadGateway);
    assert_eq!(ask(block2(content(vec![1; 100]), block(1, false, 6))).code, BadGateway);
    let whole = ask(block2(content(vec![1; 100]), block(0, false, 6)));
    assert_eq!((whole.code, whole.has(CoapOption::Block2)), (Content.into(), false));
    let acknowledged = ask(block1(plain(Changed), block(0, false, 6)));
    assert_eq!((acknowledged.code, acknowledged.has(CoapOption::Block1)), (Changed.into(), false));
    device.expect_silence();
    assert!(device.is_connected());
}

/// Answers the cloud's requests for this body in blocks, until it has all of it.
fn serve_in_blocks(device: &Peer, path: &str, whole: &[u8], szx: u8) -> usize {
    let mut asked = 0;
    while let Some(request) = device.next() {
        assert_eq!(request.path(), path);
        assert!(!request.has(CoapOption::Observe) && request.payload.is_empty());
        let this = block_of(&request, CoapOption::Block2).unwrap_or(block(0, false, szx));
        let (from, to) = (this.offset(), (this.offset() + this.size()).min(whole.len()));
        let this = Block { more: to < whole.len(), ..this };
        device.respond(
            &request,
            block2(content(&whole[from..to]), this).named(CoapOption::ETag, [7]),
        );
        asked += 1;
    }
    asked
}

/// Device reference 12: of a device that has announced blocks the rest is fetched, and the client gets
/// all of it. One that has sent any CSM has answered ours (a deviation).
#[test]
fn the_rest_of_a_devices_answer_is_fetched() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.send(Msg::new(SignalCode::Csm.code()));
    for announced in [false, true] {
        if announced {
            announce(&device, 4096);
        }
        for (szx, len) in [(6, 5000), (0, 100), (6, 1024)] {
            let token = client.send(get(&device.path("/a?if=oic.if.b")));
            let asked = serve_in_blocks(&device, "/a", &body(len), szx);
            assert_eq!(asked, len.div_ceil(16 << szx));
            let whole = client.answer_to(token).expect("an answer");
            assert_eq!((whole.code, &whole.payload), (Content.into(), &body(len)));
            assert!(!whole.has(CoapOption::Block2));
            assert_eq!(whole.values(CoapOption::ETag), [&[7]]);
            nothing_is_kept(&world);
        }
    }
}

/// What does not belong together is no answer: 5.02, and nothing is left of it.
#[test]
fn blocks_of_a_device_that_do_not_fit_are_5_02() {
    let world = World::with(|setup| setup.limits.body_bytes_max = 4096);
    let (device, client) = device_and_client(&world);
    announce(&device, 4096);
    let part = |number, more, len: usize| block2(content(body(len)), block(number, more, 2));
    let etag = |message: Msg, value: u8| message.named(CoapOption::ETag, [value]);
    let too_large = block2(content(body(8192)), block(0, true, BERT));
    for answers in [
        vec![part(1, true, 64)],
        vec![part(0, true, 63)],
        vec![part(0, true, 64), part(2, false, 64)],
        vec![part(0, true, 64), part(0, false, 64)],
        vec![part(0, true, 64), content(body(64))],
        vec![etag(part(0, true, 64), 1), etag(part(1, false, 64), 2)],
        vec![etag(part(0, true, 64), 1), part(1, false, 64)],
        vec![part(0, true, 64), Msg { code: Changed.into(), ..part(1, false, 64) }],
        vec![too_large],
        vec![plain(ResponseType::Continue)],
    ] {
        let token = client.send(get(&device.path("/a")));
        for answer in answers {
            let request = device.take();
            device.respond(&request, answer);
        }
        assert_eq!(client.answer_to(token).expect("an answer").code, BadGateway);
        device.expect_silence();
        nothing_is_kept(&world);
    }
    // An error in the middle is what it says, and silence is 5.04.
    let token = client.send(get(&device.path("/a")));
    device.respond(&device.take(), part(0, true, 64));
    device.respond(&device.take(), plain(NotFound));
    assert_eq!(client.answer_to(token).unwrap().code, NotFound);
    let token = client.send(get(&device.path("/a")));
    device.respond(&device.take(), part(0, true, 64));
    device.take();
    world.advance_secs(21);
    assert_eq!(client.answer_to(token).unwrap().code, GatewayTimeout);
    nothing_is_kept(&world);
}

/// The rest of a notification is fetched with a token of its own; a newer notification takes its
/// place.
#[test]
fn the_rest_of_a_notification_is_fetched() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    announce(&device, 4096);
    let token = client.send(get(&device.path("/a")).observe(0));
    let routed = device.expect_request("/a");
    let first =
        |whole: &[u8], count| block2(content(&whole[..64]), block(0, true, 2)).observe(count);
    let rest = |request: &Msg, whole: &[u8]| {
        assert_ne!(request.token, routed.token);
        assert_eq!(block_of(request, CoapOption::Block2), Some(block(1, false, 2)));
        device.respond(request, block2(content(&whole[64..]), block(1, false, 2)));
    };
    device.respond(&routed, first(&body(100), 5));
    rest(&device.take(), &body(100));
    let told = client.answer_to(token).expect("a notification");
    assert_eq!((told.observed(), &told.payload), (Some(1), &body(100)));

    device.respond(&routed, first(&body(90), 6));
    let old = device.take();
    device.respond(&routed, first(&body(110), 7));
    let new = device.take();
    rest(&old, &body(90));
    client.expect_silence();
    rest(&new, &body(110));
    let told = client.answer_to(token).expect("a notification");
    assert_eq!((told.observed(), &told.payload), (Some(2), &body(110)));

    device.respond(&routed, content(body(10)).observe(8));
    assert_eq!(client.answer_to(token).expect("a notification").payload, body(10));
    device.respond(&routed, first(&body(120), 9));
    device.take();
    client.close();
    device.respond(&device.take(), content(body(10)));
    world.advance_secs(21);
    nothing_is_kept(&world);
}

/// Device reference 12: a request that is larger than the device takes goes out in blocks if the
/// device has announced them, with BERT where both did; it may want smaller ones.
#[test]
fn a_request_above_the_devices_limit_is_split() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for (limit, szx, wanted) in [(1152, 6, 6), (1152, 6, 4), (4200, BERT, BERT), (4200, BERT, 6)] {
        announce(&device, limit);
        let token = client.send(post(&device.path("/a"), body(9000)));
        let mut whole = Vec::new();
        loop {
            let request = device.expect_request("/a");
            assert_eq!(request.content_format(), Some(OCF_CBOR));
            assert!(request.encode().len() <= limit as usize);
            let this = block_of(&request, CoapOption::Block1).expect("a block");
            assert_eq!(
                (this.offset(), this.szx),
                (whole.len(), if whole.is_empty() { szx } else { wanted })
            );
            whole.extend_from_slice(&request.payload);
            let code = if this.more { Continue } else { Changed };
            device.respond(&request, block1(plain(code), Block { szx: wanted, ..this }));
            if !this.more {
                break;
            }
        }
        assert_eq!(whole, body(9000));
        let answer = client.answer_to(token).expect("an answer");
        assert_eq!((answer.code, answer.has(CoapOption::Block1)), (Changed.into(), false));
        nothing_is_kept(&world);
    }
    let token = client.send(post(&device.path("/a"), body(9000)));
    device.respond(&device.take(), plain(RequestEntityTooLarge));
    assert_eq!(client.answer_to(token).unwrap().code, RequestEntityTooLarge);
    nothing_is_kept(&world);
}

/// Device reference 1.3, rule 4: whatever clients send, no block option reaches a device that has not
/// announced them.
#[test]
fn no_block_option_reaches_a_device() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for message in [get(&device.path("/a")).observe(0), post(&device.path("/a"), b"\xa0")] {
        let asked = block1(block2(message, block(0, false, 2)), block(0, false, 2));
        client.send(asked.uint(28, 5).uint(SIZE_1, 5));
        let routed = device.expect_request("/a");
        let numbers: Vec<_> = routed.options.iter().map(|(number, _)| *number).collect();
        assert!([23, 27, 28, 60].iter().all(|number| !numbers.contains(number)), "{numbers:?}");
        assert_eq!(routed.values(CoapOption::Accept), [&OCF_CBOR.to_be_bytes()[2..]]);
    }
}

/// What goes in blocks takes memory only while it goes; who never spoke of them costs nothing.
#[test]
fn requests_without_blocks_leave_nothing() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let token = client.send(get(&device.path("/a")));
    nothing_is_kept(&world);
    let routed = device.expect_request("/a");
    device.respond(&routed, content(body(5000)));
    assert_eq!(client.answer_to(token).unwrap().payload.len(), 5000);
    nothing_is_kept(&world);
}
