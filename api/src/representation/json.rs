//! CBOR to JSON (cloud reference 4.13): what devices said, as partners read it.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD};
use shared::ocf::cbor::{CborError, Item, Reader};

use super::{DEPTH_MAX, Root, any_twice};

/// Longest big number (tags 2 and 3) in bytes: turning it into decimal digits takes quadratic time.
const BIG_NUMBER_BYTES_MAX: usize = 256;

/// Why bytes cannot be shown as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CborFault {
    /// Not exactly one well-formed item.
    #[error(transparent)]
    Malformed(#[from] CborError),
    /// A map key that is neither text nor an integer.
    #[error("a map key is neither text nor an integer")]
    Key,
    /// Two keys of a map are the same, or become the same text.
    #[error("a key occurs twice")]
    DuplicateKey,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than 64 levels")]
    TooDeep,
    /// A big number of more than [`BIG_NUMBER_BYTES_MAX`] bytes.
    #[error("a number is longer than 256 bytes")]
    NumberTooLong,
}

/// Appends the JSON of these bytes, which must be exactly one item. On failure nothing is appended.
///
/// At most eight bytes come out for each that goes in.
pub fn write_json(out: &mut Vec<u8>, cbor: &[u8]) -> Result<Root, CborFault> {
    let start = out.len();
    let mut writer = JsonWriter { reader: Reader::new(cbor), out, keys: Vec::new() };
    let written = writer.document();
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Whether these bytes could be shown as JSON: the measure for every CBOR body that comes in.
pub fn check(cbor: &[u8]) -> Result<Root, CborFault> {
    write_json(&mut Vec::with_capacity(cbor.len() * 2), cbor)
}

/// Appends a text as a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory cannot fail");
}

/// Appends an integer.
pub(super) fn write_integer(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory cannot fail");
}

/// Appends a double: the shortest text that reads back to it, with a fraction or an exponent so that
/// it reads back as a double. What JSON has no number for becomes `null`.
pub(super) fn write_double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        write!(out, "{value:?}").expect("writing to memory cannot fail");
    } else {
        out.extend_from_slice(b"null");
    }
}

struct JsonWriter<'a, 'o> {
    reader: Reader<'a>,
    out: &'o mut Vec<u8>,
    /// Where in `out` the keys of all open maps stand, innermost last. Escaping is injective, so keys
    /// are equal exactly if what was written for them is.
    keys: Vec<(usize, usize)>,
}

