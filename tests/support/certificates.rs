//! The certificates of a test: one cloud, one identity authority, one manufacturer.
//!
//! Made once per process by the code that makes them for operators. Their times are those of the
//! machine, because rustls' client asks the machine for the time.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway::certs::{Authority, Issued};
use gateway::connection::tls::{Acceptor, CloudCertificate};
use gateway::identity::{KnownIssuers, Source, TrustAnchors, Verified};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use shared::ids::{CloudId, DeviceId};
use shared::time::UnixTime;

/// The cloud's id (`sid`).
pub const CLOUD: CloudId = CloudId::from_bytes([0xc1; 16]);

/// The names in the cloud's certificate: the endpoint's, and the one that simulated devices give to
/// rustls, which insists on one.
const HOSTS: [&str; 2] = ["cloud.example.com", "0.0.0.0"];

/// Whoever signs certificates, and the cloud's own.
pub struct Pki {
    /// Signs the cloud's certificate.
    pub root: Authority,
    /// Its certificates say which device somebody is.
    pub identity: Authority,
    /// Its certificates prove a genuine product.
    pub manufacturer: Authority,
    cloud: Issued,
    /// The certificate that all devices of the manufacturer share.
    product: Issued,
}

/// The certificates of all tests.
pub static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::made_at(wall_clock()));

/// The time of the machine when the test began.
pub fn wall_clock() -> UnixTime {
    static START: LazyLock<u64> = LazyLock::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
    });
    UnixTime(*START)
}

impl Pki {
    pub(crate) fn made_at(now: UnixTime) -> Self {
        let authority = |name| Authority::generate(name, now).expect("a root can be made");
        let (root, identity, manufacturer) =
            (authority("cloud root"), authority("identity root"), authority("manufacturer root"));
        let cloud = root.issue_cloud(CLOUD, &HOSTS.map(String::from)).expect("hosts are names");
        let product = manufacturer.issue_manufacturer("a product").expect("it can be issued");
        Self { root, identity, manufacturer, cloud, product }
    }

    /// The TLS side of a shard: the cloud's certificate, both authorities, and these revocation
    /// lists (PEM).
    pub fn acceptor(&self, revocation_lists: &[String]) -> Acceptor {
        self.acceptor_with(&self.cloud, revocation_lists)
    }

    /// The same with another certificate of the cloud.
    pub fn acceptor_with(&self, cloud: &Issued, revocation_lists: &[String]) -> Acceptor {
        let identity = self.identity.certificate_pem();
        let source = |name, text: &'static str| Source { name, bytes: text.as_bytes() };
        self.acceptor_of(cloud, &[source("identity", identity.leak())], revocation_lists)
    }

    /// The same without the authority whose certificates say which device somebody is.
    pub fn acceptor_without_identity_authority(&self) -> Acceptor {
        self.acceptor_of(&self.cloud, &[], &[])
    }

    fn acceptor_of(
        &self,
        cloud: &Issued,
        identity: &[Source<'_>],
        revocation_lists: &[String],
    ) -> Acceptor {
        let manufacturer = self.manufacturer.certificate_pem();
        let source = |name, text: &'static str| Source { name, bytes: text.as_bytes() };
        let lists: Vec<_> =
            revocation_lists.iter().map(|pem| source("crl", pem.clone().leak())).collect();
        let anchors =
            TrustAnchors::parse(identity, &[source("manufacturer", manufacturer.leak())], &lists)
                .expect("the anchors are well-formed");
        let certificate =
            CloudCertificate { chain: cloud.chain.clone(), key: cloud.key.clone_key() };
        Acceptor::new(certificate, anchors).expect("the certificate fits its key")
    }

    /// Another certificate for the cloud.
    pub fn new_cloud_certificate(&self) -> Issued {
        self.root.issue_cloud(CLOUD, &HOSTS.map(String::from)).expect("hosts are names")
    }

    /// The cloud's certificate, then its intermediates.
    pub fn cloud_chain(&self) -> &[CertificateDer<'static>] {
        &self.cloud.chain
    }

    /// What the certificate of the manufacturer proves.
    pub(crate) fn verified_product(&self, now: UnixTime) -> Verified {
        let manufacturer = self.manufacturer.certificate_pem();
        let source = Source { name: "manufacturer", bytes: manufacturer.as_bytes() };
        let anchors = TrustAnchors::parse(&[], &[source], &[]).expect("the anchor is well-formed");
        let verified = anchors.verify_chain(&mut KnownIssuers::default(), &self.product.chain, now);
        verified.expect("the certificate is good")
    }

    /// A device with the certificate of the manufacturer, as real devices connect: TLS 1.2.
    pub fn product(&self) -> Arc<ClientConfig> {
        self.client(Some(&self.product), &rustls::version::TLS12)
    }

    /// The same with this suite, and no other.
    pub fn product_with_suite(&self, suite: rustls::CipherSuite) -> Arc<ClientConfig> {
        self.client_with_suite(&self.product, suite)
    }

    /// A device whose certificate proves its id.
    pub fn identity_of(&self, device: DeviceId) -> Arc<ClientConfig> {
        let issued = self.identity.issue_identity(device).expect("it can be issued");
        self.client(Some(&issued), &rustls::version::TLS12)
    }

    /// A peer with this certificate that knows no other suite.
    pub fn client_with_suite(
        &self,
        certificate: &Issued,
        suite: rustls::CipherSuite,
    ) -> Arc<ClientConfig> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
        let version = versions
            .into_iter()
            .find(|version| provider.cipher_suites.iter().any(|known| known.version() == *version));
        let version = version.expect("the suite is one of a version");
        self.client_of(provider, Some(certificate), version)
    }

    /// A peer with this certificate, or without any.
    pub fn client(
        &self,
        certificate: Option<&Issued>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        self.client_of(aws_lc_rs::default_provider(), certificate, version)
    }

    fn client_of(
        &self,
        provider: rustls::crypto::CryptoProvider,
        certificate: Option<&Issued>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate().clone()).expect("the root is an anchor");
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .expect("both versions are built in")
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some(issued) => builder
                .with_client_auth_cert(issued.chain.clone(), issued.key.clone_key())
                .expect("the certificate fits its key"),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = false;
        config.resumption = rustls::client::Resumption::disabled();
        loadtest::device::allow_take_over(&mut config);
        Arc::new(config)
    }
}
