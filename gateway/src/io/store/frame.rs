//! The bytes of the log: frames, each a group of batches, in numbered segments.
//!
//! ```text
//! segment = frame 0 │ frame 1 │ ... │ seal            each frame begins at a sector
//! frame   = magic │ crc │ kind │ length │ segment │ index │ payload, padded to the next sector
//! payload = writes: key length (1) │ value length (4, all ones: delete) │ key │ value
//! ```
//!
//! Integers are little endian. The CRC covers everything behind itself, also which frame of which
//! segment it is, so that what an earlier use of the same sectors left behind is never taken for a
//! frame of this one. It begins with a salt that only the store knows, so that no value, which a
//! device may have chosen, is ever taken for a frame. A sector that holds an acknowledged frame is
//! never written again: no disk tears what has been promised. No I/O here, so every torn and damaged
//! log can be tried in a test.

use std::ops::Range;

use crate::store::Batch;

/// What disks write as a whole, or not at all.
pub(super) const SECTOR: usize = 512;

const HEADER_BYTES: usize = 32;
const MAGIC: u32 = 0x4c46_434f; // "OCFL"
const GROUP: u32 = 1;
const SEAL: u32 = 2;
const DELETE: u32 = u32::MAX;

/// Bytes in a payload before the key of each write.
const WRITE_PREFIX_BYTES: usize = 5;

/// Random bits of a store, drawn when it is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u64);

/// Which frame: the sectors alone do not tell, because they are used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// Number of the segment, ascending from 1 without gaps.
    pub(super) segment: u64,
    /// Number of the frame in it, from 0.
    pub(super) index: u64,
}

/// A frame in a segment that exists whole.
enum Frame {
    /// The payload of a group of batches.
    Group(Range<usize>),
    /// Nothing follows in this segment.
    Seal,
}

/// The log is damaged where disks do not damage it by losing power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Damaged;

/// What a segment contains.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Its number.
    pub(super) number: u64,
    /// The payloads of its groups, in order.
    pub(super) groups: Vec<Range<usize>>,
    /// Whether it is complete. Otherwise it is the last one, and the process or the machine stopped
    /// while it was in use.
    pub(super) sealed: bool,
}

/// Bytes that a group takes in a segment.
pub(super) fn group_bytes(batches: &[Batch]) -> usize {
    let writes = |batch: &Batch| batch.bytes() + batch.writes().len() * WRITE_PREFIX_BYTES;
    let payload: usize = batches.iter().map(writes).sum();
    (HEADER_BYTES + payload).next_multiple_of(SECTOR)
}

/// Bytes that the seal takes at the end of a segment.
pub(super) const SEAL_BYTES: usize = SECTOR;

/// Makes `frame` the frame of these batches.
pub(super) fn encode_group(frame: &mut Vec<u8>, salt: Salt, at: Position, batches: &[Batch]) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
    for write in batches.iter().flat_map(Batch::writes) {
        let key = write.key.as_bytes();
        frame.push(key.len() as u8);
        let value_len = write.value.as_ref().map_or(DELETE, |value| value.len() as u32);
        frame.extend_from_slice(&value_len.to_le_bytes());
        frame.extend_from_slice(key);
        frame.extend_from_slice(write.value.as_deref().unwrap_or_default());
    }
    finish(frame, salt, at, GROUP);
}

/// Makes `frame` the seal of a segment.
pub(super) fn encode_seal(frame: &mut Vec<u8>, salt: Salt, at: Position) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
    finish(frame, salt, at, SEAL);
}

/// Writes the header in front of the payload, and pads.
fn finish(frame: &mut Vec<u8>, salt: Salt, at: Position, kind: u32) {
    let payload_len = (frame.len() - HEADER_BYTES) as u32;
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[8..12].copy_from_slice(&kind.to_le_bytes());
    frame[12..16].copy_from_slice(&payload_len.to_le_bytes());
    frame[16..24].copy_from_slice(&at.segment.to_le_bytes());
    frame[24..32].copy_from_slice(&at.index.to_le_bytes());
    let crc = salted_crc(salt, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(SECTOR), 0);
}

