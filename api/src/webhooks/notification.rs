//! A notification as a request: body, headers, signature (cloud reference 5.6, 5.8).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use shared::channel::events::{BodyFormat, Delivery, EventBody};
use shared::time::UnixTime;

use super::signature::Signed;
use crate::devices::write_link;
use crate::representation::{CborFault, Encoder, MediaType, write_json};

/// What receivers are told about who sends.
const PRODUCT: &str = concat!("ocf-cloud/", env!("CARGO_PKG_VERSION"));

/// Why a notification cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMade {
    /// The device's representation says what the form cannot.
    #[error("the representation cannot be written as JSON")]
    Unwritable(CborFault),
    /// Something that was checked is no URL or header any more.
    #[error("{0}")]
    Http(#[from] hyper::http::Error),
}

/// The request for one attempt at this time.
pub(super) fn request(delivery: &Delivery, now: UnixTime) -> Result<Request<Full<Bytes>>, NotMade> {
    let media_type = match delivery.format {
        BodyFormat::Json => MediaType::Json,
        BodyFormat::OcfCbor => MediaType::OcfCbor,
        BodyFormat::Cbor => MediaType::Cbor,
    };
    let body = body(&delivery.event.body, media_type).map_err(NotMade::Unwritable)?;
    let content_type = body.as_ref().map_or("", |_| media_type.as_str());
    let body = body.unwrap_or_default();
    let id = delivery.id.text();
    let (number, timestamp) = (delivery.number.to_string(), now.0.to_string());
    let event_type = delivery.event.event_type.as_str();
    let signed = Signed {
        content_type,
        event_type,
        subscription_id: &id,
        sequence_number: &number,
        timestamp: &timestamp,
        body: &body,
    };
    let signature = signed.signature(delivery.secret.reveal());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(delivery.url.as_str())
        .header("event-type", event_type)
        .header("subscription-id", &*id)
        .header("sequence-number", &number)
        .header("event-timestamp", &timestamp)
        .header("event-signature", signature)
        .header("correlation-id", delivery.correlation.as_str())
        .header(USER_AGENT, PRODUCT);
    if !content_type.is_empty() {
        request = request.header(CONTENT_TYPE, content_type);
    }
    Ok(request.body(Full::new(body.into()))?)
}

