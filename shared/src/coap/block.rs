//! Bodies in blocks: the values of Block1 and Block2, what may follow what, and where a body is cut
//! (RFC 7959; BERT, RFC 8323 §6).
//!
//! ```text
//! │ number │ more │ szx │      a block begins at number × 2^(szx + 4); szx 7 is BERT: numbers count
//!   20 bit   1 bit  3 bit       1024 bytes, and one message carries any number of them
//! ```

use std::ops::Range;

/// The size exponent that says BERT.
pub const BERT: u8 = 7;

/// What the number of a BERT block counts.
const BERT_UNIT: usize = 1024;

/// Largest number of a block: 20 bits.
const NUMBER_MAX: usize = 0xf_ffff;

/// A Block1 or Block2 option (RFC 7959 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Number of the block.
    pub number: u32,
    /// More blocks follow.
    pub more: bool,
    /// Size exponent, 0 to 7; 7 is [`BERT`].
    pub szx: u8,
}

impl Block {
    /// From the value of the option.
    pub fn parse(value: u32) -> Self {
        Self { number: value >> 4, more: value & 8 != 0, szx: (value & 7) as u8 }
    }

    /// The value of the option.
    pub fn value(self) -> u32 {
        self.number << 4 | u32::from(self.more) << 3 | u32::from(self.szx & 7)
    }

    /// The whole body in one block: nothing before it and nothing after it.
    pub fn is_whole(self) -> bool {
        self.number == 0 && !self.more
    }

    /// Bytes of a block; of BERT what its numbers count.
    pub fn size(self) -> usize {
        unit(self.szx)
    }

    /// Where in the body it begins.
    pub fn offset(self) -> usize {
        self.number as usize * self.size()
    }
}

/// What the number of a block with this exponent counts.
fn unit(szx: u8) -> usize {
    match szx {
        0..=6 => 16 << szx,
        _ => BERT_UNIT,
    }
}

/// Why a block does not continue a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockError {
    /// It does not begin where the last one ended: 4.08 (RFC 7959 §2.9.2).
    #[error("a block is missing")]
    Gap,
    /// More are to follow, and it is not as long as its exponent says: 4.00 (RFC 7959 §2.2).
    #[error("a block that is not the last has another length")]
    Length,
    /// The body grows above the limit: 4.13 (RFC 7959 §2.9.3).
    #[error("a body above {limit} bytes")]
    TooLarge {
        /// Bytes of the largest body.
        limit: usize,
    },
}

/// A body of which some blocks have come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assembly {
    body: Vec<u8>,
}

impl Assembly {
    /// Appends a block. The block with number 0 begins the body anew (RFC 7959 §2.5).
    pub fn push(&mut self, block: Block, payload: &[u8], limit: usize) -> Result<(), BlockError> {
        let offset = block.offset();
        if offset != 0 && offset != self.body.len() {
            return Err(BlockError::Gap);
        }
        let fits = match block.szx {
            BERT => !payload.is_empty() && payload.len().is_multiple_of(BERT_UNIT),
            _ => payload.len() == block.size(),
        };
        // The last one may be shorter, but no longer than a block.
        let fits = fits || !block.more && (block.szx == BERT || payload.len() < block.size());
        if !fits {
            return Err(BlockError::Length);
        }
        if payload.len() > limit.saturating_sub(offset) {
            return Err(BlockError::TooLarge { limit });
        }
        self.body.truncate(offset);
        self.body.extend_from_slice(payload);
        Ok(())
    }

    /// Takes the last bytes back, which a block has brought.
    pub fn shorten(&mut self, len: usize) {
        self.body.truncate(len);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// What has come.
    pub fn as_slice(&self) -> &[u8] {
        &self.body
    }
}

/// The largest exponent, at most this one, whose blocks leave no more than `room` bytes in a message;
/// none when not even 16 bytes fit.
pub fn fitting_szx(szx: u8, room: usize) -> Option<u8> {
    (0..=szx.min(BERT)).rev().find(|&szx| unit(szx) <= room)
}

/// The block of a body that begins at `offset`, with this exponent, in a message with so much room;
/// and its bytes. None beyond the end of the body, or when the offset is no beginning of a block.
pub fn cut(body_len: usize, offset: usize, szx: u8, room: usize) -> Option<(Block, Range<usize>)> {
    let unit = unit(szx);
    let number = offset / unit;
    if !offset.is_multiple_of(unit) || number > NUMBER_MAX || offset > 0 && offset >= body_len {
        return None;
    }
    let most = if szx == BERT { room / unit * unit } else { unit };
    // The last block of BERT need not be a multiple, and fits if all that is left does.
    let rest = body_len - offset;
    let len = if szx == BERT && rest <= room { rest } else { rest.min(most) };
    let more = len < rest;
    Some((Block { number: number as u32, more, szx }, offset..offset + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u32, more: bool, szx: u8) -> Block {
        Block { number, more, szx }
    }

    /// RFC 7959 §2.2.
    #[test]
    fn values_are_read_and_written() {
        for (value, expected) in [
            (0, block(0, false, 0)),
            (0x0e, block(0, true, 6)),
            (0x16, block(1, false, 6)),
            (0xff_ffff, block(0xf_ffff, true, 7)),
        ] {
            assert_eq!(Block::parse(value), expected);
            assert_eq!(expected.value(), value);
        }
    }

    #[test]
    fn sizes_are_powers_of_two_and_those_of_bert_count_1024() {
        let sizes: Vec<_> = (0..=7).map(|szx| block(1, true, szx).offset()).collect();
        assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 1024, 1024]);
    }

