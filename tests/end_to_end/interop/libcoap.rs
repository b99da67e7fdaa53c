//! libcoap, the C library, over OpenSSL: its command-line client as far as one kind of request on a
//! connection goes, and a station built on it for the rest.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::processes::{Setup, TestCloud};
use tests::tools::{missing, tool};

use super::{CLIENT, DEVICE, hrefs, source, token};

/// A client beside the one of all these tests.
const OTHER_CLIENT: &str = "5f1d0f2e-8c1f-4a52-9a55-0d7b5d7f0003";

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn value(bytes: &[u8]) -> Value {
    if bytes.is_empty() { Value::Null } else { ciborium::from_reader(bytes).unwrap() }
}

/// OpenSSL's names of the versions that clients are made to speak.
const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// Makes a program that uses OpenSSL speak this version and no other.
fn speak(command: &mut Command, version: &str, directory: &Path) {
    let file = directory.join("openssl.cnf");
    let sections =
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = versions\n";
    let bounds = format!("[versions]\nMinProtocol = {version}\nMaxProtocol = {version}\n");
    fs::write(&file, format!("{sections}{bounds}")).unwrap();
    command.env("OPENSSL_CONF", file);
}

/// `coap-client-openssl`: a connection for each request.
struct CoapClient<'c> {
    program: PathBuf,
    cloud: &'c TestCloud,
    directory: TempDir,
    version: &'static str,
    /// Bytes of a block; none to send bodies whole.
    block: Option<&'static str>,
}

impl CoapClient<'_> {
    fn run(&self, method: &str, path: &str, body: Option<&Value>) -> (Output, Value) {
        let known = self.cloud.cloud.facts();
        let (input, answer) =
            (self.directory.path().join("input"), self.directory.path().join("answer"));
        let _ = fs::remove_file(&answer);
        let mut command = Command::new(&self.program);
        // It knows no OCF options, which are critical: plain CBOR comes without them.
        command.args(["-m", method, "-A", "60", "-B", "60", "-o"]).arg(&answer);
        command.arg("-R").arg(known.trust_anchor);
        command.arg("-c").arg(known.device_cert).arg("-j").arg(known.device_key);
        if let Some(body) = body {
            fs::write(&input, cbor(body)).unwrap();
            command.args(["-t", "10000", "-f"]).arg(&input);
            if let Some(bytes) = self.block {
                // It tells of every message then.
                command.args(["-v", "7", "-b", bytes]);
            }
        }
        speak(&mut command, self.version, self.directory.path());
        let output = command.arg(format!("{}{path}", known.coap)).output().unwrap();
        (output, value(&fs::read(&answer).unwrap_or_default()))
    }
}

#[test]
fn coap_client_signs_up_and_in_and_is_refused_what_needs_a_session() {
    let Some(program) = tool("coap-client-openssl") else { return };
    let cloud = TestCloud::start(Setup::default());
    for version in VERSIONS {
        for block in [None, Some("64")] {
            let (program, directory) = (program.clone(), TempDir::with_prefix("ocf-").unwrap());
            enter_by(&CoapClient { program, cloud: &cloud, directory, version, block });
        }
    }
    cloud.stop();
}

fn enter_by(client: &CoapClient<'_>) {
    let cloud = client.cloud;
    let sign_up = json!({ "di": DEVICE, "accesstoken": token(cloud, DEVICE) });
    let (output, account) = client.run("post", "/oic/sec/account", Some(&sign_up));
    // The first block, with more behind it.
    let is_cut = String::from_utf8_lossy(&output.stdout).contains("Block1:0/M/64");
    assert_eq!(is_cut, client.block.is_some(), "{output:?}");
    let uid = cloud.cloud.facts().uid.to_string();
    assert_eq!(account["uid"], uid, "{output:?}");
    let sign_in = json!({
        "di": DEVICE, "uid": uid, "accesstoken": account["accesstoken"], "login": true,
    });
    let (output, session) = client.run("post", "/oic/sec/session", Some(&sign_in));
    assert!(session["expiresin"].as_u64().is_some_and(|secs| secs > 0), "{output:?}");
    let (output, nothing) = client.run("get", "/oic/res", None);
    assert_eq!(nothing, Value::Null);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("4.01"), "{said}");
}

/// Builds the station; none where a compiler or the library is missing.
fn build(directory: &Path) -> Option<PathBuf> {
    let (compiler, config) = (tool("cc")?, tool("pkg-config")?);
    let flags = Command::new(config).args(["--cflags", "--libs", "libcoap-3-openssl"]).output();
    let flags = flags.unwrap();
    if !flags.status.success() {
        missing("libcoap-3-openssl (Debian: libcoap3-dev)");
        return None;
    }
    let program = directory.join("libcoap_station");
    let built = Command::new(compiler)
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(source("libcoap_station.c"))
        .args(String::from_utf8(flags.stdout).unwrap().split_whitespace())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(program)
}

