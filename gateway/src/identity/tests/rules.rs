//! Who is taken for what, and who is refused why.

use super::*;

const IDENTITY: fn() -> Result<PeerKind, IdentityError> = || Ok(PeerKind::Identity(device()));
const MANUFACTURER: Result<PeerKind, IdentityError> = Ok(PeerKind::Manufacturer);

#[test]
fn a_certificate_under_an_identity_anchor_binds_the_device_id_of_its_name() {
    let pki = Pki::new();
    assert_eq!(pki.under_identity(&identity_leaf()), IDENTITY());
    let upper_case = leaf(&format!("uuid:{}", DEVICE.to_uppercase()));
    assert_eq!(pki.under_identity(&upper_case), IDENTITY());
}

#[test]
fn a_certificate_under_a_manufacturer_anchor_never_binds_a_device_id_whatever_its_name() {
    let pki = Pki::new();
    for name in ["Example lamp", "", &format!("uuid:{DEVICE}"), "uuid:nonsense"] {
        assert_eq!(pki.under_manufacturer(&leaf(name)), MANUFACTURER, "{name}");
    }
}

#[test]
fn intermediates_lead_to_the_same_anchors() {
    let pki = Pki::new();
    let [identity, manufacturer] =
        [&pki.identity, &pki.manufacturer].map(|root| root.subordinate("first").subordinate_pair());
    for ((first, second), expected) in [(identity, IDENTITY()), (manufacturer, MANUFACTURER)] {
        let leaf = second.leaf(&identity_leaf());
        let chain = [leaf.clone(), second.der.clone(), first.der.clone()];
        assert_eq!(pki.verify(&chain), expected);
        // TLS 1.3 allows any order behind the leaf, and many send the root as well.
        let roots = [&pki.identity.der, &pki.manufacturer.der];
        for root in roots {
            let chain = [leaf.clone(), first.der.clone(), root.clone(), second.der.clone()];
            assert_eq!(pki.verify(&chain), expected);
        }
        let incomplete = [leaf, second.der];
        assert_eq!(pki.verify(&incomplete), Err(IdentityError::UnknownIssuer));
    }
}

impl Ca {
    fn subordinate_pair(self) -> (Ca, Ca) {
        let second = self.subordinate("second");
        (self, second)
    }
}

#[test]
fn nobody_is_let_in_without_a_certificate_or_with_one_of_a_stranger() {
    let pki = Pki::new();
    assert_eq!(pki.verify(&[]), Err(IdentityError::NoCertificate));
    let stranger = Ca::root("stranger").leaf(&identity_leaf());
    assert_eq!(pki.verify(&[stranger]), Err(IdentityError::UnknownIssuer));
    // The name of our authority, but not its key.
    let impostor = Ca::root("identity").leaf(&identity_leaf());
    assert_eq!(pki.verify(&[impostor]), Err(IdentityError::BadSignature));
}

#[test]
fn a_device_cannot_sign_for_another_device() {
    let pki = Pki::new();
    let key = KeyPair::generate().unwrap();
    let own = pki.identity.leaf_with_key(&leaf("uuid:11111111-2222-4333-8444-555555555555"), &key);
    let mut as_issuer = leaf("uuid:11111111-2222-4333-8444-555555555555");
    as_issuer.is_ca = IsCa::NoCa;
    let as_issuer = Issuer::new(as_issuer, key);
    let other = KeyPair::generate().unwrap();
    let forged = identity_leaf().signed_by(&other, &as_issuer).unwrap().der().clone();
    let refused = pki.verify(&[forged, own]).unwrap_err();
    assert!(
        matches!(refused, IdentityError::BadPath(webpki::Error::EndEntityUsedAsCa)),
        "{refused}"
    );
}

