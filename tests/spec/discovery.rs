//! Device reference 9: GET `/oic/res`, its filters, its shapes.

use ciborium::Value;
use gateway::shard::Listener;
use shared::coap::CoapOption;
use shared::coap::ResponseType::*;
use tests::{CBOR, Msg, Peer, User, World, get, link, map, member};

fn links(answer: &Msg) -> Vec<Value> {
    answer.cbor().as_array().expect("an array").clone()
}

fn hrefs(answer: &Msg) -> Vec<String> {
    let links = links(answer);
    links.iter().map(|link| text(link, "href").to_owned()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    member(value, key).and_then(Value::as_text).expect("a text")
}

fn texts(values: &[&str]) -> Value {
    Value::Array(values.iter().map(|&value| value.into()).collect())
}

/// Two devices with a link each of every kind, and a client.
struct Home {
    user: User,
    light: Peer,
    sensor: Peer,
    client: Peer,
}

fn home(world: &World) -> Home {
    let user = world.user();
    let (light, sensor, client) =
        (user.signed_in_device(), user.signed_in_device(), user.signed_in_client());
    let many = map([
        ("href", "/many".into()),
        ("rt", texts(&["oic.r.light.dimming", "oic.r.switch.binary"])),
        ("if", texts(&["oic.if.rw", "oic.if.baseline"])),
    ]);
    light.expect(light.publish_request([link("/switch", "oic.r.switch.binary"), many]), Changed);
    sensor.expect(sensor.publish_request([link("/t", "oic.r.temperature")]), Changed);
    Home { user, light, sensor, client }
}

/// Device reference 9.1: the links of all devices of the user, the asking one included, online or not.
#[test]
fn all_links_of_the_user_are_discovered_online_or_not() {
    let world = World::new();
    let Home { light, sensor, client, .. } = home(&world);
    client.publish(&["/own"]);
    light.lose();
    let answer = client.expect(get("/oic/res"), Content);
    assert_eq!((answer.content_format(), answer.content_version()), (Some(10_000), Some(2048)));
    let mut expected =
        [light.path("/many"), light.path("/switch"), sensor.path("/t"), client.path("/own")];
    expected.sort();
    let mut found = hrefs(&answer);
    found.sort();
    assert_eq!(found, expected);
}

/// Device reference 9.1: only ever that user's.
#[test]
fn nothing_of_other_users_is_discovered() {
    for shards in [1, 3] {
        let world = World::of_shards(shards);
        let homes = [home(&world), home(&world), home(&world)];
        for (at, here) in homes.iter().enumerate() {
            for query in ["", "?if=oic.if.baseline", "?rt=oic.r.switch.binary"] {
                let answer = here.client.expect(get(&format!("/oic/res{query}")), Content);
                let said = String::from_utf8_lossy(&answer.payload).into_owned();
                assert!(said.contains(&here.light.id.to_string()));
                for other in homes.iter().enumerate().filter(|(other, _)| *other != at) {
                    assert!(!said.contains(&other.1.light.id.to_string()));
                    assert!(!said.contains(&other.1.sensor.id.to_string()));
                }
            }
            let foreign = homes[(at + 1) % 3].light.id;
            let answer = here.client.expect(get(&format!("/oic/res?di={foreign}")), Content);
            assert_eq!(answer.payload, [0x80], "no match, not an error");
        }
    }
}

/// Device reference 9.2 and 1.3, rule 13: keys in the order that real clients need.
#[test]
fn a_link_has_its_keys_in_the_order_that_clients_need() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let position = Value::Array(vec![1.into(), 0.5.into(), Value::from(-2)]);
    let full = map([
        ("eps", Value::Array(vec![map([("ep", "coaps://10.0.0.1:5684".into())])])),
        ("type", texts(&["application/vnd.ocf+cbor"])),
        ("title", "Hall".into()),
        ("tag-pos-desc", "top".into()),
        ("tag-func-desc", "main".into()),
        ("tag-locn", "hall".into()),
        ("tag-pos-rel", position),
        ("ins", 5.into()),
        ("rel", "item".into()),
        ("p", map([("bm", 7.into())])),
        ("if", texts(&["oic.if.a"])),
        ("rt", texts(&["oic.r.a", "oic.r.b"])),
        ("href", "full".into()),
    ]);
    device.expect(device.publish_request([full, link("/plain", "oic.r.c")]), Changed);
    let found = links(&device.expect(get("/oic/res"), Content));
    let keys = |link: &Value| -> Vec<String> {
        let pairs = link.as_map().expect("a link").iter();
        pairs.filter_map(|(key, _)| key.as_text().map(str::to_owned)).collect()
    };
    let first = ["anchor", "href", "rt", "if", "p", "eps"];
    assert_eq!(keys(&found[1]), first);
    assert_eq!(keys(&found[0])[..6], first);
    let mut rest = keys(&found[0])[6..].to_vec();
    rest.sort();
    assert_eq!(rest, ["rel", "tag-func-desc", "tag-locn", "tag-pos-desc", "tag-pos-rel", "title"]);
    let full = &found[0];
    assert_eq!(text(full, "anchor"), format!("ocf://{}", device.id));
    assert_eq!(text(full, "href"), device.path("/full"));
    assert_eq!(member(full, "rt"), Some(&texts(&["oic.r.a", "oic.r.b"])));
    assert_eq!(member(full, "p"), Some(&map([("bm", 7.into())])));
    let endpoint = map([("ep", tests::ENDPOINT.into()), ("pri", 1.into())]);
    assert_eq!(member(full, "eps"), Some(&Value::Array(vec![endpoint])), "never the device's own");
    let doubles = [1.0, 0.5, -2.0].map(Value::Float).to_vec();
    assert_eq!(member(full, "tag-pos-rel"), Some(&Value::Array(doubles)));
    assert_eq!(member(&found[1], "p"), Some(&map([("bm", 3.into())])));
}

