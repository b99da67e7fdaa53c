//! What devices need for TLS: whom they trust, and the certificate that they present.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{Context, Result, bail};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    verify_server_cert_signed_by_trust_anchor,
};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use shared::ids::DeviceId;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::device::allow_take_over;

/// The OCF identity certificates' extended key usage.
const OCF_IDENTITY: &[u64] = &[1, 3, 6, 1, 4, 1, 44924, 1, 6];

/// Which TLS devices speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsVersion {
    /// As the stacks in the field, with ECDHE-ECDSA-AES128-GCM-SHA256.
    #[default]
    Tls12,
    /// As newer ones may.
    Tls13,
}

impl TlsVersion {
    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }

    /// Only the suite that real stacks come to with this cloud, so that load is comparable.
    fn suite(self) -> CipherSuite {
        match self {
            Self::Tls12 => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Self::Tls13 => CipherSuite::TLS13_AES_128_GCM_SHA256,
        }
    }
}

/// The certificates of a swarm's devices.
pub struct Credentials {
    /// With the certificate that all devices share; none without one.
    shared: Arc<ClientConfig>,
    issuer: Option<IdentityIssuer>,
    /// What devices resume, if they do.
    sessions: Option<Arc<Sessions>>,
}

/// Which certificate devices present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceCertificate {
    /// All the same, as a manufacturer's: chain and key in PEM.
    Manufacturer {
        /// The chain, the device's own first.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// Each one of its own that proves its device id, issued by this CA.
    Identity {
        /// The CA's certificate.
        ca: PathBuf,
        /// The CA's private key.
        key: PathBuf,
    },
}

impl Credentials {
    /// Loads what devices trust and present.
    ///
    /// # Errors
    /// Name the file that is missing or is not what it should be.
    pub fn load(
        trust_anchors: &Path,
        certificate: &DeviceCertificate,
        version: TlsVersion,
    ) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(provider(version))
            .with_protocol_versions(&[version.supported()])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(CloudVerifier::load(trust_anchors)?));
        let (mut config, issuer) = match certificate {
            DeviceCertificate::Manufacturer { chain, key } => {
                let config = builder
                    .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                    .with_context(|| format!("{} does not fit {}", key.display(), chain.display()));
                (config?, None)
            }
            DeviceCertificate::Identity { ca, key } => {
                let issuer = IdentityIssuer::load(ca, key)?;
                (builder.with_no_client_auth(), Some(issuer))
            }
        };
        // As the stacks in the field: no name, no sessions to resume.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        allow_take_over(&mut config);
        Ok(Self { shared: Arc::new(config), issuer, sessions: None })
    }

    /// Devices keep the session of their last connection, and resume it with the next one: TLS 1.2
    /// only, and not with identity certificates, which are issued anew each time.
    pub fn resuming(self) -> Self {
        Self { sessions: Some(Arc::default()), ..self }
    }

    /// How many devices have a session that they can resume.
    pub fn sessions(&self) -> usize {
        self.sessions.as_ref().map_or(0, |sessions| sessions.lock().len())
    }

    /// The TLS configuration of a device. Identity certificates are issued here, each time anew.
    ///
    /// # Errors
    /// If a certificate cannot be issued.
    pub fn config(&self, device: DeviceId) -> Result<Arc<ClientConfig>> {
        if let Some(sessions) = &self.sessions {
            let mut config = ClientConfig::clone(&self.shared);
            let session = SessionOf { sessions: sessions.clone(), device };
            config.resumption = Resumption::store(Arc::new(session));
            return Ok(Arc::new(config));
        }
        let Some(issuer) = &self.issuer else { return Ok(self.shared.clone()) };
        let mut config = ClientConfig::clone(&self.shared);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(issuer.issue(device)?));
        Ok(Arc::new(config))
    }
}

/// One session per device. rustls' own store has one per server, which all devices would share.
#[derive(Default)]
struct Sessions(Mutex<HashMap<DeviceId, Tls12ClientSessionValue>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Tls12ClientSessionValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a device among the sessions. It lives as long as a handshake.
struct SessionOf {
    sessions: Arc<Sessions>,
    device: DeviceId,
}

impl fmt::Debug for SessionOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOf").field("device", &self.device).finish_non_exhaustive()
    }
}

impl ClientSessionStore for SessionOf {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.sessions.lock().insert(self.device, session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.sessions.lock().get(&self.device).cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.sessions.lock().remove(&self.device);
    }

    /// Tickets of TLS 1.3 come after the handshake, when rustls is gone.
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

fn provider(version: TlsVersion) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == version.suite());
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1, aws_lc_rs::kx_group::SECP384R1];
    Arc::new(provider)
}

/// The certificates in a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || -> Result<Vec<_>> {
        let certificates = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() {
            bail!("it holds no certificate in PEM");
        }
        Ok(certificates)
    };
    read().with_context(|| format!("cannot read certificates from {}", path.display()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("cannot read a private key in PEM from {}", path.display()))
}

/// The trust anchors in a PEM file.
pub fn trust_anchors(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).with_context(|| {
            format!("{} holds a certificate that is no trust anchor", path.display())
        })?;
    }
    Ok(roots)
}

/// Makes identity certificates. They share a key, since only their names matter to a cloud.
struct IdentityIssuer {
    issuer: Issuer<'static, KeyPair>,
    /// Follows a device's certificate, unless it is a root, which nobody sends.
    intermediate: Option<CertificateDer<'static>>,
    key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
}

impl IdentityIssuer {
    fn load(ca: &Path, key: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(key)
            .with_context(|| format!("cannot read {}", key.display()))?;
        let ca_key = KeyPair::from_pem(&text)
            .with_context(|| format!("{} holds no private key in PEM", key.display()))?;
        let certificate = certificates(ca)?.swap_remove(0);
        let issuer = Issuer::from_ca_cert_der(&certificate, ca_key)
            .with_context(|| format!("{} is no certificate of a CA", ca.display()))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)?;
        let is_root = parsed.subject() == parsed.issuer();
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let signing_key = aws_lc_rs::default_provider().key_provider.load_private_key(der)?;
        let intermediate = (!is_root).then(|| certificate.clone());
        Ok(Self { issuer, intermediate, key, signing_key })
    }

    /// A certificate with the name of this device (device reference 3.3).
    fn issue(&self, device: DeviceId) -> Result<CertifiedKey> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("uuid:{device}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::Other(OCF_IDENTITY.to_vec()),
        ];
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let chain = [certificate.der()].into_iter().chain(&self.intermediate).cloned().collect();
        Ok(CertifiedKey::new(chain, self.signing_key.clone()))
    }
}

/// Checks the cloud's certificate as devices do (device reference 3.2): chain and time, no name.
/// Every device of a swarm sees the same chain, so what was found good is remembered.
struct CloudVerifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    /// The chain that was found good last, its certificates one after the other.
    good: RwLock<Vec<u8>>,
}

impl CloudVerifier {
    fn load(path: &Path) -> Result<Self> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        Ok(Self { roots: trust_anchors(path)?, algorithms, good: RwLock::default() })
    }
}

impl fmt::Debug for CloudVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudVerifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for CloudVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = || [end_entity].into_iter().chain(intermediates).flat_map(|c| c.iter());
        if self.good.read().is_ok_and(|good| good.iter().eq(chain())) {
            return Ok(ServerCertVerified::assertion());
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        if let Ok(mut good) = self.good.write() {
            *good = chain().copied().collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
