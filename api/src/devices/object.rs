//! The device object: description, status and links (cloud reference 4.3 to 4.5).

use shared::channel::message::{Content, DeviceView, LinkView};

use super::description::{Description, Localized, TEXT_CHARS_MAX, manufacturer_names};
use crate::representation::{Encoder, Root};

/// Where a device describes itself.
const DEVICE_HREF: &str = "/oic/d";

/// What a device is at least.
const DEVICE_TYPE: &str = "oic.wk.d";

/// Appends a device.
pub(super) fn write_device(encoder: &mut Encoder, view: &DeviceView, content: Content) {
    encoder.begin_object();
    encoder.key("device");
    write_description(encoder, view);
    encoder.key("status");
    encoder.text(view.status.as_str());
    encoder.key("links");
    encoder.begin_array();
    let device = view.device.text();
    let mut href = String::with_capacity(64);
    for link in view.links.iter().filter(|link| !is_security_resource(&link.href)) {
        href.clear();
        href.extend(["/", device.as_str(), &link.href]);
        match content {
            Content::Base => write_link(encoder, &href, &device, link),
            Content::All => write_representation(encoder, &href, link),
        }
    }
    encoder.end_array();
    encoder.end_object();
}

/// They are never published; if one ever is, it is still not shown (cloud reference 4.4).
fn is_security_resource(href: &str) -> bool {
    href == "/oic/sec" || href.starts_with("/oic/sec/")
}

fn write_description(encoder: &mut Encoder, view: &DeviceView) {
    let description = view.description.as_deref().map(Description::of).unwrap_or_default();
    let device = view.device.text();
    encoder.begin_object();
    encoder.key("di");
    encoder.text(&device);
    encoder.key("rt");
    encoder.texts(resource_types(&description, &view.links));
    encoder.key("n");
    let name = description.name.or(view.name.as_deref().filter(|name| !name.is_empty()));
    encoder.text(shortened(name.unwrap_or(&device)));
    encoder.key("dmn");
    write_manufacturer_names(encoder, &description, view.platform.as_deref());
    for (key, value) in &description.passed_on {
        let mark = encoder.mark();
        encoder.key(key);
        if encoder.representation(value).is_err() {
            encoder.go_back(mark);
        }
    }
    encoder.end_object();
}

/// As the device says, else as its link does, else what every device is.
fn resource_types<'a>(description: &Description<'a>, links: &'a [LinkView]) -> Vec<&'a str> {
    if !description.resource_types.is_empty() {
        return description.resource_types.clone();
    }
    match links.iter().find(|link| link.href == DEVICE_HREF) {
        Some(link) if !link.resource_types.is_empty() => {
            link.resource_types.iter().map(String::as_str).collect()
        }
        _ => vec![DEVICE_TYPE],
    }
}

