//! The decision table of device reference 3.3, row by row, with certificates made for each row.

mod anchors;
mod hostile;
mod issuers;
mod rules;
mod sessions;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use shared::ids::DeviceId;
use shared::time::UnixTime;

use super::*;

/// 2030-01-01, within the validity of everything that is made here unless a test says otherwise.
const NOW: UnixTime = UnixTime(1_893_456_000);
const DEVICE: &str = "66666666-7777-4888-8999-000000000000";

const OCF_IDENTITY: [u64; 9] = [1, 3, 6, 1, 4, 1, 44924, 1, 6];
const OCF_ROLE: [u64; 9] = [1, 3, 6, 1, 4, 1, 44924, 1, 7];

fn device() -> DeviceId {
    DEVICE.parse().unwrap()
}

/// An authority of a test.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Ca {
    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn subordinate(&self, name: &str) -> Self {
        self.subordinate_with(Self::params(name))
    }

    fn subordinate_with(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = date_time_ymd(2045, 1, 1);
        params
    }

    /// A leaf by these parameters.
    fn leaf(&self, params: &CertificateParams) -> CertificateDer<'static> {
        self.leaf_with_key(params, &KeyPair::generate().unwrap())
    }

    fn leaf_with_key(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    /// A list that revokes these certificates, in PEM.
    fn crl(&self, revoked: &[&CertificateDer<'_>], until_year: i32) -> String {
        use x509_parser::prelude::FromDer;
        let revoked_certs = revoked
            .iter()
            .map(|der| {
                let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
                RevokedCertParams {
                    serial_number: SerialNumber::from_slice(parsed.raw_serial()),
                    revocation_time: date_time_ymd(2029, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                }
            })
            .collect();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(until_year - 1, 1, 1),
            next_update: date_time_ymd(until_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A leaf as the profile wants it, with this CN.
fn leaf(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(OCF_IDENTITY.to_vec()),
    ];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn identity_leaf() -> CertificateParams {
    leaf(&format!("uuid:{DEVICE}"))
}

/// Two authorities, one in each list.
struct Pki {
    identity: Ca,
    manufacturer: Ca,
}

impl Pki {
    fn new() -> Self {
        Self { identity: Ca::root("identity"), manufacturer: Ca::root("manufacturer") }
    }

    fn anchors(&self) -> TrustAnchors {
        self.anchors_with_crls(&[])
    }

    fn anchors_with_crls(&self, crls: &[String]) -> TrustAnchors {
        let crls: Vec<Source<'_>> =
            crls.iter().map(|pem| Source { name: "crl.pem", bytes: pem.as_bytes() }).collect();
        let anchor = |ca: &'static str, der| [Source { name: ca, bytes: der }];
        TrustAnchors::parse(
            &anchor("identity.pem", &self.identity.der),
            &anchor("manufacturer.pem", &self.manufacturer.der),
            &crls,
        )
        .unwrap()
    }

    /// What the gateway says of a leaf directly under the identity authority.
    fn under_identity(&self, params: &CertificateParams) -> Result<PeerKind, IdentityError> {
        self.verify(&[self.identity.leaf(params)])
    }

    /// What the gateway says of a leaf directly under the manufacturer's authority.
    fn under_manufacturer(&self, params: &CertificateParams) -> Result<PeerKind, IdentityError> {
        self.verify(&[self.manufacturer.leaf(params)])
    }

    fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<PeerKind, IdentityError> {
        self.anchors().verify(chain, NOW).map(|peer| peer.kind)
    }
}
