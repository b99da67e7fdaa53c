//! TLS against a peer that is not ours: rustls as client, every version and suite, full and resumed.
//!
//! The other peer, OpenSSL, is in the package `tests`: it needs sockets.
#![cfg(not(feature = "whole-tls"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gateway::certs::Authority;
use gateway::connection::tickets::{TicketKey, TicketKeys};
use gateway::connection::tls::{Acceptor, CloudCertificate, Established, Progress, Transport};
use gateway::identity::{Source, TrustAnchors};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore};
use shared::ids::CloudId;
use shared::record::{Opened, RecordError, Step};
use shared::time::UnixTime;

/// Those of device reference 3.1; where the certificate of the cloud is RSA, TLS 1.2 has suites for it.
const SUITES: [CipherSuite; 7] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.unwrap().as_secs())
}

/// A cloud and a device that trust each other.
struct Installation {
    acceptor: Acceptor,
    client: Arc<ClientConfig>,
}

impl Installation {
    fn new(suite: CipherSuite) -> Self {
        let server_ca = Authority::generate("server", now()).unwrap();
        let device_ca = Authority::generate("manufacturer", now()).unwrap();
        let cloud = CloudId::from_bytes([1; 16]);
        let issued = server_ca.issue_cloud(cloud, &["localhost".into()]).unwrap();
        let (chain, key, root) = match is_rsa(suite) {
            true => (vec![RSA.0.clone()], RSA.1.clone_key(), RSA.0.clone()),
            false => (issued.chain, issued.key, server_ca.certificate().clone()),
        };
        let certificate = CloudCertificate { chain, key };
        let pem = device_ca.certificate_pem();
        let source = Source { name: "manufacturer", bytes: pem.as_bytes() };
        let anchors = TrustAnchors::parse(&[], &[source], &[]).unwrap();
        let mut acceptor = Acceptor::new(certificate, anchors).unwrap();
        acceptor.set_time(now());
        let mut keys = TicketKeys::default();
        keys.add(TicketKey::new([1; 8], [2; 32], now()));
        acceptor.use_ticket_keys(&keys, Duration::from_secs(3600));
        Self { acceptor, client: client(suite, root, &device_ca) }
    }

    fn connect(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.client), "localhost".try_into().unwrap()).unwrap()
    }
}

fn is_rsa(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    )
}

/// A certificate with an RSA key, which takes a moment to make, and that key.
static RSA: LazyLock<(CertificateDer<'static>, PrivateKeyDer<'static>)> = LazyLock::new(|| {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.into(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
});

fn client(
    suite: CipherSuite,
    root: CertificateDer<'static>,
    device_ca: &Authority,
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let device = device_ca.issue_manufacturer("Device").unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(device.chain.clone(), device.key.clone_key())
        .unwrap();
    Arc::new(config)
}

/// What the client wants to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Hands bytes to the client. Returns the text that it reads.
fn deliver(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
        let mut part = vec![0; 100_000];
        if let Ok(len) = client.reader().read(&mut part) {
            text.extend_from_slice(&part[..len]);
        }
    }
    text
}

/// Drives a handshake to its end. `eager`: text that the client sends in the same flight as its
/// Finished. All bytes of a flight arrive at once, or one by one.
fn handshake(
    acceptor: &Acceptor,
    client: &mut ClientConnection,
    eager: &[u8],
    byte_by_byte: bool,
) -> Established {
    let mut server = acceptor.accept().unwrap();
    let mut said = false;
    loop {
        if !client.is_handshaking() && !said {
            client.writer().write_all(eager).unwrap();
            said = true;
        }
        let flight = sent(client);
        assert!(!flight.is_empty(), "the handshake does not go on");
        let mut out = Vec::new();
        let mut progress = Progress::Waiting;
        let step = if byte_by_byte { 1 } else { flight.len() };
        let mut pieces = flight.chunks(step);
        for piece in pieces.by_ref() {
            server.receive(piece).unwrap();
            progress = server.step(acceptor, &mut out).unwrap();
            if progress == Progress::Done {
                break;
            }
        }
        if progress == Progress::Done {
            let mut established = server.finish(acceptor).unwrap();
            established.rest.extend(pieces.flatten());
            deliver(client, &out);
            // In a full TLS 1.2 handshake the client has to wait for our Finished.
            if !said {
                client.writer().write_all(eager).unwrap();
            }
            return established;
        }
        deliver(client, &out);
    }
}

/// Opens records. Returns their text, and what TLS answers.
fn open(transport: &mut Transport, mut bytes: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), RecordError> {
    let Transport::Records(records) = transport else { panic!("not taken over") };
    let (mut text, mut out, mut used) = (Vec::new(), Vec::new(), 0);
    let mut opener = records.opener();
    while let Step::Record { len, opened } = opener.next(&mut bytes[used..], &mut out)? {
        if let Opened::Text(part) = opened {
            text.extend_from_slice(&bytes[used..][part]);
        }
        used += len;
    }
    assert_eq!(used, bytes.len());
    Ok((text, out))
}

fn seal(transport: &mut Transport, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    transport
        .seal(&mut out, |out| {
            out.extend_from_slice(text);
            true
        })
        .unwrap();
    out
}

fn write(client: &mut ClientConnection, text: &[u8]) -> Vec<u8> {
    client.writer().write_all(text).unwrap();
    sent(client)
}

