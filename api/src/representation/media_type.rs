//! Content negotiation (cloud reference 2.4; RFC 9110 §12.5.1) and types of bodies (2.5).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};

/// A form in which representations are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/vnd.ocf+cbor`.
    OcfCbor,
    /// `application/cbor`, an alias that is only spoken to whoever asks for it.
    Cbor,
}

impl MediaType {
    /// As it stands in a header, without parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::OcfCbor => "application/vnd.ocf+cbor",
            Self::Cbor => "application/cbor",
        }
    }

    fn named(essence: &str) -> Option<Self> {
        [Self::Json, Self::OcfCbor, Self::Cbor]
            .into_iter()
            .find(|known| essence.eq_ignore_ascii_case(known.as_str()))
    }
}

/// The best form for these headers, if any is acceptable. Without `Accept` it is JSON.
pub fn negotiate(headers: &HeaderMap) -> Option<MediaType> {
    let mut lines = headers.get_all(ACCEPT).iter();
    let (first, more) = (lines.next(), lines.next().is_some());
    match first {
        None => return Some(MediaType::Json),
        // Nearly every request names exactly one form.
        Some(only) if !more => {
            if let Some(named) = only.to_str().ok().and_then(MediaType::named) {
                return Some(named);
            }
        }
        Some(_) => {}
    }
    Wishes::of(headers).best()
}

/// Whether JSON may be answered, where nothing else is offered.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let wishes = Wishes::of(headers);
    !wishes.any || wishes.json.weight > 0
}

/// What is known of one form after reading the header.
#[derive(Clone, Copy, Default)]
struct Wish {
    /// How precisely the best matching range named it; 0 when none did.
    precision: u8,
    /// Its weight in thousandths.
    weight: u16,
    /// Where that range stands in the header.
    place: usize,
}

#[derive(Default)]
struct Wishes {
    json: Wish,
    ocf_cbor: Wish,
    cbor: Wish,
    any: bool,
    seen: usize,
}

const EXACT: u8 = 3;

impl Wishes {
    fn of(headers: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        for line in headers.get_all(ACCEPT) {
            // A line that is not ASCII names nothing that we have.
            match line.to_str() {
                Ok(line) => elements(line).for_each(|element| wishes.add(element)),
                Err(_) => wishes.any = true,
            }
        }
        wishes
    }

    fn add(&mut self, element: &str) {
        self.any = true;
        self.seen += 1;
        let mut parts = split_outside_quotes(element, ';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let Some(weight) = weight_of(parts) else { return };
        let wish = |precision| Wish { precision, weight, place: self.seen };
        let (json, ocf_cbor, cbor) = (&mut self.json, &mut self.ocf_cbor, &mut self.cbor);
        match MediaType::named(range) {
            Some(MediaType::Json) => json.refine(wish(EXACT)),
            Some(MediaType::OcfCbor) => ocf_cbor.refine(wish(EXACT)),
            Some(MediaType::Cbor) => cbor.refine(wish(EXACT)),
            None => {
                let precision = match range {
                    "*/*" => 1,
                    _ if range.eq_ignore_ascii_case("application/*") => 2,
                    _ => return,
                };
                json.refine(wish(precision));
                ocf_cbor.refine(wish(precision));
            }
        }
    }

    /// The highest weight; on a tie the order in the header; still a tie: JSON.
    fn best(&self) -> Option<MediaType> {
        if !self.any {
            return Some(MediaType::Json);
        }
        let offers = [
            (MediaType::Json, self.json),
            (MediaType::OcfCbor, self.ocf_cbor),
            (MediaType::Cbor, self.cbor),
        ];
        let (best, _) = offers
            .into_iter()
            .filter(|(_, wish)| wish.precision > 0 && wish.weight > 0)
            .min_by_key(|(_, wish)| (std::cmp::Reverse(wish.weight), wish.place))?;
        let ocf_is_listed = self.ocf_cbor.precision == EXACT && self.ocf_cbor.weight > 0;
        match best {
            MediaType::Cbor if ocf_is_listed => Some(MediaType::OcfCbor),
            best => Some(best),
        }
    }
}

impl Wish {
    /// The most precise range decides; of equally precise ones the heaviest, then the first.
    fn refine(&mut self, other: Self) {
        if (other.precision, other.weight) > (self.precision, self.weight) {
            *self = other;
        }
    }
}

/// The elements of a comma-separated header line. Empty ones do not count (RFC 9110 §5.6.1).
fn elements(line: &str) -> impl Iterator<Item = &str> {
    split_outside_quotes(line, ',').map(str::trim).filter(|element| !element.is_empty())
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        !quoted && c == separator
    })
}

