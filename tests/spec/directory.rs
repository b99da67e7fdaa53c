//! Device reference 8: publish, republish, expiry, unpublish, selection.

use std::time::Duration;

use ciborium::Value;
use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::{CoapOption, signal::SignalCode};
use tests::{CBOR, Disk, Msg, Peer, World, delete, get, link, map, member, post};

const SWITCH: &str = "oic.r.switch.binary";

fn publish(body: impl Into<tests::message::Body>) -> Msg {
    post("/oic/rd", body)
}

/// The body of a publish with these keys beside `di` and `links`.
fn body_with(peer: &Peer, links: Vec<Value>, more: &[(&str, Value)]) -> Value {
    let mut pairs =
        vec![("di".into(), peer.id.to_string().into()), ("links".into(), Value::Array(links))];
    pairs.extend(more.iter().map(|(key, value)| ((*key).into(), value.clone())));
    Value::Map(pairs)
}

/// A link with one more member, or another value of one.
fn link_with(href: &str, key: &str, value: impl Into<Value>) -> Value {
    let Value::Map(mut pairs) = link(href, SWITCH) else { unreachable!("a link is a map") };
    pairs.retain(|(name, _)| name.as_text() != Some(key));
    pairs.push((key.into(), value.into()));
    Value::Map(pairs)
}

fn links_of(answer: &Msg) -> Vec<Value> {
    member(&answer.cbor(), "links").expect("links").as_array().expect("an array").clone()
}

fn text<'a>(link: &'a Value, key: &str) -> &'a str {
    member(link, key).and_then(Value::as_text).expect("a text")
}

fn number(link: &Value, key: &str) -> i128 {
    member(link, key).and_then(Value::as_integer).expect("a number").into()
}

/// What a client of the same user discovers of this device, without the device id.
fn discovered(client: &Peer, device: &Peer) -> Vec<String> {
    let answer = client.expect(get(&format!("/oic/res?di={}", device.id)), Content);
    let links = answer.cbor();
    let hrefs = links.as_array().expect("links").iter().map(|link| text(link, "href"));
    hrefs.map(|href| href[37..].to_owned()).collect()
}

fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

/// Device reference 8.1 and 1.3, rule 7: exactly 2.04 with href as sent and the cloud's ins.
#[test]
fn a_publish_is_answered_2_04_with_href_and_ins_of_every_link() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let links =
        vec![link_with("light/1", "ins", 7), link("/oic/d", "oic.wk.d"), link("//b", SWITCH)];
    let request = publish(body_with(&device, links, &[("ttl", 0.into()), ("n", "Hall".into())]));
    let answer = device.expect(request, Changed);
    assert_eq!((answer.content_format(), answer.content_version()), (Some(10_000), Some(2048)));
    assert_eq!(answer.member_text("di"), device.id.to_string());
    assert_eq!(answer.member_integer("ttl"), 0);
    let links = links_of(&answer);
    let shown: Vec<_> =
        links.iter().map(|link| (text(link, "href"), number(link, "ins"))).collect();
    let crc = |href: &str| i128::from(shared::ids::Href::parse(href).expect("a path").instance());
    assert_eq!(
        shown,
        [("light/1", crc("/light/1")), ("/oic/d", crc("/oic/d")), ("//b", crc("/b"))]
    );
    assert!(links.iter().all(|link| member(link, "rt").is_some() && member(link, "if").is_some()));
    assert_eq!(discovered(&client, &device), ["/b", "/light/1", "/oic/d"]);
}

/// Device reference 8.1: queries that publishes carry.
#[test]
fn a_publish_needs_no_query_and_takes_those_that_stacks_send() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    for query in ["", "?rt=oic.wk.rdpub", "?if=oic.if.baseline"] {
        let body = body_with(&device, vec![link("/a", SWITCH)], &[]);
        device.expect(post(&format!("/oic/rd{query}"), body), Changed);
    }
}

