//! Private authorities of a client: whoever connects to the client's own servers trusts them instead
//! of the public ones (cloud reference 2.1, 3.1).

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longest list, in bytes of PEM.
pub const AUTHORITIES_BYTES_MAX: usize = 32 << 10;

/// What is no list of authorities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the authorities are no certificates in PEM, or have more than 32 KiB")]
pub struct NoAuthorities;

/// The authorities in a [`ClientRecord`](shared::channel::authorization::ClientRecord); none if the
/// client has none of its own.
pub fn parse(pem: &str) -> Result<Option<RootCertStore>, NoAuthorities> {
    if pem.is_empty() {
        return Ok(None);
    }
    if pem.len() > AUTHORITIES_BYTES_MAX {
        return Err(NoAuthorities);
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let mut roots = RootCertStore::empty();
    let (added, ignored) =
        roots.add_parsable_certificates(certificates.map_err(|_| NoAuthorities)?);
    if added == 0 || ignored > 0 { Err(NoAuthorities) } else { Ok(Some(roots)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn authorities_are_certificates_in_pem_and_nothing_else() {
        assert!(parse("").unwrap().is_none());
        let two = [certificate(), certificate()].concat();
        assert_eq!(parse(&two).unwrap().unwrap().len(), 2);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for wrong in ["no certificate".into(), broken.into(), format!("{two}{broken}")] {
            assert_eq!(parse(&wrong).err(), Some(NoAuthorities), "{wrong}");
        }
        let long = certificate().repeat(100);
        assert_eq!(parse(&long).err(), Some(NoAuthorities));
    }
}
