//! What a peer says before anything is known of it: a handshake of any bytes, or a good one that is
//! changed on its way, in pieces of any size.
//!
//! What must hold: it fails or waits; nobody gets through without a certificate.

use std::sync::{Arc, LazyLock};

use gateway::connection::tls::{Acceptor, CloudCertificate, Progress};
use gateway::identity::TrustAnchors;
use rustls::pki_types::{PrivateKeyDer, ServerName};

use crate::{Choices, bounded_with};

/// What rustls keeps of a connection, whatever has been received, with its messages and ours.
const CONNECTION_BYTES: usize = 128 * 1024;

struct Parties {
    acceptor: Acceptor,
    hellos: Vec<Vec<u8>>,
}

thread_local! {
    static PARTIES: LazyLock<Parties> = LazyLock::new(parties);
}

fn parties() -> Parties {
    let made = rcgen::generate_simple_self_signed(["cloud.example.com".to_owned()]).expect("a key");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let certificate = CloudCertificate { chain: vec![made.cert.der().clone()], key };
    let acceptor = Acceptor::new(certificate, TrustAnchors::default()).expect("it fits its key");
    let versions: [&[&rustls::SupportedProtocolVersion]; 2] =
        [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];
    let hello = |versions| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from("cloud.example.com").expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("writing to memory");
        hello
    };
    Parties { acceptor, hellos: versions.map(hello).to_vec() }
}

/// One input.
pub fn run(data: &[u8]) {
    PARTIES.with(|parties| handshake(parties, data));
}

fn handshake(parties: &Parties, data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = usize::from(choices.byte());
    let mut bytes = match parties.hellos.get(kind % 8) {
        // A good hello, changed at least once: an unchanged one is the same every time.
        Some(hello) => {
            let mut bytes = hello.clone();
            let at = choices.number() % bytes.len();
            bytes[at] ^= choices.byte().max(1);
            bytes
        }
        None => Vec::new(),
    };
    let pieces = 1 + usize::from(choices.byte());
    bytes.extend_from_slice(choices.bytes(usize::MAX));
    bounded_with(CONNECTION_BYTES + 8 * bytes.len(), || {
        let mut handshake = parties.acceptor.accept().expect("there is memory");
        let mut out = Vec::new();
        for piece in bytes.chunks(bytes.len().div_ceil(pieces % 8 + 1).max(1)) {
            if handshake.receive(piece).is_err() {
                return;
            }
            match handshake.step(&parties.acceptor, &mut out) {
                Ok(Progress::Waiting) => {}
                Ok(Progress::Done) => panic!("nobody has shown a certificate"),
                Err(_) => return,
            }
        }
    });
}
