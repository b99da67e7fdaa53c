//! Device reference 3: TLS, the certificates of both sides, and what changes without a restart. The
//! rules for chains, one by one, are beside the code that judges them (`gateway::identity`), every
//! suite with foreign peers in `gateway/tests/tls_peers.rs`.

use std::time::Duration;

use gateway::certs::{Authority, Issued};
use gateway::config::ManufacturerKeys;
use gateway::connection::CloseReason;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion};
use shared::coap::ResponseType::*;
use shared::ids::{DeviceId, ShardId};
use tests::certificates::CLOUD;
use tests::{Moves, PKI, Peer, World, get};
use x509_parser::prelude::{FromDer, X509Certificate};

const TLS12: &rustls::SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &rustls::SupportedProtocolVersion = &rustls::version::TLS13;

fn identity(device: DeviceId) -> Issued {
    PKI.identity.issue_identity(device).expect("it can be issued")
}

fn last_reason(world: &World) -> CloseReason {
    world.ended().last().expect("a connection has ended").reason
}

/// Device reference 3.1: TLS 1.2 and 1.3, these suites and no others.
#[test]
fn every_suite_of_the_reference_is_served() {
    let world = World::new();
    let user = world.user();
    for suite in [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let device = world.device_id();
        let peer = world.connect_as(device, PKI.client_with_suite(&identity(device), suite));
        peer.tls(|tls| {
            assert_eq!(tls.negotiated_cipher_suite().expect("a suite").suite(), suite);
        });
        peer.sign_up(&user.token());
        peer.sign_in();
        peer.expect(get("/oic/res"), Content);
    }
}

/// Device reference 3.1: the first choice of real devices.
#[test]
fn real_devices_get_tls_1_2_with_their_first_suite() {
    let world = World::new();
    let peer = world.connect();
    peer.tls(|tls| {
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        let suite = tls.negotiated_cipher_suite().expect("a suite").suite();
        assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    });
}

/// Issue: offered suites are logged when nothing matches.
#[test]
fn a_peer_without_a_suite_in_common_is_refused_and_its_offer_told() {
    let world = World::new();
    let device = world.device_id();
    for (suite, told) in [
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "cca9"),
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "c02f"),
    ] {
        let peer = world.peer(device, PKI.client_with_suite(&identity(device), suite));
        peer.knock();
        assert!(!peer.is_connected());
        assert_eq!(last_reason(&world), CloseReason::HandshakeFailed);
        let said = world.tls_failures().pop().expect("TLS has failed");
        assert!(said.contains(told), "{said}");
        assert!(peer.tls_error().expect("an alert").to_string().contains("HandshakeFailure"));
    }
}

/// Device reference 2.1: ALPN `coap` if it is offered, none required; 3.1: no SNI.
#[test]
fn alpn_is_coap_for_those_who_offer_it() {
    let world = World::new();
    let device = world.device_id();
    let mut config = (*PKI.client(Some(&identity(device)), TLS13)).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"coap".to_vec()];
    let peer = world.connect_as(device, config.into());
    peer.tls(|tls| assert_eq!(tls.alpn_protocol(), Some(&b"coap"[..])));
    let plain = world.connect();
    plain.tls(|tls| assert_eq!(tls.alpn_protocol(), None));
}

/// Device reference 3.2 and 1.3, rule 14: the cloud's certificate.
#[test]
fn the_clouds_certificate_is_as_devices_need_it() {
    let world = World::new();
    let peer = world.connect();
    let der = peer.tls(|tls| tls.peer_certificates().expect("a chain")[0].clone().into_owned());
    let (_, leaf) = X509Certificate::from_der(&der).expect("a certificate");
    let names: Vec<_> = leaf.subject().iter_common_name().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].as_str().expect("text"), format!("uuid:{CLOUD}"));
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().expect("well-formed").expect("it is there");
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_agreement());
    assert!(!usage.value.key_cert_sign());
    let purposes = leaf.extended_key_usage().expect("well-formed").expect("it is there").value;
    assert!(purposes.server_auth && purposes.client_auth && !purposes.any);
    let identity = purposes.other.iter().map(|oid| oid.to_id_string());
    assert!(identity.eq(["1.3.6.1.4.1.44924.1.6"]));
    let curve = leaf.public_key().algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    assert_eq!(curve.expect("a curve").to_id_string(), "1.2.840.10045.3.1.7", "P-256");
}

fn assert_refused(world: &World, certificate: Option<&Issued>) {
    for version in [TLS12, TLS13] {
        let peer = world.peer(world.device_id(), PKI.client(certificate, version));
        peer.knock();
        assert!(!peer.is_connected());
        assert_eq!(last_reason(world), CloseReason::HandshakeFailed);
        assert!(peer.tls_error().is_some(), "an alert says why");
    }
}

