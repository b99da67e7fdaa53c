//! Options: numbers, delta coding, values (RFC 7252 §3.1, §5.10).

use coap_lite::CoapOption;

/// Hop-Limit (RFC 8768).
pub const HOP_LIMIT: u16 = 16;
/// OCF-Accept-Content-Format-Version: the payload version that is wanted back.
pub const OCF_ACCEPT_VERSION: u16 = 2049;
/// OCF-Content-Format-Version: the version of the payload.
pub const OCF_CONTENT_VERSION: u16 = 2053;
/// Version 1.0.0 as a value of the two version options: 5 bits major, 5 minor, 6 sub.
pub const OCF_VERSION_1_0_0: u16 = 2048;
/// Version 2.0.0, the first that this cloud does not know: all below are compatible with 1.0.0.
pub const OCF_VERSION_2_0_0: u16 = 4096;

/// One option as it stands in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opt<'a> {
    /// Its number.
    pub number: u16,
    /// Its value, as long as the sender made it.
    pub value: &'a [u8],
}

impl<'a> Opt<'a> {
    /// The number by name. The OCF version options and Hop-Limit are `Unknown` to coap-lite: match
    /// them as `Unknown(OCF_ACCEPT_VERSION)` and so on.
    pub fn name(&self) -> CoapOption {
        CoapOption::from(self.number)
    }

    /// Odd numbers are critical (RFC 7252 §5.4.1).
    pub fn is_critical(&self) -> bool {
        self.number & 1 == 1
    }

    /// The value as an unsigned integer of at most `bytes_max` (up to 4) bytes. Leading zeros are
    /// accepted; none when it is longer.
    pub fn uint(&self, bytes_max: usize) -> Option<u32> {
        debug_assert!(bytes_max <= 4);
        (self.value.len() <= bytes_max)
            .then(|| self.value.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// The value as text; none when it is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }
}

/// The shortest big-endian form of `value`: the array and how many of its last bytes count.
pub fn encode_uint(value: u32) -> ([u8; 4], usize) {
    (value.to_be_bytes(), 4 - value.leading_zeros() as usize / 8)
}

/// Why a run of options cannot be read: a framing error (device reference 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionError {
    /// A delta or length nibble of 15 that is not the payload marker.
    #[error("reserved option nibble")]
    Reserved,
    /// An extension or a value that reaches beyond the message.
    #[error("option cut short")]
    CutShort,
    /// An option number above 65 535.
    #[error("option number above 65535")]
    NumberTooLarge,
    /// A payload marker with nothing behind it.
    #[error("payload marker without payload")]
    EmptyPayload,
    /// More options than a message may have.
    #[error("more than {0} options")]
    TooMany(usize),
}

/// Most options in one message (device reference 17).
pub const OPTIONS_MAX: usize = 64;

/// The options of a message, in the order of their numbers. Checked as a whole when it was made, so
/// that walking it cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options<'a> {
    encoded: &'a [u8],
    number: u16,
}

impl<'a> Options<'a> {
    /// No options.
    pub const NONE: Options<'static> = Options { encoded: &[], number: 0 };

    /// Splits the body of a frame into options and payload, checking every option on the way.
    pub fn split(body: &'a [u8]) -> Result<(Self, &'a [u8]), OptionError> {
        let mut rest = body;
        let mut number = 0u16;
        let mut count = 0;
        loop {
            match rest {
                [] => return Ok((Self { encoded: body, number: 0 }, &[])),
                [0xff] => return Err(OptionError::EmptyPayload),
                [0xff, payload @ ..] => {
                    let encoded = &body[..body.len() - rest.len()];
                    return Ok((Self { encoded, number: 0 }, payload));
                }
                _ => {
                    let (option, after) = decode_one(number, rest)?;
                    count += 1;
                    if count > OPTIONS_MAX {
                        return Err(OptionError::TooMany(OPTIONS_MAX));
                    }
                    number = option.number;
                    rest = after;
                }
            }
        }
    }

    /// Bytes that the options take in the message.
    pub fn encoded_len(&self) -> usize {
        self.encoded.len()
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        if self.encoded.is_empty() {
            return None;
        }
        // Whatever is left was checked by `split`.
        let (option, rest) = decode_one(self.number, self.encoded).ok()?;
        self.encoded = rest;
        self.number = option.number;
        Some(option)
    }
}

fn decode_one(previous: u16, bytes: &[u8]) -> Result<(Opt<'_>, &[u8]), OptionError> {
    let (&first, rest) = bytes.split_first().ok_or(OptionError::CutShort)?;
    let (delta, rest) = decode_nibble(first >> 4, rest)?;
    let (len, rest) = decode_nibble(first & 0x0f, rest)?;
    let number =
        u16::try_from(u32::from(previous) + delta).map_err(|_| OptionError::NumberTooLarge)?;
    let (value, rest) = rest.split_at_checked(len as usize).ok_or(OptionError::CutShort)?;
    Ok((Opt { number, value }, rest))
}

fn decode_nibble(nibble: u8, bytes: &[u8]) -> Result<(u32, &[u8]), OptionError> {
    match (nibble, bytes) {
        (0..=12, _) => Ok((u32::from(nibble), bytes)),
        (13, [byte, rest @ ..]) => Ok((u32::from(*byte) + 13, rest)),
        (14, [high, low, rest @ ..]) => {
            Ok((u32::from(u16::from_be_bytes([*high, *low])) + 269, rest))
        }
        (15, _) => Err(OptionError::Reserved),
        _ => Err(OptionError::CutShort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_walk_in_order_and_the_payload_is_what_follows_the_marker() {
        let body = [0xb3, b'o', b'i', b'c', 0x02, b'r', b'd', 0xff, 1, 2];
        let (options, payload) = Options::split(&body).unwrap();
        let seen: Vec<_> = options.map(|o| (o.number, o.value)).collect();
        assert_eq!(seen, [(11, &b"oic"[..]), (11, &b"rd"[..])]);
        assert_eq!(payload, [1, 2]);
    }

    /// Device reference 18, malformed and borderline input.
    #[test]
    fn malformed_options_are_framing_errors() {
        for (body, error) in [
            (&[0xf0][..], OptionError::Reserved),
            (&[0x0f], OptionError::Reserved),
            (&[0x63, 0xaa], OptionError::CutShort),
            (&[0xd0], OptionError::CutShort),
            (&[0x0d], OptionError::CutShort),
            (&[0xe0, 0x00], OptionError::CutShort),
            (&[0xff], OptionError::EmptyPayload),
            (&[0xe0, 0xff, 0xff, 0xe0, 0xff, 0xff], OptionError::NumberTooLarge),
        ] {
            assert_eq!(Options::split(body), Err(error), "{body:02x?}");
        }
        assert_eq!(Options::split(&[0; 65]), Err(OptionError::TooMany(64)));
        assert!(Options::split(&[0; 64]).is_ok());
    }

    #[test]
    fn unsigned_values_are_written_without_leading_zeros_and_read_with_them() {
        for (value, len) in
            [(0, 0), (1, 1), (255, 1), (256, 2), (10_000, 2), (65_536, 3), (u32::MAX, 4)]
        {
            let (bytes, count) = encode_uint(value);
            assert_eq!(count, len);
            assert_eq!(Opt { number: 6, value: &bytes[4 - count..] }.uint(4), Some(value));
            assert_eq!(Opt { number: 6, value: &bytes }.uint(4), Some(value));
        }
        assert_eq!(Opt { number: 6, value: &[0; 4] }.uint(3), None);
    }
}
