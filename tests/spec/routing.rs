//! Device reference 10: requests to `/<di>/<href>`, and their answers. What goes wrong on the way is in
//! `failures`.

use shared::coap::ResponseType::*;
use shared::coap::{CoapOption, RequestType};
use tests::{
    CBOR, Msg, OCF_CBOR, Peer, World, code, content, delete, get, plain, post, put, request,
};

pub(super) fn device_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

/// The client asks; what reaches the device comes back.
pub(super) fn routed(device: &Peer, client: &Peer, request: Msg) -> Msg {
    client.send(request);
    let routed = device.take();
    device.expect_silence();
    routed
}

/// The device answers a GET so; what the client gets comes back.
pub(super) fn answered(device: &Peer, client: &Peer, request: Msg, answer: Msg) -> Msg {
    let token = client.send(request);
    let routed = device.take();
    device.respond(&routed, answer);
    client.answer_to(token).expect("an answer")
}

/// Device reference 10.2: methods.
#[test]
fn the_four_methods_are_passed_on_and_no_other() {
    use RequestType::*;
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for method in [Get, Post, Put, Delete] {
        let routed = routed(&device, &client, request(method, &device.path("/a")));
        assert_eq!(routed.code, shared::coap::Code::from(method));
        device.respond(&routed, plain(Changed));
    }
    client.take_all();
    for method in [Fetch, Patch, IPatch] {
        client.expect(request(method, &device.path("/a")), MethodNotAllowed);
    }
    client.expect(
        Msg { options: get(&device.path("/a")).options, ..Msg::new(code(0, 9)) },
        MethodNotAllowed,
    );
    device.expect_silence();
}

/// Device reference 10.1, step 2 to 4: paths that lead to no device of the user.
#[test]
fn a_path_that_leads_to_no_device_is_4_04() {
    let world = World::of_shards(2);
    let user = world.user();
    let client = user.signed_in_client();
    let foreign = world.user().signed_in_device();
    foreign.publish(&["/a"]);
    for path in [
        format!("/{}/a", world.device_id()),
        foreign.path("/a"),
        foreign.path(""),
        foreign.path("/"),
        client.path(""),
        client.path("/"),
        "/light/1".into(),
        format!("/x{}/a", &client.id.to_string()[1..]),
        format!("/api/v1/devices/{}/a", client.id),
    ] {
        for method in [RequestType::Get, RequestType::Post, RequestType::Put, RequestType::Delete] {
            let answer = client.expect(request(method, &path), NotFound);
            assert!(answer.payload.is_empty() && answer.options.is_empty(), "{path}");
        }
    }
    foreign.expect_silence();
    assert!(client.is_connected());
}

/// Device reference 16, point 29: unknown and foreign devices are told apart by nothing.
#[test]
fn foreign_devices_are_answered_as_unknown_ones_whatever_is_asked() {
    let world = World::new();
    let client = world.user().signed_in_client();
    let foreign = world.user().signed_in_device();
    let unknown = world.device_id();
    let ask = |request: &dyn Fn(&str) -> Msg| {
        let of = |id: String| {
            let answer = client.request(request(&format!("/{id}/a")));
            (answer.code, answer.options, answer.payload)
        };
        assert_eq!(of(foreign.id.to_string()), of(unknown.to_string()));
    };
    ask(&|path| get(path));
    ask(&|path| get(path).observe(0));
    ask(&|path| get(path).observe(1));
    ask(&|path| request(RequestType::Fetch, path));
    ask(&|path| get(path).accept(0));
    ask(&|path| get(path).option(9, []));
    ask(&|path| get(path).named(CoapOption::ProxyScheme, "coap"));
    ask(&|path| post(path, vec![0; 10_000]));
}

/// Device reference 10.1, step 5, and 16 point 28: links need not be published; 1.2: a UUID in
/// either case.
#[test]
fn any_path_of_a_device_can_be_reached() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for path in
        ["/oic/res", "/oic/d", "/oic/p", "/never/published", "/oic/sec/doxm", "/A/b", "/a//b"]
    {
        let routed = routed(&device, &client, get(&device.path(path)));
        assert_eq!(routed.path(), path);
        device.respond(&routed, plain(Changed));
    }
    let upper = format!("/{}/A", device.id.to_string().to_uppercase());
    assert_eq!(routed(&device, &client, get(&upper)).path(), "/A");
}

/// Device reference 10.1: the target may be the asking device itself.
#[test]
fn a_device_may_ask_itself() {
    let world = World::new();
    let device = world.user().signed_in_device();
    let token = device.send(get(&device.path("/a")));
    let routed = device.expect_request("/a");
    device.respond_content(&routed, b"\xa0");
    assert_eq!(device.answer_to(token).expect("an answer").code, Content);
}