/// Device reference 8.1, 16 point 18: ttl and its legacy name; absent is 0.
#[test]
fn ttl_may_be_absent_or_called_lt() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    for (more, granted) in [
        (vec![], 0),
        (vec![("ttl", Value::from(0))], 0),
        (vec![("lt", 0.into())], 0),
        (vec![("ttl", 86_400.into())], 86_400),
        (vec![("lt", 86_400.into())], 86_400),
        // At least two hours are granted (8.2).
        (vec![("ttl", 60.into())], 7200),
        (vec![("ttl", i64::MAX.into())], i64::from(u32::MAX)),
    ] {
        let answer =
            device.expect(publish(body_with(&device, vec![link("/a", SWITCH)], &more)), Changed);
        assert_eq!(answer.member_integer("ttl"), granted, "{more:?}");
    }
    for ttl in [-1, i64::MIN] {
        let more = [("ttl", ttl.into())];
        device.expect(publish(body_with(&device, vec![link("/z", SWITCH)], &more)), BadRequest);
    }
    assert!(device.is_connected());
}

/// Device reference 8.1: a bad publish is 4.00, and nothing of it is stored.
#[test]
fn a_publish_that_is_wrong_is_4_00_and_stores_nothing() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let stranger = world.device_id();
    let good = || link("/good", SWITCH);
    let without = |key: &str| {
        let Value::Map(mut pairs) = good() else { unreachable!("a link is a map") };
        pairs.retain(|(name, _)| name.as_text() != Some(key));
        Value::Map(pairs)
    };
    let long = |length: usize| "x".repeat(length);
    let texts = |text: String| Value::Array(vec![text.into()]);
    let bad: Vec<Value> = vec![
        body_with(&device, vec![], &[]),
        body_with(&device, vec![good(), without("href")], &[]),
        body_with(&device, vec![good(), without("rt")], &[]),
        body_with(&device, vec![good(), without("if")], &[]),
        body_with(&device, vec![good(), link_with("/a", "rt", Value::Array(vec![]))], &[]),
        body_with(&device, vec![good(), link_with("/a", "if", Value::Array(vec![]))], &[]),
        body_with(&device, vec![good(), link_with("/a", "rt", "text")], &[]),
        body_with(&device, vec![good(), link_with("/a", "rt", texts(long(65)))], &[]),
        body_with(&device, vec![good(), link_with("/a", "if", texts(String::new()))], &[]),
        body_with(&device, vec![good(), link("", SWITCH)], &[]),
        body_with(&device, vec![good(), link("///", SWITCH)], &[]),
        body_with(&device, vec![good(), link(&format!("/{}", long(256)), SWITCH)], &[]),
        body_with(&device, vec![good(), link("/a\nb", SWITCH)], &[]),
        body_with(&device, vec![good(), link_with("/a", "title", long(257))], &[]),
        body_with(&device, vec![good(), Value::Null], &[]),
        map([("di", stranger.to_string().into()), ("links", Value::Array(vec![good()]))]),
        map([("di", "me".into()), ("links", Value::Array(vec![good()]))]),
        map([("links", Value::Array(vec![good()]))]),
        map([("di", device.id.to_string().into())]),
        Value::Array(vec![good()]),
    ];
    for body in bad {
        let said = format!("{body:?}");
        assert_eq!(device.request(publish(body)).code, BadRequest, "{said}");
        assert!(device.is_connected());
    }
    device.expect(publish(b"\xbf\x62di"), BadRequest);
    assert_eq!(discovered(&client, &device), [""; 0]);
    let longest = link(&format!("/{}", long(255)), &long(64));
    device.expect(publish(body_with(&device, vec![longest], &[])), Changed);
}

/// Device reference 8.1: not signed in.
#[test]
fn without_a_session_the_directory_is_4_01_and_closes() {
    let world = World::new();
    let requests: [fn(&Peer) -> Msg; 3] = [
        |peer| peer.publish_request([link("/a", SWITCH)]),
        |_| delete("/oic/rd"),
        |_| get("/oic/rd"),
    ];
    for request in requests {
        let peer = world.connect();
        peer.sign_up(&world.user().token());
        peer.expect(request(&peer), Unauthorized);
        assert!(!peer.is_connected());
    }
}

