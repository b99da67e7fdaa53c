//! Publish and unpublish: what they change (device reference 8.1 to 8.3).

use std::collections::BTreeMap;

use shared::coap::ResponseType;
use shared::ids::{DeviceId, Href};
use shared::ocf::cbor::{self, CborError, Item, Reader, Writer};
use shared::ocf::link::{DEFAULT_POLICY, Link, PublishRequest, Relation};

use super::archive::{Directory, DirectoryRecord, LinkRecord};
use super::expiry;
use crate::config::Limits;
use crate::reject::Reject;

/// Longest resource type or interface (device reference 8.1).
const TYPE_BYTES_MAX: usize = 64;
/// Longest descriptive text of a link.
const TEXT_BYTES_MAX: usize = 256;

/// What a publish makes of a device's links.
pub struct Published {
    /// All links of the device afterwards.
    pub directory: Directory,
    /// The body of the answer: the request with the numbers that the links have here.
    pub echo: Vec<u8>,
    /// Something is different from before.
    pub changed: bool,
    /// The numbers of the links that were named, in the order of the request.
    pub named: Vec<u32>,
}

/// Understands a publish of this device and merges it with what the device published before.
pub fn publish(
    device: DeviceId,
    before: Option<&Directory>,
    body: &[u8],
    answer_bytes_max: usize,
    limits: &Limits,
) -> Result<Published, Reject> {
    let request: PublishRequest = cbor::decode(body).map_err(bad_body)?;
    if request.di.parse() != Ok(device) {
        return Err(Reject::bad_request("di is not the session's"));
    }
    let ttl =
        expiry::granted(request.ttl.unwrap_or(0)).ok_or(Reject::bad_request("ttl is negative"))?;
    if request.links.is_empty() {
        return Err(Reject::bad_request("no links"));
    }
    let old = before.map(Directory::to_record).unwrap_or_default();
    let mut links: BTreeMap<String, LinkRecord> =
        old.links.iter().map(|link| (link.href().to_owned(), link.clone())).collect();
    let mut numbers = Vec::with_capacity(request.links.len());
    for link in &request.links {
        let (href, mut record) = understand(device, link, ttl)?;
        if href.is_security_resource() {
            numbers.push(None);
            continue;
        }
        let replaced = links.remove(href.as_str());
        record.instance = replaced.map_or_else(|| free_instance(&href, &links), |old| old.instance);
        numbers.push(Some(record.instance));
        links.insert(href.as_str().to_owned(), record);
    }
    let name = request.name.or_else(|| old.name.clone());
    let record = DirectoryRecord { name, links: links.into_values().collect() };
    check_bounds(&record, limits)?;
    let changed = record != old;
    let echo = echo(body, ttl, &numbers, answer_bytes_max).map_err(bad_body)?;
    let named = numbers.into_iter().flatten().collect();
    Ok(Published { directory: Directory::new(&record), echo, changed, named })
}

/// What an unpublish leaves of a device's links, and which go; none when nothing goes.
pub fn unpublish(
    directory: &Directory,
    instances: &[u32],
) -> Option<(Option<Directory>, Vec<String>)> {
    let mut record = directory.to_record();
    let all = instances.is_empty();
    let (gone, kept): (Vec<_>, Vec<_>) =
        record.links.into_iter().partition(|link| all || instances.contains(&link.instance));
    if gone.is_empty() {
        return None;
    }
    record.links = kept;
    let rest = (!record.links.is_empty()).then(|| Directory::new(&record));
    Some((rest, gone.iter().map(|link| link.href().to_owned()).collect()))
}

fn bad_body(error: CborError) -> Reject {
    Reject::because(ResponseType::BadRequest, error.to_string())
}

/// The hrefs of one device have different numbers; on a collision the next free one is taken.
fn free_instance(href: &Href, links: &BTreeMap<String, LinkRecord>) -> u32 {
    let mut instance = href.instance();
    while links.values().any(|link| link.instance == instance) {
        instance = instance.wrapping_add(1);
    }
    instance
}