/// Device reference 10.2: exactly these options, in a new token of eight bytes (1.3, rules 2 and 4).
#[test]
fn a_device_gets_path_query_and_formats_and_nothing_else() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let message = post(&format!("{}?if=oic.if.b&rt=x", device.path("/a/b")), b"\xa1\x61x\x01")
        .token(&[1])
        .named(CoapOption::UriHost, "cloud.example.com")
        .named(CoapOption::UriPort, [0x16, 0x34])
        .named(CoapOption::ETag, [1, 2])
        .observe(0)
        .named(CoapOption::Size1, [4])
        .named(CoapOption::MaxAge, [9])
        .named(CoapOption::NoResponse, [2])
        .option(16, [8])
        .option(252, [1])
        .option(292, [1])
        .option(65_000, b"vendor")
        .uint(2049, 2112)
        .uint(2053, 2240)
        .accept(OCF_CBOR);
    let routed = routed(&device, &client, message);
    let expected = post("/a/b?if=oic.if.b&rt=x", b"\xa1\x61x\x01")
        .accept(OCF_CBOR)
        .uint(2049, 2048)
        .uint(2053, 2048);
    assert_eq!(Msg { token: None, ..routed.clone() }, expected);
    assert_eq!(routed.token.expect("a token").as_bytes().len(), 8);
}

/// Device reference 10.2: without a body neither Content-Format nor its version.
#[test]
fn a_request_without_body_has_no_content_format() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for message in [
        get(&device.path("/a")),
        get(&device.path("/a")).format(OCF_CBOR).uint(2053, 2048),
        get(&device.path("/a")).accept(CBOR),
        get(&device.path("/a")).format(CBOR),
    ] {
        let routed = routed(&device, &client, message);
        let expected = get("/a").accept(OCF_CBOR).uint(2049, 2048);
        assert_eq!(Msg { token: None, ..routed }, expected);
    }
}

/// Device reference 10.2: Content-Format absent, 10000 or 60 becomes 10000; the body is the same bytes.
#[test]
fn bodies_reach_the_device_byte_for_byte_as_10000() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    // Not even CBOR: the cloud does not look.
    let body = [0xff, 0x00, 0xbf, 0x61];
    let path = device.path("/a");
    for message in [
        post(&path, &body),
        post(&path, &body).format(CBOR),
        put(&path, &body),
        post(&path, &body).without(CoapOption::ContentFormat),
    ] {
        let routed = routed(&device, &client, message);
        assert_eq!(routed.payload, body);
        assert_eq!(routed.content_format(), Some(OCF_CBOR));
        assert_eq!(routed.content_version(), Some(2048));
    }
}

/// Device reference 4.4, 10.2: queries byte for byte, in their order, also joined and escaped ones.
#[test]
fn queries_reach_the_device_byte_for_byte() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let queries = ["z=1", "a=2&b=3", "c=%41%zz", "", "=", "ü=1", "a=2&b=3"];
    let message = queries
        .iter()
        .fold(get(&device.path("/a")), |message, query| message.named(CoapOption::UriQuery, query));
    assert_eq!(routed(&device, &client, message).queries(), queries);
}

/// Device reference 10.2: ETags of a GET are forwarded, those of legal length.
#[test]
fn etags_of_a_get_are_passed_on() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let with_tags = |message: Msg| {
        let message = message.named(CoapOption::ETag, [1]).named(CoapOption::ETag, [2; 8]);
        message.named(CoapOption::ETag, []).named(CoapOption::ETag, [3; 9])
    };
    let first = routed(&device, &client, with_tags(get(&device.path("/a"))));
    assert_eq!(first.values(CoapOption::ETag), [&[1][..], &[2; 8]]);
    device.respond(&first, plain(Valid).named(CoapOption::ETag, [1]));
    let valid = client.expect_reply(Valid);
    assert_eq!(valid.values(CoapOption::ETag), [[1]]);
    let posted = routed(&device, &client, with_tags(post(&device.path("/a"), b"\xa0")));
    assert!(!posted.has(CoapOption::ETag));
}

