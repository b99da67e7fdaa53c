//! The messages of device reference 18, from `tests/vectors`: a file each, named after what it shows.
//!
//! A file says in words what the message means, option by option, and ends with its bytes. Meaning and
//! bytes were written down independently of each other.

use std::fs;
use std::path::{Path, PathBuf};

use ciborium::Value;
use shared::coap::CoapOption;
use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION};
use shared::ocf::cbor;

use crate::message::Msg;
use crate::peer::code;

/// A message and what it means.
pub struct Vector {
    /// As the reference calls it.
    pub name: String,
    /// What it means.
    pub message: Msg,
    /// How it looks on the wire.
    pub bytes: Vec<u8>,
}

/// All messages, in the order of their files' names.
pub fn all() -> Vec<Vector> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| !TABLES.iter().any(|table| path.ends_with(table)))
        .collect();
    paths.sort();
    paths.iter().map(|path| parse(path)).collect()
}

/// The files that are no messages but tables.
const TABLES: [&str; 3] = ["length-boundaries.txt", "malformed-input.txt", "cbor-pieces.txt"];

/// The message with this name.
pub fn vector(name: &str) -> Vector {
    let found = all().into_iter().find(|vector| vector.name == name);
    found.unwrap_or_else(|| panic!("there is no vector {name}"))
}

/// The rows of a table: without comments, cut at spaces into so many columns.
pub fn rows<const N: usize>(file: &str) -> Vec<[String; N]> {
    let text = fs::read_to_string(folder().join(file)).expect("the table is there");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let mut cells = row.splitn(N, ' ').map(str::to_owned);
        std::array::from_fn(|_| cells.next().expect("every row has all columns"))
    })
    .collect()
}

/// Bytes from hexadecimal digits.
pub fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn parse(path: &Path) -> Vector {
    let text = fs::read_to_string(path).expect("it can be read");
    let mut lines = text.lines().map(|line| {
        line.split_once(": ").or(line.strip_suffix(':').map(|key| (key, ""))).expect("key: value")
    });
    let (name, _) = lines.next().expect("the name comes first");
    let mut message = Msg::new(code(0, 0));
    let (mut bytes, mut indefinite) = (Vec::new(), false);
    for (key, value) in lines {
        match key {
            "direction" => {}
            "code" => {
                let (class, detail) = value.split_once('.').expect("class.detail");
                message.code = code(number(class) as u8, number(detail) as u8);
            }
            "token" => message = message.token(&unhex(value)),
            "lengths" => indefinite = value == "indefinite",
            "text" => message = message.payload(value),
            "cbor" => message = message.payload(encode(value, indefinite)),
            "bytes" => bytes = unhex(value),
            option => message = with_option(message, option, value),
        }
    }
    Vector { name: name.to_owned(), message, bytes }
}

fn number(digits: &str) -> u32 {
    digits.parse().expect("a number")
}

fn with_option(message: Msg, name: &str, value: &str) -> Msg {
    match name {
        "Uri-Path" => message.named(CoapOption::UriPath, value),
        "Uri-Query" => message.named(CoapOption::UriQuery, value),
        "Content-Format" => message.format(number(value)),
        "Accept" => message.accept(number(value)),
        "Observe" => message.observe(number(value)),
        "2049" => message.uint(OCF_ACCEPT_VERSION, number(value)),
        "2053" => message.uint(OCF_CONTENT_VERSION, number(value)),
        // The options of signals have numbers of their own (RFC 8323 §5).
        "Max-Message-Size" | "Bad-CSM-Option" => message.uint(2, number(value)),
        "Custody" => message.option(2, []),
        "Alternative-Address" => message.option(2, value),
        "Block-Wise-Transfer" => message.option(4, []),
        "Hold-Off" => message.uint(4, number(value)),
        unknown => message.uint(number(unknown) as u16, number(value)),
    }
}

/// The CBOR of a value written as JSON, with definite lengths or as device stacks send it.
fn encode(json: &str, indefinite: bool) -> Vec<u8> {
    let value: Value = serde_json::from_str(json).expect("it is JSON");
    let mut bytes = Vec::new();
    match indefinite {
        true => encode_indefinite(&mut bytes, &value),
        false => cbor::encode(&mut bytes, &value),
    }
    bytes
}

/// Appends a value with maps and arrays of indefinite length.
pub fn encode_indefinite(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Map(pairs) => {
            bytes.push(0xbf);
            for (key, value) in pairs {
                cbor::encode(bytes, key);
                encode_indefinite(bytes, value);
            }
            bytes.push(0xff);
        }
        Value::Array(items) => {
            bytes.push(0x9f);
            items.iter().for_each(|item| encode_indefinite(bytes, item));
            bytes.push(0xff);
        }
        plain => cbor::encode(bytes, plain),
    }
}
