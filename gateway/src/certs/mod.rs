//! Certificates for development and small installations: authorities, the cloud's, and devices'.
//!
//! Nothing of this runs while the gateway serves devices. What it makes is also the pattern for a
//! production authority, which must issue:
//!
//! | | cloud | identity (device) | manufacturer (device) |
//! |---|---|---|---|
//! | subject | `CN=uuid:<sid>`, lower case | `CN=uuid:<di>`, lower case | anything |
//! | issuer | one whose root the devices have | one of `tls.identity_anchors` | one of `tls.manufacturer_anchors` |
//! | key, signature | ECDSA P-256, SHA-256 | P-256 or P-384 | P-256 or P-384 |
//! | basic constraints | CA false | CA false | CA false |
//! | key usage, critical | digitalSignature, keyAgreement | the same | the same |
//! | extended key usage | serverAuth, clientAuth, 1.3.6.1.4.1.44924.1.6 | the same | serverAuth, clientAuth |
//! | alternative names | the DNS names and addresses of `cloud.endpoint` | none | none |
//!
//! - The UUID of the cloud is for ever: every server of it presents the same one. Without the CN,
//!   TLS works and every request that the cloud passes on to a device is answered 4.01 (device
//!   reference 3.2).
//! - An identity authority says which device somebody is. Keep it apart from everything else, and
//!   never list the root of a manufacturer there.
//! - Keep chains short: each certificate costs a constrained device memory, and the whole chain
//!   may have [`CHAIN_CERTIFICATES_MAX`](crate::identity::CHAIN_CERTIFICATES_MAX) certificates.
//! - Never anyExtendedKeyUsage, never a role (1.3.6.1.4.1.44924.1.7) in a certificate for TLS.
//! - Publish revocation lists (version 2, with a next update) and name their files in `tls.crls`.

mod command;

pub use command::Certs;

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shared::ids::{CloudId, DeviceId};
use shared::time::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The usage of an OCF identity certificate.
const OCF_IDENTITY: [u64; 9] = [1, 3, 6, 1, 4, 1, 44924, 1, 6];

const DAY: u64 = 24 * 3600;
/// Clocks differ; what is made now must be valid on all of them.
const BACKDATED_SECS: u64 = DAY;
/// Devices keep their trust anchors for their whole life.
const AUTHORITY_SECS: u64 = 25 * 365 * DAY;
const DEVICE_SECS: u64 = 20 * 365 * DAY;
/// The cloud's can be replaced at any time without a restart.
const CLOUD_SECS: u64 = 2 * 365 * DAY;
const CRL_SECS: u64 = 30 * DAY;

/// Who signs certificates: a root, or an authority under one.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// What has to be sent behind a leaf: nothing for a root.
    chain: Vec<CertificateDer<'static>>,
    now: UnixTime,
}

