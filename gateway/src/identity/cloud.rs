//! The cloud's own certificate, as far as devices care whom it names (device reference 1.3, rule 14).

use rustls::pki_types::CertificateDer;
use shared::ids::CloudId;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::profile::named;

/// Why a certificate is not the cloud's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloudCertificateError {
    /// It cannot be read.
    #[error("the first certificate is not X.509")]
    Malformed,
    /// Devices find the cloud's id in it, and would find none or another one.
    #[error(
        "the first certificate needs the subject CN=uuid:{cloud} for this cloud.id, but it has {subject}: \
         devices would answer 4.01 to everything"
    )]
    NamesSomebodyElse {
        /// Who it should name.
        cloud: CloudId,
        /// Its subject.
        subject: String,
    },
}

/// Whether a certificate names the cloud as `CN=uuid:<sid>`.
///
/// # Errors
/// If it does not, or names more than one.
pub fn names_cloud(leaf: &CertificateDer<'_>, cloud: CloudId) -> Result<(), CloudCertificateError> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return Err(CloudCertificateError::Malformed);
    };
    let subject = certificate.subject();
    if named(subject) == Some(cloud) {
        return Ok(());
    }
    let subject = subject.to_string();
    Err(CloudCertificateError::NamesSomebodyElse { cloud, subject })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    const CLOUD: &str = "11111111-2222-4333-8444-555555555555";

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn rule_14_the_certificate_of_the_cloud_names_its_id() {
        let cloud = CLOUD.parse().unwrap();
        let check = |names: &[&str]| names_cloud(&certificate(names), cloud);
        assert_eq!(check(&[&format!("uuid:{CLOUD}")]), Ok(()));
        for wrong in ["uuid:11111111-2222-4333-8444-555555555556", CLOUD, "cloud.example.com"] {
            let error = check(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(CLOUD) && error.contains(wrong), "{error}");
        }
        assert!(matches!(check(&[]), Err(CloudCertificateError::NamesSomebodyElse { .. })));
        let nonsense = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(names_cloud(&nonsense, cloud), Err(CloudCertificateError::Malformed));
    }
}
