//! The links of one device as an archive that is read in place.
//!
//! ```text
//! encoded: │ href │ "rt": […], "if": […], "p": {"bm": n} │ "title": …, "tag-…": … │ "type": … │
//!          0      href_len                               eps_at                    extra_at
//! ```
//!
//! Discovery copies `..eps_at`, splices the endpoint in, and copies `eps_at..extra_at`. What stands
//! behind is kept for partners only: a text array after `if` confuses real clients (device reference
//! 1.3, rule 13).

use rkyv::rancor;
use shared::ids::{DeviceId, HREF_BYTES_MAX};
use shared::ocf::cbor::{CborError, Item, Reader};

use crate::account::record::UnreadableRecord;

/// The links of a device, in ascending order of their hrefs.
#[derive(
    Clone, Default, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct DirectoryRecord {
    /// The name that the device published.
    pub name: Option<String>,
    /// The links.
    pub links: Vec<LinkRecord>,
}

/// One link.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct LinkRecord {
    /// The directory's number for it (`ins`).
    pub instance: u32,
    /// Bytes of the href at the front of `encoded`.
    pub href_len: u16,
    /// Where the endpoint goes.
    pub eps_at: u16,
    /// Where what discovery leaves out begins.
    pub extra_at: u16,
    /// Pairs between the endpoint and `extra_at`.
    pub tail_pairs: u8,
    /// Policy bits.
    pub policy: u8,
    /// Sixteen bytes when the anchor is not the publishing device, none otherwise.
    pub anchor: Vec<u8>,
    /// Seconds; 0 without limit.
    pub ttl: u32,
    /// See the picture above.
    pub encoded: Vec<u8>,
}

impl LinkRecord {
    /// Local path with a leading slash.
    pub fn href(&self) -> &str {
        href(&self.encoded, self.href_len)
    }
}

/// The archive of a device's links: bytes that are known to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct Directory(Box<[u8]>);

impl Directory {
    /// Archives these links.
    pub fn new(record: &DirectoryRecord) -> Self {
        debug_assert!(record.links.is_sorted_by(|a, b| a.href() < b.href()));
        let bytes = rkyv::to_bytes::<rancor::Error>(record).expect("writing to memory cannot fail");
        Self(bytes.as_slice().into())
    }

    /// Takes bytes that come from the store, after checking all of them.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        let archived = rkyv::access::<ArchivedDirectoryRecord, rancor::Error>(bytes)
            .map_err(|_| UnreadableRecord)?;
        if archived.links.iter().all(link_is_sound) {
            Ok(Self(bytes.into()))
        } else {
            Err(UnreadableRecord)
        }
    }

    /// What the store keeps.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The links as values, to change them.
    pub fn to_record(&self) -> DirectoryRecord {
        rkyv::deserialize::<_, rancor::Error>(self.archived())
            .expect("strings and vectors deserialise without fail")
    }

    /// The name that the device published.
    pub fn name(&self) -> Option<&str> {
        self.archived().name.as_ref().map(|name| name.as_str())
    }

    /// The links in ascending order of their hrefs.
    pub fn links(&self) -> impl ExactSizeIterator<Item = LinkRef<'_>> {
        self.archived().links.iter().map(LinkRef)
    }

    /// The link with this local path.
    pub fn link(&self, href: &str) -> Option<LinkRef<'_>> {
        let links = &self.archived().links;
        let found = links.binary_search_by(|link| LinkRef(link).href().cmp(href));
        found.ok().map(|at| LinkRef(&links[at]))
    }

    #[expect(
        unsafe_code,
        reason = "links are read on every discovery; checking them once is enough"
    )]
    fn archived(&self) -> &ArchivedDirectoryRecord {
        // SAFETY: the bytes are private to this type and never change. They were made by `rkyv::to_bytes`
        // from a `DirectoryRecord` (`new`) or accepted by the checked `rkyv::access` (`from_stored`).
        // Archives are unaligned in this workspace, so their address does not matter.
        unsafe { rkyv::access_unchecked::<ArchivedDirectoryRecord>(&self.0) }
    }
}

/// A link in its archive.
#[derive(Clone, Copy)]
pub struct LinkRef<'a>(&'a ArchivedLinkRecord);

impl<'a> LinkRef<'a> {
    /// Local path with a leading slash.
    pub fn href(self) -> &'a str {
        href(&self.0.encoded, self.0.href_len.to_native())
    }

    /// The directory's number for it.
    pub fn instance(self) -> u32 {
        self.0.instance.to_native()
    }

    /// Seconds after which it expires; 0 for never.
    pub fn ttl(self) -> u32 {
        self.0.ttl.to_native()
    }

    /// Policy bits.
    pub fn policy(self) -> u8 {
        self.0.policy
    }

    /// Whom the link is about, if not the device that published it.
    pub fn anchor(self) -> Option<DeviceId> {
        self.0.anchor.as_slice().try_into().ok().map(DeviceId::from_bytes)
    }

    /// href, and the pairs before the endpoint.
    pub fn before_endpoint(self) -> &'a [u8] {
        &self.0.encoded[..usize::from(self.0.eps_at.to_native())]
    }

    /// The pairs after the endpoint, and how many they are.
    pub fn after_endpoint(self) -> (&'a [u8], usize) {
        let range =
            usize::from(self.0.eps_at.to_native())..usize::from(self.0.extra_at.to_native());
        (&self.0.encoded[range], usize::from(self.0.tail_pairs))
    }

    /// Resource types.
    pub fn resource_types(self) -> impl Iterator<Item = &'a str> {
        let mut reader = self.pairs();
        // `rt` comes first, as `publish` writes it.
        let _ = reader.next_item();
        texts(reader)
    }

    /// Interfaces.
    pub fn interfaces(self) -> impl Iterator<Item = &'a str> {
        let mut reader = self.pairs();
        let _ = (reader.next_item(), reader.skip(), reader.next_item());
        texts(reader)
    }

    /// All pairs but the href, in CBOR, one after the other: `rt`, `if`, `p`, and what else there is.
    pub fn pairs(self) -> Reader<'a> {
        Reader::new(&self.0.encoded[usize::from(self.0.href_len.to_native())..])
    }
}

/// The texts of the array at which the reader stands.
fn texts(mut reader: Reader<'_>) -> impl Iterator<Item = &str> {
    let count = match reader.next_item() {
        Ok(Item::Array(Some(count))) => count,
        _ => 0,
    };
    (0..count).map_while(move |_| match reader.next_item() {
        Ok(Item::Text(text)) => Some(text),
        _ => None,
    })
}

fn href(encoded: &[u8], len: impl Into<usize>) -> &str {
    let bytes = encoded.get(..len.into()).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Whether the parts of a stored link are where they say they are.
fn link_is_sound(link: &ArchivedLinkRecord) -> bool {
    let (href_len, eps_at, extra_at) = (
        usize::from(link.href_len.to_native()),
        usize::from(link.eps_at.to_native()),
        usize::from(link.extra_at.to_native()),
    );
    let in_order = 0 < href_len
        && href_len <= HREF_BYTES_MAX
        && href_len <= eps_at
        && eps_at <= extra_at
        && extra_at <= link.encoded.len();
    in_order
        && std::str::from_utf8(&link.encoded[..href_len]).is_ok()
        && matches!(link.anchor.len(), 0 | 16)
        && pairs_are_sound(&link.encoded[href_len..]).is_ok()
}

fn pairs_are_sound(pairs: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(pairs);
    while !reader.is_at_end() {
        reader.skip()?;
        reader.skip()?;
    }
    Ok(())
}
