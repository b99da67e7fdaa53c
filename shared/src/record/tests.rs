//! The record layer against itself; against rustls and OpenSSL see the package `tests`.

use super::*;
use proptest::prelude::*;

const SUITES: [Suite; 5] = [
    Suite::Tls12Aes128,
    Suite::Tls12Aes256,
    Suite::Tls13Aes128,
    Suite::Tls13Aes256,
    Suite::Tls13ChaCha20,
];

fn seal(records: &mut Records, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(text);
        true
    };
    records.seal(&mut out, write).unwrap();
    out
}

/// Opens everything; returns the text and what TLS answers.
fn open(records: &mut Records, bytes: &mut [u8]) -> Result<(Vec<u8>, Vec<u8>), RecordError> {
    let (mut text, mut out) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    let mut opener = records.opener();
    while !rest.is_empty() {
        let len = match opener.next(rest, &mut out)? {
            Step::Partial { .. } => break,
            Step::Record { len, opened } => {
                if let Opened::Text(part) = opened {
                    text.extend_from_slice(&rest[part]);
                }
                len
            }
        };
        rest = &mut rest[len..];
    }
    Ok((text, out))
}

/// A record of any content type, sealed by a peer that does as it likes.
fn seal_any(records: &mut Records, kind: u8, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    records.seal_any(&mut out, text, kind);
    out
}

#[test]
fn a_connection_is_less_than_300_bytes_of_plain_data() {
    assert!(size_of::<Records>() <= 128, "{}", size_of::<Records>());
}

#[test]
fn text_goes_both_ways_with_every_suite_whatever_its_length() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        for len in [1, 2, 100, 1000, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1, 3 * TEXT_BYTES_MAX] {
            let text: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut sealed = seal(&mut client, &text);
            assert_eq!(sealed.len(), len + len.div_ceil(TEXT_BYTES_MAX) * suite.overhead_bytes());
            assert_eq!(open(&mut server, &mut sealed).unwrap().0, text, "{suite:?} {len}");
            let mut sealed = seal(&mut server, &text);
            assert_eq!(open(&mut client, &mut sealed).unwrap().0, text, "{suite:?} {len}");
        }
    }
}

/// RFC 8448 §3: the secrets of a published connection, and what either side sends under them.
#[test]
fn the_published_connection_is_sealed_and_opened_to_the_byte() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(byte).collect()
    };
    let client_secret = bytes("9e40646ce79a7f9dc05af8889bce6552 875afa0b06df0087f792ebb7c17504a5");
    let server_secret = bytes("a11af9f05531f856ad47116b45a95032 8204b4f44bfb6b3a4b4f1f3fcb631643");
    let mut from_client = bytes(
        "1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5
         b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
    );
    let mut from_server = bytes(
        "1703030043 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d
         90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
    );
    let mut goodbye = bytes("1703030013 c98727606556 66b74d7ff1153efd6db6d0b0e3");
    let text: Vec<u8> = (0..50).collect();
    let ends = || Records::ends(Suite::Tls13Aes128, &client_secret, &server_secret);

    let (mut server, mut client) = ends();
    assert_eq!(seal(&mut client, &text), from_client);
    // The server's first record was a ticket.
    server.write.skip_to(1);
    assert_eq!(seal(&mut server, &text), from_server);

    let (mut server, mut client) = ends();
    assert_eq!(open(&mut server, &mut from_client).unwrap().0, text);
    client.read.skip_to(1);
    assert_eq!(open(&mut client, &mut from_server).unwrap().0, text);
    let closed = server.opener().next(&mut goodbye, &mut Vec::new()).unwrap();
    assert!(matches!(closed, Step::Record { opened: Opened::Closed, .. }));
}

