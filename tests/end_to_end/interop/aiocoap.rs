//! aiocoap, the Python library, over both versions of TLS.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadtest::credentials::TlsVersion;
use serde_json::{Value, json};
use tests::processes::{Setup, TestCloud};
use tests::tools::{missing, tool};

use super::{CLIENT, DEVICE, hrefs, source, token};

/// A Python that has what the script needs.
fn python() -> Option<PathBuf> {
    let python = tool("python3")?;
    let found = Command::new(&python).args(["-c", "import aiocoap, cbor2"]).output().unwrap();
    if !found.status.success() {
        missing("the Python module aiocoap or cbor2");
        return None;
    }
    Some(python)
}

/// Runs the script with facts on its standard input; what it has to tell.
fn run(python: &Path, facts: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(source("aiocoap_stations.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(facts.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// The Max-Message-Size of both sides that makes long bodies go in blocks.
const SMALL: u32 = 8192;

#[test]
fn aiocoap_is_a_device_and_a_client_from_sign_up_to_sign_off() {
    let Some(python) = python() else { return };
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let told = live(&python, version, Setup::default(), 1 << 20);
        assert_eq!(told["messages with blocks"], json!({ "sent": 0, "received": 0 }));
    }
}

#[test]
fn long_bodies_go_in_blocks_between_aiocoap_and_the_cloud() {
    let Some(python) = python() else { return };
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let gateway = |config: &mut toml::Table| {
            let limits = config.entry("limits").or_insert_with(|| toml::Table::new().into());
            let limits = limits.as_table_mut().expect("a table");
            limits.insert("frame_bytes_max".into(), i64::from(SMALL).into());
            limits.insert("peer_payload_bytes_assumed".into(), 7168.into());
        };
        let told = live(&python, version, Setup { gateway, ..Setup::default() }, SMALL);
        // 20 000 bytes are three blocks: from the client and to the device, and back again.
        let count = |direction: &str| told["messages with blocks"][direction].as_u64().unwrap();
        assert!(count("sent") >= 12 && count("received") >= 12, "{told:#}");
    }
}

/// A life of both stations; what they were told.
fn live(python: &Path, version: TlsVersion, setup: Setup, message_bytes_max: u32) -> Value {
    let cloud = TestCloud::start(setup);
    let known = cloud.cloud.facts();
    let told = run(
        python,
        &json!({
            "coap": known.coap,
            "trust_anchor": known.trust_anchor,
            "certificate": known.device_cert,
            "key": known.device_key,
            "tls": if version == TlsVersion::Tls12 { "1.2" } else { "1.3" },
            "message_bytes_max": message_bytes_max,
            "device": { "di": DEVICE, "token": token(&cloud, DEVICE) },
            "client": { "di": CLIENT, "token": token(&cloud, CLIENT) },
        }),
    );
    let codes = [
        ("device signs up", "2.04"),
        ("device signs in", "2.04"),
        ("device publishes", "2.04"),
        ("client signs up", "2.04"),
        ("client signs in", "2.04"),
        ("client discovers", "2.05"),
        ("client retrieves", "2.05"),
        ("client observes", "2.05"),
        ("client updates", "2.04"),
        ("client is notified", "2.05"),
        ("client retrieves again", "2.05"),
        ("client stores a long text", "2.04"),
        ("client reads a long text", "2.05"),
        ("device publishes many links", "2.04"),
        ("client discovers many links", "2.05"),
        ("device refreshes", "2.04"),
        ("device signs in again", "2.04"),
        ("device unpublishes", "2.02"),
        ("client discovers nothing", "2.05"),
        ("device signs out", "2.04"),
        ("device signs in at last", "2.04"),
        ("device signs off", "2.02"),
    ];
    for (step, code) in codes {
        assert_eq!(told[step]["code"], code, "{step}: {told:#}");
    }
    let body = |step: &str| &told[step]["body"];
    assert_eq!(body("device signs up")["uid"], known.uid.to_string());
    assert_eq!(body("device publishes")["links"][0]["href"], "/light");
    assert_eq!(hrefs(body("client discovers")), [format!("/{DEVICE}/light")]);
    assert_eq!(hrefs(body("client discovers nothing")), [""; 0]);
    for (step, value) in [
        ("client retrieves", false),
        ("client observes", false),
        ("client updates", true),
        ("client is notified", true),
        ("client retrieves again", true),
    ] {
        assert_eq!(body(step)["value"], value, "{step}: {told:#}");
        assert_eq!(told[step]["format"], 10000, "{step}: {told:#}");
    }
    assert_eq!(told["client reads a long text"]["same"], true, "{told:#}");
    assert_eq!(told["client discovers many links"]["count"], 61, "{told:#}");
    cloud.stop();
    told
}
