//! Device reference 18: messages as bytes, read both ways, and produced by the code that the cloud
//! says them with.

use gateway::config::Limits;
use gateway::directory::discovery::{self, Endpoint, Shape};
use gateway::directory::publish::publish;
use gateway::directory::query::Query;
use gateway::proxy::translate::{self, Audience, ClientLeg};
use gateway::reject::Reject;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use shared::coap::code::Kind;
use shared::coap::{
    Code, Frame, FrameError, Framed, Message, MessageWriter, Request, Response, ResponseType,
    Token, signal,
};
use shared::ids::{DeviceId, Href};
use shared::ocf::account::{RefreshResponse, SessionResponse, SignUpResponse};
use shared::ocf::cbor;
use tests::vectors::{self, Vector, rows, unhex, vector};
use tests::{ENDPOINT, Msg};

const DEVICE: &str = "11111111-2222-4333-8444-555555555555";
const USER: &str = "77777777-7777-4777-8777-777777777777";

/// Device reference 18: every message, decoded to what it means.
#[test]
fn every_message_decodes_to_its_meaning() {
    let all = vectors::all();
    assert_eq!(all.len(), 52);
    for Vector { name, message, bytes } in all {
        assert_eq!(Msg::decode(&bytes), message, "{name}");
    }
}

/// Device reference 18: every message, encoded from what it means.
#[test]
fn every_message_encodes_to_its_bytes() {
    for Vector { name, message, bytes } in vectors::all() {
        assert_eq!(message.encode(), bytes, "{name}");
    }
}

/// Device reference 1.3, rule 2: what is "never sent" are the frames below 7 bytes.
#[test]
fn only_the_messages_that_block_devices_are_shorter_than_seven_bytes() {
    let short = vectors::all().into_iter().filter(|vector| vector.bytes.len() < 7);
    let mut short: Vec<_> = short.map(|vector| vector.name).collect();
    short.sort();
    assert_eq!(short, ["CSM-4", "CSM-5", "EMPTY-1"]);
}

fn token_of(vector: &Vector) -> Token {
    vector.message.token.expect("every vector has a token")
}

/// Asserts that `write` writes this vector.
fn assert_written(name: &str, write: impl FnOnce(&mut Vec<u8>, Token)) {
    let vector = vector(name);
    let mut bytes = Vec::new();
    write(&mut bytes, token_of(&vector));
    assert_eq!(bytes, vector.bytes, "{name}: {:?}", Msg::decode(&bytes));
}

/// Device reference 18, Signalling.
#[test]
fn the_clouds_signals_are_written_as_the_vectors_say() {
    assert_written("CSM-2", |out, token| signal::write_csm(out, token, 262_144, false));
    assert_written("CSM-3", |out, token| signal::write_csm(out, token, 1152, true));
    assert_written("PING-1", signal::write_ping);
    assert_written("PONG-1", |out, token| signal::write_pong(out, token, false));
    assert_written("PONG-2", |out, token| signal::write_pong(out, token, true));
    assert_written("REL-1", |out, token| signal::write_release(out, token, None, Some(30), ""));
    assert_written("REL-2", |out, token| {
        let address = Some("cloud2.example.com:5684");
        signal::write_release(out, token, address, None, "moving");
    });
    assert_written("ABT-1", |out, token| {
        signal::write_abort(out, token, Some(9), "unknown CSM option");
    });
}

fn write_answer(out: &mut Vec<u8>, code: ResponseType, token: Token, body: &impl serde::Serialize) {
    let mut message = MessageWriter::new(out, code, token);
    message.ocf_content();
    message.payload_with(|out| cbor::encode(out, body));
    message.finish();
}

fn write_refusal(out: &mut Vec<u8>, token: Token, reject: &Reject) {
    let mut message = MessageWriter::new(out, reject.code, token);
    message.payload(reject.diagnostic.as_bytes());
    message.finish();
}

fn write_bare(out: &mut Vec<u8>, code: ResponseType, token: Token) {
    MessageWriter::new(out, code, token).finish();
}