#[test]
fn several_records_in_one_receive_and_one_record_in_several() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut bytes = seal(&mut client, b"one");
        bytes.extend(seal(&mut client, b"two"));
        let whole = bytes.len();
        for cut in 0..HEADER_BYTES {
            let needed = server.opener().next(&mut bytes[..cut], &mut Vec::new()).unwrap();
            assert_eq!(needed, Step::Partial { needed: HEADER_BYTES });
        }
        let first = (whole - 6) / 2 + 3;
        let step = server.opener().next(&mut bytes[..first - 1], &mut Vec::new()).unwrap();
        assert_eq!(step, Step::Partial { needed: first });
        assert_eq!(open(&mut server, &mut bytes).unwrap().0, b"onetwo");
    }
}

#[test]
fn a_record_that_was_changed_anywhere_ends_the_connection_with_bad_record_mac() {
    for suite in SUITES {
        let (_, mut client) = Records::pair(suite, [7; 32]);
        let sealed = seal(&mut client, b"text");
        for at in HEADER_BYTES..sealed.len() {
            let (mut server, _) = Records::pair(suite, [7; 32]);
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(
                open(&mut server, &mut changed),
                Err(RecordError::BadRecord),
                "{suite:?} {at}"
            );
        }
    }
}

#[test]
fn records_replayed_left_out_or_out_of_order_do_not_authenticate() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let (first, second) = (seal(&mut client, b"1"), seal(&mut client, b"2"));
        open(&mut server, &mut first.clone()).unwrap();
        assert_eq!(open(&mut server, &mut first.clone()), Err(RecordError::BadRecord));
        let (mut server, _) = Records::pair(suite, [7; 32]);
        assert_eq!(open(&mut server, &mut second.clone()), Err(RecordError::BadRecord));
    }
}

#[test]
fn what_we_sent_does_not_authenticate_when_it_is_reflected() {
    for suite in SUITES {
        let (mut server, _) = Records::pair(suite, [7; 32]);
        let mut sealed = seal(&mut server, b"text");
        assert_eq!(open(&mut server, &mut sealed), Err(RecordError::BadRecord));
    }
}

/// RFC 5246 §6.2.3, RFC 8446 §5.2.
#[test]
fn a_length_above_the_limit_is_refused_before_the_record_is_waited_for() {
    for suite in SUITES {
        let (mut server, _) = Records::pair(suite, [7; 32]);
        let len = (RECORD_BYTES_MAX - HEADER_BYTES + 1) as u16;
        let [high, low] = len.to_be_bytes();
        let mut header = [content::APPLICATION_DATA, 3, 3, high, low];
        assert_eq!(open(&mut server, &mut header), Err(RecordError::TooLong));
    }
}

#[test]
fn the_shortest_and_the_empty_record_bodies_do_not_authenticate() {
    for suite in SUITES {
        for len in 0..40u8 {
            let (mut server, _) = Records::pair(suite, [7; 32]);
            let mut record = vec![content::APPLICATION_DATA, 3, 3, 0, len];
            record.resize(HEADER_BYTES + usize::from(len), 0);
            assert_eq!(
                open(&mut server, &mut record),
                Err(RecordError::BadRecord),
                "{suite:?} {len}"
            );
        }
    }
}

/// RFC 8446 §6.1: truncation is told from an orderly end.
#[test]
fn only_a_goodbye_makes_the_end_orderly_and_nothing_may_follow_it() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut bytes = seal(&mut client, b"last");
        client.close_notify(&mut bytes);
        assert!(!server.peer_closed());
        assert_eq!(open(&mut server, &mut bytes).unwrap().0, b"last");
        assert!(server.peer_closed());
        let mut more = seal(&mut client, b"more");
        assert_eq!(open(&mut server, &mut more), Err(RecordError::Unexpected));
    }
}

#[test]
fn a_fatal_alert_ends_the_connection_without_an_answer() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut alert = seal_any(&mut client, content::ALERT, &[2, 20]);
        let mut out = Vec::new();
        let result = server.opener().next(&mut alert, &mut out);
        assert_eq!(result, Err(RecordError::PeerAlert(20)));
        assert!(out.is_empty());
    }
}