fn salted_crc(salt: Salt, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The frame that begins at this offset, if it is whole: its position, itself and where it ends.
fn decode(bytes: &[u8], salt: Salt, offset: usize) -> Option<(Position, Frame, usize)> {
    let header = bytes.get(offset..)?.first_chunk::<HEADER_BYTES>()?;
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if u32_at(0) != MAGIC {
        return None;
    }
    let payload = offset + HEADER_BYTES;
    let end = payload.checked_add(u32_at(12) as usize)?;
    if salted_crc(salt, bytes.get(offset + 8..end)?) != u32_at(4) {
        return None;
    }
    let frame = match u32_at(8) {
        GROUP => Frame::Group(payload..end),
        SEAL => Frame::Seal,
        _ => return None,
    };
    let position = Position { segment: u64_at(16), index: u64_at(24) };
    Some((position, frame, end.next_multiple_of(SECTOR)))
}

/// Reads a segment; none if there is none. A frame that is not whole ends it, if it is the last one
/// written: each frame is durable before the next is begun, so a whole one behind it means that
/// something which was promised is gone.
pub(super) fn scan(bytes: &[u8], salt: Salt) -> Result<Option<Segment>, Damaged> {
    let Some((Position { segment: number, index: 0 }, ..)) = decode(bytes, salt, 0) else {
        return Ok(None);
    };
    let mut segment = Segment { number, groups: Vec::new(), sealed: false };
    let mut offset = 0;
    loop {
        let expected = Position { segment: number, index: segment.groups.len() as u64 };
        match decode(bytes, salt, offset) {
            Some((position, Frame::Group(payload), end)) if position == expected => {
                segment.groups.push(payload);
                offset = end;
            }
            Some((position, Frame::Seal, _)) if position == expected => {
                segment.sealed = true;
                return Ok(Some(segment));
            }
            Some(_) | None => break,
        }
    }
    let torn = segment.groups.len() as u64;
    let mut behind = (offset + SECTOR..bytes.len()).step_by(SECTOR);
    let promised = behind.any(|offset| {
        decode(bytes, salt, offset).is_some_and(|(at, ..)| at.segment == number && at.index > torn)
    });
    if promised { Err(Damaged) } else { Ok(Some(segment)) }
}

/// The writes in the payload of a group: key, and value unless it is a delete.
pub(super) fn writes(payload: &[u8]) -> impl Iterator<Item = Result<WriteRef<'_>, Damaged>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let write = split_write(rest);
        rest = write.map_or(&[], |(_, behind)| behind);
        Some(write.map(|(write, _)| write).ok_or(Damaged))
    })
}

/// Key and value of a write, in the bytes of a segment.
pub(super) type WriteRef<'a> = (&'a [u8], Option<&'a [u8]>);

