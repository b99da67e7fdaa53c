//! The demo as one starts it by hand: what it promises in `demo.json`, the lines to paste, and how it
//! ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use loadtest::credentials::{Credentials, DeviceCertificate, TlsVersion};
use loadtest::demo::{API, GATEWAY};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tests::processes::{Counts, LONG, binaries};
use tests::rest::Rest;
use tests::tools::tool;
use tests::wire::Wire;

/// The keys that others rely on.
const KEYS: [&str; 15] = [
    "coap",
    "api",
    "cloud_id",
    "trust_anchor",
    "device_trust_anchor",
    "device_trust_anchor_key",
    "identity_trust_anchor",
    "identity_trust_anchor_key",
    "device_cert",
    "device_key",
    "uid",
    "access_token",
    "other_access_token",
    "gateway_pid",
    "api_pid",
];

/// A demo that runs. Dropping it kills it, and with it all that it started.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    errors: Option<thread::JoinHandle<String>>,
}

impl Demo {
    /// With free ports, and fussy devices.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(&binaries().demo)
            .args(["--coap-port", "0", "--api-port", "0", "--headless", "--fussy"])
            .args(arguments)
            // The programs are there; building them is for those who type `cargo demo`.
            .env_remove("CARGO")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, output, errors: Some(errors) }
    }

    /// The lines of its output up to the one that says how to end it.
    fn until_ready(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).unwrap();
            assert!(count > 0, "it has ended after {lines:?}: {}", self.errors());
            let line = line.trim_end().to_owned();
            let ready = line.ends_with("Ctrl-C ends it.");
            lines.push(line);
            if ready {
                return lines;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: how it ended, the rest of its output, and what it had to complain.
    fn end(&mut self) -> (ExitStatus, String, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        (status, rest, self.errors())
    }

    fn errors(&mut self) -> String {
        self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn facts(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("demo.json")).unwrap()).unwrap()
}

fn pid(facts: &Value, key: &str) -> Pid {
    Pid::from_raw(i32::try_from(facts[key].as_u64().unwrap()).unwrap()).unwrap()
}

fn path<'f>(facts: &'f Value, key: &str) -> &'f Path {
    Path::new(facts[key].as_str().unwrap())
}

