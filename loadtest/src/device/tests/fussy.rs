//! Every quirk of the fussy device bites: the cloud breaks a rule of device reference 1.3, and the
//! device breaks where real ones break and says which rule it was.

use proptest::prelude::*;
use shared::coap::{MessageWriter, ResponseType, signal};

use super::*;

const GET_LIGHT: (RequestType, &str) = (RequestType::Get, "/light/1");

fn get_light(token: u64, options: &[(u16, &[u8])]) -> Vec<u8> {
    routed(GET_LIGHT.0, GET_LIGHT.1, token, options, b"")
}

#[test]
fn rule_1_an_abort_before_the_first_answer_is_held_against_the_cloud() {
    let mut world = light();
    world.expect("/oic/sec/account");
    let mut abort = Vec::new();
    signal::write_abort(&mut abort, Token::from_u64(1), None, "no CSM");
    world.send_record(&abort);
    assert_eq!(world.breaches(), ["rule 1 broken: aborted before the first answer"]);
}

#[test]
fn rule_2_a_frame_below_seven_bytes_ends_all_receiving_on_the_connection() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    // CSM-5: six bytes.
    world.send_record(&[0x40, 0xe1, 0x23, 0x10, 0, 0]);
    assert_eq!(world.breaches(), ["rule 2 broken: a frame of 6 bytes"]);
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    assert_eq!(world.station.cloud_state(), CloudState::Registering, "nothing gets through");
    let repeated = world.next_within(Duration::from_secs(7)).unwrap();
    world.respond(&repeated, ResponseType::Changed, &signed_up(-1));
    assert_eq!(world.station.cloud_state(), CloudState::Registering);
    world.pass_secs(300);
    assert_eq!(world.station.cloud_state(), CloudState::Failed);
}

#[test]
fn rule_3_two_frames_in_a_record_make_every_later_answer_lag_by_one() {
    let mut world = signed_in_light();
    let both = [get_light(1, &[]), get_light(2, &[])].concat();
    world.send_record(&both);
    assert_eq!(world.breaches(), ["rule 3 broken: several frames in one TLS record"]);
    assert_eq!(world.arrived().len(), 1);
    world.send_record(&get_light(3, &[]));
    let late = world.arrived();
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].token.as_u64(), Some(2));
}

#[test]
fn several_records_in_one_segment_and_a_frame_over_several_records_are_fine() {
    let mut world = signed_in_light();
    let request = get_light(1, &[]);
    let server = world.server.as_mut().unwrap();
    server.writer().write_all(&request).unwrap();
    server.writer().write_all(&request[..3]).unwrap();
    server.writer().write_all(&request[3..]).unwrap();
    let segment = world.sealed();
    world.receive(&segment);
    assert_eq!(world.arrived().len(), 2);
    assert_eq!(world.breaches(), [""; 0]);
}

#[test]
fn rule_4_options_that_devices_cannot_stand_cost_the_connection() {
    for (number, value) in [
        (1, &b"etag"[..]),
        (5, b""),
        (12, &[60]),
        (17, &[60]),
        (17, b""),
        (23, &[6]),
        (27, &[6]),
        (2049, &[7, 0]),
        (65001, b""),
    ] {
        let mut world = signed_in_light();
        world.send_record(&get_light(1, &[(number, value)]));
        assert_eq!(world.breaches(), [format!("rule 4 broken: option {number}")]);
        assert!(world.arrived().is_empty());
        assert!(!world.station.is_signed_in());
        world.sign_in(-1);
        assert_eq!(world.connections, 2);
    }
}

#[test]
fn rule_4_holds_for_responses_too_and_the_device_repeats_the_step_it_was_in() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    let mut bytes = Vec::new();
    let mut message = MessageWriter::new(&mut bytes, ResponseType::Changed, sign_up.token);
    message.option(12, &[60]);
    message.payload(&signed_up(-1));
    message.finish();
    world.send_record(&bytes);
    assert_eq!(world.broken_rules(), [Some(4)]);
    assert_eq!(world.station.cloud_state(), CloudState::Registering);
    world.next_within(Duration::from_secs(5)).unwrap();
    assert_eq!(world.connections, 2);
}

