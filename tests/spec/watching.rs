//! Device reference 9.5: Observe on the cloud's `/oic/res`.

use ciborium::Value;
use shared::coap::ResponseType::*;
use shared::coap::Token;
use shared::coap::signal::SignalCode;
use shared::ids::ShardId;
use tests::{CBOR, Msg, Peer, World, delete, get, link, member};

fn hrefs(answer: &Msg) -> Vec<String> {
    let links = answer.cbor();
    let links = links.as_array().expect("an array").iter();
    links
        .map(|link| member(link, "href").and_then(Value::as_text).expect("href").to_owned())
        .collect()
}

fn watch(client: &Peer, query: &str) -> Token {
    let token = client.send(get(&format!("/oic/res{query}")).observe(0));
    let first = client.answer_to(token).expect("the first answer");
    assert_eq!((first.code, first.observed()), (Content.into(), Some(1)));
    token
}

/// Device reference 9.5: the whole answer again when links of the user's devices change; values rise.
#[test]
fn who_observes_the_links_is_told_when_devices_come_publish_and_go() {
    let world = World::new();
    let user = world.user();
    let client = user.signed_in_client();
    let token = watch(&client, "");
    let told = |observe: u32, expected: &[String]| {
        world.advance_secs(2);
        let got = client.take();
        assert_eq!((got.token, got.code), (Some(token), Content.into()));
        assert_eq!(got.observed(), Some(observe));
        assert_eq!((got.content_format(), got.content_version()), (Some(10_000), Some(2048)));
        assert_eq!(hrefs(&got), expected);
        client.expect_silence();
    };
    let device = user.signed_in_device();
    world.advance_secs(2);
    client.expect_silence();
    device.publish(&["/a", "/b"]);
    told(2, &[device.path("/a"), device.path("/b")]);
    let ins = shared::ids::Href::parse("/a").expect("a path").instance();
    device.expect(delete(&format!("/oic/rd?ins={ins}")), Deleted);
    told(3, &[device.path("/b")]);
    client.publish(&["/own"]);
    world.advance_secs(2);
    assert_eq!(hrefs(&client.take()).len(), 2);
    device.expect(delete("/oic/sec/account"), Deleted);
    told(5, &[client.path("/own")]);
}

/// Device reference 9.5: online and offline do not alter links.
#[test]
fn nobody_is_told_when_nothing_has_changed() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    device.publish(&["/a"]);
    watch(&client, "");
    device.lose();
    device.connect();
    device.sign_in();
    device.publish(&["/a"]);
    // A device that never published anything.
    let other = user.signed_in_device();
    other.expect(delete("/oic/sec/account"), Deleted);
    let stranger = world.user().signed_in_device();
    stranger.publish(&["/b"]);
    world.advance_secs(5);
    client.expect_silence();
}

/// Device reference 9.5: at most one notification per second and observer.
#[test]
fn changes_are_told_once_a_second_at_most() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    watch(&client, "");
    for round in 0..30 {
        device.publish(&[&format!("/{round}")]);
        world.advance(std::time::Duration::from_millis(100));
    }
    world.advance_secs(2);
    let got = client.take_all();
    assert!((3..=4).contains(&got.len()), "{} notifications in three seconds", got.len());
    assert_eq!(hrefs(got.last().expect("the newest")).len(), 30);
    assert!(got.iter().filter_map(Msg::observed).eq(2..2 + got.len() as u32));
}

/// Device reference 9.5: the filtered answer; who is not concerned is not told.
#[test]
fn observers_are_told_what_their_filter_lets_through() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let switches = watch(&client, "?rt=oic.r.switch.binary");
    let baseline = watch(&client, &format!("?if=oic.if.baseline&di={}", device.id));
    let old = {
        let token = client.send(get("/oic/res").observe(0).accept(CBOR));
        assert_eq!(client.answer_to(token).expect("an answer").content_format(), Some(CBOR));
        token
    };
    device.expect(device.publish_request([link("/t", "oic.r.temperature")]), Changed);
    world.advance_secs(2);
    assert!(client.answer_to(switches).is_none());
    assert!(
        member(
            &client.answer_to(baseline).expect("told").cbor().as_array().expect("one")[0],
            "links"
        )
        .is_some()
    );
    assert_eq!(client.answer_to(old).expect("told").content_format(), Some(CBOR));
    device.publish(&["/s"]);
    world.advance_secs(2);
    assert_eq!(hrefs(&client.answer_to(switches).expect("told")), [device.path("/s")]);
}

