//! A peer's certificate chain becomes an identity, or a reason to refuse it.
//!
//! Implements device reference 3.3 and DESIGN 7. There are two lists of trust anchors: only a
//! certificate *under an identity anchor* binds the connection to the device id in its name; one
//! under a manufacturer anchor never does, whatever its name says. Paths, signatures, times and
//! revocation are webpki's; the OCF leaf profile is in `profile`, because WebPKI looks at key usages
//! only where it must. Host names play no part.
//!
//! No I/O and no clock: `connection::tls` calls this from rustls' verifier, and again after a
//! resumption, for which rustls calls no verifier.

mod anchors;
mod cloud;
mod issuers;
mod profile;
mod recent;
mod session;

pub use anchors::{AnchorsError, Source, TrustAnchors};
pub use cloud::{CloudCertificateError, names_cloud};
pub use issuers::KnownIssuers;
pub use recent::Recent;
pub use session::SessionChain;

use std::time::Duration;

use rustls::pki_types::{self, CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use sha2::{Digest, Sha256};
use shared::ids::DeviceId;
use shared::time::UnixTime;
use webpki::aws_lc_rs as algorithms;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use self::profile::Leaf;
use self::session::AnchorList;

/// Most certificates in a chain that a peer may send: a leaf, three intermediates and a root.
pub const CHAIN_CERTIFICATES_MAX: usize = 5;

/// Longest certificate that a peer may send, in bytes. Those of devices have about 500.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// Signatures that are accepted in a chain. Leaves have ECDSA keys (device reference 3.3); RSA is for
/// authorities that an operator chose to trust.
const SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Who is at the other end of a connection, as far as its certificate proves it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity {
    /// What the certificate proves.
    pub kind: PeerKind,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo: the same key, whatever the certificate.
    pub key_digest: [u8; 32],
}

/// What a certificate proves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerKind {
    /// That this is the device with this id. Another id on the connection is refused.
    Identity(DeviceId),
    /// That this is a genuine product, not which one.
    Manufacturer,
}

impl PeerIdentity {
    /// The device id that is proved, if one is.
    pub fn bound_device(&self) -> Option<DeviceId> {
        match self.kind {
            PeerKind::Identity(device) => Some(device),
            PeerKind::Manufacturer => None,
        }
    }
}

/// A verified chain.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who the peer is.
    pub peer: PeerIdentity,
    /// What a session keeps of the chain, to find out later whether it is still trusted.
    pub session: SessionChain,
}

/// Why a certificate chain is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain is empty.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// More than [`CHAIN_CERTIFICATES_MAX`].
    #[error("the chain has {count} certificates, more than {CHAIN_CERTIFICATES_MAX}")]
    ChainTooLong {
        /// How many.
        count: usize,
    },
    /// More than [`CERTIFICATE_BYTES_MAX`].
    #[error("a certificate has {bytes} bytes, more than {CERTIFICATE_BYTES_MAX}")]
    CertificateTooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not an X.509 certificate in DER.
    #[error("the certificate is not a well-formed X.509 v3 certificate")]
    Malformed,
    /// The key is of a kind that OCF does not use.
    #[error("the certificate's key is neither ECDSA P-256 nor P-384")]
    UnsupportedKey,
    /// The leaf is a CA certificate.
    #[error("the certificate belongs to an authority, not to a device")]
    IsAuthority,
    /// The key usage is present and forbids signatures.
    #[error("the certificate's key usage lacks digitalSignature")]
    NoDigitalSignature,
    /// The key usage allows what only authorities may do.
    #[error("the certificate's key usage is that of an authority (keyCertSign or cRLSign)")]
    SignsCertificates,
    /// No clientAuth in the extended key usage, or no extended key usage.
    #[error("the certificate's extended key usage lacks clientAuth")]
    NotForClients,
    /// The extended key usage allows everything, which OCF forbids.
    #[error("the certificate's extended key usage contains anyExtendedKeyUsage")]
    AnyPurpose,
    /// A role certificate, which is not for TLS.
    #[error("the certificate is an OCF role certificate (1.3.6.1.4.1.44924.1.7)")]
    RoleCertificate,
    /// Under an identity anchor, but not made as an identity certificate.
    #[error(
        "an identity authority signed it, but it lacks the OCF identity usage (1.3.6.1.4.1.44924.1.6)"
    )]
    NotAnIdentityCertificate,
    /// Under an identity anchor, but without exactly one `CN=uuid:<di>`.
    #[error("an identity authority signed it, but its subject is not a single CN=uuid:<device id>")]
    NoDeviceId,
    /// No configured authority issued it.
    #[error("no configured authority issued the certificate, or an intermediate is missing")]
    UnknownIssuer,
    /// A signature in the chain is wrong.
    #[error("a signature in the chain is wrong")]
    BadSignature,
    /// A certificate of the chain becomes valid later.
    #[error("a certificate of the chain is not valid yet: check the clocks")]
    NotValidYet,
    /// A certificate of the chain has expired.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// A certificate of the chain is on a revocation list.
    #[error("a certificate of the chain has been revoked")]
    Revoked,
    /// Our revocation list for its authority is not one that the authority signed.
    #[error("the configured revocation list of its authority is not valid ({0}): replace it")]
    BadRevocationList(webpki::Error),
    /// Another rule of RFC 5280 is broken.
    #[error("the chain breaks a rule of RFC 5280: {0}")]
    BadPath(webpki::Error),
}