/// Device reference 8.1: upsert; a publish leaves the links alone that it does not name.
#[test]
fn a_publish_adds_and_replaces_and_leaves_the_rest() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let first = device.publish(&["/a", "/b"]);
    device.publish(&["/c"]);
    assert_eq!(discovered(&client, &device), ["/a", "/b", "/c"]);
    let again = device
        .expect(publish(body_with(&device, vec![link("b", "oic.r.temperature")], &[])), Changed);
    assert_eq!(number(&links_of(&again)[0], "ins"), number(&links_of(&first)[1], "ins"));
    assert_eq!(discovered(&client, &device), ["/a", "/b", "/c"]);
    let found = client.expect(get("/oic/res?rt=oic.r.temperature"), Content);
    assert_eq!(found.cbor().as_array().expect("links").len(), 1);
}

/// Device reference 8.1: the links of one href belong to one number, others to others.
#[test]
fn hrefs_whose_checksums_collide_get_different_numbers() {
    // Two paths with the same CRC-32.
    let (one, two) = ("/plumless", "/buckeroo");
    let crc = |href: &str| shared::ids::Href::parse(href).expect("a path").instance();
    assert_eq!(crc("/plumless"), crc("/buckeroo"));
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let links = links_of(&device.publish(&[one, two]));
    let numbers = [number(&links[0], "ins"), number(&links[1], "ins")];
    assert_eq!(numbers[1], numbers[0] + 1, "the next free one");
    assert_eq!(
        links_of(&device.publish(&[two, one])).iter().map(|l| number(l, "ins")).collect::<Vec<_>>(),
        [numbers[1], numbers[0]]
    );
    device.expect(delete(&format!("/oic/rd?ins={}", numbers[1])), Deleted);
    assert_eq!(discovered(&client, &device), [one]);
}

/// Device reference 8.1: security resources are dropped; what a device may not publish is not shown.
#[test]
fn security_resources_are_dropped_and_not_answered() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let links = vec![
        link("/oic/sec/acl2", "oic.r.acl2"),
        link("/a", SWITCH),
        link("oic/sec/cred", "oic.r.cred"),
    ];
    let answer = device.expect(publish(body_with(&device, links, &[])), Changed);
    assert_eq!(
        links_of(&answer).iter().map(|link| text(link, "href").to_owned()).collect::<Vec<_>>(),
        ["/a"]
    );
    assert_eq!(discovered(&client, &device), ["/a"]);
    let only = vec![link("/oic/sec/acl2", "oic.r.acl2")];
    assert!(links_of(&device.expect(publish(body_with(&device, only, &[])), Changed)).is_empty());
}

/// Device reference 17, 8.1: too many links or bytes for one device.
#[test]
fn too_many_links_or_bytes_are_4_13_and_store_nothing() {
    let world = World::with(|setup| setup.limits.links_per_device_max = 3);
    let (device, client) = device_and_client(&world);
    device.publish(&["/a", "/b"]);
    let more = device.publish_request([link("/c", SWITCH), link("/d", SWITCH)]);
    device.expect(more, RequestEntityTooLarge);
    device.publish(&["/c", "/b", "/a"]);
    assert_eq!(discovered(&client, &device), ["/a", "/b", "/c"]);

    let world = World::with(|setup| setup.limits.link_bytes_per_device_max = 500);
    let (device, client) = device_and_client(&world);
    device.publish(&["/a"]);
    let texts: Vec<Value> = (0..10).map(|n| format!("{n}").repeat(60).into()).collect();
    let large = link_with("/b", "rt", Value::Array(texts));
    device.expect(device.publish_request([large]), RequestEntityTooLarge);
    assert_eq!(discovered(&client, &device), ["/a"]);
}