impl<'a> JsonWriter<'a, '_> {
    fn document(&mut self) -> Result<Root, CborFault> {
        let first = self.reader.next_item()?;
        self.rest_of(first, 0)?;
        if !self.reader.is_at_end() {
            return Err(CborError::TrailingBytes.into());
        }
        Ok(match first {
            Item::Map(_) => Root::Object,
            Item::Array(_) => Root::Array,
            _ => Root::Scalar,
        })
    }

    fn rest_of(&mut self, item: Item<'a>, depth: usize) -> Result<(), CborFault> {
        let nests = matches!(item, Item::Array(_) | Item::Map(_) | Item::Tag(_));
        if nests && depth == DEPTH_MAX {
            return Err(CborFault::TooDeep);
        }
        match item {
            Item::Unsigned(value) => write_integer(self.out, value),
            Item::Negative(value) => write_integer(self.out, -1 - i128::from(value)),
            Item::Float(value) => write_double(self.out, value),
            Item::Text(text) => write_text(self.out, text),
            Item::TextStart => {
                let text = self.joined_text()?;
                write_text(self.out, &text);
            }
            Item::Bytes(bytes) => self.base64(&STANDARD, bytes),
            Item::BytesStart => {
                let bytes = self.joined_bytes()?;
                self.base64(&STANDARD, &bytes);
            }
            Item::Array(len) => self.array(len, depth + 1)?,
            Item::Map(len) => self.map(len, depth + 1)?,
            Item::Tag(tag) => self.tagged(tag, depth + 1)?,
            Item::Bool(true) => self.out.extend_from_slice(b"true"),
            Item::Bool(false) => self.out.extend_from_slice(b"false"),
            Item::Null | Item::Simple(_) => self.out.extend_from_slice(b"null"),
            Item::Break => return Err(CborError::Malformed.into()),
        }
        Ok(())
    }

    /// The next part of something of known or unknown length, none at its end.
    fn next_part(&mut self, left: &mut Option<u64>) -> Result<Option<Item<'a>>, CborFault> {
        match left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        match self.reader.next_item()? {
            Item::Break if left.is_none() => Ok(None),
            Item::Break => Err(CborError::Malformed.into()),
            item => Ok(Some(item)),
        }
    }

    fn array(&mut self, mut left: Option<u64>, depth: usize) -> Result<(), CborFault> {
        self.out.push(b'[');
        let mut separator = None;
        while let Some(item) = self.next_part(&mut left)? {
            self.out.extend(separator.replace(b','));
            self.rest_of(item, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, mut left: Option<u64>, depth: usize) -> Result<(), CborFault> {
        let first_key = self.keys.len();
        self.out.push(b'{');
        let mut separator = None;
        while let Some(key) = self.next_part(&mut left)? {
            self.out.extend(separator.replace(b','));
            let start = self.out.len();
            self.key(key)?;
            self.keys.push((start, self.out.len()));
            self.out.push(b':');
            let value = self.reader.next_item()?;
            self.rest_of(value, depth)?;
        }
        self.out.push(b'}');
        let twice = any_twice(self.out, &mut self.keys[first_key..]);
        self.keys.truncate(first_key);
        if twice { Err(CborFault::DuplicateKey) } else { Ok(()) }
    }

    fn key(&mut self, key: Item<'a>) -> Result<(), CborFault> {
        match key {
            Item::Text(text) => write_text(self.out, text),
            Item::TextStart => {
                let text = self.joined_text()?;
                write_text(self.out, &text);
            }
            Item::Unsigned(value) => self.quoted(|out| write_integer(out, value)),
            Item::Negative(value) => self.quoted(|out| write_integer(out, -1 - i128::from(value))),
            _ => return Err(CborFault::Key),
        }
        Ok(())
    }

    /// The value behind a tag. A tag that says nothing about bytes is dropped.
    fn tagged(&mut self, tag: u64, depth: usize) -> Result<(), CborFault> {
        let item = self.reader.next_item()?;
        let joined;
        let bytes = match item {
            Item::Bytes(bytes) => bytes,
            Item::BytesStart => {
                joined = self.joined_bytes()?;
                &joined[..]
            }
            item => return self.rest_of(item, depth),
        };
        match tag {
            2 | 3 => self.big_number(bytes, tag == 3)?,
            21 => self.base64(&URL_SAFE_NO_PAD, bytes),
            23 => self.quoted(|out| out.extend(bytes.iter().flat_map(|&byte| hex(byte)))),
            _ => self.base64(&STANDARD, bytes),
        }
        Ok(())
    }

    fn joined_text(&mut self) -> Result<String, CborFault> {
        let mut joined = String::new();
        loop {
            match self.reader.next_item()? {
                Item::Text(text) => joined.push_str(text),
                Item::Break => return Ok(joined),
                _ => return Err(CborError::Malformed.into()),
            }
        }
    }

    fn joined_bytes(&mut self) -> Result<Vec<u8>, CborFault> {
        let mut joined = Vec::new();
        loop {
            match self.reader.next_item()? {
                Item::Bytes(bytes) => joined.extend_from_slice(bytes),
                Item::Break => return Ok(joined),
                _ => return Err(CborError::Malformed.into()),
            }
        }
    }

    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn base64(&mut self, engine: &GeneralPurpose, bytes: &[u8]) {
        self.quoted(|out| {
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = engine
                .encode_slice(bytes, &mut out[start..])
                .expect("four characters for every three bytes are enough");
            out.truncate(start + written);
        });
    }

    /// A big number as text: its decimal digits, of `-1 - n` if it is negative (RFC 8949 §3.4.3).
    fn big_number(&mut self, bytes: &[u8], negative: bool) -> Result<(), CborFault> {
        if bytes.len() > BIG_NUMBER_BYTES_MAX {
            return Err(CborFault::NumberTooLong);
        }
        let digits = decimal(bytes, u32::from(negative));
        self.quoted(|out| {
            out.extend(negative.then_some(b'-'));
            out.extend_from_slice(digits.as_bytes());
        });
        Ok(())
    }
}

/// Upper-case hexadecimal, as tag 23 asks for.
fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Decimal digits of a big-endian number plus `addend`.
fn decimal(bytes: &[u8], addend: u32) -> String {
    const BASE: u64 = 1_000_000_000;
    // Groups of nine digits, the lowest first.
    let mut groups = vec![0u32];
    let mut shift_in = |factor: u64, value: u32| {
        let mut carry = u64::from(value);
        for group in &mut groups {
            carry += u64::from(*group) * factor;
            *group = (carry % BASE) as u32;
            carry /= BASE;
        }
        if carry > 0 {
            groups.push(carry as u32);
        }
    };
    bytes.iter().for_each(|&byte| shift_in(256, u32::from(byte)));
    shift_in(1, addend);
    let mut groups = groups.into_iter().rev();
    let mut text = groups.next().unwrap_or_default().to_string();
    groups.for_each(|group| text.push_str(&format!("{group:09}")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(cbor: &[u8]) -> Result<String, CborFault> {
        let mut out = b"before".to_vec();
        let written = write_json(&mut out, cbor).map(|_| ());
        let text = String::from_utf8(out).unwrap();
        let after = text.strip_prefix("before").unwrap().to_owned();
        match written {
            Ok(()) => Ok(after),
            Err(fault) => {
                assert_eq!(after, "", "nothing is left of a failure");
                Err(fault)
            }
        }
    }

    /// Cloud reference 7.5 and 4.13, row by row.
    #[test]
    fn every_row_of_the_table_holds() {
        for (cbor, text) in [
            (&b"\x00"[..], "0"),
            (b"\x26", "-7"),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616"),
            (b"\xf9\x4d\x60", "21.5"),
            (b"\xf9\x4d\x40", "21.0"),
            (b"\xfb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
            (b"\xf9\x80\x00", "-0.0"),
            (b"\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c", "1e300"),
            (b"\xf9\x7e\x00", "null"),
            (b"\xf9\x7c\x00", "null"),
            (b"\xf9\xfc\x00", "null"),
            (b"\xa1\x61b\x43\x01\x02\xff", r#"{"b":"AQL/"}"#),
            (b"\x41\x01", r#""AQ==""#),
            (b"\x5f\x41\x01\x42\x02\xff\xff", r#""AQL/""#),
            (b"\x63a\"\n", r#""a\"\n""#),
            (b"\x7f\x61a\x62\xc3\xa4\xff", "\"aä\""),
            (b"\x9f\x01\x82\x02\x03\xff", "[1,[2,3]]"),
            (b"\xbf\x61a\xa0\x61b\x80\xff", r#"{"a":{},"b":[]}"#),
            (b"\xa2\x01\x61a\x26\x61b", r#"{"1":"a","-7":"b"}"#),
            (b"\x83\xf5\xf4\xf6", "[true,false,null]"),
            (b"\x82\xf7\xf8\xff", "[null,null]"),
            (b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", r#""18446744073709551616""#),
            (b"\xc3\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", r#""-18446744073709551617""#),
            (b"\xc2\x40", r#""0""#),
            (b"\xc3\x40", r#""-1""#),
            (b"\xc3\x41\xff", r#""-256""#),
            (b"\xc0\x6a2024-01-01", r#""2024-01-01""#),
            (b"\xc1\x1a\x00\x01\x00\x00", "65536"),
            (b"\xd8\x18\x41\xff", r#""/w==""#),
            (b"\xd5\x42\xff\xff", r#""__8""#),
            (b"\xd6\x42\xff\xff", r#""//8=""#),
            (b"\xd7\x42\xab\x0f", r#""AB0F""#),
            (b"\xd9\xd9\xf7\x01", "1"),
        ] {
            assert_eq!(json(cbor).as_deref(), Ok(text), "{cbor:02x?}");
        }
    }

    #[test]
    fn what_has_no_json_is_refused_and_leaves_nothing_behind() {
        let malformed = CborFault::Malformed;
        for (cbor, fault) in [
            (&b""[..], malformed(CborError::CutShort)),
            (b"\x00\x00", malformed(CborError::TrailingBytes)),
            (b"\xff", malformed(CborError::Malformed)),
            (b"\x82\x01\xff", malformed(CborError::Malformed)),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", malformed(CborError::CutShort)),
            (b"\xbf\x61a\xff", malformed(CborError::Malformed)),
            (b"\x7f\x41x\xff", malformed(CborError::Malformed)),
            (b"\x61\xff", malformed(CborError::NotUtf8)),
            (b"\xa1\x41a\x01", CborFault::Key),
            (b"\xa1\xf5\x01", CborFault::Key),
            (b"\xa1\xc0\x61a\x01", CborFault::Key),
            (b"\xa2\x61a\x01\x61a\x02", CborFault::DuplicateKey),
            (b"\xa3\x61a\x01\x61b\x03\x7f\x61a\xff\x02", CborFault::DuplicateKey),
            (b"\xa2\x01\x01\x611\x02", CborFault::DuplicateKey),
        ] {
            assert_eq!(json(cbor), Err(fault), "{cbor:02x?}");
        }
        let mut long = vec![0xc2, 0x59, 0x01, 0x01];
        long.resize(4 + 257, 1);
        assert_eq!(json(&long), Err(CborFault::NumberTooLong));
    }

    #[test]
    fn nesting_is_bounded_whatever_it_is_made_of() {
        for open in [&b"\x81"[..], b"\xa1\x00", b"\xc1", b"\x9f"] {
            let mut deep = open.repeat(DEPTH_MAX + 1);
            deep.push(0);
            assert_eq!(json(&deep), Err(CborFault::TooDeep), "{open:02x?}");
        }
        let mut allowed = b"\x81".repeat(DEPTH_MAX);
        allowed.push(0);
        assert!(json(&allowed).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_give_valid_json_or_a_fault_and_stay_small(
            bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            if let Ok(text) = json(&bytes) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
                prop_assert!(text.len() <= 8 * bytes.len(), "{} of {}", text.len(), bytes.len());
            }
        }

        #[test]
        fn every_double_reads_back_to_itself(bits: u64) {
            let value = f64::from_bits(bits);
            let mut cbor = vec![0xfb];
            cbor.extend_from_slice(&value.to_be_bytes());
            let text = json(&cbor).unwrap();
            if value.is_finite() {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
                prop_assert!(text.contains(['.', 'e']));
            } else {
                prop_assert_eq!(text, "null");
            }
        }

        #[test]
        fn big_numbers_agree_with_the_machine(value: u128) {
            prop_assert_eq!(decimal(&value.to_be_bytes(), 0), value.to_string());
        }
    }
}