/// Device reference 3.3: no certificate, or one of somebody whom nobody trusts.
#[test]
fn who_has_no_certificate_that_counts_is_refused() {
    let world = World::new();
    assert_refused(&world, None);
    let stranger = Authority::generate("a stranger", tests::certificates::wall_clock());
    let stranger = stranger.expect("a root can be made");
    let device = world.device_id();
    assert_refused(&world, Some(&stranger.issue_identity(device).expect("it can be issued")));
    assert_refused(&world, Some(&stranger.issue_manufacturer("x").expect("it can be issued")));
    // An identity authority signs identities only.
    let nameless = PKI.identity.issue_manufacturer("x").expect("it can be issued");
    assert_refused(&world, Some(&nameless));
}

/// Device reference 3.3: expired certificates.
#[test]
fn an_expired_certificate_is_refused() {
    let world = World::new();
    let device = world.device_id();
    let issued = identity(device);
    let peer = world.connect_as(device, PKI.client(Some(&issued), TLS12));
    drop(peer);
    world.step_wall_clock(100 * 365 * 24 * 3600);
    assert_refused(&world, Some(&issued));
}

/// Device reference 3.3: intermediates; their chains lead to the same anchors.
#[test]
fn devices_may_come_with_intermediates() {
    let world = World::new();
    let user = world.user();
    let device = world.device_id();
    let factory = PKI.identity.subordinate("factory").expect("it can be made");
    let issued = factory.issue_identity(device).expect("it can be issued");
    assert_eq!(issued.chain.len(), 2);
    for version in [TLS12, TLS13] {
        let peer = world.connect_as(device, PKI.client(Some(&issued), version));
        peer.sign_up(&user.token());
        peer.sign_in();
    }
}

/// Device reference 3.3: a manufacturer certificate binds no device id, whatever its name.
#[test]
fn a_manufacturer_certificate_binds_nothing_whatever_its_name() {
    let world = World::new();
    let user = world.user();
    let other = world.device_id();
    let issued = PKI.manufacturer.issue_manufacturer(&format!("uuid:{other}")).expect("issued");
    let peer = world.connect_as(world.device_id(), PKI.client(Some(&issued), TLS12));
    let answer = peer.sign_up(&user.token());
    assert_eq!(answer.member_integer("expiresin"), 24 * 3600);
    peer.sign_in();
}

/// Device reference 16, point 34: after re-onboarding a device may come with another certificate.
#[test]
fn a_device_may_come_with_another_certificate() {
    let world = World::new();
    let device = world.user().signed_in_device();
    device.sign_in();
    assert_eq!(world.changed_keys(), []);
    let proven = world.connect_with_identity(device.id);
    proven.set_account(device.account());
    proven.sign_in();
    assert_eq!(world.changed_keys(), [device.id]);
    let product = world.connect_as(device.id, PKI.product());
    product.set_account(device.account());
    product.refresh();
    product.sign_in();
    let other = world.connect_as(device.id, another_product());
    other.set_account(product.account());
    other.refresh();
    assert_eq!(world.changed_keys(), [device.id; 2]);
}

/// A certificate of the manufacturer with a key of its own.
fn another_product() -> std::sync::Arc<rustls::ClientConfig> {
    let other = PKI.manufacturer.issue_manufacturer("another product").expect("it can be issued");
    PKI.client(Some(&other), TLS12)
}

/// Device reference 16, point 34: the optional pinning. What proves the device's id is good with any
/// key.
#[test]
fn keys_of_manufacturer_certificates_may_be_pinned() {
    let world = World::with(|setup| setup.cloud.manufacturer_keys = ManufacturerKeys::Pin);
    let device = world.user().signed_in_device();
    for refreshes in [false, true] {
        let other = world.connect_as(device.id, another_product());
        other.set_account(device.account());
        let request = if refreshes { other.refresh_request() } else { other.session_request(true) };
        other.expect(request, Unauthorized);
        world.advance_secs(2);
        assert!(!other.is_connected() && device.is_connected());
    }
    assert_eq!(world.changed_keys(), []);
    let same = world.connect_as(device.id, PKI.product());
    same.set_account(device.account());
    same.refresh();
    same.sign_in();
    let proven = world.connect_with_identity(device.id);
    proven.set_account(same.account());
    proven.sign_in();
}