#[test]
fn rule_5_an_error_text_with_a_content_format_is_noticed() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    let mut bytes = Vec::new();
    let mut message = MessageWriter::new(&mut bytes, ResponseType::Unauthorized, sign_up.token);
    message.option(12, b"");
    message.payload(b"invalid token");
    message.finish();
    world.send_record(&bytes);
    assert_eq!(world.broken_rules(), [Some(5), Some(4)]);
}

#[test]
fn rule_6_a_missing_or_empty_key_is_as_bad_as_a_final_error() {
    for (key, value) in [
        ("accesstoken", ciborium::Value::from("")),
        ("refreshtoken", 1.into()),
        ("uid", "somebody".into()),
        ("expiresin", 3600.5.into()),
    ] {
        let mut world = light();
        let sign_up = world.expect("/oic/sec/account");
        let mut answer: ciborium::Value = shared::ocf::cbor::decode(&signed_up(-1)).unwrap();
        for entry in answer.as_map_mut().unwrap() {
            if entry.0.as_text() == Some(key) {
                entry.1 = value.clone();
            }
        }
        let mut body = Vec::new();
        shared::ocf::cbor::encode(&mut body, &answer);
        world.respond(&sign_up, ResponseType::Changed, &body);
        assert_eq!(world.breaches(), [format!("rule 6 broken: no {key} in the answer to sign-up")]);
        assert_eq!(world.station.cloud_state(), CloudState::Failed);
    }
}

#[test]
fn rule_7_a_publish_counts_only_with_2_04_and_an_ins_for_every_href() {
    for (code, body, breach) in [
        (ResponseType::Content, None, "rule 7 broken: publish answered 2.05"),
        (
            ResponseType::Changed,
            Some(&b"\xa1\x65links\x80"[..]),
            "rule 7 broken: no href and ins for /oic/d",
        ),
    ] {
        let mut world = light();
        world.register(-1);
        let publish = world.expect("/oic/rd");
        let good = published(&publish);
        world.respond(&publish, code, body.unwrap_or(&good));
        assert_eq!(world.breaches(), [breach]);
        assert!(!world.station.is_published());
        world.pass_secs(15);
        assert!(world.arrived().is_empty(), "it does not try again by itself");
        world.close();
        world.sign_in(-1);
        world.expect("/oic/rd");
    }
}

#[test]
fn rule_9_a_refresh_that_cannot_be_repeated_after_a_lost_answer_is_held_against_the_cloud() {
    let mut world = light();
    world.register(3600);
    world.arrived();
    world.close();
    world.expect("/oic/sec/tokenrefresh");
    let repeated = world.next_within(Duration::from_secs(7)).unwrap();
    world.respond(&repeated, ResponseType::Unauthorized, b"");
    assert_eq!(
        world.breaches(),
        ["rule 9 broken: the previous refresh token is refused after a lost answer"]
    );
}

#[test]
fn rule_10_final_codes_for_the_clouds_own_trouble_are_held_against_it() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::InternalServerError, b"");
    assert_eq!(world.breaches(), ["rule 10 broken: sign-up answered 5.00"]);
    let mut world = light();
    world.register(0);
    world.arrived();
    world.close();
    let refresh = world.expect("/oic/sec/tokenrefresh");
    world.respond(&refresh, ResponseType::BadRequest, b"");
    assert_eq!(world.breaches(), ["rule 10 broken: refresh answered 4.00"]);
}

#[test]
fn rule_11_closing_instead_of_answering_or_after_5_03_is_held_against_the_cloud() {
    let mut world = light();
    world.expect("/oic/sec/account");
    world.close();
    assert_eq!(world.breaches(), ["rule 11 broken: closed during sign-up"]);

    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    let sign_in = world.expect("/oic/sec/session");
    world.respond(&sign_in, ResponseType::ServiceUnavailable, b"");
    world.close();
    assert_eq!(world.breaches(), ["rule 11 broken: closed during sign-in"]);
}

#[test]
fn closing_an_idle_session_breaks_no_rule() {
    let mut world = signed_in_light();
    world.close();
    assert_eq!(world.breaches(), [""; 0]);
}

#[test]
fn rule_12_a_single_use_token_must_work_again_after_a_lost_answer() {
    let mut world = light();
    world.expect("/oic/sec/account");
    let repeated = world.next_within(Duration::from_secs(7)).unwrap();
    world.respond(&repeated, ResponseType::Unauthorized, b"");
    assert_eq!(
        world.breaches(),
        ["rule 12 broken: the single-use token is refused after a lost answer"]
    );
}

