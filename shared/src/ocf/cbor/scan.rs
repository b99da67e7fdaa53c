//! The scan that every untrusted body must pass.

use super::{CborError, Item, Reader};

/// Deepest nesting of arrays, maps and tags in a body.
pub const DEPTH_MAX: usize = 16;

/// Checks that `bytes` are exactly one well-formed item within the bounds: nesting, duplicate keys,
/// UTF-8, end of input. Takes time in proportion to the input (times its logarithm, for maps) and
/// memory of at most twice the input.
pub fn scan(bytes: &[u8]) -> Result<(), CborError> {
    let mut scanner = Scanner::new(Reader::new(bytes));
    scanner.item(0)?;
    if scanner.reader.is_at_end() { Ok(()) } else { Err(CborError::TrailingBytes) }
}

/// Walks through one item and checks what it is made of.
pub(super) struct Scanner<'a> {
    reader: Reader<'a>,
    /// Offsets of the keys of all maps that are open, innermost last.
    keys: Vec<u32>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, keys: Vec::new() }
    }

    /// The reader, where the walk ended.
    pub(super) fn into_reader(self) -> Reader<'a> {
        self.reader
    }

    /// One whole item.
    pub(super) fn item(&mut self, depth: usize) -> Result<(), CborError> {
        match self.reader.next_item()? {
            Item::Break => Err(CborError::Malformed),
            item => self.rest_of(item, depth),
        }
    }

    fn rest_of(&mut self, item: Item<'a>, depth: usize) -> Result<(), CborError> {
        let nested = matches!(item, Item::Array(_) | Item::Map(_) | Item::Tag(_));
        if nested && depth == DEPTH_MAX {
            return Err(CborError::TooDeep);
        }
        match item {
            Item::Array(Some(len)) => (0..len).try_for_each(|_| self.item(depth + 1)),
            Item::Array(None) => {
                while let Some(item) = self.until_break()? {
                    self.rest_of(item, depth + 1)?;
                }
                Ok(())
            }
            Item::Map(len) => self.map(len, depth + 1),
            Item::Tag(_) => self.item(depth + 1),
            Item::BytesStart => self.chunks(|item| matches!(item, Item::Bytes(_))),
            Item::TextStart => self.chunks(|item| matches!(item, Item::Text(_))),
            _ => Ok(()),
        }
    }

    fn until_break(&mut self) -> Result<Option<Item<'a>>, CborError> {
        Ok(Some(self.reader.next_item()?).filter(|item| *item != Item::Break))
    }

    fn chunks(&mut self, fits: impl Fn(&Item<'a>) -> bool) -> Result<(), CborError> {
        while let Some(item) = self.until_break()? {
            if !fits(&item) {
                return Err(CborError::Malformed);
            }
        }
        Ok(())
    }

    fn map(&mut self, len: Option<u64>, depth: usize) -> Result<(), CborError> {
        let first_key = self.keys.len();
        let mut left = len;
        while left != Some(0) {
            let at = self.reader.position();
            let key = self.reader.next_item()?;
            if key == Item::Break {
                if len.is_some() {
                    return Err(CborError::Malformed);
                }
                break;
            }
            if !matches!(
                key,
                Item::Text(_)
                    | Item::Bytes(_)
                    | Item::Unsigned(_)
                    | Item::Negative(_)
                    | Item::Bool(_)
                    | Item::Null
                    | Item::Simple(_)
                    | Item::Float(_)
            ) {
                return Err(CborError::BadKey);
            }
            self.keys.push(u32::try_from(at).map_err(|_| CborError::TooDeep)?);
            self.item(depth)?;
            left = left.map(|left| left - 1);
        }
        let bytes = self.reader.input();
        let keys = &mut self.keys[first_key..];
        keys.sort_unstable_by(|&a, &b| key_order(bytes, a).cmp(&key_order(bytes, b)));
        let twice = keys.windows(2).any(|two| key_order(bytes, two[0]) == key_order(bytes, two[1]));
        self.keys.truncate(first_key);
        if twice { Err(CborError::DuplicateKey) } else { Ok(()) }
    }
}

/// What makes two keys the same: kind and value, however the length was written.
fn key_order(bytes: &[u8], at: u32) -> (u8, u64, &[u8]) {
    match Reader::at(bytes, at as usize).next_item() {
        Ok(Item::Unsigned(value)) => (0, value, &[]),
        Ok(Item::Negative(value)) => (1, value, &[]),
        Ok(Item::Bytes(value)) => (2, 0, value),
        Ok(Item::Text(value)) => (3, 0, value.as_bytes()),
        Ok(Item::Bool(value)) => (4, u64::from(value), &[]),
        Ok(Item::Float(value)) => (5, value.to_bits(), &[]),
        // Null, and simple values that mean nothing here and are written as null.
        _ => (6, 0, &[]),
    }
}
