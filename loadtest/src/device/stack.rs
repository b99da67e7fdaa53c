//! How much a device forgives, and which bytes and options it cannot stand.

use shared::coap::option::{OCF_ACCEPT_VERSION, OCF_CONTENT_VERSION, OCF_VERSION_1_0_0};
use shared::coap::request::OCF_CBOR;
use shared::coap::{CoapOption, Message, Opt};

use super::breach::Breach;

/// Largest frame that a default build of iotivity-lite takes: 7168 bytes of payload, 181 of header.
pub(super) const FRAME_BYTES_MAX: usize = 7349;

/// Which CoAP and TLS code a device runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stack {
    /// As fragile as the stacks in the field: breaks where they break and tells why (device
    /// reference 1.3).
    #[default]
    Fussy,
    /// Keeps to the RFCs and checks nothing beyond them: for load, where the checks would cost.
    Tolerant,
}

/// The first option that makes iotivity-lite drop the connection (rule 4).
pub(super) fn forbidden_option(message: &Message<'_>) -> Option<Breach> {
    let option = message.options.into_iter().find(is_forbidden)?;
    Some(Breach::ForbiddenOption { number: option.number })
}

fn is_forbidden(option: &Opt<'_>) -> bool {
    let uint = option.uint(2);
    match option.name() {
        CoapOption::ContentFormat | CoapOption::Accept => uint != Some(OCF_CBOR.into()),
        CoapOption::Unknown(OCF_ACCEPT_VERSION | OCF_CONTENT_VERSION) => {
            uint.is_none_or(|version| version < OCF_VERSION_1_0_0.into())
        }
        CoapOption::UriHost | CoapOption::UriPort | CoapOption::UriPath | CoapOption::UriQuery => {
            false
        }
        CoapOption::Block1 | CoapOption::Block2 => true,
        _ => option.is_critical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::coap::{Frame, Framed, MessageWriter, RequestType, Token};

    fn offends(number: u16, value: &[u8]) -> bool {
        let mut bytes = Vec::new();
        let mut writer = MessageWriter::new(&mut bytes, RequestType::Get, Token::from_u64(1));
        writer.option(number, value);
        writer.finish();
        let Ok(Framed::Whole(frame, _)) = Frame::parse(&bytes, 1000) else { unreachable!() };
        forbidden_option(&Message::parse(frame).unwrap()).is_some()
    }

    /// Device reference 15.1.
    #[test]
    fn what_makes_real_devices_hang_up_is_forbidden_and_nothing_else() {
        for (number, value) in [
            (1, &b"etag"[..]),
            (5, b""),
            (9, b""),
            (12, b""),
            (12, &[60]),
            (17, b""),
            (17, &[60]),
            (23, b""),
            (27, &[8]),
            (2049, &[7, 0xff]),
            (2053, b""),
            (2053, &[1, 2, 3]),
            (65001, b""),
        ] {
            assert!(offends(number, value), "{number}");
        }
        for (number, value) in [
            (3, &b"host"[..]),
            (4, b"etag"),
            (6, b""),
            (7, &[1]),
            (12, &[0x27, 0x10]),
            (16, &[3]),
            (17, &[0x27, 0x10]),
            (258, &[2]),
            (2049, &[8, 0x40]),
            (2053, &[8, 0]),
            (65000, b""),
        ] {
            assert!(!offends(number, value), "{number}");
        }
    }
}
