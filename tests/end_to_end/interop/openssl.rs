//! OpenSSL as a TLS peer: both versions, every suite, full and resumed, key updates, renegotiation.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tempfile::TempDir;
use tests::processes::{LONG, Setup, TestCloud};
use tests::tools::tool;

/// Versions and suites as OpenSSL calls them.
const SUITES: [[&str; 3]; 5] = [
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
    ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
];

/// The token of the cloud's CSM.
const CSM_TOKEN: &[u8] = b"ocfsignl";

/// `openssl s_client` with its standard input and what it has printed so far.
struct SClient {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    printed: Vec<u8>,
    pings: u8,
}

impl SClient {
    fn connect(program: &Path, cloud: &TestCloud, suite: [&str; 3], session: [&Path; 2]) -> Self {
        let known = cloud.cloud.facts();
        let [saved, resumed] = session;
        let mut command = Command::new(program);
        command.args(["s_client", "-connect", &cloud.cloud.installation.coap().to_string()]);
        command.args(suite).args(["-verify_return_error", "-CAfile"]).arg(known.trust_anchor);
        command.arg("-cert").arg(known.device_cert).arg("-cert_chain").arg(known.device_cert);
        command.arg("-key").arg(known.device_key).arg("-sess_out").arg(saved);
        if resumed.exists() {
            command.arg("-sess_in").arg(resumed);
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let (sender, output) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for mut stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    if sender.send(bytes[..count].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        let input = child.stdin.take().unwrap();
        Self { child, input, output, printed: Vec::new(), pings: 0 }
    }

    /// Waits until it has printed this.
    #[track_caller]
    fn hear(&mut self, expected: &[u8]) {
        while !self.has_heard(expected) {
            let Ok(bytes) = self.output.recv_timeout(LONG) else {
                let printed = String::from_utf8_lossy(&self.printed);
                panic!("{:?} is not in: {printed}", String::from_utf8_lossy(expected));
            };
            self.printed.extend_from_slice(&bytes);
        }
    }

    fn has_heard(&self, expected: &[u8]) -> bool {
        self.printed.windows(expected.len()).any(|window| window == expected)
    }

    /// A line that `s_client` takes as a command, if it comes in one read with nothing behind it.
    fn command(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).unwrap();
        // It says something about each of them on its way.
        self.hear_more();
    }

    fn hear_more(&mut self) {
        let bytes = self.output.recv_timeout(LONG).unwrap();
        self.printed.extend_from_slice(&bytes);
    }

    /// Ping and Pong, with a token that says which (RFC 8323 §5.4).
    #[track_caller]
    fn ping(&mut self) {
        self.pings += 1;
        let token = [b"openssl", &[b'0' + self.pings][..]].concat();
        self.input.write_all(&[&[0x08, 0xe2], &*token].concat()).unwrap();
        self.hear(&[&[0x08, 0xe3], &*token].concat());
    }

    /// Ends, and waits for it.
    fn end(self) {
        let Self { mut child, input, output, .. } = self;
        drop(input);
        child.wait().unwrap();
        drop(output);
    }
}

fn openssl() -> Option<PathBuf> {
    tool("openssl")
}

#[test]
fn openssl_is_understood_in_every_suite_full_and_resumed_with_key_updates() {
    let Some(program) = openssl() else { return };
    let mut cloud = TestCloud::start(Setup::default());
    let directory = TempDir::with_prefix("ocf-").unwrap();
    for (number, suite) in SUITES.into_iter().enumerate() {
        let file = |name: &str| directory.path().join(format!("{name}-{number}"));
        for (saved, resumed, said) in [("first", "none", "New, "), ("second", "first", "Reused, ")]
        {
            let session = [&*file(saved), &*file(resumed)];
            let mut client = SClient::connect(&program, &cloud, suite, session);
            client.hear(CSM_TOKEN);
            assert!(client.has_heard(said.as_bytes()), "{suite:?}: not {said}");
            client.ping();
            if suite[0] == "-tls1_3" {
                // With and without a wish for ours.
                client.command("K\n");
                client.ping();
                client.command("k\n");
                client.ping();
                client.ping();
            }
            client.end();
        }
    }
    // s_client says goodbye when its input ends.
    let ends = 2 * SUITES.len() as u64;
    cloud.wait_until("the gateway has seen all goodbyes", |cloud| {
        cloud.total("closed_peer_closed") == ends
    });
    cloud.stop();
}

#[test]
fn openssl_does_not_get_a_renegotiation() {
    let Some(program) = openssl() else { return };
    let cloud = TestCloud::start(Setup::default());
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let session = [&*directory.path().join("session"), Path::new("/no/session")];
    let mut client = SClient::connect(&program, &cloud, SUITES[0], session);
    client.hear(CSM_TOKEN);
    client.ping();
    client.command("R\n");
    client.hear(b"no renegotiation");
    client.end();
    cloud.stop();
}
