//! Trust anchors and revocation lists, from the bytes of the configured files.

use hashbrown::HashSet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use shared::time::UnixTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::session::{AnchorList, Fingerprint, anchor_fingerprint, certificate_fingerprint};

/// The bytes of a file, and what errors call it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What errors call it: the path of the file.
    pub name: &'a str,
    /// PEM with any number of items, or one item in DER.
    pub bytes: &'a [u8],
}

/// Whom we trust, and whom no longer. Immutable: a reload makes a new one.
#[derive(Debug, Default)]
pub struct TrustAnchors {
    pub(super) identity: Vec<TrustAnchor<'static>>,
    pub(super) manufacturer: Vec<TrustAnchor<'static>>,
    /// For each authority (and each scope of its lists) the newest.
    pub(super) crls: Vec<Crl>,
    /// Of all anchors of both lists.
    pub(super) fingerprints: HashSet<Fingerprint>,
    /// Of all certificates on any list.
    pub(super) revoked: HashSet<Fingerprint>,
}

/// A revocation list with what is said about it in the log.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) list: CertRevocationList<'static>,
    name: String,
    this_update: i64,
    next_update: UnixTime,
}

/// Why configured trust anchors or revocation lists cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnchorsError {
    /// No certificate or list in it.
    #[error("{name} contains no {what} in PEM or DER")]
    Empty {
        /// The file.
        name: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate or list that cannot be read.
    #[error("{name}: {what} number {number} cannot be read: {problem}")]
    Malformed {
        /// The file.
        name: String,
        /// What was looked for.
        what: &'static str,
        /// Which of those in the file, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The certificate of something else than an authority.
    #[error(
        "{name}: certificate number {number} is not that of an authority (basic constraints CA is not set)"
    )]
    NotAnAuthority {
        /// The file.
        name: String,
        /// Which of those in the file, from 1.
        number: usize,
    },
    /// The same authority in both lists: it would be undefined whether its certificates prove an id.
    #[error(
        "{name}: this authority is in tls.identity_anchors and in tls.manufacturer_anchors: decide for one of them"
    )]
    InBothLists {
        /// The file in the list of manufacturers.
        name: String,
    },
}

impl TrustAnchors {
    /// Reads everything, or says which file is wrong. Lists may be empty.
    pub fn parse(
        identity: &[Source<'_>],
        manufacturer: &[Source<'_>],
        crls: &[Source<'_>],
    ) -> Result<Self, AnchorsError> {
        let mut anchors = Self::default();
        for source in identity {
            anchors.identity.extend(parse_anchors(*source)?);
        }
        anchors.fingerprints.extend(
            anchors.identity.iter().map(|anchor| anchor_fingerprint(AnchorList::Identity, anchor)),
        );
        for source in manufacturer {
            for anchor in parse_anchors(*source)? {
                if anchors.identity.iter().any(|identity| same_authority(identity, &anchor)) {
                    return Err(AnchorsError::InBothLists { name: source.name.into() });
                }
                anchors.fingerprints.insert(anchor_fingerprint(AnchorList::Manufacturer, &anchor));
                anchors.manufacturer.push(anchor);
            }
        }
        let mut lists = Vec::new();
        for source in crls {
            lists.extend(parse_crls(*source)?);
        }
        lists.sort_by_key(|(crl, _)| std::cmp::Reverse(crl.this_update));
        for (crl, revoked) in lists {
            // Of several for the same certificates the newest alone counts.
            if !anchors.crls.iter().any(|newer| same_scope(newer, &crl)) {
                anchors.revoked.extend(revoked);
                anchors.crls.push(crl);
            }
        }
        Ok(anchors)
    }

    /// Files of revocation lists whose authority should have published a newer one by now. They are
    /// still used; an operator should hear of it.
    pub fn stale_crls(&self, now: UnixTime) -> impl Iterator<Item = &str> {
        self.crls.iter().filter(move |crl| crl.next_update < now).map(|crl| crl.name.as_str())
    }
}

fn same_scope(a: &Crl, b: &Crl) -> bool {
    a.list.issuer() == b.list.issuer()
        && a.list.issuing_distribution_point() == b.list.issuing_distribution_point()
}

/// The lists in a file, each with the fingerprints of what it revokes.
fn parse_crls(source: Source<'_>) -> Result<Vec<(Crl, Vec<Fingerprint>)>, AnchorsError> {
    let what = "revocation list";
    let mut lists = Vec::new();
    for (at, der) in
        items::<CertificateRevocationListDer<'static>>(source, what)?.iter().enumerate()
    {
        let malformed = |problem: String| AnchorsError::Malformed {
            name: source.name.into(),
            what,
            number: at + 1,
            problem,
        };
        let list =
            OwnedCertRevocationList::from_der(der).map_err(|error| malformed(error.to_string()))?;
        let list = CertRevocationList::Owned(list);
        let (_, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|error| malformed(error.to_string()))?;
        let revoked = parsed
            .iter_revoked_certificates()
            .map(|entry| certificate_fingerprint(list.issuer(), entry.raw_serial()))
            .collect();
        let next_update = parsed.next_update().map_or(i64::MAX, |time| time.timestamp());
        let crl = Crl {
            name: source.name.into(),
            this_update: parsed.last_update().timestamp(),
            next_update: UnixTime(u64::try_from(next_update).unwrap_or(0)),
            list,
        };
        lists.push((crl, revoked));
    }
    Ok(lists)
}

fn same_authority(a: &TrustAnchor<'_>, b: &TrustAnchor<'_>) -> bool {
    a.subject == b.subject && a.subject_public_key_info == b.subject_public_key_info
}

fn parse_anchors(source: Source<'_>) -> Result<Vec<TrustAnchor<'static>>, AnchorsError> {
    let what = "certificate";
    let certificates = items::<CertificateDer<'static>>(source, what)?;
    let mut anchors = Vec::with_capacity(certificates.len());
    for (at, der) in certificates.iter().enumerate() {
        let number = at + 1;
        let malformed = |problem: String| AnchorsError::Malformed {
            name: source.name.into(),
            what,
            number,
            problem,
        };
        let anchor =
            webpki::anchor_from_trusted_cert(der).map_err(|error| malformed(error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        // A version 1 root has no extensions that could say it.
        let v1 = parsed.version() == x509_parser::x509::X509Version::V1;
        if !v1 && !parsed.is_ca() {
            return Err(AnchorsError::NotAnAuthority { name: source.name.into(), number });
        }
        anchors.push(anchor.to_owned());
    }
    Ok(anchors)
}

/// The items of one kind in a file: one in DER, or all in PEM; others in the same PEM are skipped.
fn items<T: PemObject + From<Vec<u8>>>(
    source: Source<'_>,
    what: &'static str,
) -> Result<Vec<T>, AnchorsError> {
    const DER_SEQUENCE: u8 = 0x30;
    if source.bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![T::from(source.bytes.to_vec())]);
    }
    let mut found = Vec::new();
    for item in T::pem_slice_iter(source.bytes) {
        found.push(item.map_err(|error| AnchorsError::Malformed {
            name: source.name.into(),
            what,
            number: found.len() + 1,
            problem: error.to_string(),
        })?);
    }
    if found.is_empty() {
        return Err(AnchorsError::Empty { name: source.name.into(), what });
    }
    Ok(found)
}
