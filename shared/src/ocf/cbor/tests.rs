use proptest::prelude::*;

use super::*;

fn nested(open: &[u8], depth: usize) -> Vec<u8> {
    let mut bytes = open.repeat(depth);
    bytes.push(0);
    bytes
}

/// Device reference 4.3: definite and indefinite lengths at every level.
#[test]
fn indefinite_lengths_are_accepted_at_every_level() {
    for bytes in [
        &b"\xbf\xff"[..],
        b"\x9f\xff",
        b"\xbf\x65login\xf5\xff",
        b"\xbf\x61a\x9f\x01\xbf\x61b\x02\xff\xff\xff",
        b"\xa1\x61a\x7f\x61x\x61y\xff",
        b"\x5f\x41x\xff",
    ] {
        assert_eq!(scan(bytes), Ok(()), "{bytes:02x?}");
    }
}

#[test]
fn what_is_not_exactly_one_item_is_refused() {
    for (bytes, error) in [
        (&b""[..], CborError::CutShort),
        (b"\xa1", CborError::CutShort),
        (b"\xa1\x61a", CborError::CutShort),
        (b"\xbf\x61a\x01", CborError::CutShort),
        (b"\x63ab", CborError::CutShort),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", CborError::CutShort),
        (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", CborError::CutShort),
        (b"\xa0\xa0", CborError::TrailingBytes),
        (b"\xff", CborError::Malformed),
        (b"\x82\x01\xff", CborError::Malformed),
        (b"\xa1\xff", CborError::Malformed),
        (b"\xbf\x61a\xff", CborError::Malformed),
        (b"\x1c", CborError::Malformed),
        (b"\x1f", CborError::Malformed),
        (b"\xf8\x10", CborError::Malformed),
        (b"\x7f\x41x\xff", CborError::Malformed),
        (b"\x7f\x7f\xff\xff", CborError::Malformed),
        (b"\x61\xff", CborError::NotUtf8),
        (b"\xa2\x61a\x01\x61a\x02", CborError::DuplicateKey),
        (b"\xa2\x61a\x01\x78\x01a\x02", CborError::DuplicateKey),
        (b"\xbf\x01\x01\x18\x01\x02\xff", CborError::DuplicateKey),
        (b"\xa2\xe0\x01\xf6\x02", CborError::DuplicateKey),
        (b"\xa1\x80\x01", CborError::BadKey),
    ] {
        assert_eq!(scan(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn nesting_is_bounded_whatever_it_is_made_of() {
    for open in [&b"\x81"[..], b"\xa1\x00", b"\xc1", b"\x9f"] {
        assert_eq!(scan(&nested(open, DEPTH_MAX + 1)), Err(CborError::TooDeep), "{open:02x?}");
    }
    assert_eq!(scan(&nested(b"\x81", DEPTH_MAX)), Ok(()));
    assert_eq!(scan(&nested(b"\x81", 100_000)), Err(CborError::TooDeep));
}

#[test]
fn floats_of_every_width_are_widened_exactly() {
    for (bytes, value) in [
        (&b"\xf9\x4d\x60"[..], 21.5),
        (b"\xf9\x00\x01", 5.960_464_477_539_063e-8),
        (b"\xf9\xfc\x00", f64::NEG_INFINITY),
        (b"\xfa\x41\xac\x00\x00", 21.5),
        (b"\xfb\x3f\xb9\x99\x99\x99\x99\x99\x9a", 0.1),
    ] {
        assert_eq!(Reader::new(bytes).next_item(), Ok(Item::Float(value)));
    }
}

#[test]
fn one_item_is_passed_over_as_a_whole() {
    let mut reader = Reader::new(b"\xbf\x61a\x9f\x01\xff\xff\x07");
    reader.skip().unwrap();
    assert_eq!(reader.next_item(), Ok(Item::Unsigned(7)));
    assert!(reader.is_at_end());
}

#[test]
fn an_item_is_written_again_with_definite_lengths() {
    let indefinite = b"\xbf\x61a\x9f\x01\xbf\x61b\x7f\x61x\x61y\xff\xff\xff\x61c\xf9\x4d\x60\xff";
    let mut out = Vec::new();
    transcode(&mut Reader::new(indefinite), &mut Writer(&mut out)).unwrap();
    assert_eq!(out, b"\xa2\x61a\x82\x01\xa1\x61b\x62xy\x61c\xfb\x40\x35\x80\0\0\0\0\0");
}

/// Well-formed items of every kind, containers with definite and indefinite lengths.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-zé]{0,8}".prop_map(|text| {
        let mut out = Vec::new();
        Writer(&mut out).text(&text);
        out
    });
    let leaf = prop_oneof![
        any::<u64>().prop_map(|n| [&[0x1b][..], &n.to_be_bytes()].concat()),
        any::<u16>().prop_map(|n| [&[0x39][..], &n.to_be_bytes()].concat()),
        any::<u16>().prop_map(|n| [&[0xf9][..], &n.to_be_bytes()].concat()),
        any::<u32>().prop_map(|n| [&[0xfa][..], &n.to_be_bytes()].concat()),
        text.clone(),
        proptest::collection::vec(text, 0..3).prop_map(|chunks| [
            &[0x7f][..],
            &chunks.concat(),
            &[0xff]
        ]
        .concat()),
        prop_oneof![Just(0xf4), Just(0xf5), Just(0xf6), Just(0xf7)].prop_map(|b: u8| vec![b]),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        let items = proptest::collection::vec(inner.clone(), 0..5);
        let pairs = items.clone().prop_map(|items| {
            let keyed = items.iter().zip(0u8..).map(|(item, key)| [&[key][..], item].concat());
            (items.len() as u8, keyed.collect::<Vec<_>>().concat())
        });
        prop_oneof![
            items.clone().prop_map(|i| [&[0x80 | i.len() as u8][..], &i.concat()].concat()),
            items.prop_map(|items| [&[0x9f][..], &items.concat(), &[0xff]].concat()),
            pairs.clone().prop_map(|(n, pairs)| [&[0xa0 | n][..], &pairs].concat()),
            pairs.prop_map(|(_, pairs)| [&[0xbf][..], &pairs, &[0xff]].concat()),
            inner.prop_map(|item| [&[0xc1][..], &item].concat()),
        ]
    })
}

proptest! {
    #[test]
    fn what_the_scan_accepts_can_be_written_again_and_means_the_same(
        bytes in well_formed()
    ) {
        prop_assert_eq!(scan(&bytes), Ok(()));
        let mut out = Vec::new();
        prop_assert_eq!(transcode(&mut Reader::new(&bytes), &mut Writer(&mut out)), Ok(()));
        prop_assert_eq!(scan(&out), Ok(()));
        let mut again = Vec::new();
        transcode(&mut Reader::new(&out), &mut Writer(&mut again)).unwrap();
        prop_assert_eq!(out, again);
    }

    #[test]
    fn the_scan_accepts_only_what_an_independent_decoder_accepts(
        bytes in proptest::collection::vec(any::<u8>(), 0..64)
    ) {
        if scan(&bytes).is_ok() {
            let mut rest = &bytes[..];
            let value: Result<ciborium::Value, _> = ciborium::from_reader(&mut rest);
            // ciborium refuses simple values other than the four named ones.
            let simple = bytes.iter().any(|b| matches!(b, 0xe0..=0xf3 | 0xf8));
            prop_assert!(simple || value.is_ok(), "{value:?}");
            prop_assert!(simple || rest.is_empty());
        }
    }

    #[test]
    fn integers_are_written_in_their_shortest_form(value: u64) {
        let mut ours = Vec::new();
        Writer(&mut ours).unsigned(value);
        let mut theirs = Vec::new();
        encode(&mut theirs, &value);
        prop_assert_eq!(ours, theirs);
    }
}
