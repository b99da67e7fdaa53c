//! What becomes of every kind of JSON, and that nothing else is taken for it.

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
            prop_assert!(crate::representation::check(&out).is_ok());
        }
    }
}
