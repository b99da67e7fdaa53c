//! Revocation, and what a session keeps to find out later whether its chain is still trusted.

use super::*;

#[test]
fn a_revoked_leaf_or_intermediate_is_refused() {
    let pki = Pki::new();
    let intermediate = pki.identity.subordinate("intermediate");
    let leaf = intermediate.leaf(&identity_leaf());
    let chain = [leaf.clone(), intermediate.der.clone()];
    let verify =
        |crls: &[String]| pki.anchors_with_crls(crls).verify(&chain, NOW).map(|peer| peer.kind);
    let neighbour = intermediate.leaf(&identity_leaf());
    assert_eq!(verify(&[]), Ok(PeerKind::Identity(device())));
    let others = [intermediate.crl(&[&neighbour], 2031), pki.identity.crl(&[], 2031)];
    assert_eq!(verify(&others), Ok(PeerKind::Identity(device())));
    assert_eq!(verify(&[intermediate.crl(&[&leaf], 2031)]), Err(IdentityError::Revoked));
    assert_eq!(verify(&[pki.identity.crl(&[&chain[1]], 2031)]), Err(IdentityError::Revoked));
}

#[test]
fn a_stale_list_is_still_used_and_told_of() {
    let pki = Pki::new();
    let leaf = pki.identity.leaf(&identity_leaf());
    let anchors = pki.anchors_with_crls(&[pki.identity.crl(&[&leaf], 2025)]);
    assert_eq!(anchors.verify(&[leaf], NOW), Err(IdentityError::Revoked));
    let neighbour = pki.identity.leaf(&identity_leaf());
    assert!(anchors.verify(&[neighbour], NOW).is_ok());
    assert_eq!(anchors.stale_crls(NOW).collect::<Vec<_>>(), ["crl.pem"]);
    assert_eq!(pki.anchors_with_crls(&[pki.identity.crl(&[], 2031)]).stale_crls(NOW).count(), 0);
}

#[test]
fn of_two_lists_of_an_authority_the_newer_counts() {
    let pki = Pki::new();
    let leaf = pki.identity.leaf(&identity_leaf());
    let [older, newer] = [pki.identity.crl(&[], 2030), pki.identity.crl(&[&leaf], 2031)];
    for order in [[older.clone(), newer.clone()], [newer, older]] {
        let verified = pki.anchors_with_crls(&order).verify(std::slice::from_ref(&leaf), NOW);
        assert_eq!(verified, Err(IdentityError::Revoked));
    }
    // Also when it takes a revocation back.
    let session = pki
        .anchors()
        .verify_chain(&mut KnownIssuers::default(), std::slice::from_ref(&leaf), NOW)
        .unwrap()
        .session;
    let [older, newer] = [pki.identity.crl(&[&leaf], 2030), pki.identity.crl(&[], 2031)];
    let anchors = pki.anchors_with_crls(&[older, newer]);
    assert!(anchors.verify(&[leaf], NOW).is_ok());
    assert_eq!(anchors.recheck(&session, NOW), Ok(()));
}

#[test]
fn a_list_that_its_authority_did_not_sign_is_named_as_the_reason() {
    let pki = Pki::new();
    let impostor = Ca::root("identity");
    let anchors = pki.anchors_with_crls(&[impostor.crl(&[], 2031)]);
    let refused = anchors.verify(&[pki.identity.leaf(&identity_leaf())], NOW).unwrap_err();
    assert!(matches!(refused, IdentityError::BadRevocationList(_)), "{refused}");
    // Nobody else is concerned.
    assert!(anchors.verify(&[pki.manufacturer.leaf(&leaf("lamp"))], NOW).is_ok());
}

#[test]
fn a_session_ends_when_a_certificate_of_its_chain_is_revoked_later() {
    let pki = Pki::new();
    let intermediate = pki.identity.subordinate("intermediate");
    let leaf = intermediate.leaf(&identity_leaf());
    let chain = [leaf.clone(), intermediate.der.clone()];
    let session =
        pki.anchors().verify_chain(&mut KnownIssuers::default(), &chain, NOW).unwrap().session;
    let recheck = |crls: &[String]| pki.anchors_with_crls(crls).recheck(&session, NOW);
    assert_eq!(recheck(&[]), Ok(()));
    let neighbour = intermediate.leaf(&identity_leaf());
    assert_eq!(recheck(&[intermediate.crl(&[&neighbour], 2031)]), Ok(()));
    assert_eq!(recheck(&[intermediate.crl(&[&leaf], 2031)]), Err(IdentityError::Revoked));
    assert_eq!(recheck(&[pki.identity.crl(&[&chain[1]], 2031)]), Err(IdentityError::Revoked));
    // The same serial number of another authority is another certificate.
    assert_eq!(recheck(&[pki.manufacturer.crl(&[&leaf], 2031)]), Ok(()));
}

#[test]
fn a_session_ends_when_its_authority_is_no_longer_trusted_or_something_expires() {
    let pki = Pki::new();
    let mut short = Ca::params("short");
    short.not_after = date_time_ymd(2031, 1, 1);
    let intermediate = pki.manufacturer.subordinate_with(short);
    let chain = [intermediate.leaf(&leaf("lamp")), intermediate.der.clone()];
    let session =
        pki.anchors().verify_chain(&mut KnownIssuers::default(), &chain, NOW).unwrap().session;

    let in_2031 = UnixTime(NOW.0 + 365 * 24 * 3600);
    assert_eq!(session.not_after(), in_2031);
    assert_eq!(pki.anchors().recheck(&session, in_2031), Ok(()));
    let later = in_2031.plus_secs(1);
    assert_eq!(pki.anchors().recheck(&session, later), Err(IdentityError::Expired));

    let without = Pki { identity: pki.identity, manufacturer: Ca::root("another") };
    assert_eq!(without.anchors().recheck(&session, NOW), Err(IdentityError::UnknownIssuer));
}

/// An authority that moves from one list to the other changes what its certificates prove, so
/// sessions under it must not go on as before.
#[test]
fn a_session_ends_when_its_authority_moves_to_the_other_list() {
    let pki = Pki::new();
    let session = pki
        .anchors()
        .verify_chain(&mut KnownIssuers::default(), &[pki.identity.leaf(&identity_leaf())], NOW)
        .unwrap()
        .session;
    let swapped = Pki { identity: pki.manufacturer, manufacturer: pki.identity };
    assert_eq!(swapped.anchors().recheck(&session, NOW), Err(IdentityError::UnknownIssuer));
}

#[test]
fn a_session_keeps_few_bytes() {
    assert!(size_of::<SessionChain>() <= 64);
}

#[test]
fn the_digest_of_a_chain_depends_on_every_certificate_and_on_where_they_end() {
    let chain = |parts: &[&[u8]]| {
        let certificates: Vec<CertificateDer<'_>> =
            parts.iter().map(|part| CertificateDer::from(*part)).collect();
        chain_digest(&certificates)
    };
    let digests = [
        chain(&[]),
        chain(&[b"ab"]),
        chain(&[b"a", b"b"]),
        chain(&[b"b", b"a"]),
        chain(&[b"ab", b""]),
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "{at}");
    }
}
