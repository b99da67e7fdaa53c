//! Authorities between an anchor and its devices, once a chain through them has been verified.
//!
//! The devices of a maker share a few intermediates. Below one that is known a chain costs the
//! verification of one signature, the leaf's, instead of two. Nothing else is taken on trust: the leaf
//! goes through webpki with the intermediate in the place of the anchor, so its profile, times, name
//! constraints and revocation lists count as always; and what can change about the certificates above
//! it (revocation, expiry, the anchor itself) is looked up for every chain, as for resumed sessions.
//!
//! Only what holds for every leaf of an intermediate may be skipped. So nothing is remembered but an
//! intermediate directly below an anchor that sets no name constraints; and it is known by its bytes,
//! not by its name or key.

use rustls::pki_types::{CertificateDer, TrustAnchor};
use sha2::{Digest, Sha256};
use shared::time::UnixTime;
use webpki::{EndEntityCert, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::profile::{self, Leaf};
use super::session::{
    AnchorList, Fingerprint, SessionChain, anchor_fingerprint, certificate_fingerprint,
};
use super::{Recent, TrustAnchors};

/// Intermediates that are remembered; of more, those that were verified last.
const KNOWN_MAX: usize = 256;

/// Intermediates below which leaves have been verified, for one set of anchors and revocation lists: new
/// lists need a new one of these.
#[derive(Default)]
pub struct KnownIssuers(Recent<Issuer, KNOWN_MAX>);

struct Issuer {
    /// The intermediate, in the place of an anchor.
    anchor: TrustAnchor<'static>,
    certificate: Fingerprint,
    /// The anchor above it, and the list that has it.
    root: Fingerprint,
    list: AnchorList,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl KnownIssuers {
    /// Remembers the intermediate of a verified path, if every leaf below it would be verified alike.
    pub(super) fn remember(
        &mut self,
        chain: &[CertificateDer<'_>],
        path: &VerifiedPath<'_>,
        list: AnchorList,
    ) {
        let mut intermediates = path.intermediate_certificates();
        let (Some(intermediate), None) = (intermediates.next(), intermediates.next()) else {
            return;
        };
        let der = intermediate.der();
        // It is looked for behind the leaf, where TLS wants it.
        if chain.get(1) != Some(&der) || path.anchor().name_constraints.is_some() {
            return;
        }
        let (Ok(anchor), Ok((_, parsed))) =
            (webpki::anchor_from_trusted_cert(&der), X509Certificate::from_der(&der))
        else {
            return;
        };
        let issuer = Issuer {
            anchor: anchor.to_owned(),
            certificate: certificate_fingerprint(intermediate.issuer(), intermediate.serial()),
            root: anchor_fingerprint(list, path.anchor()),
            list,
            not_before: profile::not_before(&parsed),
            not_after: profile::not_after(&parsed),
        };
        self.0.add(Sha256::digest(&der).into(), issuer);
    }

    /// The issuer of the leaf of a chain, if it is known.
    fn of(&self, chain: &[CertificateDer<'_>]) -> Option<&Issuer> {
        self.0.get(&Sha256::digest(chain.get(1)?).into())
    }
}

impl TrustAnchors {
    /// What is proved by a leaf below an intermediate that is known. None if it is not known, or something
    /// is amiss: the whole chain is to be verified then, which finds out what.
    pub(super) fn verify_leaf(
        &self,
        issuers: &KnownIssuers,
        chain: &[CertificateDer<'_>],
        (leaf, end_entity): (&Leaf, &EndEntityCert<'_>),
        now: UnixTime,
    ) -> Option<(AnchorList, SessionChain)> {
        let issuer = issuers.of(chain)?;
        if now < issuer.not_before {
            return None;
        }
        let anchors = std::slice::from_ref(&issuer.anchor);
        self.path(anchors, end_entity, &[], now).ok()?;
        let session = SessionChain::of_leaf(
            certificate_fingerprint(end_entity.issuer(), end_entity.serial()),
            issuer.certificate,
            issuer.root,
            leaf.not_after.min(issuer.not_after),
        );
        self.recheck(&session, now).ok()?;
        Some((issuer.list, session))
    }
}

#[cfg(test)]
impl KnownIssuers {
    pub(super) fn knows(&self, der: &CertificateDer<'_>) -> bool {
        self.0.get(&Sha256::digest(der).into()).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