/// RFC 8446 §6: in TLS 1.3 the level means nothing.
#[test]
fn warnings_are_passed_over_in_tls12_a_few_times_and_final_in_tls13() {
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut warn = || open(&mut server, &mut seal_any(&mut client, content::ALERT, &[1, 43]));
        if suite.is_tls13() {
            assert_eq!(warn(), Err(RecordError::PeerAlert(43)));
        } else {
            (0..4).for_each(|_| assert!(warn().is_ok()));
            assert_eq!(warn(), Err(RecordError::TooMuch));
        }
    }
}

#[test]
fn malformed_alerts_are_refused() {
    for suite in SUITES {
        for alert in [&[][..], &[1], &[1, 0, 0], &[0, 0], &[3, 0]] {
            let (mut server, mut client) = Records::pair(suite, [7; 32]);
            let mut record = seal_any(&mut client, content::ALERT, alert);
            assert_eq!(open(&mut server, &mut record), Err(RecordError::Malformed), "{alert:?}");
        }
    }
}

/// RFC 8446 §4.6.3.
#[test]
fn key_updates_are_followed_and_answered_when_asked() {
    for suite in SUITES.into_iter().filter(|suite| suite.is_tls13()) {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        for round in 0..10 {
            let asked = u8::from(round % 2 == 0);
            let mut update = seal_any(&mut client, content::HANDSHAKE, &[24, 0, 0, 1, asked]);
            client.write.update(suite).unwrap();
            let nothing = (Vec::new(), Vec::new());
            assert_eq!(open(&mut server, &mut update).unwrap(), nothing);
            let mut sealed = seal(&mut client, b"up");
            assert_eq!(open(&mut server, &mut sealed).unwrap().0, b"up");
            // The answer goes before the next text.
            let plain = sealed.len() + 2;
            let mut sealed = seal(&mut server, b"down");
            assert_eq!(sealed.len() > plain, asked == 1);
            assert_eq!(open(&mut client, &mut sealed).unwrap().0, b"down");
        }
    }
}

/// RFC 8446 §4.6.3: who was silent answers all of them with one.
#[test]
fn many_key_updates_that_ask_are_answered_by_one() {
    let (mut server, mut client) = Records::pair(Suite::Tls13Aes128, [7; 32]);
    for _ in 0..20 {
        let mut update = Vec::new();
        client.send_key_update(&mut update, true);
        open(&mut server, &mut update).unwrap();
    }
    let (mut first, mut second) = (seal(&mut server, b"one"), seal(&mut server, b"two"));
    let update_bytes = HEADER_BYTES + 5 + 1 + 16;
    assert_eq!(first.len(), second.len() + update_bytes);
    assert_eq!(open(&mut client, &mut first).unwrap().0, b"one");
    assert_eq!(open(&mut client, &mut second).unwrap().0, b"two");
}

#[test]
fn a_key_update_may_come_byte_by_byte_but_nothing_else_in_between() {
    let suite = Suite::Tls13Aes128;
    let (mut server, mut client) = Records::pair(suite, [7; 32]);
    for byte in [24, 0, 0, 1, 0] {
        let mut record = seal_any(&mut client, content::HANDSHAKE, &[byte]);
        open(&mut server, &mut record).unwrap();
    }
    client.write.update(suite).unwrap();
    assert_eq!(open(&mut server, &mut seal(&mut client, b"up")).unwrap().0, b"up");

    let mut record = seal_any(&mut client, content::HANDSHAKE, &[24, 0]);
    open(&mut server, &mut record).unwrap();
    let mut text = seal(&mut client, b"text");
    assert_eq!(open(&mut server, &mut text), Err(RecordError::Unexpected));
}

#[test]
fn nothing_may_follow_a_key_update_in_its_record() {
    let (mut server, mut client) = Records::pair(Suite::Tls13Aes128, [7; 32]);
    let two = [24, 0, 0, 1, 0, 24, 0, 0, 1, 0];
    let mut record = seal_any(&mut client, content::HANDSHAKE, &two);
    assert_eq!(open(&mut server, &mut record), Err(RecordError::Unexpected));
}

