//! The OCF profile of a device's certificate (device reference 3.3, the table of the leaf profile).
//!
//! Strict about what grants something: extended key usages, authority rights, the name that becomes
//! a device id. Lenient where devices in the field deviate and nothing is granted by it:
//!
//! - keyAgreement may be missing: in TLS the key only signs.
//! - Other end-entity key usages (nonRepudiation, keyEncipherment, ...) may be present.
//! - The key usage extension may be absent, which RFC 5280 reads as no restriction.
//! - Basic constraints may be absent, which RFC 5280 reads as "no CA".
//! - serverAuth may be missing: towards us a device is the client.
//! - The identity usage may be present in a manufacturer certificate: OCF's own have it.

use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use shared::ids::DeviceId;
use shared::time::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::Oid;
use x509_parser::der_parser::oid;
use x509_parser::extensions::{ExtendedKeyUsage, KeyUsage};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::IdentityError;

/// The usage of an OCF identity certificate.
const OCF_IDENTITY: Oid<'static> = oid!(1.3.6.1.4.1.44924.1.6);
/// The usage of an OCF role certificate.
const OCF_ROLE: Oid<'static> = oid!(1.3.6.1.4.1.44924.1.7);

/// A certificate that keeps the profile, whoever signed it.
#[derive(Debug)]
pub(super) struct Leaf {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) key_digest: [u8; 32],
    /// The end of its validity.
    pub(super) not_after: UnixTime,
    identity_usage: bool,
    named_device: Option<DeviceId>,
}

impl Leaf {
    /// Reads a certificate and checks what does not depend on its issuer.
    pub(super) fn parse(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificate,
            Ok(_) | Err(_) => return Err(IdentityError::Malformed),
        };
        check_constraints(&certificate)?;
        if let Some(usage) = certificate.key_usage().map_err(malformed)? {
            check_key_usage(usage.value)?;
        }
        let usages = certificate.extended_key_usage().map_err(malformed)?;
        let usages = usages.ok_or(IdentityError::NotForClients)?.value;
        check_extended_key_usage(usages)?;
        let key = &certificate.tbs_certificate.subject_pki;
        check_key(key)?;
        Ok(Self {
            key_digest: Sha256::digest(key.raw).into(),
            not_after: not_after(&certificate),
            identity_usage: usages.other.contains(&OCF_IDENTITY),
            named_device: named(certificate.subject()),
        })
    }

    /// The device id that an identity authority vouches for.
    pub(super) fn device_id(&self) -> Result<DeviceId, IdentityError> {
        if !self.identity_usage {
            return Err(IdentityError::NotAnIdentityCertificate);
        }
        self.named_device.ok_or(IdentityError::NoDeviceId)
    }
}

/// The begin of a certificate's validity; 1970 for one that began before.
pub(super) fn not_before(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime(u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0))
}

/// The end of a certificate's validity; 1970 for one that ended before.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> UnixTime {
    UnixTime(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

fn malformed(_: x509_parser::error::X509Error) -> IdentityError {
    IdentityError::Malformed
}

fn check_constraints(certificate: &X509Certificate<'_>) -> Result<(), IdentityError> {
    match certificate.basic_constraints().map_err(malformed)? {
        Some(constraints) if constraints.value.ca => Err(IdentityError::IsAuthority),
        Some(_) | None => Ok(()),
    }
}

fn check_key_usage(usage: &KeyUsage) -> Result<(), IdentityError> {
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(IdentityError::SignsCertificates);
    }
    if !usage.digital_signature() {
        return Err(IdentityError::NoDigitalSignature);
    }
    Ok(())
}

fn check_extended_key_usage(usages: &ExtendedKeyUsage<'_>) -> Result<(), IdentityError> {
    if usages.any {
        return Err(IdentityError::AnyPurpose);
    }
    if usages.other.contains(&OCF_ROLE) {
        return Err(IdentityError::RoleCertificate);
    }
    if !usages.client_auth {
        return Err(IdentityError::NotForClients);
    }
    Ok(())
}

fn check_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), IdentityError> {
    let curve = || key.algorithm.parameters.as_ref()?.as_oid().ok();
    let is_ec = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY;
    match curve().filter(|_| is_ec) {
        Some(curve) if curve == OID_EC_P256 || curve == OID_NIST_EC_P384 => Ok(()),
        Some(_) | None => Err(IdentityError::UnsupportedKey),
    }
}

/// The id in `CN=uuid:<id>`. With several CNs it is nobody's: we and others could read different ones.
pub(super) fn named<Id: FromStr>(subject: &X509Name<'_>) -> Option<Id> {
    let mut names = subject.iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return None;
    };
    name.as_str().ok()?.strip_prefix("uuid:")?.parse().ok()
}
