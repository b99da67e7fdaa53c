//! Certificate and key to a TLS acceptor: TLS 1.2 and 1.3, no client certificates, HTTP/2 or
//! HTTP/1.1 by ALPN (cloud reference 2.1).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why a certificate or key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {what} {path}: {cause}")]
    Unreadable {
        /// `tls.certificate` or `tls.private_key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: pem::Error,
    },
    /// The certificate file has no certificate in it.
    #[error("{path} has no certificate in PEM form: see tls.certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// They do not fit each other, or are of a kind that is not supported.
    #[error("{certificate} and {private_key} cannot be used: {cause}")]
    Unusable {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        private_key: PathBuf,
        /// What is wrong with them.
        cause: rustls::Error,
    },
}

/// Reads certificate and key.
pub(super) fn acceptor(config: &Tls) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.private_key)
        .map_err(unreadable("tls.private_key", &config.private_key))?;
    let unusable = |cause| TlsError::Unusable {
        certificate: config.certificate.clone(),
        private_key: config.private_key.clone(),
        cause,
    };
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(unusable)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = unreadable("tls.certificate", path);
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(&unreadable)?
        .collect::<Result<_, _>>()
        .map_err(&unreadable)?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: path.into() }) } else { Ok(chain) }
}

fn unreadable(what: &'static str, path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |cause| TlsError::Unreadable { what, path: path.into(), cause }
}
