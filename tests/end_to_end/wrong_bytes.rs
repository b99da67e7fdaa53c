//! Bytes that are wrong: on the TLS port, in handshakes, in frames. Each costs its own connection and
//! nothing else.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use loadtest::credentials::{Credentials, DeviceCertificate, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use serde_json::json;
use shared::coap::{MessageWriter, RequestType, Token, signal};
use shared::ids::DeviceId;
use tests::processes::{Setup, TestCloud};
use tests::wire::{Wire, tcp, until_closed};

fn di() -> DeviceId {
    "00000000-0000-4000-8000-000000000001".parse().unwrap()
}

fn start() -> TestCloud {
    let mut cloud = TestCloud::start(Setup {
        gateway: |config| {
            // Who does not come to the point is sent away sooner than usual.
            let timers = config["timers"].as_table_mut().unwrap();
            timers.insert("handshake_secs".into(), 2.into());
        },
        ..Setup::default()
    });
    cloud.start_swarm(1);
    cloud
}

/// Somebody new gets in, and a partner reaches a device.
fn goes_on(cloud: &TestCloud, config: &Arc<ClientConfig>) {
    let mut wire = Wire::connect(cloud.cloud.installation.coap(), config.clone()).unwrap();
    assert_eq!(wire.receive().unwrap().unwrap().code(), "7.01");
    let rest = cloud.rest();
    let light = rest.post(format!("/api/v1/devices/{}/light/1", cloud.devices()[0]));
    light.token(&cloud.token()).json(&json!({ "value": true })).send().is(200);
}

#[test]
fn plain_bytes_on_the_tls_port_end_their_connection() {
    let mut cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let config = cloud.manufacturer(TlsVersion::Tls12).config(di()).unwrap();
    let hello = client_hello(&config);
    for (bytes, said) in [
        (&b"GET / HTTP/1.1\r\nHost: cloud\r\n\r\n"[..], "something"),
        (b"\x00\xe1", "something"),
        (b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", "something"),
        (b"\x16\x03\x01\xff\xff", "something"),
        (&[0xff; 20_000], "something"),
        (&[0x16; 5], "something"),
        (&hello[..hello.len() / 2], "nothing"),
        (b"", "nothing"),
    ] {
        let mut stream = tcp(gateway).unwrap();
        // The gateway may hang up before it has heard everything.
        let _ = stream.write_all(bytes);
        let heard = until_closed(&mut stream);
        // An alert is all that may come, and it may be lost when the connection is reset.
        assert!(heard.is_empty() || (heard[0] == 21 && said == "something"), "{heard:?}");
    }
    let log = cloud.log(loadtest::demo::GATEWAY);
    assert!(log.contains("TLS failed"), "{log}");
    goes_on(&cloud, &config);
    assert!(cloud.total("closed_handshake_failed") > 0);
    assert!(cloud.total("closed_handshake_timed_out") > 0);
    cloud.stop();
}

/// The first flight of a handshake.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(config.clone(), name).unwrap();
    let mut out = Vec::new();
    connection.write_tls(&mut out).unwrap();
    out
}

#[test]
fn a_crowd_of_silent_connections_keeps_nobody_out() {
    let cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let config = cloud.manufacturer(TlsVersion::Tls12).config(di()).unwrap();
    let hello = client_hello(&config);
    let mut crowd: Vec<_> = (0..300).map(|_| tcp(gateway).unwrap()).collect();
    for stream in crowd.iter_mut().skip(100) {
        stream.write_all(&hello[..40]).unwrap();
    }
    goes_on(&cloud, &config);
    for mut stream in crowd {
        until_closed(&mut stream);
    }
    goes_on(&cloud, &config);
    cloud.stop();
}

#[test]
fn a_handshake_and_a_frame_may_come_byte_by_byte() {
    let cloud = start();
    let gateway = cloud.cloud.installation.coap();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let config = cloud.manufacturer(version).config(di()).unwrap();
        let mut wire = Wire::connect_through(gateway, config, |stream, bytes| {
            bytes.iter().try_for_each(|byte| stream.write_all(&[*byte]))
        })
        .unwrap();
        assert_eq!(wire.receive().unwrap().unwrap().code(), "7.01");
        let mut ping = b"\xd0\x00\x45".to_vec();
        ping.extend_from_slice(b"\xffno one asked");
        signal::write_ping(&mut ping, Token::from_u64(7));
        for byte in ping {
            wire.send(&[byte]).unwrap();
        }
        let pong = wire.answer();
        assert_eq!((pong.code().as_str(), &*pong.token), ("7.03", &[0, 0, 0, 0, 0, 0, 0, 7][..]));
    }
    cloud.stop();
}

#[test]
fn certificates_of_another_root_and_none_at_all_are_refused() {
    let mut cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let good = cloud.manufacturer(TlsVersion::Tls12).config(di()).unwrap();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let stranger = stranger(&cloud, version).config(di()).unwrap();
        assert_eq!(refusal(gateway, stranger), "received fatal alert: UnknownCA", "{version:?}");
        // Identity certificates are issued where there is an authority; without one there is none.
        let mut bare = ClientConfig::clone(&cloud.manufacturer(version).config(di()).unwrap());
        bare.client_auth_cert_resolver = Arc::new(NoCertificate);
        let refused = refusal(gateway, Arc::new(bare));
        assert!(refused.starts_with("received fatal alert: "), "{version:?}: {refused}");
        goes_on(&cloud, &good);
    }
    assert_eq!(cloud.total("closed_handshake_failed"), 4);
    cloud.stop();
}

