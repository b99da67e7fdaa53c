//! TLS records out of what single reads of a socket returned.
//!
//! iotivity-lite reads 6 bytes at the beginning of a record, learns its length from them and then
//! reads the rest. A read that returns fewer than 6 bytes there makes it hang up (device reference
//! 1.3, rule 15); elsewhere a record may arrive in any pieces.

use super::breach::Breach;
use super::stack::Stack;

/// What iotivity-lite reads first.
const FIRST_READ_BYTES: usize = 6;
/// Type, version and length.
const HEADER_BYTES: usize = 5;

/// Bytes received and not yet passed on; they begin with a record.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Takes what one read returned. `cut` says that the read ended because its buffer was full, so
    /// that its end says nothing about how the bytes arrived.
    pub(super) fn absorb(&mut self, bytes: &[u8], cut: bool, stack: Stack) -> Result<(), Breach> {
        self.0.extend_from_slice(bytes);
        if stack == Stack::Fussy && !cut {
            let begun = self.0.len() - self.whole_bytes();
            if (1..FIRST_READ_BYTES).contains(&begun) {
                return Err(Breach::SplitRecordHeader { bytes: begun });
            }
        }
        Ok(())
    }

    /// Whether everything was passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of whole records at the front.
    fn whole_bytes(&self) -> usize {
        let mut at = 0;
        while let Some(length) = whole_record(&self.0[at..]) {
            at += length;
        }
        at
    }

    /// Moves the next whole record to the end of `to`.
    pub(super) fn take(&mut self, to: &mut Vec<u8>) -> bool {
        let Some(length) = whole_record(&self.0) else { return false };
        if length == self.0.len() && to.is_empty() {
            // The usual case: one record, which nobody has to copy or keep room for.
            *to = std::mem::take(&mut self.0);
        } else {
            to.extend(self.0.drain(..length));
        }
        true
    }
}

/// Length of the record at the front of `bytes`, if it is all there.
fn whole_record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER_BYTES)?;
    let length = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
    (length <= bytes.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [u8; 8] = [23, 3, 3, 0, 3, 1, 2, 3];

    fn taken(records: &mut Records) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut record = Vec::new();
        while records.take(&mut record) {
            all.push(std::mem::take(&mut record));
        }
        all
    }

    #[test]
    fn several_records_in_one_read_come_out_one_by_one() {
        let mut records = Records::default();
        records.absorb(&[RECORD, RECORD].concat(), false, Stack::Fussy).unwrap();
        assert_eq!(taken(&mut records), [RECORD, RECORD]);
    }

    #[test]
    fn a_record_may_arrive_in_pieces_once_six_bytes_of_it_are_there() {
        let mut records = Records::default();
        for piece in [&RECORD[..6], &RECORD[6..7], &RECORD[7..]] {
            assert!(taken(&mut records).is_empty());
            records.absorb(piece, false, Stack::Fussy).unwrap();
        }
        assert_eq!(taken(&mut records), [RECORD]);
    }

    #[test]
    fn rule_15_bites_when_a_read_ends_within_the_first_six_bytes_of_a_record() {
        for bytes in 1..6 {
            let mut records = Records::default();
            let read = [&RECORD[..], &RECORD[..bytes]].concat();
            let broken = Err(Breach::SplitRecordHeader { bytes });
            assert_eq!(records.absorb(&read, false, Stack::Fussy), broken);
        }
    }

    #[test]
    fn the_end_of_a_full_buffer_is_no_end_of_a_segment() {
        let mut records = Records::default();
        records.absorb(&RECORD[..3], true, Stack::Fussy).unwrap();
        records.absorb(&RECORD[3..], false, Stack::Fussy).unwrap();
        assert_eq!(taken(&mut records), [RECORD]);
    }

    #[test]
    fn a_tolerant_stack_takes_any_pieces() {
        let mut records = Records::default();
        for byte in RECORD {
            records.absorb(&[byte], false, Stack::Tolerant).unwrap();
        }
        assert_eq!(taken(&mut records), [RECORD]);
    }
}
