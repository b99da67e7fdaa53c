//! Certificates of devices: any DER, or a good certificate that is changed, as leaf and as
//! intermediate.
//!
//! What must hold: without an anchor nobody is believed, whatever the certificate says; and with one, a
//! leaf below an intermediate that is known proves what the whole chain proves.

use std::cell::RefCell;
use std::sync::LazyLock;

use gateway::identity::{KnownIssuers, Source, TrustAnchors, chain_digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa};
use rcgen::{KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use shared::time::UnixTime;

use crate::{Choices, bounded_with};

const NOW: UnixTime = UnixTime(1_700_000_000);

/// A leaf below an intermediate below an anchor.
struct Good {
    anchors: TrustAnchors,
    leaf: Vec<u8>,
    intermediate: CertificateDer<'static>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key");
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root = CertifiedIssuer::self_signed(authority(), key()).expect("a certificate");
    let below = CertifiedIssuer::signed_by(authority(), key(), &root).expect("a certificate");
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key(), &below).expect("a certificate");
    let manufacturer = [Source { name: "root", bytes: root.as_ref().der() }];
    Good {
        anchors: TrustAnchors::parse(&[], &manufacturer, &[]).expect("an anchor"),
        leaf: leaf.der().to_vec(),
        intermediate: below.as_ref().der().clone(),
    }
});

thread_local! {
    /// The intermediate is known here, by the chain of the good leaf.
    static KNOWN: RefCell<KnownIssuers> = {
        let (chain, mut known) = (below_the_intermediate(GOOD.leaf.clone()), KnownIssuers::default());
        GOOD.anchors.verify_chain(&mut known, &chain, NOW).expect("a good chain");
        RefCell::new(known)
    };
}

/// The parser keeps the parts of names and extensions beside the bytes, some hundred for each.
const PER_BYTE: usize = 64;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let leaf = match choices.byte() % 2 {
        0 => choices.bytes(usize::MAX).to_vec(),
        _ => changed_leaf(&mut choices),
    };
    believe_nobody(&leaf, data);
    below_a_known_intermediate(leaf);
}

fn changed_leaf(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut leaf = GOOD.leaf.clone();
    while !choices.is_empty() {
        let at = choices.number() % leaf.len();
        leaf[at] ^= choices.byte();
    }
    leaf
}

fn believe_nobody(leaf: &[u8], data: &[u8]) {
    let anchors = TrustAnchors::default();
    let chain = [CertificateDer::from(leaf), CertificateDer::from(data)];
    let len = chain.iter().map(|der| der.len()).sum::<usize>();
    for chain in [&chain[..1], &chain] {
        let verified = bounded_with(PER_BYTE * len, || anchors.verify(chain, NOW));
        assert!(verified.is_err());
        let _ = chain_digest(chain);
    }
}

fn below_a_known_intermediate(leaf: Vec<u8>) {
    let chain = below_the_intermediate(leaf);
    let verify = |issuers: &mut KnownIssuers| {
        let verified = GOOD.anchors.verify_chain(issuers, &chain, NOW).ok();
        verified.map(|verified| (verified.peer, verified.session))
    };
    KNOWN.with_borrow_mut(|known| {
        assert_eq!(verify(known), verify(&mut KnownIssuers::default()));
    });
}

fn below_the_intermediate(leaf: Vec<u8>) -> [CertificateDer<'static>; 2] {
    [CertificateDer::from(leaf), GOOD.intermediate.clone()]
}