fn check_bounds(record: &DirectoryRecord, limits: &Limits) -> Result<(), Reject> {
    let bytes: usize = record.links.iter().map(|link| link.encoded.len()).sum();
    if record.links.len() > limits.links_per_device_max || bytes > limits.link_bytes_per_device_max
    {
        return Err(Reject::new(ResponseType::RequestEntityTooLarge, "too many links"));
    }
    Ok(())
}

fn understand(device: DeviceId, link: &Link, ttl: u32) -> Result<(Href, LinkRecord), Reject> {
    let href = Href::parse(&link.href)
        .map_err(|error| Reject::because(ResponseType::BadRequest, error.to_string()))?;
    check_types(&link.resource_types, "rt")?;
    check_types(&link.interfaces, "if")?;
    let policy = link.policy.map_or(DEFAULT_POLICY, |policy| policy.bm);
    let mut encoded = href.as_str().as_bytes().to_vec();
    let mut out = Writer(&mut encoded);
    write_texts(&mut out, "rt", &link.resource_types);
    write_texts(&mut out, "if", &link.interfaces);
    out.text("p").map(1).text("bm").unsigned(policy);
    let eps_at = encoded.len();
    let tail_pairs = write_tail(&mut Writer(&mut encoded), link)?;
    let extra_at = encoded.len();
    if let Some(types) = &link.media_types {
        check_types(types, "type")?;
        write_texts(&mut Writer(&mut encoded), "type", types);
    }
    let fits = |at: usize| {
        u16::try_from(at)
            .map_err(|_| Reject::new(ResponseType::RequestEntityTooLarge, "link too large"))
    };
    let record = LinkRecord {
        instance: 0,
        href_len: fits(href.as_str().len())?,
        eps_at: fits(eps_at)?,
        extra_at: fits(extra_at)?,
        tail_pairs,
        policy: (policy & 0xff) as u8,
        anchor: foreign_anchor(device, &href, link.anchor.as_deref()),
        ttl,
        encoded,
    };
    Ok((href, record))
}

fn check_types(types: &[String], key: &str) -> Result<(), Reject> {
    let fits = |text: &String| (1..=TYPE_BYTES_MAX).contains(&text.len());
    if types.is_empty() || !types.iter().all(fits) {
        return Err(Reject::because(ResponseType::BadRequest, format!("bad {key} in a link")));
    }
    Ok(())
}

fn write_texts(out: &mut Writer<'_>, key: &str, texts: &[String]) {
    out.text(key).array(texts.len());
    for text in texts {
        out.text(text);
    }
}

/// Writes what discovery shows behind the endpoint.
fn write_tail(out: &mut Writer<'_>, link: &Link) -> Result<u8, Reject> {
    let mut pairs = 0;
    let relation = match &link.rel {
        Some(Relation::One(rel)) if rel != "hosts" => Some(rel),
        Some(Relation::Many(rels)) => rels.iter().find(|rel| *rel != "hosts"),
        _ => None,
    };
    let texts = [
        ("rel", relation),
        ("title", link.title.as_ref()),
        ("tag-pos-desc", link.tag_pos_desc.as_ref()),
        ("tag-func-desc", link.tag_func_desc.as_ref()),
        ("tag-locn", link.tag_locn.as_ref()),
    ];
    for (key, text) in texts {
        let Some(text) = text else { continue };
        if text.len() > TEXT_BYTES_MAX {
            return Err(Reject::because(ResponseType::BadRequest, format!("{key} is too long")));
        }
        out.text(key).text(text);
        pairs += 1;
    }
    if let Some(position) = link.tag_pos_rel {
        out.text("tag-pos-rel").array(position.len());
        for coordinate in position {
            out.double(coordinate.as_double());
        }
        pairs += 1;
    }
    Ok(pairs)
}

