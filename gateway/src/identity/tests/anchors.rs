//! What may be configured as trust anchors and revocation lists, and what is said of anything else.

use super::*;

fn parse(identity: &[u8], manufacturer: &[u8]) -> Result<TrustAnchors, AnchorsError> {
    let list = |name, bytes| Some(Source { name, bytes }).filter(|source| !source.bytes.is_empty());
    TrustAnchors::parse(
        list("identity.pem", identity).as_slice(),
        list("manufacturer.pem", manufacturer).as_slice(),
        &[],
    )
}

fn to_pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}

#[test]
fn anchors_come_in_der_or_in_pem_several_in_a_file() {
    let pki = Pki::new();
    let both = to_pem(&pki.identity.der) + "text between\n" + &to_pem(&Ca::root("another").der);
    let anchors = parse(both.as_bytes(), &pki.manufacturer.der).unwrap();
    assert_eq!((anchors.identity.len(), anchors.manufacturer.len()), (2, 1));
    let peer = anchors.verify(&[pki.identity.leaf(&identity_leaf())], NOW).unwrap();
    assert_eq!(peer.kind, PeerKind::Identity(device()));
}

#[test]
fn a_file_without_certificates_or_with_bad_ones_is_named() {
    let pki = Pki::new();
    let cut_short = &pki.identity.der[..200];
    for (bytes, expected) in [
        (&b"no certificate at all"[..], "identity.pem contains no certificate"),
        (&b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"[..], "number 1"),
        (cut_short, "identity.pem: certificate number 1 cannot be read"),
        ((to_pem(&pki.identity.der) + &to_pem(cut_short)).as_bytes(), "number 2"),
    ] {
        let error = parse(bytes, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_certificate_of_a_device_is_no_anchor() {
    let pki = Pki::new();
    let leaf = pki.identity.leaf(&identity_leaf());
    let error = parse(&leaf, &[]).unwrap_err();
    assert!(matches!(error, AnchorsError::NotAnAuthority { number: 1, .. }), "{error}");
}

#[test]
fn one_authority_in_both_lists_is_refused() {
    let pki = Pki::new();
    let error = parse(&pki.identity.der, &pki.identity.der).unwrap_err();
    assert_eq!(error, AnchorsError::InBothLists { name: "manufacturer.pem".into() });
    // Also when it is another certificate of the same name and key.
    let mut longer = Ca::params("identity");
    longer.not_after = date_time_ymd(2050, 1, 1);
    let renewed = longer.self_signed(pki.identity.issuer.key()).unwrap().der().clone();
    assert!(parse(&pki.identity.der, &renewed).is_err());
}

#[test]
fn a_revocation_list_that_cannot_be_read_is_named() {
    for (bytes, expected) in [(&b"nothing"[..], "no revocation list"), (&[0x30, 1][..], "number 1")]
    {
        let crl = [Source { name: "crl.pem", bytes }];
        let error = TrustAnchors::parse(&[], &[], &crl).unwrap_err().to_string();
        assert!(error.starts_with("crl.pem") && error.contains(expected), "{error}");
    }
}