/// Device reference 8.1: an answer above the peer's limit loses all keys but href, rt, if, ins; the
/// code stays 2.04, because a device takes no other one for success.
#[test]
fn the_answer_to_a_publish_fits_the_peer_and_stays_2_04() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let links = || (0..10).map(|n| link_with(&format!("/{n}"), "title", "x".repeat(100))).collect();
    let whole = device.expect(publish(body_with(&device, links(), &[])), Changed).encode().len();
    for limit in [whole - 1, 1000, 500, 100, 20] {
        let csm = Msg::new(SignalCode::Csm.code()).uint(2, limit as u32);
        device.send(csm);
        let answer = device.expect(publish(body_with(&device, links(), &[])), Changed);
        assert!(answer.encode().len() <= limit, "{} > {limit}", answer.encode().len());
        if limit >= 1000 {
            let kept = links_of(&answer);
            let keys =
                kept[0].as_map().expect("a link").iter().filter_map(|(key, _)| key.as_text());
            assert!(keys.eq(["href", "rt", "if", "ins"]), "{kept:?}");
        }
    }
    assert_eq!(discovered(&client, &device).len(), 10);
}

/// Device reference 8.1: after a failure 5.03, and the connection ends some seconds later, so that
/// the device signs in and publishes again.
#[test]
fn when_the_store_refuses_a_publish_is_5_03_and_the_device_is_made_to_come_again() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    world.disk(Disk::Refuses);
    device.expect(device.publish_request([link("/a", SWITCH)]), ServiceUnavailable);
    assert!(device.is_connected());
    world.advance_secs(6);
    assert!(!device.is_connected());
    assert_eq!(world.ended().last().expect("an end").reason, CloseReason::Refused);
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(discovered(&client, &device), [""; 0]);
    // Who has managed meanwhile stays.
    device.connect();
    device.sign_in();
    world.disk(Disk::Refuses);
    device.expect(device.publish_request([link("/a", SWITCH)]), ServiceUnavailable);
    world.disk(Disk::Takes(Duration::ZERO));
    device.publish(&["/a"]);
    world.advance_secs(6);
    assert!(device.is_connected());
}

/// Device reference 8.1, side effects: durable before the answer; seen by nobody before.
#[test]
fn links_are_seen_when_they_are_durable_and_survive_a_restart() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    world.disk(Disk::Hangs);
    let token = device.send(device.publish_request([link("/a", SWITCH)]));
    device.expect_silence();
    assert_eq!(discovered(&client, &device), [""; 0]);
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(device.answer_to(token).expect("an answer").code, Changed);
    assert_eq!(discovered(&client, &device), ["/a"]);
    world.restart();
    client.connect();
    client.sign_in();
    assert_eq!(discovered(&client, &device), ["/a"]);
}

/// Device reference 8.1: accepted, also when nothing changed; that costs no commit.
#[test]
fn a_publish_that_changes_nothing_is_answered_without_the_store() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    device.publish(&["/a"]);
    world.disk(Disk::Hangs);
    device.publish(&["/a"]);
    assert_eq!(world.commits_under_way(), 0);
}

/// Device reference 4.1, 4.2: formats and versions of a publish.
#[test]
fn formats_and_versions_of_a_publish_are_checked() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    let request = || device.publish_request([link("/a", SWITCH)]);
    device.expect(request().format(CBOR), Changed);
    device.expect(request().without(CoapOption::ContentFormat), Changed);
    device.expect(request().format(50), UnsupportedContentFormat);
    device.expect(request().accept(50), NotAcceptable);
    device.expect(request().uint(2053, 1), UnsupportedContentFormat);
    assert!(device.is_connected());
}

/// Device reference 8.2: ttl 0 is kept until unpublish or sign-off.
#[test]
fn links_without_ttl_never_expire() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.publish(&["/a"]);
    live(&world, &[&device, &client], 24 * 3600);
    assert_eq!(discovered(&client, &device), ["/a"]);
}

