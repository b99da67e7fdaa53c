//! Heads of CBOR arrays and maps, filled in when it is known how many parts there are (RFC 8949 §3).

use shared::ocf::cbor::Writer;

/// Where the head of an array or map will stand, once it is known how many parts it has.
pub(super) struct Head(usize);

const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;

impl Head {
    /// Leaves room for the head of a short array or map, which most are.
    pub(super) fn reserve(out: &mut Vec<u8>) -> Self {
        out.push(0);
        Self(out.len() - 1)
    }

    pub(super) fn array(self, out: &mut Vec<u8>, len: usize) {
        self.fill(out, MAJOR_ARRAY, len);
    }

    pub(super) fn map(self, out: &mut Vec<u8>, pairs: usize) {
        self.fill(out, MAJOR_MAP, pairs);
    }

    fn fill(self, out: &mut Vec<u8>, major: u8, count: usize) {
        if count < 24 {
            out[self.0] = major << 5 | count as u8;
            return;
        }
        let mut head = Vec::with_capacity(9);
        match major {
            MAJOR_ARRAY => Writer(&mut head).array(count),
            _ => Writer(&mut head).map(count),
        };
        out.splice(self.0..=self.0, head);
    }
}
