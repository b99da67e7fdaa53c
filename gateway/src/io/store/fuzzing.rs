//! What reads the disk here, for the fuzz targets.

use shared::ids::CloudId;

use super::format;
use super::frame::{self, Position, Salt};
use crate::store::Batch;

/// Reads a segment of the log, and every write in it. Returns how many writes there are, and whether
/// the segment is sealed; nothing when it is damaged.
pub fn read_segment(
    bytes: &[u8],
    salt: u64,
    mut each: impl FnMut(&[u8], Option<&[u8]>),
) -> Option<(usize, bool)> {
    let Some(segment) = frame::scan(bytes, Salt(salt)).ok()? else { return Some((0, false)) };
    let mut count = 0;
    for group in &segment.groups {
        for write in frame::writes(&bytes[group.clone()]) {
            let (key, value) = write.ok()?;
            each(key, value);
            count += 1;
        }
    }
    Some((count, segment.sealed))
}

/// The bytes of a segment of these groups.
pub fn write_segment(salt: u64, segment: u64, groups: &[Vec<Batch>], sealed: bool) -> Vec<u8> {
    let (mut bytes, mut frame) = (Vec::new(), Vec::new());
    for (index, group) in (0..).zip(groups) {
        frame::encode_group(&mut frame, Salt(salt), Position { segment, index }, group);
        bytes.extend_from_slice(&frame);
    }
    if sealed {
        let at = Position { segment, index: groups.len() as u64 };
        frame::encode_seal(&mut frame, Salt(salt), at);
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// Whether a store with this record is ours.
pub fn is_ours(record: Option<&[u8]>, ours: CloudId) -> bool {
    format::check(record, ours).is_ok()
}