/// Device reference 18, Account, session, token refresh.
#[test]
fn the_clouds_answers_about_accounts_are_written_as_the_vectors_say() {
    assert_written("ACC-2", |out, token| {
        let body = SignUpResponse {
            access_token: "access-1".into(),
            refresh_token: "refresh-1".into(),
            uid: USER.into(),
            expires_in: 3600,
            redirect_uri: None,
        };
        write_answer(out, ResponseType::Changed, token, &body);
    });
    assert_written("ACC-3", |out, token| {
        write_refusal(out, token, &Reject::unauthorized("invalid access token"));
    });
    assert_written("ACC-5", |out, token| write_bare(out, ResponseType::Deleted, token));
    assert_written("SES-2", |out, token| {
        write_answer(out, ResponseType::Changed, token, &SessionResponse { expires_in: 3600 });
    });
    assert_written("SES-4", |out, token| {
        let empty = std::collections::BTreeMap::<String, String>::new();
        write_answer(out, ResponseType::Changed, token, &empty);
    });
    assert_written("REF-2", |out, token| {
        let body = RefreshResponse {
            access_token: "access-2".into(),
            refresh_token: "refresh-2".into(),
            expires_in: 3600,
        };
        write_answer(out, ResponseType::Changed, token, &body);
    });
}

fn device() -> DeviceId {
    DEVICE.parse().expect("a UUID")
}

/// Device reference 18, Resource directory and discovery: what RD-1 publishes.
fn published() -> gateway::directory::publish::Published {
    let body = vector("RD-1").message.payload;
    publish(device(), None, &body, 7168, &Limits::default()).expect("the vector is right")
}

/// Device reference 18, Resource directory and discovery.
#[test]
fn a_publish_is_answered_as_the_vectors_say() {
    let echo = published().echo;
    assert_written("RD-2", |out, token| {
        let mut message = MessageWriter::new(out, ResponseType::Changed, token);
        message.ocf_content();
        message.payload(&echo);
        message.finish();
    });
    assert_written("RD-5", |out, token| write_bare(out, ResponseType::Deleted, token));
}

fn assert_discovered(name: &str, query: &[(&str, &str)]) {
    let links = published().directory;
    let query = Query::parse(query.iter().map(|&(key, value)| (key, value.into())))
        .expect("the query is right");
    let endpoint = Endpoint::new(ENDPOINT);
    assert_written(name, |out, token| {
        let mut message = MessageWriter::new(out, ResponseType::Content, token);
        message.ocf_content();
        message.payload_with(|out| {
            let devices = [(device(), &links)].into_iter();
            discovery::write(out, devices, &query, Shape::Ocf, &endpoint);
        });
        message.finish();
    });
}

/// Device reference 18, Resource directory and discovery.
#[test]
fn links_are_discovered_as_the_vectors_say() {
    let rt = ("rt", "oic.r.switch.binary");
    assert_discovered("RES-2", &[rt, ("di", DEVICE)]);
    assert_discovered("RES-3", &[("rt", "oic.r.nothing")]);
    assert_discovered("RES-4", &[rt, ("if", "oic.if.baseline")]);
}

