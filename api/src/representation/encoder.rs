//! Writes our own objects as JSON or as CBOR (cloud reference 4.10: text keys, definite lengths,
//! shortest integers), piece by piece into one buffer.

use shared::ocf::cbor::Writer;

use super::head::Head;
use super::json::{CborFault, check, write_double, write_integer, write_json, write_text};
use super::{MediaType, Root};

/// One value after the other, in the order in which they are shown.
///
/// In an object every value follows its [`key`](Self::key). Objects and arrays need not say how many
/// parts they have before they have them.
pub struct Encoder {
    out: Vec<u8>,
    notation: Notation,
    /// JSON: a part has been written where the next one is going to stand.
    separate: bool,
    /// CBOR: heads to be filled in, innermost last, each with the values that it has so far.
    open: Vec<(Head, usize)>,
}

#[derive(Clone, Copy)]
enum Notation {
    Json,
    Cbor,
}

/// A place to go back to, if what follows turns out not to be showable.
pub struct Mark {
    len: usize,
    separate: bool,
    open: usize,
    values: usize,
}

impl Encoder {
    /// Writes JSON or CBOR.
    pub fn new(media_type: MediaType) -> Self {
        let notation = match media_type {
            MediaType::Json => Notation::Json,
            MediaType::OcfCbor | MediaType::Cbor => Notation::Cbor,
        };
        Self { out: Vec::new(), notation, separate: false, open: Vec::new() }
    }

    /// Bytes written since the last [`take`](Self::take).
    pub fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// What has been written since the last time. Nothing may be open but a
    /// [list](Self::begin_list).
    pub fn take(&mut self) -> Vec<u8> {
        debug_assert!(self.open.is_empty(), "an open head would lose its place");
        std::mem::take(&mut self.out)
    }

    /// The outermost array, of so many elements, which may be taken away piece by piece.
    pub fn begin_list(&mut self, len: usize) {
        match self.notation {
            Notation::Json => self.out.push(b'['),
            Notation::Cbor => {
                Writer(&mut self.out).array(len);
            }
        }
    }

    /// The end of [`begin_list`](Self::begin_list).
    pub fn end_list(&mut self) {
        if let Notation::Json = self.notation {
            self.out.push(b']');
        }
    }

    /// An object begins.
    pub fn begin_object(&mut self) {
        self.begin(b'{');
    }

    /// The innermost object ends.
    pub fn end_object(&mut self) {
        match self.notation {
            Notation::Json => self.end(b'}'),
            Notation::Cbor => {
                let (head, values) = self.open.pop().expect("an object was begun");
                head.map(&mut self.out, values);
            }
        }
    }

    /// An array begins.
    pub fn begin_array(&mut self) {
        self.begin(b'[');
    }

    /// The innermost array ends.
    pub fn end_array(&mut self) {
        match self.notation {
            Notation::Json => self.end(b']'),
            Notation::Cbor => {
                let (head, values) = self.open.pop().expect("an array was begun");
                head.array(&mut self.out, values);
            }
        }
    }

    fn begin(&mut self, bracket: u8) {
        self.separate_value();
        match self.notation {
            Notation::Json => {
                self.out.push(bracket);
                self.separate = false;
            }
            Notation::Cbor => self.open.push((Head::reserve(&mut self.out), 0)),
        }
    }

    fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.separate = true;
    }

    /// A value is going to be written: a comma before it, or one more in the count.
    fn separate_value(&mut self) {
        match self.notation {
            Notation::Json => {
                if std::mem::replace(&mut self.separate, true) {
                    self.out.push(b',');
                }
            }
            Notation::Cbor => {
                if let Some((_, values)) = self.open.last_mut() {
                    *values += 1;
                }
            }
        }
    }

    /// The key of the next value.
    pub fn key(&mut self, key: &str) {
        match self.notation {
            Notation::Json => {
                if std::mem::replace(&mut self.separate, false) {
                    self.out.push(b',');
                }
                write_text(&mut self.out, key);
                self.out.push(b':');
            }
            Notation::Cbor => {
                Writer(&mut self.out).text(key);
            }
        }
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.separate_value();
        match self.notation {
            Notation::Json => write_text(&mut self.out, text),
            Notation::Cbor => {
                Writer(&mut self.out).text(text);
            }
        }
    }

    /// Texts as an array.
    pub fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        self.begin_array();
        texts.into_iter().for_each(|text| self.text(text));
        self.end_array();
    }

    /// An unsigned integer.
    pub fn unsigned(&mut self, value: u64) {
        self.separate_value();
        match self.notation {
            Notation::Json => write_integer(&mut self.out, value),
            Notation::Cbor => {
                Writer(&mut self.out).unsigned(value);
            }
        }
    }

    /// A double.
    pub fn double(&mut self, value: f64) {
        self.separate_value();
        match self.notation {
            Notation::Json => write_double(&mut self.out, value),
            Notation::Cbor => {
                Writer(&mut self.out).double(value);
            }
        }
    }

    /// What a device said: its own CBOR unchanged, or that as JSON. After a failure go back to a
    /// [mark](Self::mark).
    pub fn representation(&mut self, cbor: &[u8]) -> Result<Root, CborFault> {
        self.separate_value();
        match self.notation {
            Notation::Json => write_json(&mut self.out, cbor),
            Notation::Cbor => {
                let root = check(cbor)?;
                self.out.extend_from_slice(cbor);
                Ok(root)
            }
        }
    }

    /// Remembers this place.
    pub fn mark(&self) -> Mark {
        let values = self.open.last().map_or(0, |&(_, values)| values);
        Mark { len: self.out.len(), separate: self.separate, open: self.open.len(), values }
    }

    /// Takes back everything since the mark.
    pub fn go_back(&mut self, to: Mark) {
        self.out.truncate(to.len);
        self.separate = to.separate;
        self.open.truncate(to.open);
        if let Some((_, values)) = self.open.last_mut() {
            *values = to.values;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(media_type: MediaType) -> Vec<u8> {
        let mut encoder = Encoder::new(media_type);
        encoder.begin_list(2);
        encoder.begin_object();
        encoder.key("href");
        encoder.text("/a\"b");
        encoder.key("rt");
        encoder.texts(["x", "y"]);
        let mark = encoder.mark();
        encoder.key("rep");
        encoder.begin_array();
        assert!(encoder.representation(b"\xff").is_err());
        encoder.go_back(mark);
        encoder.key("p");
        encoder.begin_object();
        encoder.key("bm");
        encoder.unsigned(3);
        encoder.end_object();
        encoder.end_object();
        let mut first = encoder.take();
        encoder.begin_array();
        (0..30).for_each(|_| encoder.double(0.5));
        assert_eq!(encoder.representation(b"\x9f\x01\xff"), Ok(Root::Array));
        encoder.end_array();
        encoder.end_list();
        first.extend(encoder.take());
        first
    }

    #[test]
    fn json_and_cbor_say_the_same() {
        let json: serde_json::Value = serde_json::from_slice(&written(MediaType::Json)).unwrap();
        let cbor = written(MediaType::OcfCbor);
        let decoded: serde_json::Value = ciborium::from_reader(&cbor[..]).unwrap();
        assert_eq!(decoded, json);
        assert_eq!(json[0]["href"], "/a\"b");
        assert_eq!(json[1].as_array().unwrap().len(), 31);
        assert!(json[0].get("rep").is_none());
    }

    /// Cloud reference 4.10: definite lengths, but what a device said stays as it said it.
    #[test]
    fn lengths_are_definite_and_representations_unchanged() {
        let cbor = written(MediaType::OcfCbor);
        assert_eq!(cbor[..2], [0x82, 0xa3]);
        assert!(cbor.ends_with(b"\x9f\x01\xff"));
    }
}
