//! A leaf below an intermediate that is known proves what its whole chain would prove, no more.

use rcgen::{GeneralSubtree, NameConstraints};

use super::*;

/// An authority below the one of identities, known by a neighbour's chain.
struct Known {
    pki: Pki,
    intermediate: Ca,
    issuers: KnownIssuers,
}

impl Known {
    fn new() -> Self {
        let pki = Pki::new();
        let intermediate = pki.identity.subordinate("intermediate");
        let mut known = Self { pki, intermediate, issuers: KnownIssuers::default() };
        let neighbour = known.intermediate.leaf(&leaf("uuid:00000000-7777-4888-8999-000000000000"));
        known.verify(&known.pki.anchors(), &known.below(neighbour), NOW).unwrap();
        assert!(known.issuers.knows(&known.intermediate.der));
        known
    }

    fn below(&self, leaf: CertificateDer<'static>) -> [CertificateDer<'static>; 2] {
        [leaf, self.intermediate.der.clone()]
    }

    /// What the chain proves: with the known intermediate the same as without.
    fn verify(
        &mut self,
        anchors: &TrustAnchors,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, IdentityError> {
        let whole = anchors.verify_chain(&mut KnownIssuers::default(), chain, now);
        let known = anchors.verify_chain(&mut self.issuers, chain, now);
        let said = |verified: &Result<Verified, IdentityError>| {
            verified
                .as_ref()
                .map(|verified| (verified.peer, verified.session))
                .map_err(Clone::clone)
        };
        assert_eq!(said(&known), said(&whole));
        known
    }

    fn verify_leaf(&mut self, leaf: CertificateDer<'static>) -> Result<PeerKind, IdentityError> {
        let (anchors, chain) = (self.pki.anchors(), self.below(leaf));
        self.verify(&anchors, &chain, NOW).map(|verified| verified.peer.kind)
    }
}

#[test]
fn a_leaf_below_a_known_intermediate_proves_its_id() {
    let mut known = Known::new();
    let chain = known.below(known.intermediate.leaf(&identity_leaf()));
    let (leaf, end_entity) =
        (Leaf::parse(&chain[0]).unwrap(), EndEntityCert::try_from(&chain[0]).unwrap());
    let anchors = known.pki.anchors();
    let spared = anchors.verify_leaf(&known.issuers, &chain, (&leaf, &end_entity), NOW);
    assert!(spared.is_some());
    let verified = known.verify(&anchors, &chain, NOW).unwrap();
    assert_eq!(verified.peer.kind, PeerKind::Identity(device()));
}

/// The signature of the intermediate is what is spared, so one that is wrong shows that it is.
#[test]
fn only_the_bytes_of_an_intermediate_make_it_known() {
    let mut known = Known::new();
    let mut forged = known.intermediate.der.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let leaf = known.intermediate.leaf(&identity_leaf());
    let chain = [leaf, CertificateDer::from(forged)];
    let refused = known.verify(&known.pki.anchors(), &chain, NOW).unwrap_err();
    assert_eq!(refused, IdentityError::BadSignature);
    // A root of an attacker with the same names does not help either.
    let impostor = Ca::root("identity").subordinate("intermediate");
    let chain = [impostor.leaf(&identity_leaf()), impostor.der.clone()];
    assert!(known.verify(&known.pki.anchors(), &chain, NOW).is_err());
    assert!(known.verify_leaf(impostor.leaf(&identity_leaf())).is_err());
}

#[test]
fn a_leaf_keeps_every_rule_below_a_known_intermediate_too() {
    let mut known = Known::new();
    let changed = |change: fn(&mut CertificateParams)| {
        let mut params = identity_leaf();
        change(&mut params);
        params
    };
    for params in [
        changed(|params| params.not_after = date_time_ymd(2029, 1, 1)),
        changed(|params| params.not_before = date_time_ymd(2031, 1, 1)),
        changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        leaf("lamp"),
    ] {
        let leaf = known.intermediate.leaf(&params);
        assert!(known.verify_leaf(leaf).is_err());
    }
}

#[test]
fn a_revoked_leaf_or_known_intermediate_is_refused() {
    let mut known = Known::new();
    let leaf = known.intermediate.leaf(&identity_leaf());
    let chain = known.below(leaf.clone());
    for crl in [
        known.intermediate.crl(&[&leaf], 2031),
        known.pki.identity.crl(&[&known.intermediate.der], 2031),
    ] {
        let anchors = known.pki.anchors_with_crls(&[crl]);
        let refused = known.verify(&anchors, &chain, NOW).unwrap_err();
        assert_eq!(refused, IdentityError::Revoked);
    }
}

#[test]
fn a_known_intermediate_counts_only_in_its_time_and_below_its_anchor() {
    let pki = Pki::new();
    let mut params = Ca::params("intermediate");
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    let intermediate = pki.identity.subordinate_with(params);
    let mut known = Known { pki, intermediate, issuers: KnownIssuers::default() };
    let chain = known.below(known.intermediate.leaf(&identity_leaf()));
    let anchors = known.pki.anchors();
    known.verify(&anchors, &chain, NOW).unwrap();
    let years = |count: u64| count * 366 * 24 * 3600;
    let at =
        |now: u64, known: &mut Known| known.verify(&anchors, &chain, UnixTime(now)).unwrap_err();
    assert_eq!(at(NOW.0 + years(2), &mut known), IdentityError::Expired);
    assert_eq!(at(NOW.0 - years(2), &mut known), IdentityError::NotValidYet);

    let other = Pki { identity: Ca::root("another"), manufacturer: Ca::root("manufacturer") };
    let refused = known.verify(&other.anchors(), &chain, NOW).unwrap_err();
    assert_eq!(refused, IdentityError::UnknownIssuer);
}

/// What a name constraint says of a leaf is looked up with the intermediate's own, but for a leaf below
/// a constrained anchor only the whole path shows it.
#[test]
fn no_intermediate_below_an_anchor_with_name_constraints_is_known() {
    let constrained = || {
        let mut params = Ca::params("identity");
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example".into())];
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        params
    };
    let key = KeyPair::generate().unwrap();
    let params = constrained();
    let der = params.self_signed(&key).unwrap().der().clone();
    let root = Ca { issuer: Issuer::new(params, key), der };
    let intermediate = root.subordinate("intermediate");
    let pki = Pki { identity: root, manufacturer: Ca::root("manufacturer") };
    let mut known = Known { pki, intermediate, issuers: KnownIssuers::default() };
    known.verify_leaf(known.intermediate.leaf(&identity_leaf())).unwrap();
    assert!(!known.issuers.knows(&known.intermediate.der));

    let pki = Pki::new();
    let intermediate = pki.identity.subordinate_with(constrained());
    let mut known = Known { pki, intermediate, issuers: KnownIssuers::default() };
    known.verify_leaf(known.intermediate.leaf(&identity_leaf())).unwrap();
    assert!(known.issuers.knows(&known.intermediate.der));
    let mut elsewhere = identity_leaf();
    elsewhere.subject_alt_names =
        vec![rcgen::SanType::DnsName("device.elsewhere".try_into().unwrap())];
    assert!(known.verify_leaf(known.intermediate.leaf(&elsewhere)).is_err());
}

#[test]
fn longer_paths_are_verified_whole() {
    let pki = Pki::new();
    let upper = pki.identity.subordinate("upper");
    let intermediate = upper.subordinate("lower");
    let mut known = Known { pki, intermediate, issuers: KnownIssuers::default() };
    let leaf = known.intermediate.leaf(&identity_leaf());
    let chain = [leaf, known.intermediate.der.clone(), upper.der.clone()];
    known.verify(&known.pki.anchors(), &chain, NOW).unwrap();
    assert!(!known.issuers.knows(&known.intermediate.der) && !known.issuers.knows(&upper.der));
}

#[test]
fn the_memory_of_intermediates_is_bounded() {
    let pki = Pki::new();
    let anchors = pki.anchors();
    let mut issuers = KnownIssuers::default();
    for number in 0..300 {
        let intermediate = pki.identity.subordinate(&format!("intermediate {number}"));
        let chain = [intermediate.leaf(&identity_leaf()), intermediate.der.clone()];
        anchors.verify_chain(&mut issuers, &chain, NOW).unwrap();
        assert!(issuers.knows(&intermediate.der));
    }
    assert_eq!(issuers.len(), 256);
}
