//! The reader: one step at a time, borrowing.

use super::CborError;
use super::scan::Scanner;

/// One step through a CBOR item.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Item<'a> {
    /// An unsigned integer.
    Unsigned(u64),
    /// The negative integer −1 − n.
    Negative(u64),
    /// A byte string in one piece.
    Bytes(&'a [u8]),
    /// A text string in one piece, known to be UTF-8.
    Text(&'a str),
    /// A byte string in pieces follows, up to [`Item::Break`].
    BytesStart,
    /// A text string in pieces follows, up to [`Item::Break`].
    TextStart,
    /// An array of so many items follows; of unknown length, up to [`Item::Break`], when none.
    Array(Option<u64>),
    /// A map of so many pairs follows; of unknown length, up to [`Item::Break`], when none.
    Map(Option<u64>),
    /// A tag for the next item.
    Tag(u64),
    /// `false` or `true`.
    Bool(bool),
    /// `null`.
    Null,
    /// `undefined` or another simple value.
    Simple(u8),
    /// A float of any width, widened exactly.
    Float(f64),
    /// The end of something of unknown length.
    Break,
}

/// Reads items one after the other, borrowing from the input. Knows nothing of nesting: use it on
/// bytes that have passed [`scan`], or watch the depth yourself.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Somewhere in these bytes.
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// All bytes, those that were read too.
    pub(super) fn input(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the next byte ends something of unknown length.
    pub(super) fn is_at_break(&self) -> bool {
        self.bytes.get(self.at) == Some(&0xff)
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Nothing left.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next item.
    pub fn next_item(&mut self) -> Result<Item<'a>, CborError> {
        let initial = self.take(1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        if info == 31 {
            return match major {
                2 => Ok(Item::BytesStart),
                3 => Ok(Item::TextStart),
                4 => Ok(Item::Array(None)),
                5 => Ok(Item::Map(None)),
                7 => Ok(Item::Break),
                _ => Err(CborError::Malformed),
            };
        }
        if major == 7 {
            return self.simple_or_float(info);
        }
        let value = self.argument(info)?;
        Ok(match major {
            0 => Item::Unsigned(value),
            1 => Item::Negative(value),
            2 => Item::Bytes(self.string(value)?),
            3 => Item::Text(
                std::str::from_utf8(self.string(value)?).map_err(|_| CborError::NotUtf8)?,
            ),
            4 => Item::Array(Some(value)),
            5 => Item::Map(Some(value)),
            _ => Item::Tag(value),
        })
    }

    /// Passes over one whole item. The input must have passed [`scan`], which bounds the nesting.
    pub fn skip(&mut self) -> Result<(), CborError> {
        let start = self.at;
        let mut scanner = Scanner::new(self.clone());
        scanner.item(0)?;
        *self = scanner.into_reader();
        debug_assert!(self.at > start);
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CborError> {
        let end = self.at.checked_add(count).ok_or(CborError::CutShort)?;
        let taken = self.bytes.get(self.at..end).ok_or(CborError::CutShort)?;
        self.at = end;
        Ok(taken)
    }

    fn string(&mut self, len: u64) -> Result<&'a [u8], CborError> {
        self.take(usize::try_from(len).map_err(|_| CborError::CutShort)?)
    }

    fn argument(&mut self, info: u8) -> Result<u64, CborError> {
        let width = match info {
            0..=23 => return Ok(u64::from(info)),
            24..=27 => 1usize << (info - 24),
            _ => return Err(CborError::Malformed),
        };
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn simple_or_float(&mut self, info: u8) -> Result<Item<'a>, CborError> {
        Ok(match info {
            20 => Item::Bool(false),
            21 => Item::Bool(true),
            22 => Item::Null,
            0..=23 => Item::Simple(info),
            24 => match self.take(1)?[0] {
                value @ 32.. => Item::Simple(value),
                _ => return Err(CborError::Malformed),
            },
            25 => Item::Float(half_to_f64(self.argument(info)? as u16)),
            26 => Item::Float(f64::from(f32::from_bits(self.argument(info)? as u32))),
            27 => Item::Float(f64::from_bits(self.argument(info)?)),
            _ => return Err(CborError::Malformed),
        })
    }
}

/// RFC 8949 appendix D.
fn half_to_f64(half: u16) -> f64 {
    let exponent = i32::from(half >> 10 & 0x1f);
    let mantissa = f64::from(half & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { magnitude } else { -magnitude }
}
