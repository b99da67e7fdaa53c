//! How a device comes to its session and keeps it (device reference 4.5, 13).

use std::time::Duration;

use shared::coap::{ResponseType, Token, signal};

use super::*;

/// Device reference 15.1, rows 1 to 7.
#[test]
fn a_configured_device_signs_up_signs_in_publishes_and_pings() {
    let mut world = light();
    assert_eq!(world.station.cloud_state(), CloudState::ReadyToRegister);
    let began = world.now;
    let sign_up = world.expect("/oic/sec/account");
    assert!((1..=2).contains(&world.now.since(began).as_secs()));
    assert_eq!(sign_up.text("accesstoken"), "first-token-0001");
    assert_eq!(sign_up.text("di"), world.station.di().to_string());
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    assert_eq!(world.station.cloud_state(), CloudState::Registered);
    assert_eq!(world.station.uid(), Some(uid()));

    let sign_in = world.expect("/oic/sec/session");
    assert_eq!(sign_in.text("accesstoken"), "access-1");
    assert_eq!(sign_in.text("uid"), UID);
    world.respond(&sign_in, ResponseType::Changed, &signed_in(-1));
    let signed_in_at = world.now;

    let publish = world.expect("/oic/rd");
    assert_eq!(world.now, signed_in_at, "publishes at once");
    world.respond(&publish, ResponseType::Changed, &published(&publish));
    assert!(world.station.is_published());

    let ping = world.next_within(Duration::from_secs(21)).unwrap();
    assert_eq!(ping.code.byte(), 0xe2);
    assert_eq!(world.now.since(signed_in_at), Duration::from_secs(20));
    let mut pong = Vec::new();
    signal::write_pong(&mut pong, ping.token, false);
    world.send_record(&pong);
    assert_eq!(world.connections, 1);
    assert_eq!(world.breaches(), [""; 0]);
}

#[test]
fn no_capabilities_message_is_ever_sent_or_waited_for() {
    let mut world = light();
    let first = world.next_within(Duration::from_secs(3)).unwrap();
    assert_eq!(first.path(), "/oic/sec/account");
}

#[test]
fn links_are_published_once_and_not_again_after_a_reconnect_or_a_power_cut() {
    let mut world = signed_in_light();
    world.close();
    world.sign_in(-1);
    assert!(world.arrived().is_empty());

    let memory = world.station.memory();
    let settings = Settings::default();
    let restored = Device::restore(&settings, Kind::Light, 7, 43, &memory);
    let mut world = World::with(restored);
    world.station.handle(Input::SwitchedOn, world.now);
    world.sign_in(-1);
    assert!(world.arrived().is_empty());
}

#[test]
fn an_expiring_token_is_refreshed_before_the_next_sign_in() {
    let mut world = light();
    world.register(3600);
    world.arrived();
    world.close();
    let refresh = world.expect("/oic/sec/tokenrefresh");
    assert_eq!(refresh.text("refreshtoken"), "refresh-1");
    world.respond(&refresh, ResponseType::Changed, &refreshed(3600));
    let sign_in = world.expect("/oic/sec/session");
    assert_eq!(sign_in.text("accesstoken"), "access-2");
}

/// Device reference 7.1.
#[test]
fn a_token_of_an_hour_is_refreshed_two_minutes_early_on_the_live_session() {
    let mut world = light();
    world.register(3600);
    world.arrived();
    let signed_in_at = world.now;
    for _ in 0..1000 {
        let seen = world.next_within(Duration::from_secs(30)).unwrap();
        if seen.code.byte() == 0xe2 {
            let mut pong = Vec::new();
            signal::write_pong(&mut pong, seen.token, false);
            world.send_record(&pong);
            continue;
        }
        assert_eq!(seen.path(), "/oic/sec/tokenrefresh");
        assert!((3481..=3482).contains(&world.now.since(signed_in_at).as_secs()));
        assert_eq!(world.connections, 1);
        return;
    }
    panic!("no refresh");
}

#[test]
fn a_lost_pong_leads_to_six_pings_and_then_to_a_new_connection() {
    let mut world = signed_in_light();
    let signed_in_at = world.now;
    let mut pings = Vec::new();
    while world.connections == 1 {
        let seen = world.next_within(Duration::from_secs(70)).unwrap();
        if seen.code.byte() == 0xe2 {
            pings.push(world.now.since(signed_in_at).as_secs());
        }
    }
    assert_eq!(pings, [20, 28, 36, 44, 52, 60]);
    assert!((65..=66).contains(&world.now.since(signed_in_at).as_secs()));
}