/// A certificate with its key, ready for TLS.
pub struct Issued {
    /// The certificate, then its intermediates; without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// Making or signing failed.
    #[error("cannot make the certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// A host is neither a DNS name nor an address.
    #[error("`{host}` is neither a DNS name nor an IP address")]
    Host {
        /// As given.
        host: String,
    },
    /// The certificate of an authority cannot be read.
    #[error("{path}: {problem}")]
    Authority {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Files exist already.
    #[error("{} exists already: remove it, choose another place, or give --force", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses something.
    #[error("{path}: cannot {doing}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl Authority {
    /// Makes a root with this name.
    pub fn generate(name: &str, now: UnixTime) -> Result<Self, CertsError> {
        let params = authority_params(name, now);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, chain: Vec::new(), now })
    }

    /// Makes an authority under this one. What it issues is sent with its own certificate.
    pub fn subordinate(&self, name: &str) -> Result<Self, CertsError> {
        let params = authority_params(name, self.now);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = std::iter::once(&certificate).chain(&self.chain).cloned().collect();
        Ok(Self { issuer: Issuer::new(params, key), certificate, chain, now: self.now })
    }

    /// Takes up a root from its certificate and key in PEM.
    pub fn load(certificate_pem: &str, key_pem: &str, now: UnixTime) -> Result<Self, CertsError> {
        let wrong = |problem: String| CertsError::Authority { path: "authority".into(), problem };
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| wrong(format!("no certificate: {error}")))?;
        let key = KeyPair::from_pem(key_pem).map_err(|error| wrong(format!("no key: {error}")))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| wrong(format!("no certificate: {error}")))?;
        if !parsed.is_ca() {
            return Err(wrong("not the certificate of an authority".into()));
        }
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(wrong("the key belongs to another certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate, chain: Vec::new(), now })
    }

    /// Its certificate: the trust anchor.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        certificates_pem(std::slice::from_ref(&self.certificate))
    }

    /// Its private key in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The certificate that the cloud presents, for these DNS names and addresses.
    pub fn issue_cloud(&self, cloud: CloudId, hosts: &[String]) -> Result<Issued, CertsError> {
        let mut params = self.leaf(&format!("uuid:{cloud}"), CLOUD_SECS);
        params.extended_key_usages.push(identity_usage());
        for host in hosts {
            let named = CertificateParams::new([host.clone()].to_vec());
            let named = named.map_err(|_| CertsError::Host { host: host.clone() })?;
            params.subject_alt_names.extend(named.subject_alt_names);
        }
        self.issue(&params)
    }

    /// A certificate that proves the id of a device, under an identity anchor.
    pub fn issue_identity(&self, device: DeviceId) -> Result<Issued, CertsError> {
        let mut params = self.leaf(&format!("uuid:{device}"), DEVICE_SECS);
        params.extended_key_usages.push(identity_usage());
        self.issue(&params)
    }

    /// A certificate that proves a genuine product, under a manufacturer anchor.
    pub fn issue_manufacturer(&self, name: &str) -> Result<Issued, CertsError> {
        self.issue(&self.leaf(name, DEVICE_SECS))
    }

    /// A list of revoked certificates, in PEM; `number` grows from list to list.
    pub fn revocation_list(
        &self,
        revoked: &[&CertificateDer<'_>],
        number: u64,
    ) -> Result<String, CertsError> {
        let mut revoked_certs = Vec::with_capacity(revoked.len());
        for certificate in revoked {
            let (_, parsed) = X509Certificate::from_der(certificate)
                .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(parsed.raw_serial()),
                revocation_time: time(self.now.0).into(),
                reason_code: None,
                invalidity_date: None,
            });
        }
        let list = CertificateRevocationListParams {
            this_update: time(self.now.0.saturating_sub(BACKDATED_SECS)).into(),
            next_update: time(self.now.0 + CRL_SECS).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    /// What all leaves have in common.
    fn leaf(&self, common_name: &str, secs: u64) -> CertificateParams {
        let mut params = named_params(common_name, self.now, secs);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn issue(&self, params: &CertificateParams) -> Result<Issued, CertsError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = std::iter::once(certificate.der()).chain(&self.chain).cloned().collect();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Issued { chain, key: key.into() })
    }
}

impl Issued {
    /// The chain in PEM.
    pub fn chain_pem(&self) -> String {
        certificates_pem(&self.chain)
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        to_pem("PRIVATE KEY", self.key.secret_der())
    }
}

fn identity_usage() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(OCF_IDENTITY.to_vec())
}

fn authority_params(name: &str, now: UnixTime) -> CertificateParams {
    let mut params = named_params(name, now, AUTHORITY_SECS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named_params(common_name: &str, now: UnixTime, secs: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = time(now.0.saturating_sub(BACKDATED_SECS)).into();
    params.not_after = time(now.0.saturating_add(secs)).into();
    params
}

fn time(secs: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn certificates_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), lines)
}

#[cfg(test)]
mod tests;