#[test]
fn malformed_key_updates_are_refused() {
    for (message, error) in [
        (&[24, 0, 0, 1, 2][..], RecordError::Malformed),
        (&[24, 0, 0, 2, 0, 0], RecordError::Malformed),
        (&[24, 0, 0, 0], RecordError::Malformed),
        (&[], RecordError::Unexpected),
    ] {
        let (mut server, mut client) = Records::pair(Suite::Tls13Aes128, [7; 32]);
        let mut record = seal_any(&mut client, content::HANDSHAKE, message);
        assert_eq!(open(&mut server, &mut record), Err(error), "{message:?}");
    }
}

#[test]
fn a_flood_of_key_updates_or_empty_records_ends_the_connection() {
    let suite = Suite::Tls13Aes128;
    let (mut server, mut client) = Records::pair(suite, [7; 32]);
    let mut result = Ok(Default::default());
    for _ in 0..33 {
        let mut update = seal_any(&mut client, content::HANDSHAKE, &[24, 0, 0, 1, 0]);
        client.write.update(suite).unwrap();
        result = open(&mut server, &mut update);
    }
    assert_eq!(result, Err(RecordError::TooMuch));
    for suite in SUITES {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut empty = || open(&mut server, &mut seal(&mut client, b""));
        (0..32).for_each(|_| assert!(empty().is_ok()));
        assert_eq!(empty(), Err(RecordError::TooMuch));
    }
}

/// RFC 5746 is not needed where nothing is ever negotiated again.
#[test]
fn a_renegotiation_is_refused_with_a_warning_once() {
    for suite in [Suite::Tls12Aes128, Suite::Tls12Aes256] {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut hello = seal_any(&mut client, content::HANDSHAKE, &[1, 0, 0, 3, 9, 9, 9]);
        let (_, mut answer) = open(&mut server, &mut hello).unwrap();
        open(&mut client, &mut answer).unwrap();
        assert_eq!(client.temper.warnings, Temper::FULL.warnings - 1);
        assert_eq!(open(&mut server, &mut seal(&mut client, b"on")).unwrap().0, b"on");
        // Text does not make up for it.
        let mut again = seal_any(&mut client, content::HANDSHAKE, &[1, 0, 0, 3, 9, 9, 9]);
        assert_eq!(open(&mut server, &mut again), Err(RecordError::TooMuch));
    }
    let (mut server, mut client) = Records::pair(Suite::Tls12Aes128, [7; 32]);
    let hellos = [1, 0, 0, 0].repeat(2);
    let mut record = seal_any(&mut client, content::HANDSHAKE, &hellos);
    assert_eq!(open(&mut server, &mut record), Err(RecordError::TooMuch));
}

#[test]
fn tickets_are_passed_over_by_clients_and_refused_by_servers() {
    let (mut server, mut client) = Records::pair(Suite::Tls13Aes128, [7; 32]);
    let mut ticket = vec![4, 0, 1, 0];
    ticket.resize(4 + 256, 7);
    let mut first = seal_any(&mut server, content::HANDSHAKE, &ticket[..100]);
    let mut second = seal_any(&mut server, content::HANDSHAKE, &ticket[100..]);
    open(&mut client, &mut first).unwrap();
    open(&mut client, &mut second).unwrap();
    assert_eq!(open(&mut client, &mut seal(&mut server, b"on")).unwrap().0, b"on");
    let mut record = seal_any(&mut client, content::HANDSHAKE, &ticket);
    assert_eq!(open(&mut server, &mut record), Err(RecordError::Unexpected));
}

#[test]
fn change_cipher_spec_and_unknown_contents_have_no_place() {
    for suite in SUITES {
        let (mut server, _) = Records::pair(suite, [7; 32]);
        let mut record = [content::CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1];
        assert_eq!(open(&mut server, &mut record), Err(RecordError::Unexpected));
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut record = seal_any(&mut client, 24, b"heartbeat");
        assert_eq!(open(&mut server, &mut record), Err(RecordError::Unexpected));
    }
}