fn list(revoked: &[&CertificateDer<'_>], number: u64) -> String {
    PKI.identity.revocation_list(revoked, number).expect("it can be made")
}

/// Device reference 3.3: a certificate on the revocation list.
#[test]
fn a_revoked_certificate_is_refused() {
    let device = World::new().device_id();
    let issued = identity(device);
    let world = World::with(|setup| setup.revocation_lists = vec![list(&[&issued.chain[0]], 1)]);
    assert_refused(&world, Some(&issued));
    world.connect_as(device, PKI.client(Some(&identity(device)), TLS12));
}

/// Two devices, the first of which loses its certificate.
struct Pair {
    revoked: (DeviceId, Issued, Peer),
    other: Peer,
}

fn pair(world: &World, version: &'static rustls::SupportedProtocolVersion) -> Pair {
    let user = world.user();
    let device = world.device_id();
    let issued = identity(device);
    let peer = world.connect_as(device, PKI.client(Some(&issued), version));
    peer.sign_up(&user.token());
    peer.sign_in();
    Pair { revoked: (device, issued, peer), other: user.signed_in_device_with_identity() }
}

/// Issue: revocation lists are read again without dropping a connection; a revoked device is cut off.
#[test]
fn a_device_that_is_revoked_later_is_cut_off_and_nobody_else() {
    for version in [TLS12, TLS13] {
        let world = World::of_shards(2);
        let Pair { revoked: (device, issued, peer), other } = pair(&world, version);
        let open = world.connect_as(device, PKI.client(Some(&issued), version));
        let pending = other.send(get(&peer.path("/a")));
        world.renew(|| PKI.acceptor(&[list(&[], 1)]));
        assert!(peer.is_connected() && open.is_connected());
        world.renew(|| PKI.acceptor(&[list(&[&issued.chain[0]], 2)]));
        assert!(!peer.is_connected() && !open.is_connected());
        assert!(peer.was_told_goodbye());
        assert_eq!(last_reason(&world), CloseReason::Distrusted);
        assert_eq!(other.answer_to(pending).expect("an answer").code, ServiceUnavailable);
        other.expect(get("/oic/res"), Content);
        assert_refused(&world, Some(&issued));
        // It is let in again with a certificate that is not revoked: its account was not touched.
        let again = world.connect_with_identity(device);
        again.set_account(peer.account());
        again.sign_in();
    }
}

/// Design, section 7: rustls asks nobody when a session is resumed; we do.
#[test]
fn a_revoked_device_cannot_resume_its_session() {
    for version in [TLS12, TLS13] {
        let world = World::with(|setup| setup.ticket_lifetime = Duration::from_secs(3600));
        world.settle();
        world.advance_secs(1);
        let device = world.device_id();
        let issued = identity(device);
        let mut config = (*PKI.client(Some(&issued), version)).clone();
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        let peer = world.connect_as(device, config.into());
        peer.sign_up(&world.user().token());
        peer.sign_in();
        peer.lose();
        peer.connect();
        peer.tls(|tls| {
            assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        });
        peer.sign_in();
        peer.lose();
        // The keys of tickets outlive a reload.
        world.renew(|| PKI.acceptor(&[]));
        peer.connect();
        peer.tls(|tls| {
            assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        });
        peer.lose();
        world.renew(|| PKI.acceptor(&[list(&[&issued.chain[0]], 2)]));
        peer.knock();
        assert!(!peer.is_connected());
        assert_eq!(last_reason(&world), CloseReason::HandshakeFailed);
    }
}

/// Issue: the cloud's certificate is replaced without dropping a connection.
#[test]
fn another_certificate_is_for_new_connections_and_drops_none() {
    let world = World::of_shards(2);
    let user = world.user();
    let (before, light) = (user.signed_in_device(), user.light());
    let shown = |peer: &Peer| {
        peer.tls(|tls| tls.peer_certificates().expect("a chain")[0].clone().into_owned())
    };
    let renewed = PKI.new_cloud_certificate();
    world.renew(|| PKI.acceptor_with(&renewed, &[]));
    before.expect(get("/oic/res"), Content);
    assert!(light.is_signed_in());
    let after = user.signed_in_device();
    assert_eq!(shown(&after), renewed.chain[0]);
    assert_ne!(shown(&before), renewed.chain[0]);
    world.advance_secs(60);
    assert!(light.is_signed_in());
}

/// Issue: an authority that is not trusted any more.
#[test]
fn devices_of_an_authority_that_is_gone_are_cut_off() {
    let world = World::new();
    let user = world.user();
    let (proven, product) = (user.signed_in_device_with_identity(), user.signed_in_device());
    world.renew(|| PKI.acceptor_without_identity_authority());
    assert!(!proven.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Distrusted);
    product.expect(get("/oic/res"), Content);
}

/// A handshake that is under way while certificates are read again ends well, in both versions.
#[test]
fn a_handshake_under_way_survives_a_reload() {
    for version in [TLS12, TLS13] {
        let world = World::new();
        let device = world.device_id();
        let issued = identity(device);
        for revoked in [false, true] {
            let peer = world.peer(device, PKI.client(Some(&issued), version));
            peer.knock_without_reading();
            let revoked_now: &[_] = if revoked { &[&issued.chain[0]] } else { &[] };
            world.renew(|| PKI.acceptor(&[list(revoked_now, 2)]));
            peer.reads(true);
            assert_eq!(peer.is_connected(), !revoked, "{version:?}");
        }
    }
}

/// A device that is revoked while its connection moves is cut off where it arrives.
#[test]
fn a_connection_that_moves_is_judged_where_it_arrives() {
    let world = World::of_shards(2);
    let user = world.user_on(ShardId(1));
    let device = world.device_id();
    let issued = identity(device);
    let token = user.token();
    world.next_connection_on(ShardId(0));
    let peer = world.connect_as(device, PKI.client(Some(&issued), TLS12));
    world.moves(Moves::Held);
    peer.send(peer.sign_up_request(&token));
    world.renew(|| PKI.acceptor(&[list(&[&issued.chain[0]], 2)]));
    world.moves(Moves::Arrive);
    assert!(!peer.is_connected());
    assert_eq!(last_reason(&world), CloseReason::Distrusted);
}