/// A station: one connection.
struct Station {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Station {
    /// With `limit` it takes messages of so many bytes, and larger ones in blocks.
    fn connect(program: &Path, cloud: &TestCloud, version: &str, limit: Option<&str>) -> Self {
        let known = cloud.cloud.facts();
        let address = cloud.cloud.installation.coap();
        let mut command = Command::new(program);
        command
            .args([address.ip().to_string(), address.port().to_string()])
            .args([known.trust_anchor, known.device_cert, known.device_key])
            .args(limit);
        speak(&mut command, version, program.parent().unwrap());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Says a line, and hears one.
    #[track_caller]
    fn say(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut heard = String::new();
        self.output.read_line(&mut heard).unwrap();
        assert!(heard.ends_with('\n'), "{line}: the station has ended");
        heard.trim_end().to_owned()
    }

    /// A code and a body.
    #[track_caller]
    fn ask(&mut self, line: &str) -> (String, Value) {
        let heard = self.say(line);
        let (code, body) = heard.split_once(' ').unwrap();
        let bytes = if body == "-" { Vec::new() } else { from_hex(body) };
        (code.to_owned(), value(&bytes))
    }

    #[track_caller]
    fn post(&mut self, path: &str, body: &Value) -> (String, Value) {
        self.ask(&format!("ask POST {path} - {}", hex(&cbor(body))))
    }

    /// Signs up and in.
    #[track_caller]
    fn arrive(&mut self, cloud: &TestCloud, di: &str) {
        let sign_up = json!({ "di": di, "accesstoken": token(cloud, di) });
        let (code, account) = self.post("/oic/sec/account", &sign_up);
        assert_eq!(code, "2.04");
        let (uid, token) = (&account["uid"], &account["accesstoken"]);
        let sign_in = json!({ "di": di, "uid": uid, "accesstoken": token, "login": true });
        assert_eq!(self.post("/oic/sec/session", &sign_in).0, "2.04");
    }

    /// Ends well.
    fn end(self) {
        let Self { mut child, input, output } = self;
        drop((input, output));
        assert!(child.wait().unwrap().success());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn libcoap_is_a_device_and_a_client_from_sign_up_to_sign_off() {
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let Some(program) = build(directory.path()) else { return };
    let cloud = TestCloud::start(Setup::default());
    for version in VERSIONS {
        live(&program, &cloud, version);
    }
    cloud.stop();
}

/// Lives of a device and two clients, of which one takes long answers in blocks.
fn live(program: &Path, cloud: &TestCloud, version: &str) {
    let state = |on: bool| json!({ "rt": ["oic.r.switch.binary"], "value": on });
    let mut device = Station::connect(program, cloud, version, None);
    assert_eq!(device.say(&format!("serve /light {}", hex(&cbor(&state(false))))), "served");
    device.arrive(cloud, DEVICE);
    let link = json!({ "href": "/light", "rt": ["oic.r.switch.binary"], "if": ["oic.if.a"] });
    let links = json!({ "di": DEVICE, "links": [link], "ttl": 86400 });
    assert_eq!(device.post("/oic/rd", &links).0, "2.04");

    let mut client = Station::connect(program, cloud, version, None);
    client.arrive(cloud, CLIENT);
    let (code, found) = client.ask("ask GET /oic/res rt=oic.r.switch.binary");
    let path = format!("/{DEVICE}/light");
    assert_eq!((&*code, hrefs(&found)), ("2.05", vec![&*path]));
    assert_eq!(client.ask(&format!("ask GET {path}")), ("2.05".into(), state(false)));
    assert_eq!(client.ask(&format!("observe {path}")), ("2.05".into(), state(false)));
    assert_eq!(device.say(&format!("change /light {}", hex(&cbor(&state(true))))), "changed");
    assert_eq!(client.ask("next"), ("2.05".into(), state(true)));

    let mut small = Station::connect(program, cloud, version, Some("1152"));
    small.arrive(cloud, OTHER_CLIENT);
    let long = json!({ "text": "0123456789".repeat(300) });
    assert_eq!(device.say(&format!("change /light {}", hex(&cbor(&long)))), "changed");
    assert_eq!(client.ask("next"), ("2.05".into(), long.clone()));
    assert_eq!(small.ask(&format!("ask GET {path}")), ("2.05".into(), long));
    small.end();

    assert_eq!(device.ask(&format!("ask DELETE /oic/rd di={DEVICE}")).0, "2.02");
    let (code, found) = client.ask("ask GET /oic/res rt=oic.r.switch.binary");
    assert_eq!((&*code, found), ("2.05", json!([])));
    assert_eq!(device.ask(&format!("ask DELETE /oic/sec/account di={DEVICE}")).0, "2.02");
    client.end();
    device.end();
}
