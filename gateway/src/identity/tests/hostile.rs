//! Anything may come as a certificate: it is refused, in bounded time and without a panic.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static PKI: LazyLock<(TrustAnchors, CertificateDer<'static>)> = LazyLock::new(|| {
    let pki = Pki::new();
    let leaf = pki.identity.leaf(&identity_leaf());
    (pki.anchors_with_crls(&[pki.identity.crl(&[], 2031)]), leaf)
});

#[test]
fn chains_and_certificates_have_a_largest_size() {
    let (anchors, leaf) = &*PKI;
    let mut chain = vec![leaf.clone(); CHAIN_CERTIFICATES_MAX];
    assert!(anchors.verify(&chain, NOW).is_ok());
    chain.push(leaf.clone());
    assert_eq!(anchors.verify(&chain, NOW), Err(IdentityError::ChainTooLong { count: 6 }));
    let large = CertificateDer::from(vec![0x30; CERTIFICATE_BYTES_MAX + 1]);
    let refused = anchors.verify(&[leaf.clone(), large], NOW);
    assert_eq!(refused, Err(IdentityError::CertificateTooLarge { bytes: 8193 }));
}

#[test]
fn bytes_behind_a_certificate_are_refused() {
    let (anchors, leaf) = &*PKI;
    let longer = CertificateDer::from([leaf.as_ref(), &[0]].concat());
    assert_eq!(anchors.verify(&[longer], NOW), Err(IdentityError::Malformed));
}

#[test]
fn certificates_that_sign_each_other_end() {
    let (anchors, _) = &*PKI;
    let [a, b] = [Ca::root("a"), Ca::root("b")];
    let cross = |signer: &Ca, signed: &Ca, name| {
        Ca::params(name).signed_by(signed.issuer.key(), &signer.issuer).unwrap().der().clone()
    };
    let leaf = a.leaf(&identity_leaf());
    let chain = [leaf, cross(&a, &b, "b"), cross(&b, &a, "a"), a.der.clone(), b.der.clone()];
    assert_eq!(anchors.verify(&chain, NOW), Err(IdentityError::UnknownIssuer));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(
        chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..7),
    ) {
        let chain: Vec<CertificateDer<'_>> = chain.into_iter().map(CertificateDer::from).collect();
        prop_assert!(PKI.0.verify(&chain, NOW).is_err());
    }

    /// The signature covers everything, so no other bytes are taken.
    #[test]
    fn a_certificate_with_other_bytes_is_refused(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (anchors, leaf) = &*PKI;
        let mut bytes = leaf.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assume!(bytes != leaf.as_ref());
        prop_assert!(anchors.verify(&[CertificateDer::from(bytes)], NOW).is_err());
    }

    #[test]
    fn a_certificate_that_is_cut_short_or_continued_is_refused(
        len in 0..2000usize,
        filler in any::<u8>(),
    ) {
        let (anchors, leaf) = &*PKI;
        prop_assume!(len != leaf.len());
        let mut bytes = leaf.to_vec();
        bytes.resize(len, filler);
        prop_assert!(anchors.verify(&[CertificateDer::from(bytes)], NOW).is_err());
    }

    #[test]
    fn any_bytes_are_anchors_and_lists_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let source = [Source { name: "any", bytes: &bytes }];
        let _ = TrustAnchors::parse(&source, &[], &[]);
        let _ = TrustAnchors::parse(&[], &[], &source);
    }
}