/// Device reference 10.2: what is refused, and with which code; nothing reaches the device.
#[test]
fn options_that_devices_cannot_take_are_refused() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let get = || get(&device.path("/a"));
    let post = || post(&device.path("/a"), b"\xa0");
    for (message, code) in [
        (get().named(CoapOption::IfMatch, []), BadOption),
        (post().named(CoapOption::IfMatch, [1]), BadOption),
        (post().named(CoapOption::IfNoneMatch, []), BadOption),
        (get().option(9, [1]), BadOption),
        (get().option(65_001, []), BadOption),
        (get().named(CoapOption::UriQuery, [0xff]), BadOption),
        (get().named(CoapOption::UriQuery, [b'a'; 256]), BadOption),
        (get().named(CoapOption::UriPath, [b'a'; 256]), BadOption),
        (get().named(CoapOption::UriPath, [0xff]), BadOption),
        (get().named(CoapOption::Accept, [0, 0, 60]), BadOption),
        (get().option(2049, [8, 0, 0]), BadOption),
        (get().accept(0), NotAcceptable),
        (get().accept(50), NotAcceptable),
        (get().uint(2049, 2047), NotAcceptable),
        (post().format(0), UnsupportedContentFormat),
        (post().format(50), UnsupportedContentFormat),
        (post().uint(2053, 2047), UnsupportedContentFormat),
        (get().named(CoapOption::ProxyUri, "coap://a/"), ProxyingNotSupported),
        (get().named(CoapOption::ProxyScheme, "coap"), ProxyingNotSupported),
        (get().option(16, [1]), HopLimitReached),
        (get().option(16, []), HopLimitReached),
    ] {
        let said = tests::describe(&message);
        let answer = client.request(message);
        assert_eq!(answer.code, code, "{said}");
        assert!(answer.content_format().is_none() && answer.payload.len() <= 100);
    }
    device.expect_silence();
    assert!(client.is_connected());
    let longest = get().named(CoapOption::UriQuery, [b'a'; 255]).option(16, [2]);
    assert_eq!(routed(&device, &client, longest).path(), "/a");
}

/// Device reference 2.3: elective options that are malformed are ignored.
#[test]
fn malformed_elective_options_are_ignored() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let message = get(&device.path("/a"))
        .named(CoapOption::Observe, [0, 0, 0, 0])
        .named(CoapOption::NoResponse, [2, 2])
        .option(16, [1, 1]);
    let routed = routed(&device, &client, message);
    assert!(!routed.has(CoapOption::Observe));
    device.respond_content(&routed, b"\xa0");
    client.expect_reply(Content);
}

/// Device reference 10.2: No-Response is honoured on the client's leg.
#[test]
fn answers_that_a_client_does_not_want_are_kept_from_it() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let with = |mask: u32| get(&device.path("/a")).uint(CoapOption::NoResponse.into(), mask);
    for (mask, answer, wanted) in [
        (2, Content, false),
        (2, NotFound, true),
        (8, NotFound, false),
        (8, ServiceUnavailable, true),
        (16, ServiceUnavailable, false),
        (26, Content, false),
        (0, Content, true),
    ] {
        let token = client.send(with(mask));
        let routed = device.take();
        assert!(!routed.has(CoapOption::NoResponse));
        device.respond(&routed, plain(answer));
        assert_eq!(client.answer_to(token).is_some(), wanted, "{mask} {answer:?}");
    }
    // The cloud's own answers, too.
    let quiet = |mask: u32| get("/nowhere").uint(CoapOption::NoResponse.into(), mask);
    client.send(quiet(8));
    client.expect_silence();
    client.expect(quiet(18), NotFound);
}

/// Device reference 10.3: codes of classes 2, 4 and 5 as they are.
#[test]
fn the_codes_of_devices_are_passed_on() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for (class, details) in [(2, 0..=31), (4, 0..=31), (5, 0..=31)] {
        for detail in details {
            let ask = get(&device.path("/a"));
            let answer = answered(&device, &client, ask, Msg::new(code(class, detail)));
            assert_eq!(answer.code, code(class, detail));
        }
    }
}

/// Device reference 10.3, 2.4: a response of another class is 5.02.
#[test]
fn an_answer_of_no_response_class_is_5_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for class in [1, 3, 6] {
        let ask = get(&device.path("/a"));
        assert_eq!(answered(&device, &client, ask, Msg::new(code(class, 4))).code, BadGateway);
    }
    assert!(device.is_connected());
}

/// Device reference 10.3: Content-Format and its version.
#[test]
fn content_formats_of_answers_are_those_that_the_client_accepts() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let body = || plain(Content).payload(b"\xa0");
    let ask = || get(&device.path("/a"));
    let case = |ask: Msg, answer: Msg, format: Option<u32>, version: Option<u32>| {
        let answer = answered(&device, &client, ask, answer);
        assert_eq!(answer.code, Content, "{}", tests::describe(&answer));
        assert_eq!((answer.content_format(), answer.content_version()), (format, version));
        assert_eq!(answer.payload, b"\xa0");
    };
    let ocf = || body().format(OCF_CBOR);
    case(ask(), ocf().uint(2053, 2048), Some(OCF_CBOR), Some(2048));
    case(ask(), ocf().uint(2053, 2112), Some(OCF_CBOR), Some(2112));
    case(ask(), ocf(), Some(OCF_CBOR), Some(2048));
    case(ask().accept(OCF_CBOR), ocf(), Some(OCF_CBOR), Some(2048));
    case(ask().accept(CBOR), ocf().uint(2053, 2048), Some(CBOR), None);
    case(ask(), body(), None, None);
    case(ask().accept(CBOR), body(), None, None);
    case(ask(), body().format(50), Some(50), None);
    case(ask(), body().format(CBOR), Some(CBOR), None);
    for accept in [OCF_CBOR, CBOR] {
        let answer = answered(&device, &client, ask().accept(accept), body().format(50));
        assert_eq!(answer.code, BadGateway);
    }
}

