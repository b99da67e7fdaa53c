//! What a device says of itself (`/oic/d`, `/oic/p`), as far as consumers are shown it.
//!
//! It is the device's own text: what is not as the specification wants it counts as not said.

use shared::ocf::cbor::{Item, Reader, scan};

/// Longest name or text shown, in characters (cloud reference 4.3).
pub(super) const TEXT_CHARS_MAX: usize = 64;

/// Members of `/oic/d` that are shown as they are.
const PASSED_ON: [&str; 9] =
    ["icv", "dmv", "piid", "dmno", "sv", "ld", "if", "econame", "ecoversion"];

/// A text in a language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Localized<'a> {
    pub(super) language: &'a str,
    pub(super) value: &'a str,
}

/// `/oic/d`, borrowed from its representation.
#[derive(Default)]
pub(super) struct Description<'a> {
    pub(super) resource_types: Vec<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) manufacturer_names: Vec<Localized<'a>>,
    /// Other members, with their CBOR.
    pub(super) passed_on: Vec<(&'static str, &'a [u8])>,
}

impl<'a> Description<'a> {
    /// Of this CBOR. What is not well-formed says nothing.
    pub(super) fn of(cbor: &'a [u8]) -> Self {
        let mut description = Self::default();
        for (key, value) in members(cbor) {
            match key {
                "rt" => description.resource_types = texts(value),
                "n" => description.name = text(value),
                "dmn" => description.manufacturer_names = localized(value),
                _ => {
                    if let Some(known) = PASSED_ON.into_iter().find(|&known| known == key) {
                        description.passed_on.push((known, value));
                    }
                }
            }
        }
        description
    }
}

/// `mnmn` of `/oic/p`, the fallback for the manufacturer's name (OP-27).
pub(super) fn manufacturer_names(platform: &[u8]) -> Vec<Localized<'_>> {
    let found = members(platform).into_iter().find(|(key, _)| *key == "mnmn");
    found.map_or_else(Vec::new, |(_, value)| localized(value))
}

/// The members of an object whose keys are plain text. None if it is not well-formed, or no object.
fn members(cbor: &[u8]) -> Vec<(&str, &[u8])> {
    let mut members = Vec::new();
    if scan(cbor).is_err() {
        return members;
    }
    let mut reader = Reader::new(cbor);
    let Ok(Item::Map(mut left)) = reader.next_item() else { return members };
    while take_one(&mut left) {
        let Ok(key) = reader.next_item() else { break };
        if key == Item::Break {
            break;
        }
        let start = reader.position();
        if reader.skip().is_err() {
            break;
        }
        if let Item::Text(key) = key {
            members.push((key, &cbor[start..reader.position()]));
        }
    }
    members
}

/// The elements of an array, each with its CBOR; none if it is no array.
fn elements(cbor: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let mut reader = Reader::new(cbor);
    let Ok(Item::Array(mut left)) = reader.next_item() else { return elements };
    while take_one(&mut left) {
        let mut ahead = reader.clone();
        if matches!(ahead.next_item(), Ok(Item::Break) | Err(_)) {
            break;
        }
        let start = reader.position();
        if reader.skip().is_err() {
            break;
        }
        elements.push(&cbor[start..reader.position()]);
    }
    elements
}

fn take_one(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => false,
        Some(left) => {
            *left -= 1;
            true
        }
        None => true,
    }
}

/// A text that is not empty.
fn text(cbor: &[u8]) -> Option<&str> {
    match Reader::new(cbor).next_item() {
        Ok(Item::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn texts(cbor: &[u8]) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    for text in elements(cbor).into_iter().filter_map(text) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// Texts with their languages; a plain text is taken for English, as old peers mean it.
fn localized(cbor: &[u8]) -> Vec<Localized<'_>> {
    if let Some(value) = text(cbor) {
        return vec![Localized { language: "en", value }];
    }
    let of = |element| {
        let (mut language, mut value) = (None, None);
        for (key, cbor) in members(element) {
            match key {
                "language" => language = text(cbor).filter(|tag| is_language(tag)),
                "value" => value = text(cbor),
                _ => {}
            }
        }
        Some(Localized { language: language?, value: value? })
    };
    elements(cbor).into_iter().filter_map(of).collect()
}

/// `^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$` (RFC 5646, as the definition has it).
fn is_language(tag: &str) -> bool {
    tag.split('-').enumerate().all(|(nth, part)| {
        let fits = |byte: u8| byte.is_ascii_alphabetic() || nth > 0 && byte.is_ascii_digit();
        (1..=8).contains(&part.len()) && part.bytes().all(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cbor(json: &str) -> Vec<u8> {
        let mut cbor = Vec::new();
        crate::representation::write_cbor(&mut cbor, json.as_bytes()).unwrap();
        cbor
    }

    #[test]
    fn a_description_is_read_from_its_representation() {
        let cbor = cbor(
            r#"{"n":"Sensor","rt":["oic.wk.d","oic.d.sensor","oic.wk.d"],"icv":"ocf.2.2.0",
                "dmn":[{"language":"en","value":"Example"},{"language":"de-x","value":"Beispiel"}],
                "vendor.secret":1}"#,
        );
        let description = Description::of(&cbor);
        assert_eq!(description.name, Some("Sensor"));
        assert_eq!(description.resource_types, ["oic.wk.d", "oic.d.sensor"]);
        let languages: Vec<_> =
            description.manufacturer_names.iter().map(|name| name.language).collect();
        assert_eq!(languages, ["en", "de-x"]);
        assert_eq!(description.passed_on, [("icv", &b"\x69ocf.2.2.0"[..])]);
    }

    #[test]
    fn indefinite_lengths_are_read_alike() {
        let description = Description::of(b"\xbf\x61n\x61x\x62rt\x9f\x61a\x61b\xff\xff");
        assert_eq!(description.name, Some("x"));
        assert_eq!(description.resource_types, ["a", "b"]);
    }

    #[test]
    fn what_is_of_the_wrong_kind_counts_as_not_said() {
        for wrong in [r#"{"n":1,"rt":"x","dmn":[1,{"language":"?","value":"x"},{}]}"#, "[]", "1"] {
            let cbor = cbor(wrong);
            let description = Description::of(&cbor);
            assert_eq!(description.name, None);
            assert!(description.resource_types.is_empty());
            assert!(description.manufacturer_names.is_empty());
        }
    }

    #[test]
    fn a_plain_manufacturer_name_is_english() {
        let platform = cbor(r#"{"pi":"x","mnmn":"Example"}"#);
        let names = manufacturer_names(&platform);
        assert_eq!(names, [Localized { language: "en", value: "Example" }]);
    }

    #[test]
    fn language_tags_are_those_of_the_definition() {
        for tag in ["en", "de-AT", "zh-Hans-1a2b"] {
            assert!(is_language(tag), "{tag}");
        }
        for tag in ["", "e1", "en-", "en_US", "abcdefghi", "-en"] {
            assert!(!is_language(tag), "{tag}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Description::of(&bytes);
            let _ = manufacturer_names(&bytes);
        }
    }
}