/// What the gateway has against a certificate. With TLS 1.3 it comes after this side is done.
fn refusal(gateway: SocketAddr, config: Arc<ClientConfig>) -> String {
    match Wire::connect(gateway, config).and_then(|mut wire| wire.receive()) {
        Err(error) => error.to_string(),
        Ok(message) => panic!("the gateway lets it in and says {message:?}"),
    }
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Certificates as they should be, of an authority that the gateway does not know.
fn stranger(cloud: &TestCloud, version: TlsVersion) -> Credentials {
    let directory = tempfile::tempdir().unwrap();
    let (ca, key) = (directory.path().join("ca.pem"), directory.path().join("ca.key"));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Another root");
    let ca_key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&params, &ca_key);
    let root = params.signed_by(&ca_key, &issuer).unwrap();
    std::fs::write(&ca, root.pem()).unwrap();
    std::fs::write(&key, ca_key.serialize_pem()).unwrap();
    let certificate = DeviceCertificate::Identity { ca, key };
    Credentials::load(cloud.cloud.facts().trust_anchor, &certificate, version).unwrap()
}

#[test]
fn frames_above_the_limit_and_bytes_that_are_no_frames_are_aborted() {
    let mut cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let config = cloud.manufacturer(TlsVersion::Tls12).config(di()).unwrap();
    // Of 5000 bytes, where a device that has not signed in may send 4096.
    let mut large = b"\xe1\x12\x7b\x02\x07".to_vec();
    large.extend_from_slice(&[b'x'; 4996]);
    let cases: [&[u8]; 12] = [
        &large,
        b"\x09\xe1\0\0\0\0\0\0\0\0\0",
        b"\x0f\xe1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x10\x45\xf0",
        b"\x10\x45\x0f",
        b"\x20\x45\x63\xaa",
        b"\x10\x45\xd0",
        b"\x10\x45\x0d",
        b"\x20\x45\xe0\x00",
        b"\x10\x45\xff",
        b"\x60\x45\xe0\xff\xff\xe0\xff\xff",
        b"\xf8\xff\xff\xff\xff",
    ];
    for bytes in cases {
        let mut wire = Wire::connect(gateway, config.clone()).unwrap();
        wire.send(bytes).unwrap();
        let abort = wire.answer();
        assert_eq!(abort.code(), "7.05", "{bytes:?}");
        assert_eq!(abort.token.len(), 8);
        assert!(wire.ends());
    }
    assert_eq!(cloud.total("closed_framing"), cases.len() as u64);
    goes_on(&cloud, &config);
    cloud.stop();
}

#[test]
fn a_signed_in_device_may_send_as_much_as_the_csm_says_and_no_more() {
    let mut cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let config = cloud.manufacturer(TlsVersion::Tls13).config(di()).unwrap();
    for over in [0, 1] {
        let mut wire = Wire::connect(gateway, config.clone()).unwrap();
        let csm = wire.receive().unwrap().unwrap();
        let (_, limit) = csm.options.iter().find(|(number, _)| *number == 2).unwrap();
        let limit = limit.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        wire.sign_in(&cloud, di());
        let head = publish_of(100_000).len() - 100_000;
        let frame = publish_of(limit + over - head);
        assert_eq!(frame.len(), limit + over);
        // What fits is understood and refused; what does not is no message at all, as soon as its
        // length is known.
        let sent = if over == 0 { frame.len() } else { 1000 };
        wire.send(&frame[..sent]).unwrap();
        let expected = if over == 0 { "4.00" } else { "7.05" };
        assert_eq!(wire.answer().code(), expected);
    }
    goes_on(&cloud, &config);
    assert_eq!(cloud.total("closed_framing"), 1);
    cloud.stop();
}

/// A publish with so many bytes of nonsense.
fn publish_of(bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut message = MessageWriter::new(&mut frame, RequestType::Post, Token::from_u64(9));
    message.path(["oic", "rd"]);
    message.payload(&vec![0xff; bytes]);
    message.finish();
    frame
}

#[test]
fn connections_that_break_off_at_any_point_leave_nothing_behind() {
    let mut cloud = start();
    let gateway = cloud.cloud.installation.coap();
    let config = cloud.manufacturer(TlsVersion::Tls12).config(di()).unwrap();
    let hello = client_hello(&config);
    for length in (0..hello.len()).step_by(7) {
        let mut stream = tcp(gateway).unwrap();
        stream.write_all(&hello[..length]).unwrap();
        match length % 2 {
            0 => stream.shutdown(Shutdown::Write).unwrap(),
            // Unread bytes or not: the kernel says goodbye, or resets.
            _ => drop(stream),
        }
    }
    for _ in 0..20 {
        let mut wire = Wire::connect(gateway, config.clone()).unwrap();
        wire.request(RequestType::Post, &["oic", "sec", "account"], &[], b"\xbf");
        drop(wire);
    }
    goes_on(&cloud, &config);
    cloud.wait_until("only the swarm's device is left", |cloud| {
        let counts = cloud.counters();
        let sum = |name: &str| counts.iter().map(|counts| counts.of(name)).sum::<u64>();
        let ended: u64 = gateway::connection::CloseReason::ALL
            .iter()
            .map(|reason| sum(&format!("closed_{}", reason.name())))
            .sum();
        sum("accepted") - ended == 1
    });
    cloud.stop();
}