impl IdentityError {
    fn of_path(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            E::CertExpired { .. } => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotValidYet,
            E::CertRevoked => Self::Revoked,
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::CaUsedAsEndEntity => Self::IsAuthority,
            E::BadDer | E::BadDerTime | E::TrailingData(_) => Self::Malformed,
            E::InvalidCrlSignatureForPublicKey
            | E::UnsupportedCrlSignatureAlgorithmContext(_)
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | E::IssuerNotCrlSigner => Self::BadRevocationList(error),
            other => Self::BadPath(other),
        }
    }
}

impl From<&IdentityError> for rustls::CertificateError {
    /// As rustls turns it into the alert that the peer gets.
    fn from(error: &IdentityError) -> Self {
        use IdentityError as E;
        match error {
            E::NoCertificate | E::Malformed => Self::BadEncoding,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::BadSignature => Self::BadSignature,
            E::NotValidYet => Self::NotValidYet,
            E::Expired => Self::Expired,
            E::Revoked => Self::Revoked,
            E::BadRevocationList(_) => Self::UnknownRevocationStatus,
            E::NotForClients | E::AnyPurpose | E::NotAnIdentityCertificate => Self::InvalidPurpose,
            E::ChainTooLong { .. }
            | E::CertificateTooLarge { .. }
            | E::UnsupportedKey
            | E::IsAuthority
            | E::NoDigitalSignature
            | E::SignsCertificates
            | E::RoleCertificate
            | E::NoDeviceId
            | E::BadPath(_) => Self::ApplicationVerificationFailure,
        }
    }
}

impl TrustAnchors {
    /// Who sent this chain (the leaf first, as TLS sends it), by the decision table of device
    /// reference 3.3.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerIdentity, IdentityError> {
        self.verify_chain(&mut KnownIssuers::default(), chain, now).map(|verified| verified.peer)
    }

    /// As [`Self::verify`], with what a session keeps of the chain. What was verified under these anchors
    /// before need not be verified again where `issuers` knows it.
    pub fn verify_chain(
        &self,
        issuers: &mut KnownIssuers,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, IdentityError> {
        let (end_entity, intermediates) = bounded(chain)?;
        // Cheap checks first: a chain that breaks the profile costs us no signature.
        let leaf = Leaf::parse(end_entity)?;
        let end_entity = EndEntityCert::try_from(end_entity).map_err(IdentityError::of_path)?;

        let known = self.verify_leaf(issuers, chain, (&leaf, &end_entity), now);
        let (list, session) = match known {
            Some(verified) => verified,
            None => {
                let (list, path) = self.any_path(&end_entity, intermediates, now)?;
                issuers.remember(chain, &path, list);
                (list, SessionChain::of_path(&path, list, leaf.not_after)?)
            }
        };
        let kind = match list {
            AnchorList::Identity => PeerKind::Identity(leaf.device_id()?),
            AnchorList::Manufacturer => PeerKind::Manufacturer,
        };
        let peer = PeerIdentity { kind, key_digest: leaf.key_digest };
        Ok(Verified { peer, session })
    }

    /// A valid path to an anchor, those of identities first.
    fn any_path<'p>(
        &'p self,
        end_entity: &'p EndEntityCert<'p>,
        intermediates: &'p [CertificateDer<'p>],
        now: UnixTime,
    ) -> Result<(AnchorList, VerifiedPath<'p>), IdentityError> {
        let under = |anchors| self.path(anchors, end_entity, intermediates, now);
        match under(&self.identity) {
            Ok(path) => Ok((AnchorList::Identity, path)),
            Err(not_identity) => match under(&self.manufacturer) {
                Ok(path) => Ok((AnchorList::Manufacturer, path)),
                // "No such issuer" says less than what the other list found.
                Err(IdentityError::UnknownIssuer) => Err(not_identity),
                Err(not_manufacturer) => Err(not_manufacturer),
            },
        }
    }

    /// A valid path to one of these anchors.
    fn path<'p>(
        &self,
        anchors: &'p [TrustAnchor<'p>],
        end_entity: &'p EndEntityCert<'p>,
        intermediates: &'p [CertificateDer<'p>],
        now: UnixTime,
    ) -> Result<VerifiedPath<'p>, IdentityError> {
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().map(|crl| &crl.list).collect();
        // An authority need not publish a list, and a stale list is better than none: refusing
        // everybody because a file is late would cut off every device.
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let time = pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0));
        // For intermediates clientAuth is needed only if they restrict purposes at all; the leaf has
        // been checked for it before.
        let usage = KeyUsage::client_auth();
        end_entity
            .verify_for_usage(SIGNATURES, anchors, intermediates, time, usage, revocation, None)
            .map_err(IdentityError::of_path)
    }
}

/// Leaf and intermediates of a chain whose size is within bounds.
fn bounded<'c, 'd>(
    chain: &'c [CertificateDer<'d>],
) -> Result<(&'c CertificateDer<'d>, &'c [CertificateDer<'d>]), IdentityError> {
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(IdentityError::ChainTooLong { count: chain.len() });
    }
    if let Some(large) = chain.iter().find(|der| der.len() > CERTIFICATE_BYTES_MAX) {
        return Err(IdentityError::CertificateTooLarge { bytes: large.len() });
    }
    chain.split_first().ok_or(IdentityError::NoCertificate)
}

/// SHA-256 over a chain: the same chain, certificate by certificate. The key of caches of chains.
pub fn chain_digest(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for certificate in chain {
        digest.update((certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
