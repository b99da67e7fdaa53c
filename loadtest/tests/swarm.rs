//! The swarm over real sockets, against a cloud of the simplest kind.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Parser;
use loadtest::config::Arguments;
use loadtest::credentials::{Credentials, DeviceCertificate, TlsVersion};
use loadtest::device::{Device, Event, Kind, Pace, Settings, Step};
use loadtest::driver::Driver;
use loadtest::report::Report;
use loadtest::swarm::Outcome;
use support::Cloud;

/// Nothing but its own end ends a run; the sender has to live as long.
fn uninterrupted() -> (Sender<()>, Receiver<()>) {
    channel()
}

fn play(cloud: &Cloud, more: &[&str]) -> Outcome {
    let arguments = Arguments::parse_from(cloud.arguments(more));
    let swarm = arguments.into_swarm().unwrap();
    let (_sender, interrupts) = uninterrupted();
    swarm.run(&interrupts, |_, _| {}).unwrap()
}

#[test]
fn devices_of_two_users_come_online_and_publish() {
    let cloud = Cloud::start();
    let outcome = play(&cloud, &["--devices=50", "--until-online", "--fussy"]);
    let report = Report::new(&outcome, 50, 0);
    assert_eq!(report.failure(), None, "{report}");
    assert_eq!(outcome.end.ready, 50);
    for step in [Step::Provision, Step::Connect, Step::Handshake, Step::SignUp, Step::SignIn] {
        assert_eq!(outcome.stats.counts(step), (50, 0), "{step}\n{report}");
    }
    let seen = cloud.seen();
    assert_eq!(seen.sign_ups.len(), 50);
    assert_eq!(seen.publishes, 50);
    assert_eq!((seen.users["first"], seen.users["second"]), (25, 25));
    assert_eq!(seen.names, ["a manufacturer's device"]);
}

#[test]
fn arrivals_pause_while_answers_are_late() {
    let cloud = Cloud::start();
    // A Ping every 0.2 s; no answer takes less than a microsecond.
    let late = ["--devices=40", "--rate=10", "--pace=0.01", "--pause-above=0.001", "--for=8"];
    let arrived = play(&cloud, &late).end.arrived;
    assert!((1..40).contains(&arrived), "{arrived} of 40 arrived, in twice the time for all");
}

#[test]
fn a_next_run_goes_on_with_the_stored_tokens_and_publishes_nothing_again() {
    let cloud = Cloud::start();
    let state = format!("--state={}", cloud.path("swarm.state").display());
    let run = |devices: &str| play(&cloud, &[devices, "--until-online", &state]);
    assert_eq!(run("--devices=10").end.ready, 10);
    // What a crash has cut short does not matter.
    let mut text = std::fs::read(cloud.path("swarm.state")).unwrap();
    text.extend_from_slice(b"{\"number\":3,");
    std::fs::write(cloud.path("swarm.state"), text).unwrap();

    assert_eq!(run("--devices=12").end.ready, 12);
    let seen = cloud.seen();
    assert_eq!(seen.sign_ups.len(), 12, "ten of them were known");
    assert_eq!(seen.publishes, 12);
    assert_eq!(seen.sign_ins, 22);
    assert_eq!(seen.users.values().sum::<usize>(), 12);
}

#[test]
fn every_device_may_have_an_identity_certificate_of_its_own() {
    let cloud = Cloud::start();
    let mut arguments = cloud.arguments(&["--devices=4", "--until-online", "--tls=1.3"]);
    arguments.retain(|argument| !argument.starts_with("--cert") && !argument.starts_with("--key"));
    arguments.push("--identity-ca".into());
    arguments.push(cloud.path("ca.pem").to_str().unwrap().into());
    arguments.push(cloud.path("ca.key").to_str().unwrap().into());
    let swarm = Arguments::parse_from(arguments).into_swarm().unwrap();
    let (_sender, interrupts) = uninterrupted();
    assert_eq!(swarm.run(&interrupts, |_, _| {}).unwrap().end.ready, 4);
    let seen = cloud.seen();
    let mut expected: Vec<_> = seen.sign_ups.iter().map(|di| format!("uuid:{di}")).collect();
    let mut names = seen.names.clone();
    expected.sort();
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn clients_discover_read_and_change_what_devices_publish() {
    let cloud = Cloud::start();
    let swarm = Arguments::parse_from(cloud.arguments(&[
        "--devices=20",
        "--clients=4",
        "--retrieves=200",
        "--updates=100",
        "--changes=50",
    ]));
    let (stop, interrupts) = uninterrupted();
    let view = |snapshot: &loadtest::swarm::Snapshot, _| {
        if snapshot.answers >= 100 {
            // The run may be over before it hears of it.
            let _ = stop.send(());
        }
    };
    let outcome = swarm.into_swarm().unwrap().run(&interrupts, view).unwrap();
    let (retrieved, _) = outcome.stats.counts(Step::Retrieve);
    let (updated, _) = outcome.stats.counts(Step::Update);
    assert!(retrieved > 0 && updated > 0, "{}", Report::new(&outcome, 20, 4));
    assert!(outcome.stats.counts(Step::Discover).0 > 0);
    let seen = cloud.seen();
    assert!(seen.retrieves as u64 >= retrieved && seen.updates as u64 >= updated);
}

#[test]
fn devices_sign_off_at_the_end_when_they_are_told_to() {
    let cloud = Cloud::start();
    let outcome = play(&cloud, &["--devices=10", "--until-online", "--sign-off"]);
    assert_eq!(outcome.end.ready, 10);
    assert_eq!(outcome.stats.counts(Step::SignOff), (10, 0));
    assert_eq!(cloud.seen().sign_offs, 10);
}

/// What end-to-end tests do with single devices.
#[test]
fn one_fussy_device_is_driven_by_the_thread_of_a_test() {
    let cloud = Cloud::start();
    let certificate = DeviceCertificate::Manufacturer {
        chain: cloud.path("device.pem"),
        key: cloud.path("device.key"),
    };
    let version = TlsVersion::Tls12;
    let credentials = Credentials::load(&cloud.path("ca.pem"), &certificate, version).unwrap();
    let settings = Settings { pace: Pace::scaled(0.01).unwrap(), ..Settings::default() };
    let mut driver = Driver::new(Device::new(&settings, Kind::Light, 1, 1), &credentials);
    driver.station.configure(cloud.conf(), driver.now());
    let published = |device: &Device, _: &[Event]| device.is_published();
    assert!(driver.run_until(Duration::from_secs(60), published).unwrap());
    driver.cut();
    assert!(!driver.station.is_signed_in());
    let signed_in = |device: &Device, _: &[Event]| device.is_signed_in();
    assert!(driver.run_until(Duration::from_secs(60), signed_in).unwrap());
    assert_eq!(cloud.seen().publishes, 1);
    assert!(!driver.events.iter().any(|event| matches!(event, Event::Breach(_))));
}

#[test]
fn a_cloud_that_is_not_there_is_counted_by_reason() {
    let cloud = Cloud::start();
    let mut arguments = cloud.arguments(&["--devices=1", "--until-online"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    arguments[1] = format!("--api=https://localhost:{}", free.port());
    let swarm = Arguments::parse_from(arguments).into_swarm().unwrap();
    let (_sender, interrupts) = uninterrupted();
    let error = swarm.run(&interrupts, |_, _| {}).err().unwrap();
    assert!(format!("{error:#}").contains("cannot reach the API"), "{error:#}");
}