#[test]
fn an_identity_certificate_has_exactly_one_name_of_the_form_uuid_and_device_id() {
    let pki = Pki::new();
    let mut two_names = identity_leaf();
    two_names
        .distinguished_name
        .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "uuid:11111111-2222-4333-8444-555555555555");
    let mut no_name = identity_leaf();
    no_name.distinguished_name = rcgen::DistinguishedName::new();
    for params in [
        two_names,
        no_name,
        leaf(DEVICE),
        leaf("Example lamp"),
        leaf("uuid:"),
        leaf("uuid:nonsense"),
        leaf(&format!("UUID:{DEVICE}")),
        leaf(&format!(" uuid:{DEVICE}")),
        leaf(&format!("uuid:{DEVICE} ")),
        leaf(&format!("uuid:{DEVICE}\0")),
    ] {
        let refused = pki.under_identity(&params);
        assert_eq!(refused, Err(IdentityError::NoDeviceId), "{:?}", params.distinguished_name);
    }
}

#[test]
fn an_identity_certificate_needs_the_identity_usage_a_manufacturer_certificate_does_not() {
    let pki = Pki::new();
    let mut params = identity_leaf();
    params.extended_key_usages.pop();
    assert_eq!(pki.under_identity(&params), Err(IdentityError::NotAnIdentityCertificate));
    assert_eq!(pki.under_manufacturer(&params), MANUFACTURER);
}

/// Changes a leaf, and what both kinds of authorities then lead to.
type Case = (&'static str, fn(&mut CertificateParams), Result<(), IdentityError>);

#[test]
fn the_profile_holds_under_both_kinds_of_anchors() {
    use ExtendedKeyUsagePurpose as Purpose;
    use KeyUsagePurpose as Usage;
    let cases: &[Case] = &[
        (
            "only serverAuth",
            |p| p.extended_key_usages.retain(|u| *u != Purpose::ClientAuth),
            Err(IdentityError::NotForClients),
        ),
        (
            "no extended key usage",
            |p| p.extended_key_usages.clear(),
            Err(IdentityError::NotForClients),
        ),
        (
            "any purpose",
            |p| p.extended_key_usages.push(Purpose::Any),
            Err(IdentityError::AnyPurpose),
        ),
        (
            "role",
            |p| p.extended_key_usages.push(Purpose::Other(OCF_ROLE.to_vec())),
            Err(IdentityError::RoleCertificate),
        ),
        ("no serverAuth", |p| p.extended_key_usages.retain(|u| *u != Purpose::ServerAuth), Ok(())),
        ("other purposes", |p| p.extended_key_usages.push(Purpose::EmailProtection), Ok(())),
        (
            "no digitalSignature",
            |p| p.key_usages = vec![Usage::KeyAgreement],
            Err(IdentityError::NoDigitalSignature),
        ),
        (
            "signs certificates",
            |p| p.key_usages.push(Usage::KeyCertSign),
            Err(IdentityError::SignsCertificates),
        ),
        (
            "signs lists",
            |p| p.key_usages.push(Usage::CrlSign),
            Err(IdentityError::SignsCertificates),
        ),
        ("no keyAgreement", |p| p.key_usages = vec![Usage::DigitalSignature], Ok(())),
        ("more key usages", |p| p.key_usages.push(Usage::KeyEncipherment), Ok(())),
        ("no key usage", |p| p.key_usages.clear(), Ok(())),
        ("no basic constraints", |p| p.is_ca = IsCa::NoCa, Ok(())),
        (
            "an authority",
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Err(IdentityError::IsAuthority),
        ),
        ("expired", |p| p.not_after = date_time_ymd(2029, 12, 31), Err(IdentityError::Expired)),
        (
            "not valid yet",
            |p| p.not_before = date_time_ymd(2030, 1, 2),
            Err(IdentityError::NotValidYet),
        ),
        (
            "a DNS name",
            |p| {
                p.subject_alt_names =
                    vec![rcgen::SanType::DnsName("example.com".try_into().unwrap())]
            },
            Ok(()),
        ),
        (
            "an unknown critical extension",
            |p| {
                let mut extension =
                    rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                p.custom_extensions.push(extension);
            },
            Err(IdentityError::BadPath(webpki::Error::UnsupportedCriticalExtension)),
        ),
    ];
    let pki = Pki::new();
    for (case, change, expected) in cases {
        let mut params = identity_leaf();
        change(&mut params);
        let expect = |kind| expected.clone().map(|()| kind);
        let identity = pki.under_identity(&params);
        assert_eq!(identity, expect(PeerKind::Identity(device())), "{case}");
        assert_eq!(pki.under_manufacturer(&params), expect(PeerKind::Manufacturer), "{case}");
    }
}

#[test]
fn keys_are_p256_or_p384() {
    let pki = Pki::new();
    for (algorithm, expected) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, IDENTITY()),
        (&rcgen::PKCS_ECDSA_P384_SHA384, IDENTITY()),
        (&rcgen::PKCS_ED25519, Err(IdentityError::UnsupportedKey)),
        (&rcgen::PKCS_ECDSA_P521_SHA512, Err(IdentityError::UnsupportedKey)),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = [pki.identity.leaf_with_key(&identity_leaf(), &key)];
        assert_eq!(pki.verify(&chain), expected, "{algorithm:?}");
    }
}