/// Device reference 11.5: cancel with the same token: the present state, without Observe.
#[test]
fn who_cancels_is_told_no_more() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let token = watch(&client, "");
    let answer = client.request(get("/oic/res").observe(1).token(token.as_bytes()));
    assert_eq!((answer.code, answer.observed()), (Content.into(), None));
    device.publish(&["/a"]);
    world.advance_secs(2);
    client.expect_silence();
    assert_eq!(world.sizes(ShardId(0)).observations, 0);
    let plain = client.request(get("/oic/res").observe(1));
    assert_eq!((plain.code, plain.observed()), (Content.into(), None));
}

/// Device reference 11.3: register again; tokens of observations belong to them.
#[test]
fn a_token_belongs_to_its_observation() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let token = watch(&client, "");
    let with = |message: Msg| client.request(message.token(token.as_bytes()));
    assert_eq!(with(get("/oic/res").observe(0)).observed(), Some(2));
    for other in [get("/oic/res"), get(&device.path("/a")), get(&device.path("/a")).observe(0)] {
        assert_eq!(with(other).code, BadRequest);
    }
    device.expect_silence();
    assert_eq!(world.sizes(ShardId(0)).observations, 1);
    device.publish(&["/a"]);
    world.advance_secs(2);
    assert_eq!(client.take().observed(), Some(3));
    // A cancel of it with another path: the token decides.
    assert_eq!(with(get(&device.path("/a")).observe(1)).code, Content);
    assert_eq!(world.sizes(ShardId(0)).observations, 0);
}

/// RFC 8323 §7.4: the end of the connection or of the session ends its observations.
#[test]
fn the_end_of_a_client_ends_its_observations_of_links() {
    let world = World::new();
    let user = world.user();
    let ends: [fn(&Peer); 4] = [
        Peer::lose,
        |client| {
            client.sign_out();
        },
        |client| {
            client.send(Msg::new(SignalCode::Release.code()));
        },
        |client| {
            client.expect(delete("/oic/sec/account"), Deleted);
        },
    ];
    for end in ends {
        let client = user.signed_in_client();
        watch(&client, "");
        watch(&client, "?rt=a");
        assert_eq!(world.sizes(ShardId(0)).observations, 2);
        end(&client);
        assert_eq!(world.sizes(ShardId(0)).observations, 0);
        user.signed_in_device().publish(&["/a"]);
        world.advance_secs(2);
        client.expect_silence();
    }
}

/// Device reference 17: they count as the client's observations.
#[test]
fn observations_of_links_are_bounded_per_client() {
    let world = World::with(|setup| setup.limits.observations_per_client_max = 3);
    let user = world.user();
    let client = user.signed_in_client();
    let tokens = [(); 3].map(|()| watch(&client, ""));
    client.expect(get("/oic/res").observe(0), ServiceUnavailable);
    client.expect(get(&client.path("/a")).observe(0), ServiceUnavailable);
    client.request(get("/oic/res").observe(1).token(tokens[0].as_bytes()));
    watch(&client, "");
}

/// Device reference 12: what does not fit ends the observation.
#[test]
fn links_that_do_not_fit_end_the_observation() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let token = watch(&client, "");
    let many: Vec<_> = (0..60).map(|n| link(&format!("/a/{n}"), "oic.r.switch.binary")).collect();
    device.expect(device.publish_request(many), Changed);
    world.advance_secs(2);
    let last = client.answer_to(token).expect("the end");
    assert_eq!((last.code, last.observed()), (InternalServerError.into(), None));
    let refused = client.request(get("/oic/res").observe(0));
    assert_eq!((refused.code, refused.observed()), (InternalServerError.into(), None));
    assert_eq!(world.sizes(ShardId(0)).observations, 0);
    client.expect(get("/oic/res?if=oic.if.b").observe(0), BadRequest);
    client.expect(get("/oic/res").observe(0).accept(0), NotAcceptable);
}

/// Device reference 11.3: who does not read gets the newest later.
#[test]
fn a_slow_client_gets_the_newest_links_when_it_reads_again() {
    let world = World::with(|setup| setup.limits.send_queue_bytes_max = 300 * 1024);
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    client.send(Msg::new(SignalCode::Csm.code()).uint(2, 1 << 20));
    watch(&client, "");
    let many: Vec<_> = (0..400).map(|n| link(&format!("/a/{n}"), "oic.r.switch.binary")).collect();
    let limits = Msg::new(SignalCode::Csm.code()).uint(2, 1 << 20);
    device.send(limits);
    device.expect(device.publish_request(many), Changed);
    world.advance_secs(2);
    client.take_all();
    client.reads(false);
    for round in 0..15 {
        device.publish(&[&format!("/{round}")]);
        world.advance_secs(1);
    }
    assert!(client.is_connected());
    client.reads(true);
    world.advance_secs(3);
    let got = client.take_all();
    assert_eq!(hrefs(got.last().expect("the newest")).len(), 415);
}