/// The weight among the parameters in thousandths, 1000 when there is none; none when malformed.
fn weight_of<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    let Some(value) = value else { return Some(1000) };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().chain(*b"000").take(3).fold(0, |sum, d| sum * 10 + u16::from(d - b'0'));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The form of a request's body, if it is one that updates may have: JSON or OCF's CBOR, neither
/// compressed. Parameters are ignored.
pub fn body_type(headers: &HeaderMap) -> Option<MediaType> {
    let plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    match MediaType::named(content_type(headers)?)? {
        known @ (MediaType::Json | MediaType::OcfCbor) if plain => Some(known),
        _ => None,
    }
}

/// Whether the body is a form, the one place besides the header where a token might be sent.
pub fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers)
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// The only `Content-Type`, without its parameters.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    match (lines.next(), lines.next()) {
        (Some(only), None) => only.to_str().ok()?.split(';').next().map(str::trim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn headers(name: axum::http::HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    fn accept(lines: &[&str]) -> Option<MediaType> {
        negotiate(&headers(ACCEPT, lines))
    }

    /// Cloud reference 2.4, row by row.
    #[test]
    fn the_form_is_what_the_table_says() {
        use MediaType::{Cbor, Json, OcfCbor};
        for (lines, chosen) in [
            (&["application/json"][..], Some(Json)),
            (&["application/vnd.ocf+cbor"], Some(OcfCbor)),
            (&["application/cbor"], Some(Cbor)),
            (&["application/cbor, application/vnd.ocf+cbor"], Some(OcfCbor)),
            (&["application/cbor, application/vnd.ocf+cbor;q=0"], Some(Cbor)),
            (&["*/*"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&[], Some(Json)),
            (&[""], Some(Json)),
            (&["application/json,application/vnd.ocf+cbor"], Some(Json)),
            (&["application/vnd.ocf+cbor,application/json"], Some(OcfCbor)),
            (&["application/xml"], None),
            (&["application/xml", "application/vnd.ocf+cbor"], Some(OcfCbor)),
        ] {
            assert_eq!(accept(lines), chosen, "{lines:?}");
        }
    }

    /// Case 9, and RFC 9110 §12.5.1.
    #[test]
    fn weights_and_precision_decide() {
        use MediaType::{Json, OcfCbor};
        for (line, chosen) in [
            ("application/json;q=0.1, application/vnd.ocf+cbor", Some(OcfCbor)),
            ("application/json ; Q=0.5 , application/vnd.ocf+cbor;q=0.499", Some(Json)),
            ("application/json;q=0, */*", Some(OcfCbor)),
            ("application/json;q=0", None),
            ("application/json;q=0.000, application/*;q=0.000", None),
            ("*/*;q=0.1, application/vnd.ocf+cbor;q=0.05", Some(Json)),
            ("text/html, */*;q=0.5", Some(Json)),
            ("application/vnd.ocf+cbor, */*", Some(OcfCbor)),
            ("APPLICATION/JSON", Some(Json)),
            ("application/json;charset=utf-8", Some(Json)),
            ("text/x;a=\"b,application/json\", application/vnd.ocf+cbor", Some(OcfCbor)),
            ("application/json;q=2", None),
            ("application/json;q=0.1234", None),
            ("application/json;q=-1", None),
            (",, ,application/vnd.ocf+cbor,", Some(OcfCbor)),
            ("garbage", None),
        ] {
            assert_eq!(accept(&[line]), chosen, "{line}");
        }
    }

    #[test]
    fn where_only_json_is_offered_any_way_of_taking_it_counts() {
        let takes = |lines| accepts_json(&headers(ACCEPT, lines));
        assert!(takes(&[]));
        assert!(takes(&["application/vnd.ocf+cbor, */*;q=0.1"]));
        assert!(!takes(&["application/vnd.ocf+cbor"]));
        assert!(!takes(&["application/json;q=0, */*"]));
    }

    /// Cloud reference 2.5.
    #[test]
    fn a_body_is_json_or_cbor_and_not_compressed() {
        let of = |lines| body_type(&headers(CONTENT_TYPE, lines));
        assert_eq!(of(&["application/json"]), Some(MediaType::Json));
        assert_eq!(of(&["Application/JSON; charset=utf-8"]), Some(MediaType::Json));
        assert_eq!(of(&["application/vnd.ocf+cbor"]), Some(MediaType::OcfCbor));
        assert_eq!(of(&["application/cbor"]), None);
        assert_eq!(of(&["text/plain"]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["application/json", "application/json"]), None);
        let mut packed = headers(CONTENT_TYPE, &["application/json"]);
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(body_type(&packed), None);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(line in "[ -~\t]{0,80}") {
            let _ = accept(&[&line]);
            let _ = body_type(&headers(CONTENT_TYPE, &[&line]));
        }
    }
}
