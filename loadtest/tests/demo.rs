//! The demo's processes and its state directory, as far as they need no cloud.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use loadtest::demo::processes::{Death, Processes, Program};
use loadtest::demo::{Installation, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

const DEMO: &str = env!("CARGO_BIN_EXE_ocf-demo");

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn shell(name: &'static str, script: &str, directory: &TempDir) -> Program {
    Program {
        name,
        binary: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        log: directory.path().join(format!("{name}.log")),
        notify: None,
        on_terminal: false,
    }
}

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.into(),
        coap_port: 0,
        api_port: 0,
        shards: None,
        users: 1,
        devices: 0,
        ping_secs: 20,
    }
}

#[test]
fn the_death_of_a_process_is_told_with_its_last_words() {
    let directory = TempDir::new().unwrap();
    let mut processes = Processes::new(DEMO.into());
    processes.start(shell("steady", "exec sleep 1000", &directory)).unwrap();
    let script = "echo one; echo 'the port is taken' >&2; exit 3";
    processes.start(shell("ill", script, &directory)).unwrap();
    let death: Death = processes.wait(LONG).unwrap().unwrap();
    assert_eq!(death.name, "ill");
    assert_eq!(
        death.to_string(),
        "ill has ended with exit code 3. The end of its log:\n  one\n  the port is taken"
    );
}

#[test]
fn a_process_that_is_told_to_end_ends_well_or_it_is_known_how() {
    let directory = TempDir::new().unwrap();
    let mut processes = Processes::new(DEMO.into());
    for (name, code) in [("orderly", 0), ("ill", 7)] {
        let ready = directory.path().join(format!("{name}.ready"));
        let script = format!(
            "trap 'echo goodbye; exit {code}' TERM; touch {ready}; while :; do sleep 0.01; done",
            ready = ready.display()
        );
        processes.start(shell(name, &script, &directory)).unwrap();
        while !ready.exists() {
            assert!(processes.wait(Duration::from_millis(10)).unwrap().is_none());
        }
    }
    assert!(processes.end("orderly").unwrap().is_none());
    let death = processes.end("ill").unwrap().unwrap();
    assert_eq!(death.to_string(), "ill has ended with exit code 7. The end of its log:\n  goodbye");
    assert!(processes.end("ill").unwrap().is_none(), "it runs no more");
}

#[test]
fn a_process_that_was_killed_can_be_started_again() {
    let directory = TempDir::new().unwrap();
    let mut processes = Processes::new(DEMO.into());
    let first = processes.start(shell("one", "exec sleep 1000", &directory)).unwrap();
    processes.kill("one").unwrap();
    assert!(processes.kill("one").is_err());
    let second = processes.start(shell("one", "exec sleep 1000", &directory)).unwrap();
    assert_ne!(first, second);
    assert!(processes.stop("one").is_ok());
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let script = format!("{DEMO} child $$ /bin/sleep 1000 & echo $!; wait");
    let mut parent =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let child = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    let ended = pidfd_open(child, PidfdFlags::empty()).unwrap();
    let has_ended_within = |millis: i64| {
        let mut ended = [PollFd::new(&ended, PollFlags::IN)];
        let timeout = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
        poll(&mut ended, Some(&timeout)).unwrap() == 1
    };
    let name = format!("/proc/{}/comm", child.as_raw_nonzero());
    while std::fs::read_to_string(&name).unwrap().trim() != "sleep" {
        assert!(!has_ended_within(10));
    }
    kill_process(Pid::from_child(&parent), Signal::KILL).unwrap();
    parent.wait().unwrap();
    assert!(has_ended_within(60_000));
}

#[test]
fn a_child_of_somebody_else_refuses_to_begin() {
    let output = Command::new(DEMO).args(["child", "1", "/bin/echo", "hello"]).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the demo has ended"));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let mut processes = Processes::new(DEMO.into());
    let program = Program { binary: "/no/where".into(), ..shell("one", "", &directory) };
    let error = processes.start(program).unwrap_err();
    assert_eq!(error.to_string(), "one cannot be started: there is no /no/where");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_option_that_changes_it() {
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let coap_port = taken.local_addr().unwrap().port();
    let settings = Settings { coap_port, ..settings(directory.path()) };
    let error = Installation::open(&settings, Path::new("/no/gateway")).err().unwrap();
    let text = format!("{error:#}");
    let expected = format!("port {coap_port} cannot be used; choose another with --coap-port");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_state_directory_that_cannot_be_written_or_is_no_ones_is_named() {
    let error = Installation::open(&settings(Path::new("/dev/null/x")), Path::new("/no/gateway"));
    let text = format!("{:#}", error.err().unwrap());
    assert!(text.starts_with("cannot write the state directory /dev/null/x"), "{text}");

    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("installation.json"), "{}").unwrap();
    let error = Installation::open(&settings(directory.path()), Path::new("/no/gateway"));
    let text = format!("{:#}", error.err().unwrap());
    assert!(text.contains("was not written by this demo"), "{text}");
}

#[test]
fn wrong_arguments_are_answered_with_what_would_be_right() {
    for (arguments, expected) in [
        (["--users", "0"], "1..=10000"),
        (["--shards", "0"], "1..=4096"),
        (["--coap-prot", "1"], "--coap-port"),
    ] {
        let output = Command::new(DEMO).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(text.contains(expected), "{text}");
    }
}

/// Where this test's binaries are: the ones that a demo would start.
#[test]
fn the_programs_of_a_demo_stand_beside_it() {
    let directory: PathBuf = Path::new(DEMO).parent().unwrap().into();
    let binaries = loadtest::demo::Binaries::in_directory(&directory);
    assert!(binaries.swarm.is_file() && binaries.demo.is_file());
}