    #[test]
    fn a_body_grows_block_by_block() {
        let mut body = Assembly::default();
        body.push(block(0, true, 0), &[1; 16], 100).unwrap();
        body.push(block(1, true, 0), &[2; 16], 100).unwrap();
        // The exponent may change where the numbers still fit.
        body.push(block(1, true, 1), &[3; 32], 100).unwrap();
        body.push(block(2, false, 1), &[4; 5], 100).unwrap();
        assert_eq!(body.len(), 69);
        body.push(block(0, false, 6), &[9], 100).unwrap();
        assert_eq!(body.as_slice(), [9]);
    }

    #[test]
    fn what_does_not_continue_a_body_is_refused_and_changes_nothing() {
        let mut body = Assembly::default();
        body.push(block(0, true, 0), &[1; 16], 40).unwrap();
        for (next, payload, error) in [
            (block(2, true, 0), 16, BlockError::Gap),
            (block(1, true, 1), 32, BlockError::Gap),
            (block(1, true, 0), 15, BlockError::Length),
            (block(1, true, 0), 17, BlockError::Length),
            (block(1, false, 0), 17, BlockError::Length),
            (block(0, true, BERT), 0, BlockError::Length),
            (block(0, true, BERT), 1000, BlockError::Length),
            (block(0, false, 6), 41, BlockError::TooLarge { limit: 40 }),
            (block(0xf_ffff, true, BERT), 1024, BlockError::Gap),
        ] {
            assert_eq!(body.push(next, &vec![2; payload], 40), Err(error), "{next:?}");
            assert_eq!(body.as_slice(), [1; 16]);
        }
        body.push(block(1, true, 0), &[2; 16], 40).unwrap();
        let above = body.push(block(2, false, 0), &[3; 9], 40);
        assert_eq!(above, Err(BlockError::TooLarge { limit: 40 }));
    }

    /// RFC 8323 §6: several units of 1024 bytes in one message, the last one of any length.
    #[test]
    fn bert_blocks_carry_as_much_as_fits() {
        assert_eq!(cut(5000, 0, BERT, 3000), Some((block(0, true, BERT), 0..2048)));
        assert_eq!(cut(5000, 2048, BERT, 3000), Some((block(2, false, BERT), 2048..5000)));
        assert_eq!(cut(5000, 0, 6, 3000), Some((block(0, true, 6), 0..1024)));
        assert_eq!(cut(1024, 0, 6, 3000), Some((block(0, false, 6), 0..1024)));
        assert_eq!(cut(5000, 5120, 6, 3000), None);
        assert_eq!(cut(5000, 1000, 6, 3000), None);
        assert_eq!(cut(usize::MAX, 1024 << 20, BERT, 3000), None);
        assert_eq!((fitting_szx(7, 1024), fitting_szx(6, 1023)), (Some(7), Some(5)));
        assert_eq!((fitting_szx(2, 1023), fitting_szx(6, 15)), (Some(2), None));
    }

    proptest::proptest! {
        /// Whatever is cut comes together again.
        #[test]
        fn cut_and_assembled(
            body in proptest::collection::vec(0u8.., 0..6000), szx in 0u8..8, room in 16usize..5000
        ) {
            let Some(szx) = fitting_szx(szx, room) else { return Ok(()) };
            let mut assembly = Assembly::default();
            loop {
                let (block, range) = cut(body.len(), assembly.len(), szx, room).expect("a block");
                proptest::prop_assert!(range.len() <= room);
                assembly.push(block, &body[range], body.len()).expect("it continues the body");
                if !block.more {
                    break;
                }
            }
            proptest::prop_assert_eq!(assembly.as_slice(), body);
        }
    }
}