/// OP-27: as the device says, else its platform, else that nobody knows.
fn write_manufacturer_names(
    encoder: &mut Encoder,
    description: &Description<'_>,
    platform: Option<&[u8]>,
) {
    const UNKNOWN: Localized<'_> = Localized { language: "en", value: "unknown" };
    let names = Some(description.manufacturer_names.clone())
        .filter(|names| !names.is_empty())
        .or_else(|| platform.map(manufacturer_names).filter(|names| !names.is_empty()))
        .unwrap_or_else(|| vec![UNKNOWN]);
    encoder.begin_array();
    for name in names {
        encoder.begin_object();
        encoder.key("language");
        encoder.text(name.language);
        encoder.key("value");
        encoder.text(shortened(name.value));
        encoder.end_object();
    }
    encoder.end_array();
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// A link (cloud reference 4.4): never its local endpoints, and no anchor.
pub(crate) fn write_link(encoder: &mut Encoder, href: &str, device: &str, link: &LinkView) {
    encoder.begin_object();
    encoder.key("href");
    encoder.text(href);
    encoder.key("rt");
    encoder.texts(link.resource_types.iter().map(String::as_str));
    encoder.key("if");
    encoder.texts(link.interfaces.iter().map(String::as_str));
    encoder.key("p");
    encoder.begin_object();
    encoder.key("bm");
    encoder.unsigned(link.policy.into());
    encoder.end_object();
    encoder.key("di");
    encoder.text(device);
    if !link.media_types.is_empty() {
        encoder.key("type");
        encoder.texts(link.media_types.iter().map(String::as_str));
    }
    for (key, text) in [
        ("title", &link.title),
        ("tag-pos-desc", &link.tag_pos_desc),
        ("tag-func-desc", &link.tag_func_desc),
        ("tag-locn", &link.tag_locn),
    ] {
        if let Some(text) = text {
            encoder.key(key);
            encoder.text(text);
        }
    }
    if let Some(position) = &link.tag_pos_rel {
        encoder.key("tag-pos-rel");
        encoder.begin_array();
        position.iter().for_each(|&coordinate| encoder.double(coordinate));
        encoder.end_array();
    }
    encoder.end_object();
}

/// A representation (cloud reference 4.5). A resource without one that can be shown is left out.
fn write_representation(encoder: &mut Encoder, href: &str, link: &LinkView) {
    let Some(cbor) = &link.representation else { return };
    let mark = encoder.mark();
    encoder.begin_object();
    encoder.key("href");
    encoder.text(href);
    encoder.key("rep");
    match encoder.representation(cbor) {
        Ok(Root::Object | Root::Array) => encoder.end_object(),
        Ok(Root::Scalar) | Err(_) => encoder.go_back(mark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::{MediaType, write_cbor};
    use serde_json::{Value, json};
    use shared::ocf::device::Status;

    const DI: &str = "53080a4f-5e3e-4291-802f-3436238232d2";

    fn cbor(value: Value) -> Vec<u8> {
        let mut cbor = Vec::new();
        write_cbor(&mut cbor, value.to_string().as_bytes()).unwrap();
        cbor
    }

    fn link(href: &str, representation: Option<Vec<u8>>) -> LinkView {
        LinkView {
            href: href.into(),
            resource_types: vec!["oic.r.humidity".into()],
            interfaces: vec!["oic.if.s".into(), "oic.if.baseline".into()],
            policy: 3,
            title: None,
            media_types: vec![],
            tag_pos_desc: None,
            tag_pos_rel: None,
            tag_func_desc: None,
            tag_locn: None,
            representation,
        }
    }

    fn view() -> DeviceView {
        DeviceView {
            device: DI.parse().unwrap(),
            status: Status::Online,
            description: None,
            platform: None,
            name: None,
            links: vec![],
        }
    }

    fn shown(view: &DeviceView, content: Content) -> Value {
        let written = |media_type| {
            let mut encoder = Encoder::new(media_type);
            write_device(&mut encoder, view, content);
            encoder.take()
        };
        let json: Value = serde_json::from_slice(&written(MediaType::Json)).unwrap();
        let cbor: Value = ciborium::from_reader(&written(MediaType::OcfCbor)[..]).unwrap();
        assert_eq!(cbor, json, "both forms say the same");
        json
    }

    /// X11.
    #[test]
    fn a_device_is_shown_as_in_the_example() {
        let mut view = view();
        view.description = Some(cbor(json!({
            "di": "00000000-0000-0000-0000-000000000000", "rt": ["oic.wk.d", "oic.d.sensor"],
            "n": "Food safety sensor", "dmn": [{"language": "en", "value": "Example"}],
            "icv": "ocf.2.2.0", "eps": [{"ep": "coap://10.0.0.1"}],
        })));
        view.links.push(link("/humidity", None));
        let expected = json!({
            "device": {
                "di": DI, "rt": ["oic.wk.d", "oic.d.sensor"], "n": "Food safety sensor",
                "dmn": [{"language": "en", "value": "Example"}], "icv": "ocf.2.2.0",
            },
            "status": "online",
            "links": [{
                "href": format!("/{DI}/humidity"), "rt": ["oic.r.humidity"],
                "if": ["oic.if.s", "oic.if.baseline"], "p": {"bm": 3}, "di": DI,
            }],
        });
        assert_eq!(shown(&view, Content::Base), expected);
    }

    /// Case 75, OP-27.
    #[test]
    fn required_members_have_fallbacks() {
        let mut view = view();
        view.status = Status::Offline;
        let device = |view: &DeviceView| shown(view, Content::Base)["device"].clone();
        assert_eq!(
            device(&view),
            json!({
                "di": DI, "rt": ["oic.wk.d"], "n": DI,
                "dmn": [{"language": "en", "value": "unknown"}],
            })
        );
        view.name = Some("Published".into());
        view.platform = Some(cbor(json!({"mnmn": "Maker"})));
        view.links.push(link("/oic/d", None));
        view.links[0].resource_types = vec!["oic.wk.d".into(), "oic.d.light".into()];
        assert_eq!(
            device(&view),
            json!({
                "di": DI, "rt": ["oic.wk.d", "oic.d.light"], "n": "Published",
                "dmn": [{"language": "en", "value": "Maker"}],
            })
        );
        view.description = Some(b"\xff".to_vec());
        assert_eq!(device(&view)["n"], "Published", "malformed says nothing");
        view.description = Some(cbor(json!({"n": "ä".repeat(70)})));
        assert_eq!(device(&view)["n"], "ä".repeat(64));
    }

    /// Cases 68 and 72.
    #[test]
    fn representations_stand_beside_their_href_only() {
        let mut view = view();
        view.links = vec![
            link("/array", Some(cbor(json!([1, 2])))),
            link("/humidity", Some(cbor(json!({"humidity": 62})))),
            link("/malformed", Some(b"\xa1".to_vec())),
            link("/oic/sec/doxm", Some(cbor(json!({})))),
            link("/scalar", Some(cbor(json!(1)))),
            link("/unknown", None),
        ];
        assert_eq!(
            shown(&view, Content::All)["links"],
            json!([
                {"href": format!("/{DI}/array"), "rep": [1, 2]},
                {"href": format!("/{DI}/humidity"), "rep": {"humidity": 62}},
            ])
        );
        let base = shown(&view, Content::Base).to_string();
        assert!(!base.contains("/oic/sec"));
    }

    #[test]
    fn optional_members_of_a_link_are_shown_if_there_are_any() {
        let mut view = view();
        view.links.push(LinkView {
            title: Some("T".into()),
            media_types: vec!["application/vnd.ocf+cbor".into()],
            tag_pos_desc: Some("top".into()),
            tag_pos_rel: Some([0.5, 0.0, -1.0]),
            tag_func_desc: Some("set".into()),
            tag_locn: Some("kitchen".into()),
            ..link("/a", None)
        });
        let link = &shown(&view, Content::Base)["links"][0];
        assert_eq!(link["title"], "T");
        assert_eq!(link["type"], json!(["application/vnd.ocf+cbor"]));
        assert_eq!(link["tag-pos-rel"], json!([0.5, 0.0, -1.0]));
        assert_eq!(link["tag-locn"], "kitchen");
    }
}
