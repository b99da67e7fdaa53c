//! `ocf-api` as a process: arguments, signals, exit codes and what it logs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use axum::http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::cloud::{CREDENTIALS, configuration, write_certificates, write_credentials};
use crate::support::gateway::Gateway;
use crate::support::world::{ALICE, SENSOR, World};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ocf-api"))
}

fn output(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn written_configuration(
    directory: &Path,
    change: impl FnOnce(&mut api::config::Config),
) -> String {
    let mut config = configuration(directory);
    change(&mut config);
    let file = directory.join("api.toml");
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A process whose log is read.
struct Process {
    child: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
    read: Vec<Value>,
}

impl Process {
    fn start(configuration: &str) -> Self {
        let mut child =
            command().args(["--config", configuration]).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, read: Vec::new() }
    }

    /// Reads the log up to this message.
    fn until(&mut self, message: &str) -> Value {
        loop {
            let line = self.log.next().expect("the process logs on").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            self.read.push(line.clone());
            if line["message"] == message {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_printed_configuration_is_the_default() {
    let printed = output(&["--print-config"]);
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), api::config::DEFAULT_TEXT);
}

#[test]
fn help_shows_examples() {
    let help = String::from_utf8(output(&["--help"]).stdout).unwrap();
    assert!(help.contains("--print-config > api.toml") && help.contains("kill -HUP"), "{help}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, "[limits]\nlists = 0\n").unwrap();
    for (file, said) in
        [(file.to_str().unwrap(), "limits.lists"), ("/nowhere/api.toml", "/nowhere/api.toml")]
    {
        let failed = output(&["--config", file]);
        assert!(!failed.status.success());
        let error = String::from_utf8(failed.stderr).unwrap();
        assert!(error.starts_with("ocf-api: ") && error.contains(said), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[tokio::test]
async fn it_serves_reloads_and_drains_and_logs_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let root = write_certificates(directory.path());
    write_credentials(directory.path(), CREDENTIALS.iter());
    let _gateway = Gateway::start(&directory.path().join("gateway.sock"), 2, World::new());
    let mut process = Process::start(&written_configuration(directory.path(), |_| {}));
    let listening = process.until("listening");
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    process.until("gateway connected");
    let client = Client::new(address, root);
    let path = format!("/api/v1/devices/{SENSOR}/humidity");

    let update = client.ask(Method::POST, format!("{path}?if=oic.if.s")).token("alice");
    let update = update.body("application/json", r#"{"desiredHumidity":55}"#);
    let correlation = update.send().await.is_ok().header("correlation-id").unwrap().to_owned();
    let audited = process.until("update");
    assert_eq!(audited["device"], SENSOR);
    assert_eq!(audited["href"], "/humidity");
    assert_eq!(audited["client"], "partner");
    let logged = process.until("request");
    assert_eq!(logged["method"], "POST");
    assert_eq!(logged["path"], "/api/v1/devices/{di}/{href}");
    assert_eq!(logged["status"], 200);
    assert_eq!(logged["user"], ALICE);
    assert_eq!(logged["correlation"], correlation);
    assert!(logged["ms"].is_number());

    write_credentials(directory.path(), CREDENTIALS.iter().filter(|entry| entry.token != "alice"));
    process.signal(Signal::HUP);
    process.until("certificate and credentials reloaded");
    client.ask(Method::GET, &path).token("alice").send().await.is_problem(401);

    process.signal(Signal::TERM);
    process.until("draining");
    assert!(process.child.wait().unwrap().success());
    let everything = format!("{:?}", process.read);
    for secret in ["Bearer", "\"alice\"", "desiredHumidity", "oic.if.s"] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    write_credentials(directory.path(), CREDENTIALS.iter());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = written_configuration(directory.path(), |config| config.listen = address);
    let failed = output(&["--config", &file]);
    let error = String::from_utf8(failed.stderr).unwrap();
    assert!(!failed.status.success());
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
}
