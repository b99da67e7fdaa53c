//! What a session keeps of its peer's chain, to find out after a reload whether it is still trusted.
//!
//! rustls calls no verifier on resumption, and a connection can outlive an authority. Keeping the
//! certificates would cost a kilobyte per connection; this costs 64 bytes, and answers the three
//! questions that can change: is the anchor still there, is none of the certificates revoked, has
//! none expired.

use rustls::pki_types::TrustAnchor;
use sha2::{Digest, Sha256};
use shared::time::UnixTime;
use webpki::VerifiedPath;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{CHAIN_CERTIFICATES_MAX, IdentityError, TrustAnchors, profile};

/// A verified path as fingerprints. Two of them can collide, which would close a connection for
/// nothing; a revoked certificate is never missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionChain {
    /// Leaf and intermediates; 0 where there is none.
    certificates: [Fingerprint; CHAIN_CERTIFICATES_MAX],
    /// The anchor at the end.
    anchor: Fingerprint,
    /// When the first of the certificates expires.
    not_after: UnixTime,
}

/// The lists of anchors: what a certificate proves depends on it, so it counts when a chain is
/// checked again.
#[derive(Clone, Copy)]
pub(super) enum AnchorList {
    Identity,
    Manufacturer,
}

/// The beginning of a SHA-256.
pub(super) type Fingerprint = u64;

/// Of a certificate as revocation lists name it: by its issuer and its serial number.
pub(super) fn certificate_fingerprint(issuer: &[u8], serial: &[u8]) -> Fingerprint {
    fingerprint(b"certificate", issuer, serial)
}

/// Of a trust anchor: its subject and its key, and which list it is in.
pub(super) fn anchor_fingerprint(list: AnchorList, anchor: &TrustAnchor<'_>) -> Fingerprint {
    let kind: &[u8] = match list {
        AnchorList::Identity => b"identity anchor",
        AnchorList::Manufacturer => b"manufacturer anchor",
    };
    fingerprint(kind, &anchor.subject, &anchor.subject_public_key_info)
}

fn fingerprint(kind: &[u8], first: &[u8], second: &[u8]) -> Fingerprint {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update((first.len() as u64).to_be_bytes())
        .chain_update(first)
        .chain_update(second)
        .finalize();
    let (start, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
    Fingerprint::from_be_bytes(*start)
}

impl SessionChain {
    /// Of a path that has been verified, whose leaf expires then.
    pub(super) fn of_path(
        path: &VerifiedPath<'_>,
        list: AnchorList,
        leaf_not_after: UnixTime,
    ) -> Result<Self, IdentityError> {
        let leaf = path.end_entity();
        let mut certificates = [0; CHAIN_CERTIFICATES_MAX];
        certificates[0] = certificate_fingerprint(leaf.issuer(), leaf.serial());
        let mut not_after = leaf_not_after;
        // The path has no more certificates than the chain, whose length has been checked.
        for (slot, intermediate) in
            certificates.iter_mut().skip(1).zip(path.intermediate_certificates())
        {
            *slot = certificate_fingerprint(intermediate.issuer(), intermediate.serial());
            let der = intermediate.der();
            let (_, parsed) =
                X509Certificate::from_der(&der).map_err(|_| IdentityError::Malformed)?;
            not_after = not_after.min(profile::not_after(&parsed));
        }
        Ok(Self { certificates, anchor: anchor_fingerprint(list, path.anchor()), not_after })
    }

    /// Of a leaf below an intermediate whose path to its anchor was verified before.
    pub(super) fn of_leaf(
        leaf: Fingerprint,
        intermediate: Fingerprint,
        anchor: Fingerprint,
        not_after: UnixTime,
    ) -> Self {
        let mut certificates = [0; CHAIN_CERTIFICATES_MAX];
        (certificates[0], certificates[1]) = (leaf, intermediate);
        Self { certificates, anchor, not_after }
    }

    /// When the first certificate of the chain expires.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

impl TrustAnchors {
    /// Whether a chain that was verified once would still be; the reason if not. Costs no signature.
    pub fn recheck(&self, chain: &SessionChain, now: UnixTime) -> Result<(), IdentityError> {
        if now > chain.not_after {
            return Err(IdentityError::Expired);
        }
        if !self.fingerprints.contains(&chain.anchor) {
            return Err(IdentityError::UnknownIssuer);
        }
        if chain.certificates.iter().any(|certificate| self.revoked.contains(certificate)) {
            return Err(IdentityError::Revoked);
        }
        Ok(())
    }
}
