//! `openssl s_client` as the transport of a device and of clients, whose messages are written here: from
//! sign-up to sign-off over TLS that is wholly OpenSSL's, both versions, with bodies whole and in blocks.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ciborium::Value;
use shared::coap::ResponseType::{self, Changed, Content, Deleted};
use shared::coap::signal::SignalCode;
use shared::coap::{CoapOption, Code, Frame, Framed};
use tests::processes::{LONG, Setup, TestCloud};
use tests::tools::tool;
use tests::{Msg, content, delete, get, link, map, post};

use super::{CLIENT, DEVICE, token};

/// A client beside the one of all these tests, which takes short messages only.
const SMALL_CLIENT: &str = "5f1d0f2e-8c1f-4a52-9a55-0d7b5d7f0003";

/// What the small client takes, and the size of the blocks that fit (RFC 8323 §5.3.1, RFC 7959 §2.2).
const SMALL_MESSAGE_BYTES: u32 = 1152;
const SZX_512: u32 = 5;

/// Where the device's resource is.
const LIGHT: &str = "/light";

/// One connection.
struct Talk {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    received: Vec<u8>,
    di: &'static str,
    tokens: u8,
}

impl Talk {
    fn connect(program: &Path, cloud: &TestCloud, version: &str, di: &'static str) -> Self {
        let known = cloud.cloud.facts();
        let mut command = Command::new(program);
        command.args(["s_client", "-quiet", "-nocommands", version, "-verify_return_error"]);
        command.args(["-connect", &cloud.cloud.installation.coap().to_string()]);
        command.arg("-CAfile").arg(known.trust_anchor).arg("-cert").arg(known.device_cert);
        command.arg("-cert_chain").arg(known.device_cert).arg("-key").arg(known.device_key);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let (input, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut talk = Self { child, input, output, received: Vec::new(), di, tokens: 0 };
        assert_eq!(talk.next().code, SignalCode::Csm.code(), "the cloud's CSM comes first");
        talk
    }

    fn send(&mut self, message: Msg) {
        self.input.write_all(&message.encode()).unwrap();
    }

    /// The next message.
    #[track_caller]
    fn next(&mut self) -> Msg {
        loop {
            if let Framed::Whole(frame, len) = Frame::parse(&self.received, usize::MAX).unwrap() {
                let message = Msg::parse(frame);
                self.received.drain(..len);
                return message;
            }
            let bytes = self.output.recv_timeout(LONG).expect("the cloud has more to say");
            self.received.extend_from_slice(&bytes);
        }
    }

    /// The answer to this request.
    #[track_caller]
    fn ask(&mut self, request: Msg) -> Msg {
        self.tokens += 1;
        let asked = request.token(&[b't', self.tokens]);
        self.send(asked.clone());
        let answer = self.next();
        assert_eq!(answer.token, asked.token, "{answer:?}");
        answer
    }

    #[track_caller]
    fn expect(&mut self, request: Msg, code: ResponseType) -> Msg {
        let answer = self.ask(request);
        assert_eq!(answer.code, Code::from(code), "{answer:?}");
        answer
    }

    /// The next request for the light; what else the cloud asks for is not there.
    #[track_caller]
    fn asked(&mut self) -> Msg {
        loop {
            let request = self.next();
            if request.path() == LIGHT {
                return request;
            }
            self.answer(&request, Msg::new(ResponseType::NotFound));
        }
    }

    fn answer(&mut self, request: &Msg, answer: Msg) {
        self.send(Msg { token: request.token, ..answer });
    }

    /// Signs up and in. With `block` the body of the sign-up comes in so many bytes at a time.
    fn arrive(&mut self, cloud: &TestCloud, block: Option<usize>) {
        let single_use = token(cloud, self.di);
        let body = map([("di", self.di.into()), ("accesstoken", single_use.into())]);
        let sign_up = post("/oic/sec/account", body);
        let account = match block {
            None => self.expect(sign_up, Changed),
            Some(bytes) => self.send_blocks(sign_up, bytes),
        };
        let sign_in = map([
            ("uid", account.member_text("uid").into()),
            ("di", self.di.into()),
            ("accesstoken", account.member_text("accesstoken").into()),
            ("login", true.into()),
        ]);
        self.expect(post("/oic/sec/session", sign_in), Changed);
    }

    /// RFC 7959 §2.5: all but the last are answered 2.31. Block sizes are 16, 32, 64 and so on.
    fn send_blocks(&mut self, request: Msg, bytes: usize) -> Msg {
        let szx = bytes.trailing_zeros() - 4;
        let body = request.payload.clone();
        let last = body.len().div_ceil(bytes) - 1;
        let mut answer = None;
        for (number, part) in body.chunks(bytes).enumerate() {
            let more = u32::from(number < last) << 3;
            let block = (number as u32) << 4 | more | szx;
            let request = request.clone().uint(CoapOption::Block1.into(), block).payload(part);
            let code = if number < last { ResponseType::Continue } else { Changed };
            answer = Some(self.expect(request, code));
        }
        answer.expect("a body has a block")
    }

    /// RFC 7959 §2.4: the whole of an answer, and how many blocks it took.
    fn fetch(&mut self, request: Msg) -> (Vec<u8>, u32) {
        let (mut body, mut number) = (Vec::new(), 0);
        loop {
            let block = number << 4 | SZX_512;
            let request = request.clone().uint(CoapOption::Block2.into(), block);
            let answer = self.expect(request, Content);
            assert!(answer.encode().len() <= SMALL_MESSAGE_BYTES as usize);
            body.extend_from_slice(&answer.payload);
            let block = answer.number(CoapOption::Block2).expect("it comes in blocks");
            assert_eq!(block >> 4, number);
            number += 1;
            if block & 8 == 0 {
                return (body, number);
            }
        }
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn state(text: &str) -> Value {
    map([("rt", Value::Array(vec!["oic.r.light".into()])), ("text", text.into())])
}

fn live(program: &Path, cloud: &TestCloud, version: &str) {
    let mut device = Talk::connect(program, cloud, version, DEVICE);
    device.arrive(cloud, None);
    let links = Value::Array(vec![link(LIGHT, "oic.r.light")]);
    let publish = map([("di", DEVICE.into()), ("ttl", 0.into()), ("links", links)]);
    device.expect(post("/oic/rd", publish), Changed);

    let mut client = Talk::connect(program, cloud, version, CLIENT);
    client.arrive(cloud, Some(64));
    let path = format!("/{DEVICE}{LIGHT}");
    let found = client.expect(get("/oic/res?rt=oic.r.light"), Content);
    let found = String::from_utf8_lossy(&found.payload).into_owned();
    assert!(found.contains(&path), "{found}");

    client.tokens += 1;
    let observe = get(&path).observe(0).token(b"o");
    client.send(observe.clone());
    let observed = device.asked();
    assert_eq!(observed.observed(), Some(0));
    device.answer(&observed, content(state("off")).observe(1));
    let first = client.next();
    assert_eq!((first.token, first.cbor()), (observe.token, state("off")));
    device.answer(&observed, content(state("on")).observe(2));
    let second = client.next();
    assert_eq!((second.token, second.cbor()), (observe.token, state("on")));
    assert!(second.observed() > first.observed(), "notifications rise");

    let long = state(&"0123456789".repeat(300));
    device.answer(&observed, content(long.clone()).observe(3));
    assert_eq!(client.next().cbor(), long);
    let mut small = Talk::connect(program, cloud, version, SMALL_CLIENT);
    let capabilities = Msg::new(SignalCode::Csm.code()).uint(2, SMALL_MESSAGE_BYTES).option(4, []);
    small.send(capabilities.token(b"c"));
    small.arrive(cloud, None);
    let (answering, body) = (content(long.clone()), content(long).payload);
    let fetched = thread::scope(|scope| {
        scope.spawn(|| {
            let request = device.asked();
            device.answer(&request, answering);
        });
        small.fetch(get(&path))
    });
    assert_eq!(fetched.0, body);
    assert!(fetched.1 > 1, "in more than one block");

    let sign_off = delete(&format!("/oic/sec/account?di={DEVICE}"));
    device.expect(sign_off, Deleted);
    [device, client, small].into_iter().for_each(Talk::end);
}

#[test]
fn openssl_carries_devices_and_clients_from_sign_up_to_sign_off() {
    let Some(program) = tool("openssl") else { return };
    let cloud = TestCloud::start(Setup::default());
    for version in ["-tls1_2", "-tls1_3"] {
        live(&program, &cloud, version);
    }
    cloud.stop();
}