/// Whatever a vector says as a message, for code that borrows one.
fn with_message<R>(name: &str, use_it: impl FnOnce(&Message<'_>) -> R) -> R {
    let bytes = vector(name).bytes;
    let Ok(Framed::Whole(frame, _)) = Frame::parse(&bytes, 262_144) else { panic!("{name}") };
    use_it(&Message::parse(frame).expect("the vector is well-formed"))
}

fn assert_request_translated(from: &str, to: &str, audience: Audience) {
    assert_written(to, |out, token| {
        with_message(from, |message| {
            let Kind::Request(method) = message.code.kind() else { panic!("{from}") };
            translate::request(out, token, &Request::parse(method, message), audience);
        });
    });
}

fn assert_response_translated(from: &str, to: &str, observe: Option<u32>) {
    assert_written(to, |out, token| {
        with_message(from, |message| {
            let response = Response::parse(message);
            let leg = ClientLeg { token, accept: Some(10_000), observe };
            translate::response(out, device(), &response, &leg, response.content_format);
        });
    });
}

/// Device reference 18, Routing and observation.
#[test]
fn requests_and_responses_are_translated_as_the_vectors_say() {
    assert_request_translated("RTE-1", "RTE-2", Audience::Client);
    assert_response_translated("RTE-3", "RTE-4", None);
    assert_request_translated("RTE-5", "RTE-6", Audience::Client);
    assert_request_translated("OBS-1", "OBS-2", Audience::Registration);
    assert_response_translated("OBS-3", "OBS-3K", Some(1));
    assert_response_translated("OBS-4", "OBS-5", Some(2));
    assert_response_translated("OBS-4", "OBS-7", None);
    let offline = Reject::unavailable("device is offline");
    assert_written("RTE-8", |out, token| write_refusal(out, token, &offline));
    assert_written("RTE-9", |out, token| write_refusal(out, token, &Reject::not_found()));
    assert_written("OBS-8", |out, token| write_refusal(out, token, &offline));
}

/// Device reference 18, Length boundaries.
#[test]
fn frames_at_the_boundaries_of_their_lengths_are_those_of_the_table() {
    for [length, begins, total, digest] in rows("length-boundaries.txt") {
        let (length, total): (usize, usize) = (length.parse().unwrap(), total.parse().unwrap());
        let mut frame = Vec::new();
        let token = Token::from_u64(0x5000_0000_0000_0050);
        let mut message = MessageWriter::new(&mut frame, ResponseType::Content, token);
        message.payload(&vec![0x5a; length.saturating_sub(1)]);
        assert_eq!(message.finish(), total, "{length}");
        assert!(frame.starts_with(&unhex(&begins)), "{length}");
        assert_eq!(Sha256::digest(&frame)[..8], unhex(&digest), "{length}");

        let Ok(Framed::Whole(parsed, taken)) = Frame::parse(&frame, 262_144) else {
            panic!("{length}")
        };
        assert_eq!((taken, parsed.token, parsed.body.len()), (total, token, length));
        let payload = Message::parse(parsed).unwrap().payload;
        assert!(payload.len() == length.saturating_sub(1) && payload.iter().all(|&b| b == 0x5a));
        // One byte less and the frame is not there yet; its length is known from its head.
        let cut = Frame::parse(&frame[..total - 1], 262_144);
        assert_eq!(cut, Ok(Framed::Partial { needed: total }), "{length}");
        assert_eq!(
            Frame::parse(&frame[..6], total - 1),
            Err(FrameError::TooLarge { limit: total - 1 }),
        );
    }
}

/// Device reference 18, Malformed and borderline input: what the codec makes of it.
#[test]
fn malformed_frames_are_refused_by_the_codec() {
    let all = rows::<3>("malformed-input.txt");
    assert_eq!(all.len(), 12);
    for [bytes, verdict, fault] in all {
        let bytes = unhex(&bytes);
        let well_formed = match Frame::parse(&bytes, 262_144) {
            Ok(Framed::Whole(frame, _)) => Message::parse(frame).is_ok(),
            Ok(Framed::Partial { .. }) => panic!("{fault}: the frame is whole"),
            Err(_) => false,
        };
        assert_eq!(well_formed, verdict == "accepts", "{fault}");
    }
}

/// Device reference 18, Small CBOR pieces.
#[test]
fn small_pieces_of_cbor_have_the_values_of_the_table() {
    for [bytes, json] in rows("cbor-pieces.txt") {
        let bytes = unhex(&bytes);
        let value: Json = cbor::decode(&bytes).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(value, serde_json::from_str::<Json>(&json).unwrap());
        let definite = !bytes.contains(&0xff);
        if definite {
            let mut again = Vec::new();
            cbor::encode(&mut again, &value);
            assert_eq!(again, bytes, "{json}");
        }
    }
}

/// Device reference 18: `ins` by CRC-32.
#[test]
fn instance_numbers_are_those_of_the_table() {
    for (href, instance) in [
        ("/oic/d", 136_750_592),
        ("/oic/p", 318_534_269),
        ("/light/1", 3_810_745_338),
        ("/oic/res", 3_074_522_274),
    ] {
        assert_eq!(Href::parse(href).unwrap().instance(), instance, "{href}");
    }
}

/// Device reference 2.4: every code of the table is what its byte says.
#[test]
fn codes_have_their_bytes() {
    for (code, byte) in [
        (ResponseType::Created, 0x41),
        (ResponseType::Deleted, 0x42),
        (ResponseType::Valid, 0x43),
        (ResponseType::Changed, 0x44),
        (ResponseType::Content, 0x45),
        (ResponseType::Continue, 0x5f),
        (ResponseType::BadRequest, 0x80),
        (ResponseType::Unauthorized, 0x81),
        (ResponseType::BadOption, 0x82),
        (ResponseType::Forbidden, 0x83),
        (ResponseType::NotFound, 0x84),
        (ResponseType::MethodNotAllowed, 0x85),
        (ResponseType::NotAcceptable, 0x86),
        (ResponseType::RequestEntityIncomplete, 0x88),
        (ResponseType::RequestEntityTooLarge, 0x8d),
        (ResponseType::UnsupportedContentFormat, 0x8f),
        (ResponseType::InternalServerError, 0xa0),
        (ResponseType::BadGateway, 0xa2),
        (ResponseType::ServiceUnavailable, 0xa3),
        (ResponseType::GatewayTimeout, 0xa4),
        (ResponseType::ProxyingNotSupported, 0xa5),
        (ResponseType::HopLimitReached, 0xa8),
    ] {
        assert_eq!(Code::from(code).byte(), byte, "{code:?}");
    }
}