/// Time passes, and these stay connected.
fn live(world: &World, peers: &[&Peer], secs: u64) {
    for _ in 0..secs / 60 {
        for _ in 0..2 {
            world.advance_secs(30);
            for peer in peers {
                peer.send(Msg::new(SignalCode::Ping.code()));
                peer.take_all();
            }
        }
    }
}

fn publish_for(device: &Peer, href: &str, ttl: u32) {
    let body = body_with(device, vec![link(href, SWITCH)], &[("ttl", ttl.into())]);
    device.expect(publish(body), Changed);
}

/// Device reference 8.2: ttl above 0 expires ttl seconds after the last publish; a publish renews.
#[test]
fn links_expire_after_their_ttl_unless_they_are_published_again() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    publish_for(&device, "/a", 4 * 3600);
    publish_for(&device, "/b", 3 * 3600);
    device.publish(&["/c"]);
    live(&world, &[&device, &client], 3 * 3600 - 120);
    assert_eq!(discovered(&client, &device), ["/a", "/b", "/c"]);
    publish_for(&device, "/a", 4 * 3600);
    live(&world, &[&device, &client], 240);
    assert_eq!(discovered(&client, &device), ["/a", "/c"]);
    live(&world, &[&device, &client], 3600);
    assert_eq!(discovered(&client, &device), ["/a", "/c"], "it was renewed");
    live(&world, &[&device, &client], 3 * 3600);
    assert_eq!(discovered(&client, &device), ["/c"]);
    // What has expired is gone from the store, too.
    world.restart();
    client.connect();
    client.sign_in();
    assert_eq!(discovered(&client, &device), ["/c"]);
}

/// Device reference 8.2, 16 point 19: the clock pauses while the device is offline.
#[test]
fn links_of_a_device_that_is_offline_do_not_expire() {
    let world = World::new();
    let user = world.user();
    // Who proves its id has a token for ever.
    let (device, client) = (user.signed_in_device(), user.signed_in_device_with_identity());
    publish_for(&device, "/a", 7200);
    live(&world, &[&device, &client], 3600);
    device.lose();
    live(&world, &[&client], 100 * 3600);
    assert_eq!(discovered(&client, &device), ["/a"]);
    device.connect();
    device.refresh();
    device.sign_in();
    live(&world, &[&device, &client], 3600 - 120);
    assert_eq!(discovered(&client, &device), ["/a"]);
    live(&world, &[&device, &client], 240);
    assert_eq!(discovered(&client, &device), [""; 0]);
}

/// Device reference 8.2: after a restart nobody has lost time that it could not use.
#[test]
fn after_a_restart_links_have_their_whole_ttl_again() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    publish_for(&device, "/a", 7200);
    live(&world, &[&device, &client], 3600);
    world.restart();
    for peer in [&device, &client] {
        peer.connect();
        peer.sign_in();
    }
    live(&world, &[&device, &client], 7200 - 120);
    assert_eq!(discovered(&client, &device), ["/a"]);
    live(&world, &[&device, &client], 240);
    assert_eq!(discovered(&client, &device), [""; 0]);
}

/// Design, section 3: an expiry that the store refuses is tried again.
#[test]
fn an_expiry_that_the_store_refuses_is_made_up_for() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    publish_for(&device, "/a", 7200);
    world.disk(Disk::Refuses);
    live(&world, &[&device, &client], 7260);
    assert_eq!(discovered(&client, &device), ["/a"]);
    world.disk(Disk::Takes(Duration::ZERO));
    live(&world, &[&device, &client], 120);
    assert_eq!(discovered(&client, &device), [""; 0]);
}

