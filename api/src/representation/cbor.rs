//! JSON to CBOR (cloud reference 4.13): what partners write, as devices read it.
//!
//! The JSON is read here and not by `serde_json`, because the text of a number decides what it
//! becomes: `-0` is an integer and `-0.0` a double, which `serde_json` only tells apart with its
//! feature `arbitrary_precision`, under which an object with a certain key passes for a number. Tests
//! compare both readers.

use shared::ocf::cbor::Writer;

use super::head::Head;
use super::{DEPTH_MAX, Root, any_twice};

/// Why a text is not JSON that may be sent to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct JsonFault {
    /// What is wrong.
    pub fault: Fault,
    /// Where, counted from 0.
    pub at: usize,
}

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Ends in the middle.
    #[error("unexpected end")]
    CutShort,
    /// A character that RFC 8259 does not allow here.
    #[error("unexpected character")]
    Unexpected,
    /// An escape that RFC 8259 does not know, or half of a surrogate pair.
    #[error("bad escape")]
    BadEscape,
    /// A number that no double can hold.
    #[error("number out of range")]
    NumberOutOfRange,
    /// The same key twice in one object.
    #[error("a key occurs twice in the object that ends")]
    DuplicateKey,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than 64 levels")]
    TooDeep,
    /// More text behind the value.
    #[error("more text after the value")]
    Trailing,
}

/// Appends the CBOR of a JSON text: definite lengths, shortest integers, doubles. On failure what was
/// appended is of no use.
///
/// At most three bytes come out for each that goes in.
pub fn write_cbor(out: &mut Vec<u8>, json: &[u8]) -> Result<Root, JsonFault> {
    let text = std::str::from_utf8(json)
        .map_err(|error| JsonFault { fault: Fault::NotUtf8, at: error.valid_up_to() })?;
    let mut writer = CborWriter { text, at: 0, out, keys: Vec::new(), unescaped: String::new() };
    writer.document().map_err(|fault| JsonFault { fault, at: writer.at })
}

struct CborWriter<'a, 'o> {
    text: &'a str,
    at: usize,
    out: &'o mut Vec<u8>,
    /// Where in `out` the keys of all open objects stand, innermost last. They are relative to the
    /// first byte behind the reserved head, so they are compared before the head is filled in.
    keys: Vec<(usize, usize)>,
    /// Room for a string with escapes.
    unescaped: String,
}

impl<'a> CborWriter<'a, '_> {
    fn document(&mut self) -> Result<Root, Fault> {
        self.skip_space();
        let root = match self.peek() {
            Some(b'{') => Root::Object,
            Some(b'[') => Root::Array,
            _ => Root::Scalar,
        };
        self.value(0)?;
        self.skip_space();
        if self.at == self.text.len() { Ok(root) } else { Err(Fault::Trailing) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::CutShort)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte, after white space.
    fn take(&mut self, wanted: u8) -> Result<(), Fault> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::Unexpected),
            None => Err(Fault::CutShort),
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        self.skip_space();
        match self.peek().ok_or(Fault::CutShort)? {
            b'{' | b'[' if depth == DEPTH_MAX => Err(Fault::TooDeep),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true", 0xf5),
            b'f' => self.literal("false", 0xf4),
            b'n' => self.literal("null", 0xf6),
            _ => Err(Fault::Unexpected),
        }
    }

    fn literal(&mut self, word: &str, cbor: u8) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::Unexpected);
        }
        self.at += word.len();
        self.out.push(cbor);
        Ok(())
    }

    /// After a part: whether another one follows.
    fn goes_on(&mut self, end: u8) -> Result<bool, Fault> {
        self.skip_space();
        match self.next()? {
            b',' => Ok(true),
            byte if byte == end => Ok(false),
            _ => {
                self.at -= 1;
                Err(Fault::Unexpected)
            }
        }
    }

    fn is_empty(&mut self, end: u8) -> bool {
        self.at += 1;
        self.skip_space();
        let empty = self.peek() == Some(end);
        self.at += usize::from(empty);
        empty
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        let head = Head::reserve(self.out);
        let mut len = 0;
        if !self.is_empty(b']') {
            loop {
                self.value(depth)?;
                len += 1;
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        head.array(self.out, len);
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        let head = Head::reserve(self.out);
        let first_key = self.keys.len();
        if !self.is_empty(b'}') {
            loop {
                self.skip_space();
                if self.peek().is_some_and(|byte| byte != b'"') {
                    return Err(Fault::Unexpected);
                }
                let start = self.out.len();
                self.string()?;
                self.keys.push((start, self.out.len()));
                self.take(b':')?;
                self.value(depth)?;
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        let pairs = self.keys.len() - first_key;
        let twice = any_twice(self.out, &mut self.keys[first_key..]);
        self.keys.truncate(first_key);
        head.map(self.out, pairs);
        if twice { Err(Fault::DuplicateKey) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.next()?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => {
                    Writer(self.out).text(&self.text[start..self.at - 1]);
                    return Ok(());
                }
                b'\\' => break,
                0..0x20 => return Err(self.unexpected()),
                _ => {}
            }
        }
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescaped.clear();
        unescaped.push_str(&self.text[start..self.at - 1]);
        self.escapes(&mut unescaped)?;
        Writer(self.out).text(&unescaped);
        self.unescaped = unescaped;
        Ok(())
    }

    /// The byte just taken should not have been there.
    fn unexpected(&mut self) -> Fault {
        self.at -= 1;
        Fault::Unexpected
    }

    /// The rest of a string, from behind its first backslash.
    fn escapes(&mut self, unescaped: &mut String) -> Result<(), Fault> {
        loop {
            unescaped.push(match self.next()? {
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode_escape()?,
                _ => return Err(Fault::BadEscape),
            });
            let start = self.at;
            loop {
                match self.next()? {
                    b'"' => {
                        unescaped.push_str(&self.text[start..self.at - 1]);
                        return Ok(());
                    }
                    b'\\' => break,
                    0..0x20 => return Err(self.unexpected()),
                    _ => {}
                }
            }
            unescaped.push_str(&self.text[start..self.at - 1]);
        }
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        let scalar = if (0xd800..0xdc00).contains(&first) {
            if (self.next()?, self.next()?) != (b'\\', b'u') {
                return Err(Fault::BadEscape);
            }
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(Fault::BadEscape);
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(scalar).ok_or(Fault::BadEscape)
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        (0..4).try_fold(0, |value, _| {
            let digit = (self.next()? as char).to_digit(16).ok_or(Fault::BadEscape)?;
            Ok(value << 4 | digit)
        })
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(self.unexpected()),
        }
        let whole = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text: &'a str = &self.text[start..self.at];
        if whole == self.at && self.integer(text) {
            return Ok(());
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => {
                Writer(self.out).double(value);
                Ok(())
            }
            _ => Err(Fault::NumberOutOfRange),
        }
    }

    /// Writes an integer if it is within 64 bits.
    fn integer(&mut self, text: &str) -> bool {
        if let Ok(value) = text.parse::<u64>() {
            Writer(self.out).unsigned(value);
        } else if let Ok(value) = text.parse::<i64>() {
            match value {
                0 => Writer(self.out).unsigned(0),
                _ => Writer(self.out).negative(!value as u64),
            };
        } else {
            return false;
        }
        true
    }

    fn skip_digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.next()?.is_ascii_digit() {
            return Err(self.unexpected());
        }
        self.skip_digits();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
