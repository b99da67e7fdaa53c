//! What a device answers to requests that the cloud routes to it (device reference 10.5, 11).

use shared::coap::{Code, RequestType, ResponseType};

use super::*;

const ACCEPT: (u16, &[u8]) = (17, &[0x27, 0x10]);
const FORMAT: (u16, &[u8]) = (12, &[0x27, 0x10]);
const TURN_ON: &[u8] = b"\xa1\x65value\xf5";

fn ask(
    world: &mut World<Server>,
    method: RequestType,
    path: &str,
    options: &[(u16, &[u8])],
    body: &[u8],
) -> Seen {
    world.send_record(&routed(method, path, 9, options, body));
    let mut arrived = world.arrived();
    assert_eq!(arrived.len(), 1, "{path}");
    arrived.remove(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RTE-2, RTE-3: the bytes after code and token.
#[test]
fn a_retrieve_is_answered_as_rte_3() {
    let mut world = signed_in_light();
    world.send_record(&routed(RequestType::Post, "/light/1", 1, &[FORMAT, ACCEPT], TURN_ON));
    world.arrived();
    let answer =
        ask(&mut world, RequestType::Get, "/light/1", &[(15, b"if=oic.if.baseline"), ACCEPT], b"");
    assert_eq!(answer.code, Code::from(ResponseType::Content));
    assert_eq!(answer.options, [(12, vec![0x27, 0x10]), (2053, vec![8, 0])]);
    assert_eq!(
        hex(&answer.payload),
        "bf6272749f736f69632e722e7377697463682e62696e617279ff6269669f686f69632e69662e616f6f69632e69662e626173656c696e65ff6576616c7565f5ff"
    );
}

#[test]
fn requests_are_answered_with_the_codes_of_real_stacks() {
    let mut world = signed_in_light();
    for (method, path, query, body, code) in [
        (RequestType::Get, "/light/1", "", &b""[..], ResponseType::Content),
        (RequestType::Get, "/oic/d", "", b"", ResponseType::Content),
        (RequestType::Get, "/oic/p", "", b"", ResponseType::Content),
        (RequestType::Get, "/oic/res", "", b"", ResponseType::Content),
        (RequestType::Get, "/oic/res", "if=oic.if.baseline", b"", ResponseType::Content),
        (RequestType::Get, "/light/1", "if=oic.if.a", b"", ResponseType::Content),
        (RequestType::Get, "/light/1", "if=unheard.of", b"", ResponseType::Content),
        (RequestType::Get, "/light/1", "if=oic.if.s", b"", ResponseType::Forbidden),
        (RequestType::Get, "/light", "", b"", ResponseType::NotFound),
        (RequestType::Get, "/light/1/2", "", b"", ResponseType::NotFound),
        (RequestType::Get, "/", "", b"", ResponseType::NotFound),
        (RequestType::Get, "/CoapCloudConfResURI", "", b"", ResponseType::Unauthorized),
        (RequestType::Post, "/light/1", "", TURN_ON, ResponseType::Changed),
        (RequestType::Post, "/light/1", "", b"\xa1\x65value\x01", ResponseType::BadRequest),
        (RequestType::Post, "/light/1", "", b"", ResponseType::BadRequest),
        (RequestType::Post, "/oic/d", "", TURN_ON, ResponseType::MethodNotAllowed),
        (RequestType::Put, "/light/1", "", TURN_ON, ResponseType::MethodNotAllowed),
        (RequestType::Delete, "/light/1", "", b"", ResponseType::MethodNotAllowed),
    ] {
        let query = (15, query.as_bytes());
        let options = if query.1.is_empty() { vec![ACCEPT] } else { vec![query, ACCEPT] };
        let answer = ask(&mut world, method, path, &options, body);
        assert_eq!(answer.code, Code::from(code), "{method:?} {path}");
    }
    assert_eq!(world.breaches(), [""; 0]);
}

#[test]
fn fetch_and_unknown_methods_get_no_answer() {
    let mut world = signed_in_light();
    world.send_record(&routed(RequestType::Fetch, "/light/1", 1, &[], b""));
    world.send_record(&[0x08, 0x1f, 1, 2, 3, 4, 5, 6, 7, 8]);
    world.send_record(&[0x08, 0x00, 1, 2, 3, 4, 5, 6, 7, 8]);
    world.send_record(&[0x08, 0x45, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(world.arrived().is_empty());
    assert!(world.station.is_signed_in());
}

/// OBS-2 to OBS-4, device reference 11.2.
#[test]
fn observers_hear_of_changes_with_sequence_numbers_0_2_3() {
    let mut world = signed_in_light();
    let register = routed(RequestType::Get, "/light/1", 5, &[(6, b""), ACCEPT], b"");
    world.send_record(&register);
    let first = world.arrived().remove(0);
    assert_eq!(first.observe(), Some(vec![]));
    assert_eq!(hex(&first.payload), "bf6576616c7565f4ff");
    assert_eq!(world.station.observers(), 1);

    world.send_record(&routed(RequestType::Post, "/light/1", 6, &[FORMAT, ACCEPT], TURN_ON));
    let arrived = world.arrived();
    assert_eq!(arrived[0].token.as_u64(), Some(6), "the answer comes before the notification");
    assert_eq!(arrived[1].token.as_u64(), Some(5));
    assert_eq!(arrived[1].observe(), Some(vec![2]));
    assert_eq!(hex(&arrived[1].payload), "bf6576616c7565f5ff");

    world.station.change();
    assert_eq!(world.arrived()[0].observe(), Some(vec![3]));
}

/// Device reference 11.5.
#[test]
fn only_the_token_of_the_registration_cancels_an_observation() {
    let mut world = signed_in_light();
    world.send_record(&routed(RequestType::Get, "/light/1", 5, &[(6, b"")], b""));
    world.send_record(&routed(RequestType::Get, "/light/1", 6, &[(6, &[1])], b""));
    assert_eq!(world.arrived()[1].observe(), None);
    assert_eq!(world.station.observers(), 1);
    world.send_record(&routed(RequestType::Get, "/light/1", 5, &[(6, &[1])], b""));
    assert_eq!(world.arrived()[0].observe(), None);
    assert_eq!(world.station.observers(), 0);
}

#[test]
fn what_cannot_be_observed_is_answered_without_observe() {
    let mut world = signed_in_light();
    let answer = ask(&mut world, RequestType::Get, "/oic/p", &[(6, b"")], b"");
    assert_eq!(answer.code, Code::from(ResponseType::Content));
    assert_eq!(answer.observe(), None);
}

#[test]
fn observers_beyond_the_bound_are_answered_and_not_registered() {
    let mut world = signed_in_light();
    for token in 0..65 {
        world.send_record(&routed(RequestType::Get, "/light/1", token, &[(6, b"")], b""));
    }
    assert_eq!(world.arrived().last().unwrap().observe(), None);
    assert_eq!(world.station.observers(), 64);
}

#[test]
fn observations_end_with_the_connection() {
    let mut world = signed_in_light();
    world.send_record(&routed(RequestType::Get, "/light/1", 5, &[(6, b"")], b""));
    assert_eq!(world.station.observers(), 1);
    world.close();
    assert_eq!(world.station.observers(), 0);
}

#[test]
fn a_sensor_changes_by_itself_and_refuses_to_be_changed() {
    let settings = Settings { change_every: Some(Duration::from_secs(5)), ..Settings::default() };
    let mut world = World::with(Device::new(&settings, Kind::Sensor, 1, 3));
    world.station.configure(conf(), world.now);
    world.register(-1);
    world.arrived();
    world.send_record(&routed(RequestType::Get, "/temperature", 5, &[(6, b"")], b""));
    let first = world.arrived().remove(0);
    world.pass_secs(6);
    let arrived = world.arrived();
    assert_eq!(arrived[0].observe(), Some(vec![2]));
    assert_ne!(arrived[0].payload, first.payload);
    let refused = ask(&mut world, RequestType::Post, "/temperature", &[FORMAT], TURN_ON);
    assert_eq!(refused.code, Code::from(ResponseType::MethodNotAllowed));
}

#[test]
fn the_dimmer_of_a_light_keeps_what_it_is_told() {
    let mut world = signed_in_light();
    let body = map(&[("dimmingSetting", 80.into())]);
    let changed = ask(&mut world, RequestType::Post, "/dimming/1", &[FORMAT], &body);
    assert_eq!(changed.code, Code::from(ResponseType::Changed));
    assert!(changed.payload.is_empty() && changed.options.is_empty());
    let read = ask(&mut world, RequestType::Get, "/dimming/1", &[], b"");
    let value = super::super::answers::member(&read.body(), "dimmingSetting").cloned();
    assert_eq!(value, Some(80.into()));
}
