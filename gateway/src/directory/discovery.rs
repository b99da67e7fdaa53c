//! The body of the answer to GET `/oic/res` (device reference 9.2 to 9.4).

use shared::ids::DeviceId;
use shared::ocf::cbor::Writer;

use super::archive::{Directory, LinkRef};
use super::query::{Interface, Query};

/// The endpoint that is spliced into every link, encoded once: the authority that the asking client
/// is connected to, or else it would open a second connection and never sign in on it.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    /// `"eps": [{"ep": "coaps+tcp://host:port", "pri": 1}]`.
    pair: Vec<u8>,
}

impl Endpoint {
    /// From `coaps+tcp://host:port`.
    pub fn new(authority: &str) -> Self {
        let mut pair = Vec::new();
        Writer(&mut pair)
            .text("eps")
            .array(1)
            .map(2)
            .text("ep")
            .text(authority)
            .text("pri")
            .unsigned(1);
        Self { text: authority.to_owned(), pair }
    }

    /// `coaps+tcp://host:port`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What is written of a link besides what is stored: two device ids, their keys, and heads.
const LINK_BYTES: usize = 112;

/// How the answer looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// For Accept 10000: an array of links, or of one map that holds it.
    Ocf,
    /// For Accept 60 (OIC 1.1): an array of one map per device.
    Old,
}

/// A device and its links.
pub type DeviceLinks<'a> = (DeviceId, &'a Directory);

/// Appends the answer. `devices` are those of one user, in ascending order of their ids.
pub fn write<'a, I>(
    out: &mut Vec<u8>,
    devices: I,
    query: &Query<'_>,
    shape: Shape,
    endpoint: &Endpoint,
) where
    I: Iterator<Item = DeviceLinks<'a>> + Clone,
{
    let wanted = devices.filter(|(device, _)| query.wants_device(*device));
    match shape {
        Shape::Old => return write_old(out, wanted, query, endpoint),
        Shape::Ocf => {}
    }
    if query.interface == Interface::Baseline {
        let mut writer = Writer(out);
        writer.array(1).map(3).text("rt").array(1).text("oic.wk.res");
        writer.text("if").array(2).text("oic.if.ll").text("oic.if.baseline").text("links");
    }
    let (count, bytes) = extent(wanted.clone(), query, endpoint);
    out.reserve(bytes);
    Writer(out).array(count);
    for (device, links) in wanted {
        write_links(out, device, links, query, endpoint);
    }
}

fn write_old<'a>(
    out: &mut Vec<u8>,
    devices: impl Iterator<Item = DeviceLinks<'a>> + Clone,
    query: &Query<'_>,
    endpoint: &Endpoint,
) {
    let matching = devices.filter(|(_, links)| count(links, query) > 0);
    Writer(out).array(matching.clone().count());
    for (device, links) in matching {
        Writer(out).map(2).text("di").text(&device.text()).text("links").array(count(links, query));
        write_links(out, device, links, query, endpoint);
    }
}

/// How many links match, and about how many bytes the answer takes.
fn extent<'a>(
    devices: impl Iterator<Item = DeviceLinks<'a>>,
    query: &Query<'_>,
    endpoint: &Endpoint,
) -> (usize, usize) {
    let matching = devices.flat_map(|(_, links)| links.links());
    matching.filter(|&link| query.wants_link(link)).fold((0, 0), |(count, bytes), link| {
        let stored = link.before_endpoint().len() + link.after_endpoint().0.len();
        (count + 1, bytes + LINK_BYTES + stored + endpoint.pair.len())
    })
}

fn count(links: &Directory, query: &Query<'_>) -> usize {
    links.links().filter(|&link| query.wants_link(link)).count()
}

fn write_links(
    out: &mut Vec<u8>,
    device: DeviceId,
    links: &Directory,
    query: &Query<'_>,
    endpoint: &Endpoint,
) {
    let own = device.text();
    for link in links.links().filter(|&link| query.wants_link(link)) {
        let anchor = link.anchor().map(|device| device.text());
        write_link(out, own.as_bytes(), anchor.unwrap_or(own).as_bytes(), link, endpoint);
    }
}

/// One link. The keys come in the order that real clients need: `anchor` before `eps`, `rt` and `if`
/// as the only arrays of text (device reference 1.3, rule 13).
fn write_link(
    out: &mut Vec<u8>,
    device: &[u8],
    anchor: &[u8],
    link: LinkRef<'_>,
    endpoint: &Endpoint,
) {
    const ANCHOR: &[u8] = b"\x66anchor\x78\x2aocf://";
    const PAIRS: usize = 6;
    let (tail, tail_pairs) = link.after_endpoint();
    Writer(out).map(PAIRS + tail_pairs);
    out.extend_from_slice(ANCHOR);
    out.extend_from_slice(anchor);
    out.extend_from_slice(b"\x64href");
    Writer(out).text_head(1 + device.len() + link.href().len());
    out.push(b'/');
    out.extend_from_slice(device);
    out.extend_from_slice(link.before_endpoint());
    out.extend_from_slice(&endpoint.pair);
    out.extend_from_slice(tail);
}
