//! Every profile, played small over real sockets against a cloud of the simplest kind.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[expect(dead_code, reason = "some of it is for single devices")]
mod support;

use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Parser;
use loadtest::config::Arguments;
use loadtest::device::Step;
use loadtest::report::Report;
use loadtest::swarm::{Outcome, Snapshot};
use support::Cloud;

/// Plays it until `enough`, or to its own end.
fn play(cloud: &Cloud, more: &[&str], enough: impl Fn(&Snapshot) -> bool) -> Outcome {
    let swarm = Arguments::parse_from(cloud.arguments(more)).into_swarm().unwrap();
    swarm.check().unwrap();
    let (stop, interrupts) = channel();
    let view = |snapshot: &Snapshot, _: Duration| {
        if enough(snapshot) {
            // The run may be over before it hears of it.
            let _ = stop.send(());
        }
    };
    swarm.run(&interrupts, view).unwrap()
}

fn never(_: &Snapshot) -> bool {
    false
}

#[test]
fn steady_devices_ping_and_change_and_are_asked_by_clients_and_by_a_partner() {
    let cloud = Cloud::start();
    let more =
        ["--profile=steady", "--devices=20", "--changes=50", "--reads=100", "--retrieves=100"];
    // The pace makes of 20 s between Pings a fifth of a second.
    let outcome = play(&cloud, &more, |snapshot| snapshot.answers >= 100);
    let report = Report::new(&outcome, 20, 10);
    for step in [Step::Ping, Step::Retrieve, Step::Read] {
        let (succeeded, _) = outcome.stats.counts(step);
        assert!(succeeded > 0, "{step}\n{report}");
    }
    assert!(outcome.stats.changes > 0);
    assert_eq!(outcome.stats.counts(Step::Read).1, 0, "{report}");
    assert!(cloud.seen().reads as u64 >= outcome.stats.counts(Step::Read).0);
}

#[test]
fn a_ramp_brings_everybody_and_its_timeline_says_when() {
    let cloud = Cloud::start();
    let more = ["--profile=ramp", "--devices=60", "--rate=100", "--interval=0.1", "--until-online"];
    let outcome = play(&cloud, &more, never);
    let report = Report::new(&outcome, 60, 0);
    assert_eq!(report.failure(), None, "{report}");
    let arrived: Vec<_> = report.timeline.iter().map(|point| point.arrived).collect();
    assert_eq!(arrived.last(), Some(&60));
    assert!(arrived.is_sorted() && arrived.iter().any(|&count| (1..60).contains(&count)));
}

#[test]
fn after_a_storm_everybody_who_was_cut_off_is_back_and_the_others_never_left() {
    let cloud = Cloud::start();
    let more =
        ["--profile=storm", "--devices=60", "--stay=10", "--calm=0.2", "--for=60", "--fussy"];
    let outcome = play(&cloud, &more, never);
    let report = Report::new(&outcome, 60, 0);
    assert_eq!(report.failure(), None, "{report}");
    let comebacks = report.comebacks.as_ref().unwrap();
    assert_eq!((comebacks.dropped, comebacks.returned, comebacks.stranded), (50, 50, 0));
    assert_eq!(comebacks.by_try.iter().sum::<u64>(), 50);
    assert!(comebacks.storm_at_secs.is_some());
    assert_eq!(outcome.end.online, 60);
    // Twice for those who were cut off: nobody publishes again.
    assert_eq!((cloud.seen().sign_ins, cloud.seen().publishes), (110, 60));
}

#[test]
fn each_device_resumes_its_own_session_where_that_is_asked_for() {
    let cloud = Cloud::start();
    let more = ["--profile=storm", "--devices=40", "--calm=0.2", "--for=60", "--resume"];
    let outcome = play(&cloud, &more, never);
    let report = Report::new(&outcome, 40, 0);
    assert_eq!(report.failure(), None, "{report}");
    assert_eq!(outcome.sessions, 40);
    // The second connections end only with the run; the cloud hears of it a moment later.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while cloud.seen().resumed < 40 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(cloud.seen().resumed, 40);
}

#[test]
fn devices_that_come_and_go_are_counted_both_ways() {
    let cloud = Cloud::start();
    let more = ["--profile=churn", "--devices=20", "--drops=50"];
    let outcome = play(&cloud, &more, |snapshot| snapshot.back >= 30);
    let comebacks = Report::new(&outcome, 20, 0).comebacks.unwrap();
    assert!(comebacks.returned >= 30 && comebacks.stranded <= 20);
    assert_eq!(comebacks.storm_at_secs, None);
    assert!(outcome.stats.disconnects >= comebacks.dropped);
}

#[test]
fn a_probe_measures_requests_to_devices_that_stay() {
    let cloud = Cloud::start();
    let more = ["--profile=probe", "--devices=5", "--interval=0.1"];
    let outcome = play(&cloud, &more, |snapshot| snapshot.answers >= 50);
    let report = Report::new(&outcome, 5, 2);
    let measured = |point: &loadtest::report::Point| {
        point.steps.iter().any(|s| s.step == "retrieve" && s.p99_ms.is_some())
    };
    assert!(report.timeline.iter().any(measured), "{report}");
    assert_eq!(outcome.stats.disconnects, 0);
}
