//! `Event-Signature` (cloud reference 5.7): HMAC-SHA-256 over five headers and the body, joined by
//! colons, with the bytes of the signing secret as the key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::hex;

/// What is signed of a notification: the headers as they are sent, and the body.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `Content-Type`; empty if there is none.
    pub content_type: &'a str,
    /// `Event-Type`.
    pub event_type: &'a str,
    /// `Subscription-ID`.
    pub subscription_id: &'a str,
    /// `Sequence-Number`.
    pub sequence_number: &'a str,
    /// `Event-Timestamp`.
    pub timestamp: &'a str,
    /// The bytes of the body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn mac(&self, secret: &str) -> [u8; 32] {
        let key = secret.as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        for header in [
            self.content_type,
            self.event_type,
            self.subscription_id,
            self.sequence_number,
            self.timestamp,
        ] {
            mac.update(header.as_bytes());
            mac.update(b":");
        }
        mac.update(self.body);
        mac.finalize().into_bytes().into()
    }

    /// The signature: 64 hexadecimal digits in lower case.
    pub fn signature(&self, secret: &str) -> String {
        let mac = self.mac(secret);
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the signature, in either case. How long that takes tells nothing.
    pub fn is_signed(&self, secret: &str, signature: &str) -> bool {
        let Some(presented) = hex::decode_32(signature) else { return false };
        self.mac(secret).ct_eq(&presented).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::verify::{NotValid, verify};

    const JSON: &str = "application/json";
    const DEVICES: &str = "1eeb465c-5e8d-4305-a366-bbf035fff671";
    const LINKS: &str = "7f5af6d4-64b9-4ce4-8f34-371ddb490272";
    const HUMIDITY: &str = "0b2d1a6e-3f7c-4c58-9a41-6de5b0f1c2d3";
    const COFFEE: &str = "c0ffee00-1234-4abc-8def-0123456789ab";
    const FIRST: &str = "3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql";
    const SECOND: &str = "k7Tq2Wm9Xc4Vb6Np8Lz1Jh3Gf5Ds0RyA";
    const THIRD: &str = "Zt5Yr8Ue1Iw4Oq7Pa0Sd3Fg6Hj9Kl2Xc";
    const TWO_DEVICES: &str = r#"[{"di":"53080a4f-5e3e-4291-802f-3436238232d2"},{"di":"9cfbeb8e-5a1e-4d1c-9d01-00c04fd430c8"}]"#;
    const ONE: &str = r#"[{"di":"53080a4f-5e3e-4291-802f-3436238232d2"}]"#;
    const OTHER: &str = r#"[{"di":"9cfbeb8e-5a1e-4d1c-9d01-00c04fd430c8"}]"#;
    const TWO_LINKS: &str = r#"[{"di":"53080a4f-5e3e-4291-802f-3436238232d2","href":"/53080a4f-5e3e-4291-802f-3436238232d2/humidity","rt":["oic.r.humidity"],"if":["oic.if.s","oic.if.baseline"],"p":{"bm":3}},{"di":"53080a4f-5e3e-4291-802f-3436238232d2","href":"/53080a4f-5e3e-4291-802f-3436238232d2/temperature","rt":["oic.r.temperature"],"if":["oic.if.s","oic.if.baseline"],"p":{"bm":3}}]"#;
    const ONE_LINK: &str = r#"[{"di":"53080a4f-5e3e-4291-802f-3436238232d2","href":"/53080a4f-5e3e-4291-802f-3436238232d2/humidity","rt":["oic.r.humidity"],"if":["oic.if.s","oic.if.baseline"]}]"#;
    const CBOR: &[u8] = b"\xa3\x6f\x64\x65\x73\x69\x72\x65\x64\x48\x75\x6d\x69\x64\x69\x74\x79\x18\x3c\x65\x74\x79\x70\x65\x73\x81\x6e\x6f\x69\x63\x2e\x72\x2e\x68\x75\x6d\x69\x64\x69\x74\x79\x68\x68\x75\x6d\x69\x64\x69\x74\x79\x18\x28";

    type Vector<'v> = (&'v str, [&'v str; 5], &'v [u8], &'v str);

    /// Cloud reference 7.1, V1 to V17 in order: secret, the five headers, body, signature.
    const VECTORS: [Vector<'_>; 17] = [
        (
            "a",
            ["b", "devices_online", "c", "0", "0"],
            b"",
            "72150f5f9795e728fa594ece9fa6aa2f0e8877e8d36be89246782cfed00216c3",
        ),
        (
            FIRST,
            [JSON, "devices_registered", DEVICES, "0", "1585758000"],
            TWO_DEVICES.as_bytes(),
            "39b6fc5896c40825118c89d291826b9ff732789fcc1af67512925ae683524889",
        ),
        (
            FIRST,
            [JSON, "devices_unregistered", DEVICES, "1", "1585758000"],
            b"[]",
            "e913841f4773782876f6200c016ae63537c8ab2b063a2e2817306bfa0d95b910",
        ),
        (
            FIRST,
            [JSON, "devices_online", DEVICES, "2", "1585758000"],
            ONE.as_bytes(),
            "b74a26279f8d89eae7c72ee7b3a768710ed25c5ef85619933638a8d8ae077f45",
        ),
        (
            FIRST,
            [JSON, "devices_offline", DEVICES, "3", "1585758000"],
            OTHER.as_bytes(),
            "28173e323cd7f33fa2b9fe708aa937d97241e0a39f265d22743b1609fce57e45",
        ),
        (
            FIRST,
            [JSON, "devices_online", DEVICES, "4", "1585758060"],
            OTHER.as_bytes(),
            "5891cd59fe2bc54e492f2eaee4fab6129baa60de03f08f2b66798d8c91941e6f",
        ),
        (
            SECOND,
            [JSON, "resources_published", LINKS, "0", "1585758010"],
            TWO_LINKS.as_bytes(),
            "05bf51c980a6caf3eb5bab141785076d48ed58f4fb8bf4d25a9430caa01715e5",
        ),
        (
            SECOND,
            [JSON, "resources_unpublished", LINKS, "1", "1585758010"],
            b"[]",
            "6ec55f522bfded64258bedd2e9953f18a0c18154972b6cfac9e5e8800dd10ea5",
        ),
        (
            SECOND,
            [JSON, "resources_unpublished", LINKS, "2", "1585758099"],
            ONE_LINK.as_bytes(),
            "4f937dab361f659431ee835dbd50ef2588ba0c8de79c8482a391eda7a5732fad",
        ),
        (
            THIRD,
            [JSON, "resource_contentchanged", HUMIDITY, "0", "1585758020"],
            br#"{"humidity":62,"desiredHumidity":65}"#,
            "de7503ee4dfa4ac813e32125ec8dd487451667c376f57d6ff2c8ce4d235a8f37",
        ),
        (
            THIRD,
            [JSON, "resource_contentchanged", HUMIDITY, "1", "1585758045"],
            "{\"n\":\"K\u{fc}che\",\"humidity\":63,\"desiredHumidity\":65}".as_bytes(),
            "add9563e9b1a6d282a700ad60ce92299512605fba4b519d92d1209773fb2cf63",
        ),
        (
            THIRD,
            ["", "subscription_cancelled", HUMIDITY, "2", "1585758050"],
            b"",
            "fc00088e2e802a7daaa1d6ba6f980654c8515d450cfd70fd44664017df3523f5",
        ),
        (
            SECOND,
            [
                "application/vnd.ocf+cbor",
                "resource_contentchanged",
                "a4d7c3b2-9e8f-4a6b-8c5d-2e1f0a9b8c7d",
                "0",
                "1585758030",
            ],
            CBOR,
            "651cb3036bdc23a1669759f2e3c7ee9c1b7840ccfd3e7ff6d53b22d48726238d",
        ),
        (
            "y7rZ6g404aUuMYFBps553ig2Jo8DQZy9RNlNvWeU1EI=",
            [JSON, "devices_offline", COFFEE, "18446744073709551615", "4102444800"],
            OTHER.as_bytes(),
            "27889e1a84f4b9c5a351efcf6f69a4e862c7ec556a97fcbd65bb27adcfdc8370",
        ),
        (
            "пароль-пароль-пароль-пароль-1234",
            [JSON, "devices_online", COFFEE, "7", "1585758002"],
            b"[]",
            "657a1fdff8eb94e1cceba2cf536170601635f5f56d057438b363a74b97f3ead4",
        ),
        (
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefgh",
            [JSON, "devices_online", COFFEE, "8", "1585758003"],
            b"[]",
            "a670d2981924b28d83f49c306a619849c5433abaa2bc1289cf48bc63d87ec2ac",
        ),
        (
            FIRST,
            [JSON, "subscription_cancelled", DEVICES, "5", "1585758070"],
            b"{}",
            "2518dd415e7cb746852fd32463ab29c2a34dea0e14a4c2ac870e7f0f2bf560e0",
        ),
    ];

    fn signed<'a>(headers: &[&'a str; 5], body: &'a [u8]) -> Signed<'a> {
        let [content_type, event_type, subscription_id, sequence_number, timestamp] = *headers;
        Signed { content_type, event_type, subscription_id, sequence_number, timestamp, body }
    }

    fn lines(headers: &[&str; 5], signature: &str) -> Vec<String> {
        let names =
            ["Content-Type", "Event-Type", "Subscription-ID", "Sequence-Number", "Event-Timestamp"];
        let named = names.iter().zip(headers).filter(|(_, value)| !value.is_empty());
        let lines = named.map(|(name, value)| format!("{name}: {value}"));
        lines.chain([format!("event-signature:{signature}")]).collect()
    }

    /// Case 134.
    #[test]
    fn every_positive_vector_is_made_and_accepted() {
        for (secret, headers, body, signature) in VECTORS {
            assert_eq!(signed(&headers, body).signature(secret), signature, "{headers:?}");
            verify(secret, &lines(&headers, signature), body, None, 0).unwrap();
            verify(secret, &lines(&headers, &signature.to_uppercase()), body, None, 0).unwrap();
        }
    }

    /// Case 135; cloud reference 7.2, N1 to N5.
    #[test]
    fn every_negative_vector_is_refused_and_has_its_own_signature() {
        let (secret, headers, body, v2) = VECTORS[1];
        let with = |at: usize, value: &'static str| {
            let mut headers = headers;
            headers[at] = value;
            headers
        };
        let longer = format!("{TWO_DEVICES}\n");
        let upper = "1EEB465C-5E8D-4305-A366-BBF035FFF671";
        for (secret, headers, body, own) in [
            (
                secret,
                headers,
                longer.as_bytes(),
                "17c08acbbeb63c08c9afe04a7ddeb0725b061859d32649ccd3bd4b4adc791352",
            ),
            (
                secret,
                with(4, "1585758001"),
                body,
                "16cd8cc096b2cae641e9a346e075169eccf3753a2685f13ea9334fe8178d36cb",
            ),
            (
                secret,
                with(0, "application/json; charset=utf-8"),
                body,
                "c9aa5d1753d452bf333ff7ffc5dd86e1e66d9a7c47d1d18dfa04def4a1b004e2",
            ),
            (
                secret,
                with(2, upper),
                body,
                "b1db44292a8dbcc115e9f0fd0fbdba95186d0ea07c553bf10b7ffc8969a33538",
            ),
            (
                SECOND,
                headers,
                body,
                "e4b22cd07afcff34f5026248c4201e75c9acd9387bedc1c5502c0c66c203bb91",
            ),
        ] {
            let refused = verify(secret, &lines(&headers, v2), body, None, 0);
            assert!(matches!(refused, Err(NotValid::Signature)), "{headers:?}");
            let made = signed(&headers, body).signature(secret);
            assert_eq!(made, own);
            verify(secret, &lines(&headers, &made), body, None, 0).unwrap();
        }
    }

    /// Cases 136 to 140, as far as a command line can show them.
    #[test]
    fn headers_are_checked_before_the_signature() {
        let (secret, headers, body, signature) = VECTORS[2];
        let check = |lines: &[String], age, now| verify(secret, lines, body, age, now);
        let good = lines(&headers, signature);
        let now = 1_585_758_000;
        check(&good, Some(300), now + 299).unwrap();
        check(&good, Some(300), now - 299).unwrap();
        assert!(matches!(check(&good, Some(300), now + 301), Err(NotValid::Age(301))));
        assert!(matches!(check(&good, Some(300), now - 301), Err(NotValid::Age(301))));
        for number in ["007", "+7", "-1", "", "18446744073709551616", "1.0"] {
            let mut changed = good.clone();
            changed[3] = format!("Sequence-Number: {number}");
            assert!(matches!(check(&changed, None, now), Err(NotValid::Number(_))), "{number}");
        }
        for digits in [&signature[1..], &format!("{signature}0"), &signature.replace('e', "g")] {
            let wrong = check(&lines(&headers, digits), None, now);
            assert!(matches!(wrong, Err(NotValid::Digits)), "{digits}");
        }
        let twice = [&good[..], &good[1..2]].concat();
        assert!(matches!(check(&twice, None, now), Err(NotValid::Repeated("Event-Type"))));
        assert!(matches!(check(&good[..5], None, now), Err(NotValid::Missing("Event-Signature"))));
        let junk = [&good[..], &["junk".into()]].concat();
        assert!(matches!(check(&junk, None, now), Err(NotValid::Header(_))));
    }
}