fn split_write(bytes: &[u8]) -> Option<(WriteRef<'_>, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<WRITE_PREFIX_BYTES>()?;
    let (key, rest) = rest.split_at_checked(usize::from(prefix[0]))?;
    match u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) {
        DELETE => Some(((key, None), rest)),
        len => {
            let (value, rest) = rest.split_at_checked(len as usize)?;
            Some(((key, Some(value)), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::placement::PartitionId;

    use super::*;
    use crate::store::{Key, Table, Write};

    const SALT: Salt = Salt(0x5a17);

    fn key(number: u8) -> Key {
        Key::new(PartitionId::new(u16::from(number)).unwrap(), Table::User, &[number; 16])
    }

    fn batch(number: u8, value_len: usize) -> Batch {
        let put = Write { key: key(number), value: Some(vec![number; value_len]) };
        [put, Write { key: key(number + 1), value: None }].into_iter().collect()
    }

    /// A segment of `groups`, then zeros.
    fn segment(number: u64, groups: &[Vec<Batch>], sealed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut frame = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            encode_group(
                &mut frame,
                SALT,
                Position { segment: number, index: index as u64 },
                group,
            );
            assert_eq!(frame.len(), group_bytes(group));
            bytes.extend_from_slice(&frame);
        }
        if sealed {
            encode_seal(&mut frame, SALT, Position { segment: number, index: groups.len() as u64 });
            bytes.extend_from_slice(&frame);
        }
        bytes.resize(bytes.len() + 8 * SECTOR, 0);
        bytes
    }

    fn three_groups() -> [Vec<Batch>; 3] {
        [vec![batch(1, 100), batch(2, 5000)], vec![batch(3, 0)], vec![batch(4, 3000)]]
    }

    #[test]
    fn a_segment_reads_back_with_its_writes_in_order() {
        let bytes = segment(7, &three_groups(), true);
        let read = scan(&bytes, SALT).unwrap().unwrap();
        assert_eq!((read.number, read.groups.len(), read.sealed), (7, 3, true));
        let found: Vec<_> = read.groups.iter().flat_map(|g| writes(&bytes[g.clone()])).collect();
        let all: Vec<Batch> = three_groups().into_iter().flatten().collect();
        let written: Vec<&Write> = all.iter().flat_map(Batch::writes).collect();
        assert_eq!(found.len(), written.len());
        for (found, written) in found.into_iter().zip(written) {
            assert_eq!(found, Ok((written.key.as_bytes(), written.value.as_deref())));
        }
    }

    #[test]
    fn nothing_and_anything_else_is_no_segment() {
        assert_eq!(scan(&[], SALT), Ok(None));
        assert_eq!(scan(&[0; 4096], SALT), Ok(None));
        assert_eq!(scan(&[0xff; 100], SALT), Ok(None));
    }

    #[test]
    fn a_torn_last_frame_ends_the_segment_whichever_of_its_sectors_are_missing() {
        let whole = segment(1, &three_groups(), false);
        let last = group_bytes(&three_groups()[0]) + group_bytes(&three_groups()[1]);
        let sectors = group_bytes(&three_groups()[2]) / SECTOR;
        for missing in 1..1u32 << sectors {
            let mut torn = whole.clone();
            for sector in (0..sectors).filter(|sector| missing & 1 << sector != 0) {
                torn[last + sector * SECTOR..][..SECTOR].fill(0);
            }
            let read = scan(&torn, SALT).unwrap().unwrap();
            assert_eq!((read.groups.len(), read.sealed), (2, false), "sectors {missing:b}");
        }
    }

    #[test]
    fn a_damaged_frame_with_a_whole_one_behind_it_is_not_passed_over() {
        let whole = segment(1, &three_groups(), false);
        let first_end = group_bytes(&three_groups()[0]);
        for at in [first_end, first_end + 5, first_end + HEADER_BYTES] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(scan(&damaged, SALT), Err(Damaged), "byte {at}");
        }
    }

    #[test]
    fn what_an_earlier_segment_left_behind_is_not_taken_for_part_of_a_later_one() {
        let mut bytes = segment(4, &three_groups(), true);
        let later = segment(9, &three_groups()[1..2], false);
        let frame_bytes = group_bytes(&three_groups()[1]);
        bytes[..frame_bytes].copy_from_slice(&later[..frame_bytes]);
        let read = scan(&bytes, SALT).unwrap().unwrap();
        assert_eq!((read.number, read.groups.len(), read.sealed), (9, 1, false));
    }

    /// Values come from devices; one could contain what looks like a frame of this very segment.
    #[test]
    fn a_value_made_to_look_like_a_frame_is_not_taken_for_one() {
        let mut forged = Vec::new();
        let at = Position { segment: 1, index: 9 };
        encode_group(&mut forged, Salt(0), at, &three_groups()[1]);
        let aligned = [vec![0; SECTOR - HEADER_BYTES - WRITE_PREFIX_BYTES - 19], forged].concat();
        let group = [Write { key: key(1), value: Some(aligned) }].into_iter().collect();
        let mut torn = segment(1, &[vec![batch(1, 1)], vec![group]], false);
        let second = group_bytes(&[batch(1, 1)]);
        torn[second..second + SECTOR].fill(0);
        assert!(
            decode(&torn, Salt(0), second + SECTOR).is_some(),
            "the forgery is where it should be"
        );
        assert_eq!(scan(&torn, SALT).unwrap().unwrap().groups.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = scan(&bytes, SALT);
            let _ = writes(&bytes).take_while(Result::is_ok).count();
        }

        /// Whatever single byte is wrong: what is read is a beginning of what was written.
        #[test]
        fn a_flipped_bit_shortens_the_segment_or_is_reported(at in 0..12_000usize, bit in 0..8u32) {
            let whole = segment(1, &three_groups(), true);
            prop_assume!(at < whole.len());
            let read = scan(&whole, SALT).unwrap().unwrap();
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            match scan(&damaged, SALT) {
                Err(Damaged) | Ok(None) => {}
                Ok(Some(shorter)) => prop_assert!(read.groups.starts_with(&shorter.groups)),
            }
        }
    }
}
