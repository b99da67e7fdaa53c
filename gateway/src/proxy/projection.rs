//! The last representations that were seen of a device's resources, bounded.

use shared::time::Instant;

use crate::limits::PROJECTION_BYTES_MAX;

/// Representations of one device, by the numbers of its links.
#[derive(Default)]
pub struct Projection {
    /// In ascending order of the numbers.
    entries: Vec<(u32, Representation)>,
    bytes: usize,
}

/// A representation as the device gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Representation {
    /// CBOR.
    pub body: Box<[u8]>,
    /// When it was seen.
    pub seen: Instant,
}

impl Projection {
    /// Keeps a representation in the place of an older one. One that does not fit is not kept, and
    /// neither is the older one: what is shown is never outdated by what is known.
    pub fn put(&mut self, instance: u32, body: &[u8], seen: Instant) {
        self.remove(instance);
        if self.bytes + body.len() > PROJECTION_BYTES_MAX {
            return;
        }
        let at = self.entries.partition_point(|(number, _)| *number < instance);
        self.entries.insert(at, (instance, Representation { body: body.into(), seen }));
        self.bytes += body.len();
    }

    /// The representation of a link.
    pub fn get(&self, instance: u32) -> Option<&Representation> {
        let at = self.entries.binary_search_by_key(&instance, |(number, _)| *number);
        at.ok().map(|at| &self.entries[at].1)
    }

    /// Forgets the representation of a link.
    pub fn remove(&mut self, instance: u32) {
        if let Ok(at) = self.entries.binary_search_by_key(&instance, |(number, _)| *number) {
            self.bytes -= self.entries.remove(at).1.body.len();
        }
    }

    /// Bytes of all representations.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