#[test]
fn text_goes_both_ways_with_every_suite_full_and_resumed() {
    for suite in SUITES {
        let installation = Installation::new(suite);
        for resumed in [false, true] {
            let mut client = installation.connect();
            let mut established = handshake(&installation.acceptor, &mut client, b"", false);
            let kind = client.handshake_kind().unwrap();
            assert_eq!(kind == rustls::HandshakeKind::Resumed, resumed, "{suite:?} {kind:?}");
            let transport = &mut established.transport;
            for text in [&b"hello"[..], &[7; 40_000], b"!"] {
                let sealed = write(&mut client, text);
                assert_eq!(open(transport, sealed).unwrap().0, text, "{suite:?} up");
                let sealed = seal(transport, text);
                assert_eq!(deliver(&mut client, &sealed), text, "{suite:?} down");
            }
            client.send_close_notify();
            let goodbye = sent(&mut client);
            assert!(!transport.peer_closed());
            open(transport, goodbye).unwrap();
            assert!(transport.peer_closed(), "{suite:?}");
            let mut goodbye = Vec::new();
            transport.close_notify(&mut goodbye);
            client.read_tls(&mut &goodbye[..]).unwrap();
            assert!(client.process_new_packets().unwrap().peer_has_closed(), "{suite:?}");
        }
    }
}

/// A client that sends its first request right behind its Finished, in the same segment or cut at any
/// byte: nothing of it is lost when the connection is taken over.
#[test]
fn an_eager_clients_first_request_arrives_in_every_suite_full_and_resumed() {
    for suite in SUITES {
        let installation = Installation::new(suite);
        for byte_by_byte in [false, true] {
            for _ in ["full", "resumed"] {
                let mut client = installation.connect();
                let acceptor = &installation.acceptor;
                let mut established = handshake(acceptor, &mut client, b"first", byte_by_byte);
                let mut text = established.early.clone();
                let rest = std::mem::take(&mut established.rest);
                text.extend(open(&mut established.transport, rest).unwrap().0);
                text.extend(open(&mut established.transport, sent(&mut client)).unwrap().0);
                assert_eq!(text, b"first", "{suite:?} {byte_by_byte}");
                let sealed = write(&mut client, b"second");
                assert_eq!(open(&mut established.transport, sealed).unwrap().0, b"second");
            }
        }
    }
}

/// RFC 8446 §4.6.3, from either side.
#[test]
fn key_updates_of_a_foreign_peer_are_followed() {
    for suite in SUITES.into_iter().filter(|suite| is_tls13(*suite)) {
        let installation = Installation::new(suite);
        let mut client = installation.connect();
        let mut established = handshake(&installation.acceptor, &mut client, b"", false);
        let transport = &mut established.transport;
        for round in 0..5u8 {
            client.refresh_traffic_keys().unwrap();
            let (text, answer) = open(transport, write(&mut client, &[round])).unwrap();
            assert_eq!(text, [round]);
            deliver(&mut client, &answer);
            assert_eq!(deliver(&mut client, &seal(transport, &[round])), [round], "{suite:?}");
        }
    }
}

fn is_tls13(suite: CipherSuite) -> bool {
    format!("{suite:?}").starts_with("TLS13")
}

#[test]
fn a_foreign_peers_records_do_not_authenticate_when_a_bit_is_changed() {
    for suite in SUITES {
        let installation = Installation::new(suite);
        let mut client = installation.connect();
        let mut established = handshake(&installation.acceptor, &mut client, b"", false);
        let mut sealed = write(&mut client, b"text");
        *sealed.last_mut().unwrap() ^= 1;
        let Transport::Records(records) = &mut established.transport else { panic!() };
        let mut alert = Vec::new();
        let result = records.opener().next(&mut sealed, &mut alert);
        assert_eq!(result, Err(RecordError::BadRecord));
        // The peer is told, and understands.
        client.read_tls(&mut &alert[..]).unwrap();
        let told = client.process_new_packets().unwrap_err();
        let expected = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(told, expected, "{suite:?}");
    }
}

#[test]
fn a_ticket_of_another_key_means_a_full_handshake() {
    for suite in SUITES {
        let mut installation = Installation::new(suite);
        let mut client = installation.connect();
        handshake(&installation.acceptor, &mut client, b"", false);
        let mut keys = TicketKeys::default();
        keys.add(TicketKey::new([9; 8], [9; 32], now()));
        installation.acceptor.use_ticket_keys(&keys, Duration::from_secs(3600));
        let mut client = installation.connect();
        handshake(&installation.acceptor, &mut client, b"", false);
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full), "{suite:?}");
    }
}

/// rustls asks no verifier on resumption: today's anchors and clock have to be asked anyway.
#[test]
fn a_resumed_session_whose_certificate_has_expired_is_refused() {
    for suite in SUITES {
        let installation = Installation::new(suite);
        let mut client = installation.connect();
        handshake(&installation.acceptor, &mut client, b"", false);
        let in_a_century = UnixTime(now().0 + 100 * 365 * 24 * 3600);
        let mut client = installation.connect();
        let mut server = installation.acceptor.accept().unwrap();
        // The ticket is young by the clock that the handshake sees; the certificate is not.
        loop {
            server.receive(&sent(&mut client)).unwrap();
            let mut out = Vec::new();
            let progress = server.step(&installation.acceptor, &mut out).unwrap();
            if progress == Progress::Done {
                break;
            }
            deliver(&mut client, &out);
        }
        installation.acceptor.set_time(in_a_century);
        assert!(server.finish(&installation.acceptor).is_err(), "{suite:?}");
    }
}