#[test]
fn rule_14_a_cloud_with_another_name_may_route_nothing() {
    let mut world = light();
    world.configs = tls("cloud.example.com");
    world.register(-1);
    assert_eq!(
        world.breaches(),
        ["rule 14 broken: the cloud's certificate is for CN=cloud.example.com"]
    );
    world.arrived();
    world.send_record(&get_light(1, &[]));
    assert_eq!(world.arrived()[0].code, shared::coap::Code::from(ResponseType::Unauthorized));
}

#[test]
fn rule_15_a_split_record_header_costs_the_connection() {
    let mut world = signed_in_light();
    let request = get_light(1, &[]);
    world.server.as_mut().unwrap().writer().write_all(&request).unwrap();
    let sealed = world.sealed();
    world.receive(&sealed[..5]);
    assert_eq!(world.breaches(), ["rule 15 broken: a record began with 5 bytes only"]);
    assert!(!world.station.is_signed_in());
    world.sign_in(-1);
    assert_eq!(world.connections, 2);
}

#[test]
fn a_record_split_behind_its_first_six_bytes_is_fine() {
    let mut world = signed_in_light();
    let request = get_light(1, &[]);
    world.server.as_mut().unwrap().writer().write_all(&request).unwrap();
    let sealed = world.sealed();
    world.receive(&sealed[..6]);
    world.receive(&sealed[6..7]);
    world.receive(&sealed[7..]);
    assert_eq!(world.arrived().len(), 1);
    assert_eq!(world.breaches(), [""; 0]);
}

#[test]
fn a_frame_above_what_the_device_holds_costs_the_connection() {
    let mut world = signed_in_light();
    world.send_record(&routed(RequestType::Post, "/light/1", 1, &[], &[0; 7400]));
    assert_eq!(world.broken_rules(), [None]);
    assert!(!world.station.is_signed_in());
}

#[test]
fn null_and_tags_in_an_answer_are_noticed() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::Changed, b"\xa1\x61a\xf6");
    assert_eq!(world.breaches()[0], "section 4.3 broken: null, undefined or a tag in an answer");
}

#[test]
fn a_tolerant_device_minds_none_of_it() {
    let settings = Settings { stack: Stack::Tolerant, ..Settings::default() };
    let mut world = light_with(&settings);
    world.register(-1);
    world.arrived();
    world.send_record(&[0x00, 0xe1]);
    world.send_record(&[get_light(1, &[]), get_light(2, &[])].concat());
    assert_eq!(world.arrived().len(), 2);
    world.send_record(&get_light(3, &[(1, b"etag")]));
    assert_eq!(world.arrived()[0].code, shared::coap::Code::from(ResponseType::BadOption));
    let request = get_light(4, &[]);
    world.server.as_mut().unwrap().writer().write_all(&request).unwrap();
    for byte in world.sealed() {
        world.receive(&[byte]);
    }
    assert_eq!(world.arrived().len(), 1);
    assert_eq!(world.breaches(), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What a hostile cloud says inside TLS.
    #[test]
    fn arbitrary_plaintext_never_panics(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..6),
        fussy: bool,
    ) {
        let stack = if fussy { Stack::Fussy } else { Stack::Tolerant };
        let mut world = light_with(&Settings { stack, ..Settings::default() });
        world.register(-1);
        for record in records {
            if world.server.is_some() {
                world.send_record(&record);
            }
        }
        world.pass_secs(10);
    }

    /// What arrives instead of TLS.
    #[test]
    fn arbitrary_bytes_on_the_socket_never_panic(
        reads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..6),
        established: bool,
    ) {
        let mut world = if established { signed_in_light() } else { light() };
        world.pass_secs(2);
        for read in reads {
            world.receive(&read);
        }
        world.pass_secs(10);
    }

    /// Whatever code answers whichever step, the device ends in a defined state.
    #[test]
    fn arbitrary_answers_never_panic(
        answers in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..12),
    ) {
        let mut world = light();
        for (code, body) in answers {
            let Some(request) = world.next_within(Duration::from_secs(70)) else { break };
            if world.server.is_none() {
                continue;
            }
            let mut bytes = Vec::new();
            let code = shared::coap::Code::from_byte(code);
            let mut message = MessageWriter::new(&mut bytes, code, request.token);
            message.payload(&body);
            message.finish();
            world.send_record(&bytes);
        }
        world.pass_secs(100);
    }
}
