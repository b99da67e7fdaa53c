//! Receivers whose certificates are not trusted: what the operator, or the partner, can do about it.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// What to do, if this error is about the receiver's certificate.
pub(super) fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match fault(error) {
        Some(fault) => Some(remedy(fault)),
        None => advice(error.source()?),
    }
}

/// rustls' errors come inside those of sockets.
fn fault<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.or_else(|| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(fault)) => Some(fault),
        _ => None,
    }
}

fn remedy(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer => {
            "its authority does not count for this client: if it is the partner's own, name it with \
             `ocf-api clients authorities <client> <file>`; a public one has to be in events.authorities"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name: the partner needs one with the name in its \
             eventsUrl, or has to subscribe with the name in its certificate"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired: the partner has to renew it; or the clock of this machine \
             is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet: the clock of this machine is wrong, or the partner's is"
        }
        _ => "the certificate is not fit for a server: the partner needs another one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no connection")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_is_wrong_with_a_certificate_is_found_at_any_depth() {
        let of = |fault| rustls::Error::InvalidCertificate(fault);
        let deep = |fault| Outer(io::Error::other(of(fault)));
        let expired = advice(&deep(CertificateError::Expired)).unwrap();
        assert!(expired.contains("expired"));
        assert_eq!(advice(&of(CertificateError::Expired)), Some(expired));
        let others = [
            CertificateError::UnknownIssuer,
            CertificateError::NotValidForName,
            CertificateError::NotValidYet,
            CertificateError::BadEncoding,
        ];
        for other in others {
            assert!(advice(&deep(other)).is_some_and(|text| text != expired));
        }
        assert_eq!(advice(&Outer(io::ErrorKind::ConnectionReset.into())), None);
        assert_eq!(advice(&Outer(io::Error::other(rustls::Error::DecryptError))), None);
    }
}