/// Rule 11: 2, 4, 8 ... 64 s, and after six tries a device that cannot sign up gives up for good.
#[test]
fn a_sign_up_that_is_put_off_is_repeated_on_the_same_connection_six_times() {
    let mut world = light();
    let began = world.now;
    let mut tokens = Vec::new();
    while let Some(sign_up) = world.next_within(Duration::from_secs(200)) {
        assert_eq!(sign_up.path(), "/oic/sec/account");
        assert!(!tokens.contains(&sign_up.token), "every try has a CoAP token of its own");
        tokens.push(sign_up.token);
        world.respond(&sign_up, ResponseType::ServiceUnavailable, b"");
    }
    assert_eq!(tokens.len(), 6);
    assert!((63..=127).contains(&world.now.since(began).as_secs()));
    assert_eq!(world.station.cloud_state(), CloudState::Failed);
    assert_eq!(world.station.last_error(), LastError::CannotConnect);
    assert_eq!(world.connections, 1);
    assert_eq!(world.breaches(), [""; 0], "5.03 is what the cloud should say");
}

#[test]
fn a_sign_in_that_is_put_off_goes_on_for_ever_with_a_new_connection_every_six_tries() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    for tries in 0..13 {
        let sign_in = world.next_within(Duration::from_secs(70)).unwrap();
        assert_eq!(sign_in.path(), "/oic/sec/session");
        assert_eq!(world.connections, 1 + tries / 6);
        world.respond(&sign_in, ResponseType::ServiceUnavailable, b"");
    }
}

#[test]
fn unanswered_requests_are_repeated_and_late_answers_to_old_tries_ignored() {
    let mut world = light();
    let first = world.expect("/oic/sec/account");
    let second = world.next_within(Duration::from_secs(7)).unwrap();
    assert_eq!(second.path(), "/oic/sec/account");
    world.respond(&first, ResponseType::Changed, &signed_up(-1));
    assert_eq!(world.station.cloud_state(), CloudState::Registering);
    world.respond(&second, ResponseType::Changed, &signed_up(-1));
    assert_eq!(world.station.cloud_state(), CloudState::Registered);
}

#[test]
fn a_cloud_that_does_not_listen_costs_tries() {
    let mut world = light();
    world.listening = false;
    world.pass_secs(200);
    assert_eq!(world.station.cloud_state(), CloudState::Failed);
    assert_eq!(world.station.last_error(), LastError::CannotConnect);
    let refused = Event::Step {
        step: Step::Connect,
        took: Duration::ZERO,
        result: Err(Failure::Connect(std::io::ErrorKind::ConnectionRefused)),
    };
    assert_eq!(world.events.iter().filter(|event| **event == refused).count(), 6);
}

#[test]
fn a_refused_sign_up_is_final_and_the_connection_stays_open_and_silent() {
    for code in [ResponseType::Unauthorized, ResponseType::Forbidden, ResponseType::BadRequest] {
        let mut world = light();
        let sign_up = world.expect("/oic/sec/account");
        world.respond(&sign_up, code, b"");
        assert_eq!(world.station.cloud_state(), CloudState::Failed);
        assert_eq!(world.station.last_error(), LastError::ErrorAnswer);
        world.pass_secs(1000);
        world.close();
        world.pass_secs(1000);
        assert!(world.arrived().is_empty());
        assert_eq!(world.connections, 1);
        assert_eq!(world.breaches(), [""; 0]);
    }
}

#[test]
fn a_sign_in_answered_4_01_leads_to_a_refresh_and_a_refresh_answered_4_01_erases_everything() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    let sign_in = world.expect("/oic/sec/session");
    world.respond(&sign_in, ResponseType::Unauthorized, b"");
    let refresh = world.expect("/oic/sec/tokenrefresh");
    assert_eq!(world.connections, 1);
    world.respond(&refresh, ResponseType::Unauthorized, b"");
    assert_eq!(world.station.cloud_state(), CloudState::Uninitialized);
    assert_eq!(world.station.cis(), None);
    assert!(world.events.contains(&Event::Erased));
    world.pass_secs(1000);
    assert!(world.arrived().is_empty());
}

/// Rule 10.
#[test]
fn any_other_final_error_on_refresh_silences_the_device_for_good() {
    for code in [ResponseType::InternalServerError, ResponseType::BadRequest] {
        let mut world = light();
        world.register(3600);
        world.arrived();
        world.close();
        let refresh = world.expect("/oic/sec/tokenrefresh");
        world.respond(&refresh, code, b"");
        assert_eq!(world.station.cloud_state(), CloudState::Failed);
        assert_eq!(world.station.last_error(), LastError::RefreshFailed);
        let connections = world.connections;
        world.pass_secs(1000);
        world.close();
        world.pass_secs(1000);
        assert!(world.arrived().is_empty());
        assert_eq!(world.connections, connections);
    }
}

#[test]
fn other_errors_on_sign_in_bring_the_device_back_every_one_or_two_seconds() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    world.respond(&sign_up, ResponseType::Changed, &signed_up(-1));
    for connection in 1..=10 {
        let sign_in = world.expect("/oic/sec/session");
        assert_eq!(world.connections, connection);
        world.respond(&sign_in, ResponseType::InternalServerError, b"");
    }
}