/// Device reference 9.2: the default relation is left out, however it was published.
#[test]
fn the_default_relation_is_left_out() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let with_rel = |href: &str, rel: Value| {
        let Value::Map(mut pairs) = link(href, "oic.r.a") else { unreachable!("a map") };
        pairs.push(("rel".into(), rel));
        Value::Map(pairs)
    };
    let published = [
        with_rel("/1", "hosts".into()),
        with_rel("/2", texts(&["hosts"])),
        with_rel("/3", texts(&["hosts", "item"])),
    ];
    device.expect(device.publish_request(published), Changed);
    let found = links(&device.expect(get("/oic/res"), Content));
    let relations: Vec<_> = found.iter().map(|link| member(link, "rel").cloned()).collect();
    assert_eq!(relations, [None, None, Some("item".into())]);
}

/// Device reference 8.1, 16 point 23: bm absent is 3; not discoverable is not listed, but routed.
#[test]
fn links_that_are_not_discoverable_are_not_listed_and_can_be_reached() {
    let world = World::new();
    let Home { light, client, .. } = home(&world);
    let with_policy = |href: &str, bm: u64| {
        map([
            ("href", href.into()),
            ("rt", texts(&["oic.r.secret"])),
            ("if", texts(&["oic.if.a"])),
            ("p", map([("bm", bm.into())])),
        ])
    };
    light.expect(light.publish_request([with_policy("/x", 2), with_policy("/y", 1)]), Changed);
    let found = client.expect(get("/oic/res?rt=oic.r.secret"), Content);
    assert_eq!(hrefs(&found), [light.path("/y")]);
    client.send(get(&light.path("/x")));
    light.expect_request("/x");
}

