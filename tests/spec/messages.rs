//! Device reference 4 and 1.3: what holds for every message of the cloud.

use ciborium::Value;
use gateway::connection::CloseReason;
use shared::coap::ResponseType::*;
use shared::coap::signal::SignalCode;
use tests::{Msg, Peer, World, content, delete, get, link, post};

/// Everything that a device and a client of a user can be told, one of each kind.
fn told(world: &World) -> Vec<Msg> {
    let user = world.user();
    let device = world.connect();
    let mut all = vec![device.sign_up(&user.token()), device.sign_in(), device.refresh()];
    all.push(device.publish(&["/a", "/b"]));
    let client = user.signed_in_client();
    for uri in ["/oic/res", "/oic/res?if=oic.if.baseline", "/oic/rd"] {
        all.push(client.expect(get(uri), Content));
    }
    all.push(device.sign_out());
    all
}

fn assert_plain_cbor(value: &Value) {
    match value {
        Value::Map(pairs) => {
            for (key, value) in pairs {
                assert!(key.is_text(), "keys are text");
                assert_plain_cbor(value);
            }
        }
        Value::Array(items) => {
            let kind = |item: &Value| std::mem::discriminant(item);
            assert!(items.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1])), "one type");
            items.iter().for_each(assert_plain_cbor);
        }
        Value::Text(_) | Value::Integer(_) | Value::Bool(_) | Value::Float(_) => {}
        other => panic!("real parsers misread {other:?}"),
    }
}

/// Device reference 4.3: definite lengths, shortest integers, no null, no tags, no mixed arrays.
#[test]
fn the_clouds_own_bodies_are_as_real_parsers_need_them() {
    let world = World::new();
    for answer in told(&world) {
        let value = answer.cbor();
        assert_plain_cbor(&value);
        // Written again by an independent encoder, which knows one form of each value.
        let mut again = Vec::new();
        ciborium::into_writer(&value, &mut again).expect("memory takes everything");
        assert_eq!(again, answer.payload, "definite lengths and shortest integers");
    }
}

/// Device reference 4.1, 4.2: 2053 = 2048 next to Content-Format 10000.
#[test]
fn the_clouds_own_bodies_say_what_they_are() {
    let world = World::new();
    for answer in told(&world) {
        assert_eq!((answer.content_format(), answer.content_version()), (Some(10_000), Some(2048)));
    }
}

/// Device reference 4.5 and 1.3, rule 5: texts of errors without Content-Format, short, no secrets.
#[test]
fn error_texts_are_short_and_have_no_format() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let secret = user.token();
    let open = world.connect();
    let long = "x".repeat(200);
    let errors = [
        device.request(get("/nowhere")),
        device.request(get("/oic/res?ins=x")),
        device.request(get("/oic/res").option(65_001, [])),
        device.request(get("/oic/res").accept(0)),
        device.request(post("/oic/rd", b"\xff")),
        device.request(device.publish_request([link("/a", &long)])),
        device.request(delete(&format!("/oic/rd?di={}", world.device_id()))),
        open.request(post("/oic/sec/account", b"\xa1\x62di\x01")),
        world.connect().request(open.sign_up_request(&secret[..44])),
    ];
    for error in errors {
        assert!(error.code.class() >= 4, "{}", tests::describe(&error));
        assert!(error.options.is_empty() && error.payload.len() <= 100);
        assert!(!error.text().contains(&secret[2..]));
    }
}

/// Device reference 4.5: too many requests are 5.03, never 4.29; nothing of ours is 5.00 on the three
/// security resources.
#[test]
fn our_own_trouble_has_a_code_that_devices_survive() {
    let world = World::with(|setup| setup.limits.requests_per_client_max = 1);
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    client.send(get(&device.path("/a")));
    client.expect(get(&device.path("/a")), ServiceUnavailable);
    let token = user.token();
    world.disk(tests::Disk::Refuses);
    let peer = world.connect();
    peer.expect(peer.sign_up_request(&token), ServiceUnavailable);
    device.expect(device.refresh_request(), ServiceUnavailable);
    device.expect(delete("/oic/sec/account"), ServiceUnavailable);
    assert!(peer.is_connected() && device.is_connected());
}

/// Device reference 4.6, 16 point 37: without a session everything but the three security resources,
/// signals and `/oic/sec/roles` is 4.01 and the end, whatever it carries.
#[test]
fn whoever_has_not_signed_in_is_answered_4_01_and_closed() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let requests: [&dyn Fn() -> Msg; 6] = [
        &|| get("/oic/res"),
        &|| get("/oic/res").observe(0),
        &|| get("/oic/rd"),
        &|| get(&device.path("/a")),
        &|| post(&device.path("/a"), vec![0; 2000]).format(0).option(65_001, []),
        &|| get("/"),
    ];
    for (at, request) in requests.into_iter().enumerate() {
        let peer = world.connect();
        peer.expect(request(), Unauthorized);
        assert!(peer.was_told_goodbye() && !peer.is_connected(), "case {at}");
        let reason = world.ended().last().expect("an end").reason;
        assert_eq!(reason, CloseReason::Unauthorized);
    }
    device.expect_silence();
}

/// Device reference 2.7, 16 point 4: a peer without CSM takes 7168 bytes, one with CSM what it says.
#[test]
fn a_peer_without_csm_is_taken_for_the_most_frequent_one() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let ask = |client: &Peer, length: usize| {
        let token = client.send(get(&device.path("/a")));
        let routed = device.expect_request("/a");
        device.respond(&routed, content(vec![1; length]));
        client.answer_to(token).expect("an answer").code
    };
    assert_eq!(ask(&client, 7100), Content);
    assert_eq!(ask(&client, 7168), InternalServerError);
    client.send(Msg::new(SignalCode::Csm.code()));
    assert_eq!(ask(&client, 7100), Content, "a CSM without options changes nothing");
    client.send(Msg::new(SignalCode::Csm.code()).uint(2, 1152));
    assert_eq!(ask(&client, 7100), InternalServerError);
    assert_eq!(ask(&client, 1000), Content);
}

/// Device reference 1.3, rules 2, 3, 4 and 15, over everything that a device is sent in its life: the
/// simulated devices watch for breaches of them, and a test fails at the first.
#[test]
fn real_devices_see_no_rule_broken_in_a_busy_life() {
    use loadtest::device::{Ask, Kind};
    let world = World::of_shards(2);
    let user = world.user();
    let devices = Kind::ALL.map(|kind| user.device_of(kind));
    let client = user.client();
    for round in 0..6 {
        for device in &devices {
            let (id, path) = (device.id(), device.main_path());
            let href = &path[37..];
            client.begin(&Ask::Observe { device: Some(id), href });
            for query in [&[][..], &["if=oic.if.baseline"]] {
                client.begin(&Ask::Retrieve { device: id, href, query });
            }
            client.begin(&Ask::Update { device: id, href, body: b"\xa1\x65value\xf5" });
            device.change();
        }
        client.begin(&Ask::Discover { query: &["rt=oic.wk.d"] });
        devices[round % devices.len()].lose();
        world.advance_secs(90);
    }
    assert!(devices.iter().all(tests::FussyDevice::is_signed_in));
}