/// The body; none where there is nothing to say.
fn body(body: &EventBody, media_type: MediaType) -> Result<Option<Vec<u8>>, CborFault> {
    let mut encoder = Encoder::new(media_type);
    match body {
        EventBody::Nothing => return Ok(None),
        EventBody::Content(cbor) if media_type == MediaType::Json => {
            let mut json = Vec::with_capacity(cbor.len() * 3 / 2);
            write_json(&mut json, cbor)?;
            return Ok(Some(json));
        }
        EventBody::Content(cbor) => return Ok(Some(cbor.clone())),
        EventBody::Devices(devices) => {
            encoder.begin_array();
            for device in devices {
                encoder.begin_object();
                encoder.key("di");
                encoder.text(&device.text());
                encoder.end_object();
            }
            encoder.end_array();
        }
        EventBody::Links(device, links) => {
            let device = device.text();
            encoder.begin_array();
            for link in links {
                let href = format!("/{}{}", device.as_str(), link.href);
                write_link(&mut encoder, &href, &device, link);
            }
            encoder.end_array();
        }
    }
    Ok(Some(encoder.take()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use shared::channel::events::{Event, EventType};
    use shared::channel::message::LinkView;
    use shared::ids::{SubscriptionId, UserId};
    use shared::secret::Secret;

    const DI: &str = "53080a4f-5e3e-4291-802f-3436238232d2";

    pub(in crate::webhooks) fn delivery(
        event_type: EventType,
        body: EventBody,
        format: BodyFormat,
    ) -> Delivery {
        Delivery {
            user: UserId::from_bytes([1; 16]),
            id: "1eeb465c-5e8d-4305-a366-bbf035fff671".parse::<SubscriptionId>().unwrap(),
            number: 7,
            client: "partner".into(),
            granted: true,
            url: "https://app.consumer.example/c2c/events/5b1f?x=1".into(),
            secret: Secret::new("3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql"),
            correlation: "8804e90c-53f7-45b8-a9af-128b6bc8cd10".into(),
            format,
            event: Event { event_type, body },
        }
    }

    fn made(delivery: &Delivery) -> (hyper::http::request::Parts, Vec<u8>) {
        let (head, body) = request(delivery, UnixTime(1_585_758_000)).unwrap().into_parts();
        let body = futures_free(body);
        (head, body)
    }

    fn futures_free(body: Full<Bytes>) -> Vec<u8> {
        use http_body_util::BodyExt;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body.collect()).unwrap().to_bytes().to_vec()
    }

    /// Cases 122, 123 and 132.
    #[test]
    fn a_notification_has_the_headers_of_the_table_and_no_others() {
        let device = DI.parse().unwrap();
        let event = EventBody::Devices(vec![device]);
        let one = delivery(EventType::DevicesOnline, event, BodyFormat::Json);
        let (head, body) = made(&one);
        assert_eq!(body, format!("[{{\"di\":\"{DI}\"}}]").as_bytes());
        assert_eq!(head.uri.path_and_query().unwrap(), "/c2c/events/5b1f?x=1");
        let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-type",
                "correlation-id",
                "event-signature",
                "event-timestamp",
                "event-type",
                "sequence-number",
                "subscription-id",
                "user-agent"
            ]
        );
        assert_eq!(head.headers["content-type"], "application/json");
        assert_eq!(head.headers["sequence-number"], "7");
        assert_eq!(head.headers["event-timestamp"], "1585758000");
        assert_eq!(head.headers["event-signature"].len(), 64);
    }

    #[test]
    fn the_last_word_has_neither_body_nor_content_type() {
        let last =
            delivery(EventType::SubscriptionCancelled, EventBody::Nothing, BodyFormat::OcfCbor);
        let (head, body) = made(&last);
        assert!(body.is_empty() && !head.headers.contains_key("content-type"));
    }

    /// Vector V7 and case 129.
    #[test]
    fn links_have_the_device_in_front_and_their_types() {
        let link = LinkView {
            href: "/humidity".into(),
            resource_types: vec!["oic.r.humidity".into()],
            interfaces: vec!["oic.if.s".into(), "oic.if.baseline".into()],
            policy: 3,
            title: None,
            media_types: vec![],
            tag_pos_desc: None,
            tag_pos_rel: None,
            tag_func_desc: None,
            tag_locn: None,
            representation: None,
        };
        let body = EventBody::Links(DI.parse().unwrap(), vec![link]);
        let one = delivery(EventType::ResourcesPublished, body, BodyFormat::Json);
        let json: serde_json::Value = serde_json::from_slice(&made(&one).1).unwrap();
        let expected = serde_json::json!([{
            "di": DI, "href": format!("/{DI}/humidity"), "rt": ["oic.r.humidity"],
            "if": ["oic.if.s", "oic.if.baseline"], "p": {"bm": 3}
        }]);
        assert_eq!(json, expected);
    }

    /// Case 123.
    #[test]
    fn a_representation_is_sent_in_the_form_that_was_asked_for() {
        let cbor = b"\xa1\x65value\xf5".to_vec();
        let content = || EventBody::Content(cbor.clone());
        let of = |format| made(&delivery(EventType::ResourceContentChanged, content(), format));
        assert_eq!(of(BodyFormat::Json).1, b"{\"value\":true}");
        let (head, body) = of(BodyFormat::OcfCbor);
        assert_eq!(
            (body, &head.headers["content-type"]),
            (cbor.clone(), &hyper::header::HeaderValue::from_static("application/vnd.ocf+cbor"))
        );
    }
}