/// Waits until a process is gone: whoever killed its parent is not told when it ends.
fn until_gone(pid: Pid) {
    let end = Instant::now() + LONG;
    while test_kill_process(pid).is_ok() {
        assert!(Instant::now() < end, "process {pid:?} is left behind");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn demo_json_is_what_others_may_rely_on() {
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let state = directory.path().to_str().unwrap();
    let mut demo = Demo::start(&["--devices", "6", "--state-dir", state]);
    demo.until_ready();
    let facts = facts(directory.path());
    for key in KEYS {
        assert!(facts.get(key).is_some_and(|value| !value.is_null()), "{key} is missing");
    }
    for key in KEYS.into_iter().filter(|key| key.contains("cert") || key.contains("_key")) {
        assert!(path(&facts, key).is_file(), "{key}");
    }
    for (key, name) in [("gateway_pid", GATEWAY), ("api_pid", API)] {
        let comm = format!("/proc/{}/comm", facts[key]);
        assert_eq!(fs::read_to_string(comm).unwrap().trim(), name);
    }

    // The API and its tokens.
    let api = facts["api"].as_str().unwrap();
    assert!(api.starts_with("https://127.0.0.1:"), "{api}");
    let rest = Rest::new(api, path(&facts, "trust_anchor"));
    let (token, other) = ("access_token", "other_access_token");
    let list = |key: &str| {
        rest.get("/api/v1/devices").token(facts[key].as_str().unwrap()).send().is(200).value()
    };
    assert_eq!(list(token).as_array().unwrap().len(), 6);
    assert_eq!(list(other), Value::Array(Vec::new()));
    let mediator = rest.post("/api/v1/mediator").token(facts[token].as_str().unwrap()).send();
    assert_eq!(mediator.is(200).value()["uid"], facts["uid"]);
    let made = rest.post("/api/v1/mediator/devices").token(facts[token].as_str().unwrap()).send();
    let made = made.is(201).value();
    assert_eq!((&made["cis"], &made["sid"]), (&facts["coap"], &facts["cloud_id"]));

    // Devices: with the certificate that is there, and with ones that are issued from the authorities.
    let coap = facts["coap"].as_str().unwrap().strip_prefix("coaps+tcp://").unwrap();
    let shared = DeviceCertificate::Manufacturer {
        chain: path(&facts, "device_cert").to_owned(),
        key: path(&facts, "device_key").to_owned(),
    };
    let issued = |authority: &str| DeviceCertificate::Identity {
        ca: path(&facts, authority).to_owned(),
        key: path(&facts, &format!("{authority}_key")).to_owned(),
    };
    for certificate in [shared, issued("device_trust_anchor"), issued("identity_trust_anchor")] {
        let anchor = path(&facts, "trust_anchor");
        let credentials = Credentials::load(anchor, &certificate, TlsVersion::Tls12).unwrap();
        let di = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let config = credentials.config(di).unwrap();
        let mut wire = Wire::connect(coap.parse().unwrap(), Arc::clone(&config)).unwrap();
        assert_eq!(wire.receive().unwrap().unwrap().code(), "7.01", "{certificate:?}");
    }

    demo.signal(Signal::INT);
    let (status, rest, errors) = demo.end();
    assert!(status.success(), "{errors}");
    assert!(rest.contains("Stopping"), "{rest}");
}

#[test]
fn the_printed_lines_work_when_pasted() {
    if tool("curl").is_none() {
        return;
    }
    let directory = TempDir::with_prefix("ocf it's a demo-").unwrap();
    let state = directory.path().to_str().unwrap();
    let mut demo = Demo::start(&["--devices", "3", "--state-dir", state]);
    let lines = demo.until_ready();
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("curl ")).collect();
    let [list, read, switch] = lines[..] else { panic!("three lines to paste: {lines:?}") };
    let paste = |line: &str| {
        let output = Command::new("/bin/sh").args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let devices: Value = serde_json::from_str(&paste(list)).unwrap();
    assert_eq!(devices.as_array().unwrap().len(), 3);
    let light: Value = serde_json::from_str(&paste(read)).unwrap();
    assert!(light["value"].is_boolean(), "{light}");
    paste(switch);
    let light: Value = serde_json::from_str(&paste(read)).unwrap();
    assert_eq!(light["value"], true);
    demo.signal(Signal::TERM);
    assert!(demo.end().0.success());
}

#[test]
fn ctrl_c_stops_everything_in_order_and_leaves_nothing() {
    let mut demo = Demo::start(&["--devices", "10"]);
    let lines = demo.until_ready();
    let directory = lines[0].strip_prefix("Starting the cloud in ").unwrap().to_owned();
    let directory = Path::new(&directory);
    let facts = facts(directory);
    let open = |name: &str| fs::File::open(directory.join("logs").join(name)).unwrap();
    // Open files outlive the directory.
    let (gateway, api, swarm) =
        (open("ocf-gateway.log"), open("ocf-api.log"), open("ocf-swarm.log"));
    demo.signal(Signal::INT);
    let (status, _, errors) = demo.end();
    assert!(status.success(), "{errors}");
    assert_eq!(errors, "");
    assert!(!directory.exists(), "a temporary directory is removed");
    for key in ["gateway_pid", "api_pid"] {
        assert!(test_kill_process(pid(&facts, key)).is_err(), "{key} is left behind");
    }
    let text = |mut file: fs::File| {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    };
    assert!(text(swarm).contains("10 online, 10 with their links published, 0 failed"));
    assert!(text(api).contains("draining"));
    let gateway = text(gateway);
    let at = |what: &str| gateway.find(what).unwrap_or_else(|| panic!("no {what} in {gateway}"));
    assert!(at("api process disconnected") < at("asked to stop"), "{gateway}");
    assert!(at("asked to stop") < at("stopped"), "{gateway}");
}

#[test]
fn it_ends_by_itself_when_its_time_is_over() {
    let mut demo = Demo::start(&["--devices", "0", "--for", "10"]);
    let lines = demo.until_ready();
    assert!(lines.iter().any(|line| line.starts_with("curl ")), "{lines:?}");
    let (status, rest, errors) = demo.end();
    assert!(status.success(), "{rest} {errors}");
}

#[test]
fn a_child_that_dies_is_named_and_the_rest_goes_with_it() {
    for (key, name) in [("api_pid", API), ("gateway_pid", GATEWAY)] {
        let directory = TempDir::with_prefix("ocf-").unwrap();
        let state = directory.path().to_str().unwrap();
        let mut demo = Demo::start(&["--devices", "3", "--state-dir", state]);
        demo.until_ready();
        let facts = facts(directory.path());
        kill_process(pid(&facts, key), Signal::KILL).unwrap();
        let (status, _, errors) = demo.end();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.starts_with(&format!("ocf-demo: {name} was ended by signal 9")), "{errors}");
        for key in ["gateway_pid", "api_pid"] {
            assert!(test_kill_process(pid(&facts, key)).is_err(), "{key} is left behind");
        }
        assert!(!directory.path().join("demo.json").exists(), "it would say what is not so");
    }
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let state = directory.path().to_str().unwrap();
    let mut demo = Demo::start(&["--devices", "3", "--state-dir", state]);
    demo.until_ready();
    let facts = facts(directory.path());
    demo.signal(Signal::KILL);
    demo.end();
    until_gone(pid(&facts, "gateway_pid"));
    until_gone(pid(&facts, "api_pid"));
}

#[test]
fn an_existing_state_directory_is_continued_and_nothing_in_it_is_lost() {
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let state = directory.path().to_str().unwrap();
    let play = |devices: &str| {
        let arguments = ["--devices", devices, "--users", "3", "--shards", "2"];
        let mut demo = Demo::start(&[&arguments[..], &["--state-dir", state]].concat());
        demo.until_ready();
        let facts = facts(directory.path());
        let rest = Rest::new(facts["api"].as_str().unwrap(), path(&facts, "trust_anchor"));
        let token = facts["access_token"].as_str().unwrap();
        let list = rest.get("/api/v1/devices").token(token).send().is(200).value();
        // No other demo may work on it meanwhile.
        let (status, _, errors) = Demo::start(&["--state-dir", state]).end();
        assert_eq!(status.code(), Some(1));
        assert!(errors.contains("another demo works on"), "{errors}");
        demo.signal(Signal::INT);
        let (status, _, errors) = demo.end();
        assert!(status.success(), "{errors}");
        (facts, list)
    };
    let (first, devices) = play("9");
    let (second, same_devices) = play("9");
    for key in KEYS.into_iter().filter(|key| !key.ends_with("_pid")) {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert_eq!(devices, same_devices);
    assert_eq!(devices.as_array().unwrap().len(), 3);
    let (_, more_devices) = play("12");
    assert_eq!(more_devices.as_array().unwrap().len(), 4);

    // The gateways' own words, one line for each shard and run.
    let log = fs::read_to_string(directory.path().join("logs/ocf-gateway.log")).unwrap();
    let sign_ups = log.split("asked to stop").skip(1).map(|run| {
        let end = run.find(" stopped").unwrap();
        Counts::all_in(&run[..end]).iter().map(|counts| counts.of("sign_ups")).sum::<u64>()
    });
    assert_eq!(sign_ups.collect::<Vec<_>>(), [9, 0, 3], "those who are known need not sign up");
}