/// Device reference 9.1, 16 points 20 to 22: the filters.
#[test]
fn filters_are_alternatives_within_a_key_and_all_must_match_between_keys() {
    let world = World::new();
    let Home { light, sensor, client, .. } = home(&world);
    let (switch, many, t) = (light.path("/switch"), light.path("/many"), sensor.path("/t"));
    let ins = |href: &str| shared::ids::Href::parse(href).expect("a path").instance();
    for (query, mut expected) in [
        ("".to_owned(), vec![&many, &switch, &t]),
        ("rt=oic.r.switch.binary".into(), vec![&many, &switch]),
        ("rt=oic.r.temperature&rt=oic.r.light.dimming".into(), vec![&many, &t]),
        ("rt=oic.r.switch".into(), vec![]),
        ("rt=OIC.R.TEMPERATURE".into(), vec![]),
        ("rt=oic%2Er%2Etemperature".into(), vec![&t]),
        (format!("di={}", light.id), vec![&many, &switch]),
        (format!("di={}", light.id.to_string().to_uppercase()), vec![&many, &switch]),
        (format!("di={}&di={}", light.id, sensor.id), vec![&many, &switch, &t]),
        (format!("di={}&rt=oic.r.temperature", light.id), vec![]),
        (format!("di={}", world.device_id()), vec![]),
        ("di=light".into(), vec![]),
        ("if=oic.if.ll".into(), vec![&many, &switch, &t]),
        ("if=oic.if.rw".into(), vec![&many]),
        ("if=oic.if.rw&if=oic.if.a".into(), vec![&many, &switch, &t]),
        ("if=oic.if.s".into(), vec![]),
        ("if=oic.if.rw&rt=oic.r.temperature".into(), vec![]),
        (format!("ins={}", ins("/t")), vec![&t]),
        (format!("ins={}&ins={}", ins("/t"), ins("/many")), vec![&many, &t]),
        ("sduuid=x&n=y&unknown".into(), vec![&many, &switch, &t]),
    ] {
        let mut found = hrefs(&client.expect(get(&format!("/oic/res?{query}")), Content));
        found.sort();
        expected.sort();
        assert!(found.iter().eq(expected), "{query}: {found:?}");
    }
    // Several pairs in one option (4.4).
    let joined = format!("di={}&rt=oic.r.switch.binary", light.id);
    let found = client.expect(get("/oic/res").named(CoapOption::UriQuery, joined), Content);
    assert_eq!(hrefs(&found).len(), 2);
}

/// Device reference 9.1: nothing is 2.05 with an empty array.
#[test]
fn where_there_is_nothing_an_empty_array_is_found() {
    let world = World::new();
    let client = world.user().signed_in_client();
    let answer = client.expect(get("/oic/res"), Content);
    assert_eq!(answer.payload, [0x80]);
    assert_eq!(answer.content_format(), Some(10_000));
}

/// Device reference 9.1, 16 point 21.
#[test]
fn a_query_that_the_cloud_does_not_offer_is_4_00() {
    let world = World::new();
    let client = world.user().signed_in_client();
    for query in ["ins=x", "ins=", "ins=-1", "if=oic.if.b"] {
        client.expect(get(&format!("/oic/res?{query}")), BadRequest);
    }
    client.expect(get("/oic/res").accept(0), NotAcceptable);
    client.expect(get("/oic/res").uint(2049, 1), NotAcceptable);
    assert!(client.is_connected());
}

/// Device reference 9.3; 9.1: of `ll` and `baseline` the last wins.
#[test]
fn the_baseline_holds_the_links_in_one_map() {
    let world = World::new();
    let Home { client, .. } = home(&world);
    let plain = client.expect(get("/oic/res"), Content).cbor();
    for query in ["if=oic.if.baseline", "if=oic.if.ll&if=oic.if.baseline"] {
        let found = links(&client.expect(get(&format!("/oic/res?{query}")), Content));
        let expected = map([
            ("rt", texts(&["oic.wk.res"])),
            ("if", texts(&["oic.if.ll", "oic.if.baseline"])),
            ("links", plain.clone()),
        ]);
        assert_eq!(found, [expected]);
    }
    let last = client.expect(get("/oic/res?if=oic.if.baseline&if=oic.if.ll"), Content);
    assert_eq!(last.cbor(), plain);
}