/// Device reference 13.5.
#[test]
fn a_redirect_is_followed_with_a_sign_in_at_the_new_server() {
    let mut world = light();
    let sign_up = world.expect("/oic/sec/account");
    let mut answer: ciborium::Value = shared::ocf::cbor::decode(&signed_up(3600)).unwrap();
    let uri = "coaps+tcp://other.example.com:5684";
    answer.as_map_mut().unwrap().push(("redirecturi".into(), uri.into()));
    let mut body = Vec::new();
    shared::ocf::cbor::encode(&mut body, &answer);
    world.respond(&sign_up, ResponseType::Changed, &body);
    assert_eq!(world.station.cis(), Some(uri));
    world.sign_in(3600);
    assert_eq!(world.connections, 2);
}

#[test]
fn release_and_close_bring_the_device_back_within_two_seconds() {
    let mut world = signed_in_light();
    let mut release = Vec::new();
    signal::write_release(&mut release, Token::from_u64(1), None, Some(30), "moving");
    world.send_record(&release);
    assert!(!world.station.is_signed_in());
    world.sign_in(-1);
    assert_eq!(world.connections, 2);
    world.close();
    world.sign_in(-1);
    assert_eq!(world.connections, 3);
}

#[test]
fn an_abort_is_only_noted() {
    let mut world = signed_in_light();
    let mut abort = Vec::new();
    signal::write_abort(&mut abort, Token::from_u64(1), None, "why");
    world.send_record(&abort);
    assert!(world.station.is_signed_in());
}

#[test]
fn a_ping_of_the_cloud_is_answered_with_its_token_and_custody() {
    let mut world = signed_in_light();
    world.send_record(&[0x18, 0xe2, 0xd2, 0, 0, 0, 0, 0, 0, 0xd2, 0x20]);
    let pong = world.arrived().remove(0);
    assert_eq!(pong.code.byte(), 0xe3);
    assert_eq!(pong.token.as_u64(), Some(0xd200_0000_0000_00d2));
    assert_eq!(pong.options, [(2, vec![])]);
}

/// Device reference 13.1.
#[test]
fn a_registered_device_takes_no_other_configuration_but_leaves_on_an_empty_cis() {
    let mut world = signed_in_light();
    let now = world.now;
    assert_eq!(world.station.write_cloud_conf(&conf().body(), now), ResponseType::BadRequest);
    let leave = map(&[("cis", "".into())]);
    assert_eq!(world.station.write_cloud_conf(&leave, now), ResponseType::Changed);
    assert_eq!(world.station.cloud_state(), CloudState::Deregistering);
    let sign_off = world.expect("/oic/sec/account");
    assert_eq!(sign_off.code, shared::coap::Code::from(RequestType::Delete));
    world.respond(&sign_off, ResponseType::Deleted, b"");
    assert_eq!(world.station.cloud_state(), CloudState::Uninitialized);
    assert!(!world.station.is_published() || world.station.cis().is_none());
    assert_eq!(world.station.write_cloud_conf(&conf().body(), now), ResponseType::Changed);
    world.register(-1);
    world.expect("/oic/rd");
}

#[test]
fn a_sign_off_without_an_answer_ends_after_ten_seconds() {
    let mut world = signed_in_light();
    world.station.sign_off(world.now);
    world.pass_secs(9);
    assert_eq!(world.station.cloud_state(), CloudState::Deregistering);
    world.pass_secs(1);
    assert_eq!(world.station.cloud_state(), CloudState::Uninitialized);
}

#[test]
fn a_device_that_signed_out_signs_in_when_it_is_switched_on_again() {
    let mut world = signed_in_light();
    world.station.sign_out(world.now);
    let sign_out = world.expect("/oic/sec/session");
    world.respond(&sign_out, ResponseType::Changed, b"\xa0");
    assert!(!world.station.is_signed_in());
    world.pass_secs(100);
    assert!(world.arrived().is_empty());
    world.station.handle(Input::SwitchedOn, world.now);
    world.sign_in(-1);
    assert_eq!(world.connections, 1);
}

#[test]
fn the_cloud_configuration_reads_as_the_definition_says_and_never_shows_the_token() {
    let world = light();
    let body = world.station.read_cloud_conf(true);
    let conf: ciborium::Value = shared::ocf::cbor::decode(&body).unwrap();
    let text = |key| super::super::answers::member(&conf, key).unwrap().as_text().unwrap();
    assert_eq!(text("cis"), "coaps+tcp://127.0.0.1:5684");
    assert_eq!(text("sid"), SID.to_string());
    assert_eq!(text("cps"), "readytoregister");
    assert!(super::super::answers::member(&conf, "at").is_none());
    assert!(!body.windows(5).any(|window| window == b"first"));
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let lives: Vec<_> = (0..2)
        .map(|_| {
            let mut world = light();
            world.register(-1);
            let publish = world.expect("/oic/rd");
            (world.now, publish.token, publish.payload)
        })
        .collect();
    assert_eq!(lives[0], lives[1]);
}

/// The waits before sign-up, sign-in and between tries are a tenth as long.
#[test]
fn a_pace_shortens_every_wait() {
    let settings = Settings { pace: Pace::scaled(0.1).unwrap(), ..Settings::default() };
    let mut world = light_with(&settings);
    let began = world.now;
    world.register(-1);
    assert!(world.now.since(began) <= Duration::from_millis(400));
}
