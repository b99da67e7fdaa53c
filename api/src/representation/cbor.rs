//! JSON to CBOR (cloud reference 4.13): what partners write, as devices read it.
//!
//! The JSON is read here and not by `serde_json`, because the text of a number decides what it
//! becomes: `-0` is an integer and `-0.0` a double, which `serde_json` only tells apart with its
//! feature `arbitrary_precision`, under which an object with a certain key passes for a number. Tests
//! compare both readers.

use shared::ocf::cbor::Writer;

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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn cbor(json: &str) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        write_cbor(&mut out, json.as_bytes()).map(|_| out).map_err(|fault| fault.fault)
    }

    /// Cloud reference 4.13 and 7.5; case 98.
    #[test]
    fn the_text_of_a_number_decides_what_it_becomes() {
        for (json, bytes) in [
            ("21", &b"\x15"[..]),
            ("21.0", b"\xfb\x40\x35\x00\x00\x00\x00\x00\x00"),
            ("2.1e1", b"\xfb\x40\x35\x00\x00\x00\x00\x00\x00"),
            ("1e2", b"\xfb\x40\x59\x00\x00\x00\x00\x00\x00"),
            ("1E+2", b"\xfb\x40\x59\x00\x00\x00\x00\x00\x00"),
            ("-7", b"\x26"),
            ("0", b"\x00"),
            ("-0", b"\x00"),
            ("-0.0", b"\xfb\x80\x00\x00\x00\x00\x00\x00\x00"),
            ("18446744073709551615", b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("-9223372036854775808", b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff"),
            ("18446744073709551616", b"\xfb\x43\xf0\x00\x00\x00\x00\x00\x00"),
            ("-9223372036854775809", b"\xfb\xc3\xe0\x00\x00\x00\x00\x00\x00"),
        ] {
            assert_eq!(cbor(json).as_deref(), Ok(bytes), "{json}");
        }
    }

    #[test]
    fn everything_else_keeps_its_kind_and_its_order() {
        for (json, bytes) in [
            (r#"{"desiredHumidity":55}"#, &b"\xa1\x6fdesiredHumidity\x18\x37"[..]),
            (
                r#" { "b" : [ true , false , null ] , "a" : { } } "#,
                b"\xa2\x61b\x83\xf5\xf4\xf6\x61a\xa0",
            ),
            (r#""AQL/""#, b"\x64AQL/"),
            (r#""\u00e4\ud83d\ude00\n\/""#, "\x68ä😀\n/".as_bytes()),
            ("\"ä\"", "\x62ä".as_bytes()),
            ("[]", b"\x80"),
        ] {
            assert_eq!(cbor(json).as_deref(), Ok(bytes), "{json}");
        }
        let long = format!("[{}1]", "1,".repeat(299));
        assert_eq!(cbor(&long).unwrap(), [&b"\x99\x01\x2c"[..], &[1; 300]].concat());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for (json, fault) in [
            ("", Fault::CutShort),
            (" ", Fault::CutShort),
            ("{", Fault::CutShort),
            ("[1", Fault::CutShort),
            (r#"{"a""#, Fault::CutShort),
            ("\"", Fault::CutShort),
            ("\"\\", Fault::CutShort),
            ("1.", Fault::CutShort),
            ("[1,]", Fault::Unexpected),
            ("[1 2]", Fault::Unexpected),
            ("{,}", Fault::Unexpected),
            (r#"{"a":1,}"#, Fault::Unexpected),
            ("{1:1}", Fault::Unexpected),
            ("[1}", Fault::Unexpected),
            ("nul", Fault::Unexpected),
            ("+1", Fault::Unexpected),
            ("-a", Fault::Unexpected),
            ("1.a", Fault::Unexpected),
            ("1e+", Fault::CutShort),
            ("\"\n\"", Fault::Unexpected),
            ("\"\\n\n\"", Fault::Unexpected),
            ("\u{feff}{}", Fault::Unexpected),
            ("01", Fault::Trailing),
            ("{} {}", Fault::Trailing),
            ("1e400", Fault::NumberOutOfRange),
            (r#""\x""#, Fault::BadEscape),
            (r#""\ud800""#, Fault::Unexpected),
            (r#""\ud800\n""#, Fault::BadEscape),
            (r#""\ud800\u0041""#, Fault::BadEscape),
            (r#""\udc00""#, Fault::BadEscape),
            (r#""\u00g0""#, Fault::BadEscape),
            (r#"{"a":1,"a":2}"#, Fault::DuplicateKey),
            (r#"{"a":{},"b":0,"\u0061":2}"#, Fault::DuplicateKey),
        ] {
            let found = cbor(json).unwrap_err();
            let alike = [Fault::Unexpected, Fault::BadEscape, Fault::CutShort];
            let close = alike.contains(&found) && alike.contains(&fault);
            assert!(found == fault || (json.contains("ud800\"") && close), "{json}: {found}");
        }
        assert_eq!(write_cbor(&mut Vec::new(), b"\"\xff\"").unwrap_err().fault, Fault::NotUtf8);
    }

    #[test]
    fn the_place_of_a_fault_is_named() {
        let fault = write_cbor(&mut Vec::new(), br#"{"a":tru}"#).unwrap_err();
        assert_eq!(fault.to_string(), "unexpected character at byte 5");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(cbor(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(cbor(&nested(DEPTH_MAX + 1)), Err(Fault::TooDeep));
        assert_eq!(cbor(&"[".repeat(1_000_000)), Err(Fault::TooDeep));
    }

    /// Texts that are nearly JSON, so that both readers have something to disagree about.
    fn nearly_json() -> impl Strategy<Value = String> {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "\"a\"",
            "\"b\"",
            "\\u00e4",
            "\\ud83d\\ude00",
            "0",
            "1",
            "-",
            ".",
            "e",
            "E",
            "+",
            "12",
            "true",
            "false",
            "null",
            " ",
            "\n",
            "ä",
            "x",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..14)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_accepts_what_an_independent_reader_accepts(text in nearly_json()) {
            match (cbor(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(_), Ok(_)) => {}
                (Err(_), Err(_)) => {}
                (Err(fault), Ok(_)) => prop_assert!(
                    matches!(fault, Fault::DuplicateKey | Fault::NumberOutOfRange), "{} {}", text, fault
                ),
                (Ok(_), Err(error)) => prop_assert!(false, "{} {}", text, error),
            }
        }

        #[test]
        fn any_bytes_are_answered_and_the_output_stays_small(
            bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let mut out = Vec::new();
            if write_cbor(&mut out, &bytes).is_ok() {
                prop_assert!(out.len() <= 3 * bytes.len());
                prop_assert!(super::super::check(&out).is_ok());
            }
        }
    }
}