/// Device reference 9.4, 4.1: the old shape for Accept 60.
#[test]
fn whoever_accepts_60_gets_the_old_shape() {
    let world = World::new();
    let Home { light, sensor, client, .. } = home(&world);
    let answer = client.expect(get("/oic/res").accept(CBOR), Content);
    assert_eq!((answer.content_format(), answer.content_version()), (Some(60), None));
    let devices = links(&answer);
    let mut ids: Vec<_> = devices.iter().map(|device| text(device, "di").to_owned()).collect();
    ids.sort();
    let mut expected = [light.id.to_string(), sensor.id.to_string()];
    expected.sort();
    assert_eq!(ids, expected);
    let counts = devices.iter().map(|device| member(device, "links").expect("links"));
    let count: usize = counts.map(|links| links.as_array().expect("an array").len()).sum();
    assert_eq!(count, 3);
    let one = client.expect(get("/oic/res?rt=oic.r.temperature").accept(CBOR), Content);
    assert_eq!(links(&one).len(), 1);
    let none = client.expect(get("/oic/res?rt=oic.r.nothing").accept(CBOR), Content);
    assert_eq!(none.payload, [0x80]);
}

/// Device reference 9.1: a request ETag that still fits gets 2.03.
#[test]
fn an_etag_that_still_fits_gets_2_03() {
    let world = World::new();
    let Home { light, client, user, .. } = home(&world);
    let tag = |answer: &Msg| answer.values(CoapOption::ETag)[0].to_vec();
    let first = tag(&client.expect(get("/oic/res"), Content));
    assert!((1..=8).contains(&first.len()));
    let again = client.expect(get("/oic/res").named(CoapOption::ETag, &first), Valid);
    assert_eq!((again.payload.len(), tag(&again)), (0, first.clone()));
    let several = get("/oic/res").named(CoapOption::ETag, [1]).named(CoapOption::ETag, &first);
    client.expect(several, Valid);
    client.expect(get("/oic/res").named(CoapOption::ETag, [1; 8]), Content);
    light.publish(&["/new"]);
    let second = client.expect(get("/oic/res").named(CoapOption::ETag, &first), Content);
    assert_ne!(tag(&second), first);
    // Going changes it too, and so does a restart, which may have been a change.
    light.expect(tests::delete("/oic/sec/account"), Deleted);
    let third = client.expect(get("/oic/res").named(CoapOption::ETag, tag(&second)), Content);
    world.restart();
    client.connect();
    client.sign_in();
    client.expect(get("/oic/res").named(CoapOption::ETag, tag(&third)), Content);
    drop(user);
}

/// Device reference 9.2: eps is the authority that the client is connected to, or else it would open
/// a second connection and never sign in on it.
#[test]
fn every_client_is_told_the_address_that_it_is_connected_to() {
    let other = "coaps+tcp://[2001:db8::1]:5684";
    let world = World::with(|setup| setup.endpoints.push(other.into()));
    let Home { user, .. } = home(&world);
    world.next_connections_to(Listener(1));
    let client = user.signed_in_client();
    let found = links(&client.expect(get("/oic/res"), Content));
    for link in found {
        let endpoints = member(&link, "eps").and_then(Value::as_array).expect("eps").clone();
        assert_eq!(text(&endpoints[0], "ep"), other);
    }
}

/// Device reference 9.1: without a session.
#[test]
fn discovery_needs_a_session() {
    let world = World::new();
    let peer = world.connect();
    peer.expect(get("/oic/res"), Unauthorized);
    assert!(!peer.is_connected());
}

/// Device reference 12, 10.4: above the client's limit 5.00, with advice.
#[test]
fn an_answer_that_is_too_large_advises_a_filter() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let many: Vec<_> = (0..60).map(|n| link(&format!("/a/{n}"), "oic.r.switch.binary")).collect();
    device.expect(device.publish_request(many), Changed);
    // The assumed limit of a peer without CSM (16, point 4).
    let refused = client.expect(get("/oic/res"), InternalServerError);
    assert!(refused.text().contains("filter"), "{}", refused.text());
    assert!(refused.payload.len() <= 100 && refused.content_format().is_none());
    client.expect(get("/oic/res?rt=oic.r.temperature"), Content);
}

/// Device reference 15.1: real clients find what real devices publish.
#[test]
fn real_clients_find_real_devices() {
    let world = World::of_shards(2);
    let user = world.user();
    let (light, client) = (user.light(), user.client());
    let answer = client.ask(&loadtest::device::Ask::Discover { query: &[] });
    assert_eq!(answer.code, Content);
    let said = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(said.contains(&light.main_path()), "{said}");
}