#[test]
fn an_authority_may_have_an_rsa_key() {
    let params = Ca::params("rsa");
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    let root = Ca { issuer: Issuer::new(params, key), der };
    let anchors =
        TrustAnchors::parse(&[], &[Source { name: "rsa.pem", bytes: &root.der }], &[]).unwrap();
    let peer = anchors.verify(&[root.leaf(&leaf("lamp"))], NOW).unwrap();
    assert_eq!(peer.kind, PeerKind::Manufacturer);
}

#[test]
fn an_authority_that_is_restricted_to_servers_signs_no_clients() {
    let pki = Pki::new();
    let mut params = Ca::params("servers");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let servers = pki.identity.subordinate_with(params);
    let refused = pki.verify(&[servers.leaf(&identity_leaf()), servers.der.clone()]).unwrap_err();
    let usage =
        matches!(refused, IdentityError::BadPath(webpki::Error::RequiredEkuNotFoundContext(_)));
    assert!(usage, "{refused}");
}

#[test]
fn the_digest_of_the_key_is_the_same_for_another_certificate_of_the_same_key() {
    let pki = Pki::new();
    let key = KeyPair::generate().unwrap();
    let digest = |der| pki.anchors().verify(&[der], NOW).unwrap().key_digest;
    let first = digest(pki.manufacturer.leaf_with_key(&leaf("lamp"), &key));
    assert_eq!(first, digest(pki.identity.leaf_with_key(&identity_leaf(), &key)));
    assert_ne!(first, digest(pki.manufacturer.leaf(&leaf("lamp"))));
    let expected: [u8; 32] =
        Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into();
    assert_eq!(first, expected);
}

#[test]
fn a_certificate_that_both_kinds_of_authorities_lead_to_proves_the_id() {
    let pki = Pki::new();
    // One authority, signed by both roots: its name and key lead to either.
    let (params, key) = (Ca::params("shared"), KeyPair::generate().unwrap());
    let cross = [&pki.manufacturer, &pki.identity]
        .map(|root| params.signed_by(&key, &root.issuer).unwrap().der().clone());
    let shared = Ca { issuer: Issuer::new(params, key), der: cross[0].clone() };
    let leaf = shared.leaf(&identity_leaf());
    let [by_manufacturer, by_identity] = cross;
    assert_eq!(pki.verify(&[leaf.clone(), by_manufacturer.clone(), by_identity]), IDENTITY());
    assert_eq!(pki.verify(&[leaf, by_manufacturer]), MANUFACTURER);
}

/// rustls turns it into the alert that the peer sees.
#[test]
fn every_refusal_has_a_sentence_and_an_alert() {
    let errors = [
        IdentityError::NoCertificate,
        IdentityError::ChainTooLong { count: 9 },
        IdentityError::CertificateTooLarge { bytes: 9000 },
        IdentityError::Expired,
        IdentityError::Revoked,
        IdentityError::NoDeviceId,
        IdentityError::BadRevocationList(webpki::Error::IssuerNotCrlSigner),
    ];
    for error in errors {
        assert!(error.to_string().len() > 20, "{error:?}");
        let _: rustls::CertificateError = (&error).into();
    }
    let expired = rustls::CertificateError::from(&IdentityError::Expired);
    assert_eq!(expired, rustls::CertificateError::Expired);
}