/// RFC 8446 §5.4: padding hides lengths; a record of padding only has no content type.
#[test]
fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
    for suite in SUITES.into_iter().filter(|suite| suite.is_tls13()) {
        let (mut server, mut client) = Records::pair(suite, [7; 32]);
        let mut padded = seal_any(&mut client, 0, b"text\x17\0\0\0");
        assert_eq!(open(&mut server, &mut padded).unwrap().0, b"text");
        let mut zeros = seal_any(&mut client, 0, &[0; 20]);
        assert_eq!(open(&mut server, &mut zeros), Err(RecordError::Unexpected));
    }
}

#[test]
fn tls12_records_of_another_version_are_refused() {
    let (mut server, mut client) = Records::pair(Suite::Tls12Aes128, [7; 32]);
    let mut record = seal(&mut client, b"text");
    record[2] = 2;
    assert_eq!(open(&mut server, &mut record), Err(RecordError::Version));
}

/// RFC 8446 §5.5.
#[test]
fn a_key_is_replaced_or_given_up_before_its_limit() {
    let (mut server, mut client) = Records::pair(Suite::Tls13Aes128, [7; 32]);
    for end in [&mut server.read, &mut client.write] {
        end.skip_to(suite::RECORDS_PER_KEY - suite::RECORDS_PER_KEY / 16);
    }
    let mut sealed = seal(&mut client, b"on");
    assert_eq!(client.write.sequence(), 1);
    assert_eq!(open(&mut server, &mut sealed).unwrap().0, b"on");

    let (_, mut client) = Records::pair(Suite::Tls12Aes128, [7; 32]);
    client.write.skip_to(suite::RECORDS_PER_KEY);
    let mut out = vec![1];
    assert_eq!(client.seal(&mut out, |_| true), Err(RecordError::KeyUsedUp));
    assert_eq!(out, [1]);
}

#[test]
fn a_message_that_is_withdrawn_leaves_no_trace() {
    let (mut server, mut client) = Records::pair(Suite::Tls12Aes128, [7; 32]);
    let mut out = vec![9];
    client
        .seal(&mut out, |out| {
            out.extend_from_slice(b"never");
            false
        })
        .unwrap();
    assert_eq!(out, [9]);
    assert_eq!(open(&mut server, &mut seal(&mut client, b"first")).unwrap().0, b"first");
}

proptest! {
    /// Any bytes give an error or a wish for more, and never text.
    #[test]
    fn foreign_bytes_never_become_text(
        which in 0..SUITES.len(),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        whole in any::<bool>(),
    ) {
        let (mut server, _) = Records::pair(SUITES[which], [7; 32]);
        if whole && bytes.len() >= HEADER_BYTES {
            let [high, low] = ((bytes.len() - HEADER_BYTES) as u16).to_be_bytes();
            bytes[..HEADER_BYTES].copy_from_slice(&[23, 3, 3, high, low]);
        }
        if let Ok((text, out)) = open(&mut server, &mut bytes) {
            prop_assert!(text.is_empty() && out.is_empty());
        }
    }

    /// However the bytes are cut into receives, the text is the same.
    #[test]
    fn cuts_do_not_change_the_text(
        which in 0..SUITES.len(),
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..8),
        cuts in proptest::collection::vec(1usize..100, 1..40),
    ) {
        let (mut server, mut client) = Records::pair(SUITES[which], [7; 32]);
        let sealed: Vec<u8> = texts.iter().flat_map(|text| seal(&mut client, text)).collect();
        let (mut have, mut got) = (Vec::new(), Vec::new());
        let mut rest = &sealed[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            have.extend_from_slice(now);
            let mut used = 0;
            let mut opener = server.opener();
            while let Step::Record { len, opened } = opener.next(&mut have[used..], &mut Vec::new()).unwrap() {
                if let Opened::Text(text) = opened {
                    got.extend_from_slice(&have[used..][text]);
                }
                used += len;
            }
            have.drain(..used);
        }
        prop_assert_eq!(got, texts.concat());
    }
}