/// Device reference 8.3: every documented form.
#[test]
fn links_are_unpublished_in_every_documented_form() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let ins = |href: &str| shared::ids::Href::parse(href).expect("a path").instance();
    let all = ["/a", "/b", "/c"];
    let di = device.id;
    let joined = format!("di={di}&ins={}&ins={}", ins("/a"), ins("/b"));
    for (query, left) in [
        // Separate options, as iotivity-lite sends them.
        (format!("di={di}&ins={}", ins("/b")), &["/a", "/c"][..]),
        (format!("di={di}&ins={}&ins={}", ins("/a"), ins("/c")), &["/b"]),
        (format!("ins={}", ins("/a")), &["/b", "/c"]),
        // No ins: all links.
        (format!("di={di}"), &[]),
        (String::new(), &[]),
        // Some unknown.
        (format!("di={di}&ins=1&ins={}", ins("/c")), &["/a", "/b"]),
        // Nothing removed is as good.
        (format!("di={di}&ins=1"), &all),
        (format!("di={}&ins={}&x=1", di.to_string().to_uppercase(), ins("/a")), &["/b", "/c"]),
    ] {
        device.publish(&all);
        let answer = device.expect(delete(&format!("/oic/rd?{query}")), Deleted);
        assert_eq!((answer.options, answer.payload), (vec![], vec![]));
        assert_eq!(discovered(&client, &device), left, "{query}");
    }
    device.publish(&all);
    let one_option = delete("/oic/rd").named(CoapOption::UriQuery, joined);
    device.expect(one_option, Deleted);
    assert_eq!(discovered(&client, &device), ["/c"]);
    device.expect(delete("/oic/rd"), Deleted);
    device.expect(delete("/oic/rd"), Deleted);
    world.restart();
    client.connect();
    client.sign_in();
    assert_eq!(discovered(&client, &device), [""; 0]);
}

/// Device reference 8.3: di of another device, ins not a number.
#[test]
fn an_unpublish_that_is_wrong_is_4_00_and_removes_nothing() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    client.publish(&["/a"]);
    device.publish(&["/a"]);
    let ins = shared::ids::Href::parse("/a").expect("a path").instance();
    for query in [
        format!("di={}&ins={ins}", client.id),
        format!("di={}", world.device_id()),
        "di=".to_owned(),
        "ins=".to_owned(),
        "ins=-1".to_owned(),
        format!("ins={ins}&ins=a"),
        "ins=4294967296".to_owned(),
    ] {
        device.expect(delete(&format!("/oic/rd?{query}")), BadRequest);
    }
    assert_eq!(discovered(&client, &device), ["/a"]);
    assert_eq!(discovered(&client, &client), ["/a"]);
}

/// Device reference 8.3: the store refuses.
#[test]
fn when_the_store_refuses_an_unpublish_is_5_03() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    device.publish(&["/a"]);
    world.disk(Disk::Refuses);
    device.expect(delete("/oic/rd"), ServiceUnavailable);
    assert_eq!(discovered(&client, &device), ["/a"]);
}

/// Device reference 8.4.
#[test]
fn the_directory_says_how_much_it_recommends_itself() {
    let world = World::new();
    let (device, _) = device_and_client(&world);
    let answer = device.expect(get("/oic/rd"), Content);
    let texts = |text: &str| Value::Array(vec![text.into()]);
    let expected =
        map([("rt", texts("oic.wk.rd")), ("if", texts("oic.if.baseline")), ("sel", 0.into())]);
    assert_eq!(answer.cbor(), expected);
    assert_eq!((answer.content_format(), answer.content_version()), (Some(10_000), Some(2048)));
}

/// Device reference 1.3, rule 8: links stay over disconnects and restarts; a real device publishes
/// once.
#[test]
fn links_of_real_devices_stay_over_losses_and_restarts() {
    let world = World::of_shards(2);
    let user = world.user();
    let (light, client) = (user.light(), user.signed_in_client());
    let count =
        |client: &Peer| client.request(get("/oic/res")).cbor().as_array().expect("links").len();
    let before = count(&client);
    assert!(before >= 3);
    light.lose();
    world.advance_secs(10);
    world.restart();
    world.advance_secs(10);
    assert!(light.is_signed_in());
    client.connect();
    client.sign_in();
    assert_eq!(count(&client), before);
    assert_eq!(world.counted(|c| c.publishes), 0, "none since the restart");
}