/// Device reference 10.3: what else is passed on, and what is dropped.
#[test]
fn options_of_answers_are_passed_on_or_dropped() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let answer = plain(Created)
        .named(CoapOption::ETag, [1, 2])
        .named(CoapOption::ETag, [0; 9])
        .observe(3)
        .named(CoapOption::LocationPath, "a")
        .named(CoapOption::LocationPath, "b")
        .named(CoapOption::MaxAge, [60])
        .named(CoapOption::LocationQuery, "x=y")
        .named(CoapOption::Size2, [5])
        .option(65_000, [1]);
    let got = answered(&device, &client, post(&device.path("/a"), b"\xa0"), answer);
    let expected = plain(Created)
        .named(CoapOption::ETag, [1, 2])
        .named(CoapOption::LocationPath, device.id.to_string())
        .named(CoapOption::LocationPath, "a")
        .named(CoapOption::LocationPath, "b")
        .named(CoapOption::MaxAge, [60])
        .named(CoapOption::LocationQuery, "x=y");
    assert_eq!(Msg { token: None, ..got }, expected);
}

/// Device reference 10.3, 2.3: an unknown critical option in an answer.
#[test]
fn an_answer_with_an_unknown_critical_option_is_5_02() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for number in [9, 65_001, 13] {
        let ask = get(&device.path("/a"));
        let answer = answered(&device, &client, ask, content(b"\xa0").option(number, [1]));
        assert_eq!(answer.code, BadGateway);
        assert!(answer.content_format().is_none());
    }
    assert!(device.is_connected());
}

/// Device reference 10.3, 16 point 27: bodies are passed on byte for byte, local hrefs and all.
#[test]
fn bodies_of_answers_are_passed_on_byte_for_byte() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    for length in [1, 12, 13, 255, 256, 7000] {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let answer = answered(&device, &client, get(&device.path("/a")), content(body.clone()));
        assert_eq!(answer.payload, body);
    }
}

/// Device reference 10.5, 15.1: real clients and real devices through the cloud.
#[test]
fn real_clients_read_and_change_real_devices() {
    use loadtest::device::Ask;
    let world = World::of_shards(3);
    let user = world.user();
    let (light, client) = (user.light(), user.client());
    let (device, href) = (light.id(), "/light/1");
    let got = client.ask(&Ask::Retrieve { device, href, query: &[] });
    assert_eq!(got.code, Content);
    let set = client.ask(&Ask::Update { device, href, body: b"\xa1\x65value\xf5" });
    assert_eq!(set.code, Changed);
    let baseline = client.ask(&Ask::Retrieve { device, href, query: &["if=oic.if.baseline"] });
    assert!(baseline.payload.len() > got.payload.len());
    let missing = client.ask(&Ask::Retrieve { device, href: "/nothing", query: &[] });
    assert_eq!(missing.code, NotFound);
    light.lose();
    let offline = client.ask(&Ask::Retrieve { device, href, query: &[] });
    assert_eq!(offline.code, ServiceUnavailable);
}

/// Device reference 10.2: DELETE and PUT go as they are; the device refuses (16, point 31).
#[test]
fn put_and_delete_are_passed_on() {
    let world = World::new();
    let (device, client) = device_and_client(&world);
    let put = answered(&device, &client, put(&device.path("/a"), b"\xa0"), plain(MethodNotAllowed));
    assert_eq!(put.code, MethodNotAllowed);
    let deleted = answered(&device, &client, delete(&device.path("/a")), plain(Deleted));
    assert_eq!(deleted.code, Deleted);
}

/// Device reference 1.3, rule 16: devices hold the second of two messages back until the first one is
/// acknowledged, so what is not answered at once is to be acknowledged without an answer: some
/// milliseconds later, by `gateway::io::acks`, if there is none until then.
#[test]
fn what_is_not_answered_at_once_is_acknowledged_by_itself() {
    let world = World::new();
    let user = world.user();
    let (device, client) = (user.signed_in_device(), user.signed_in_client());
    let (device_before, client_before) = (device.acknowledged(), client.acknowledged());
    client.request(get("/oic/res"));
    assert_eq!(client.acknowledged(), client_before, "the answer does it");
    client.send(get(&device.path("/a")));
    assert_eq!(client.acknowledged(), client_before + 1, "the answer will take its time");
    let request = device.expect_request("/a");
    device.respond_content(&request, b"\xa0");
    assert_eq!(device.acknowledged(), device_before + 1, "a response has no answer");
}