/// A Cloud Proxy publishes its neighbours' links under its own id. Their anchor is kept only if it
/// names the first segment of the href (device reference 14).
fn foreign_anchor(device: DeviceId, href: &Href, anchor: Option<&str>) -> Vec<u8> {
    let anchored = anchor
        .and_then(|anchor| anchor.strip_prefix("ocf://"))
        .and_then(|id| id.parse::<DeviceId>().ok())
        .filter(|&id| id != device);
    let first_segment = href.as_str()[1..].split('/').next().and_then(|id| id.parse().ok());
    match anchored {
        Some(id) if first_segment == Some(id) => id.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// The answer to a publish: `di`, `ttl`, and every link as it was sent, with the number that it has
/// here. When that is too large for the peer, only the keys that matter are left in the links, then
/// only those that name them, then none: real devices look at the code alone.
fn echo(
    body: &[u8],
    ttl: u32,
    numbers: &[Option<u32>],
    bytes_max: usize,
) -> Result<Vec<u8>, CborError> {
    let kept: [fn(&str) -> bool; 3] = [
        |_| true,
        |key| matches!(key, "href" | "rt" | "if" | "ins"),
        |key| matches!(key, "href" | "ins"),
    ];
    for keep in kept {
        let echo = echo_keys(body, ttl, numbers, keep)?;
        if echo.len() <= bytes_max {
            return Ok(echo);
        }
    }
    Ok(Vec::new())
}

fn echo_keys(
    body: &[u8],
    ttl: u32,
    numbers: &[Option<u32>],
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, CborError> {
    let mut out = Vec::with_capacity(body.len());
    let accepted = numbers.iter().flatten().count();
    let (di, links) = find_di_and_links(body)?;
    let mut writer = Writer(&mut out);
    writer.map(3).text("di").text(di).text("ttl").unsigned(u64::from(ttl));
    writer.text("links").array(accepted);
    let mut links = Items::of(links)?;
    for number in numbers {
        let start = links.reader.clone();
        links.reader.skip()?;
        if let Some(number) = number {
            echo_link(start, *number, &keep, &mut writer)?;
        }
    }
    Ok(out)
}

/// Writes one link again, with the number that it has here in the place of the device's own.
fn echo_link(
    link: Reader<'_>,
    number: u32,
    keep: impl Fn(&str) -> bool,
    out: &mut Writer<'_>,
) -> Result<(), CborError> {
    let mut pairs = Vec::new();
    let mut numbered = false;
    let mut items = Items::of(link)?;
    while let Some(key) = items.next_text()? {
        let value = items.reader.clone();
        items.reader.skip()?;
        if keep(key) {
            numbered |= key == "ins";
            pairs.push((key, value));
        }
    }
    out.map(pairs.len() + usize::from(!numbered));
    for (key, mut value) in pairs {
        out.text(key);
        match key {
            "ins" => drop(out.unsigned(u64::from(number))),
            _ => cbor::transcode(&mut value, out)?,
        }
    }
    if !numbered {
        out.text("ins").unsigned(u64::from(number));
    }
    Ok(())
}

/// The items of a container, of known length or not.
struct Items<'a> {
    reader: Reader<'a>,
    left: Option<u64>,
}

impl<'a> Items<'a> {
    fn of(mut reader: Reader<'a>) -> Result<Self, CborError> {
        match reader.next_item()? {
            Item::Array(left) | Item::Map(left) => Ok(Self { reader, left }),
            _ => Err(CborError::WrongShape),
        }
    }

    /// The next key of a map; the caller passes over its value.
    fn next_text(&mut self) -> Result<Option<&'a str>, CborError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        self.left = self.left.map(|left| left - 1);
        match self.reader.next_item()? {
            Item::Text(key) => Ok(Some(key)),
            Item::Break => Ok(None),
            _ => Err(CborError::WrongShape),
        }
    }
}

fn find_di_and_links(body: &[u8]) -> Result<(&str, Reader<'_>), CborError> {
    let (mut di, mut links) = (None, None);
    let mut items = Items::of(Reader::new(body))?;
    while let Some(key) = items.next_text()? {
        match key {
            "di" => {
                let Item::Text(text) = items.reader.next_item()? else {
                    return Err(CborError::WrongShape);
                };
                di = Some(text);
            }
            _ => {
                if key == "links" {
                    links = Some(items.reader.clone());
                }
                items.reader.skip()?;
            }
        }
    }
    di.zip(links).ok_or(CborError::WrongShape)
}
