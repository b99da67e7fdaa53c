//! Lists of devices, a page at a time (cloud reference 4.3 to 4.7).

use shared::channel::message::{Content, DeviceView, DevicesPage, Failure, LinkView, Reply};
use shared::ids::{DeviceId, Href};
use shared::ocf::cbor::{Item, Reader};
use shared::ocf::device::Status;

use super::Caller;
use super::gather::Wanted;
use crate::account::{Device, DeviceKey};
use crate::directory::LinkRef;
use crate::proxy::Router;

/// Devices on one page.
const PAGE_DEVICES_MAX: usize = 64;

/// Bytes after which a page ends, well below a message of the shard channel.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// What a link takes on a page besides its texts.
const LINK_OVERHEAD_BYTES: usize = 128;

/// The resource that describes a device, and the one that describes its platform.
const DESCRIPTION: &str = "/oic/d";
const PLATFORM: &str = "/oic/p";

/// A page that has been asked for.
pub struct Listing {
    devices: Vec<DeviceId>,
    /// It is about one device: that it is gone is an error then.
    single: bool,
    first_link: u32,
    content: Content,
    more_devices: bool,
}

impl Router {
    pub(super) fn list_devices(
        &mut self,
        caller: Caller,
        after: Option<DeviceId>,
        content: Content,
    ) {
        let accounts = &self.accounts;
        let devices = accounts.user(caller.user).map_or(&[][..], |user| &accounts[user].devices);
        let start = match after {
            Some(after) => devices.partition_point(|&device| accounts[device].id <= after),
            None => 0,
        };
        let page: Vec<DeviceKey> =
            devices[start..].iter().take(PAGE_DEVICES_MAX).copied().collect();
        let listing = Listing {
            devices: page.iter().map(|&device| accounts[device].id).collect(),
            single: false,
            first_link: 0,
            content,
            more_devices: start + page.len() < devices.len(),
        };
        let wanted = page.into_iter().filter_map(|device| self.wanted(device, content)).collect();
        if let Err(failure) = self.gather(caller, listing, wanted) {
            self.reply(caller.channel, caller.request, Reply::Failed(failure));
        }
    }

    pub(super) fn read_device(
        &mut self,
        caller: Caller,
        device: DeviceId,
        first_link: u32,
        content: Content,
    ) -> Result<(), Failure> {
        let key = self.device_of(caller.user, device)?;
        let listing = Listing {
            devices: vec![device],
            single: true,
            first_link,
            content,
            more_devices: false,
        };
        // The first page has fetched what the others show.
        let wanted = if first_link == 0 { self.wanted(key, content) } else { None };
        self.gather(caller, listing, wanted.into_iter().collect())
    }

    /// What has to be fetched from a device before it can be listed: its description unless it is
    /// known, and all representations that nobody observes, if representations are listed.
    fn wanted(&self, key: DeviceKey, content: Content) -> Option<Wanted> {
        let device = &self.accounts[key];
        device.connection?;
        let known = |href: &Href| {
            let projection = device.traffic.projection.as_ref();
            projection.is_some_and(|projection| projection.get(href.instance()).is_some())
        };
        let mut hrefs: Vec<Href> = Vec::new();
        if content == Content::All
            && let Some(directory) = &device.directory
        {
            let links = directory.links().filter_map(|link| Href::parse(link.href()).ok());
            hrefs.extend(links.filter(|href| !(known(href) && self.is_observed(device, href))));
        }
        for href in [PLATFORM, DESCRIPTION] {
            let href = Href::parse(href).expect("a constant");
            if !known(&href) && !hrefs.contains(&href) {
                hrefs.push(href);
            }
        }
        (!hrefs.is_empty()).then_some(Wanted { key, id: device.id, hrefs })
    }

    fn is_observed(&self, device: &Device, href: &Href) -> bool {
        self.observations.of_device(device.traffic.upstreams).any(|key| {
            let upstream = self.observations.upstream(key);
            upstream.running && upstream.target.instance() == Some(href.instance())
        })
    }

    pub(super) fn reply_listing(&mut self, caller: Caller, listing: &Listing) {
        let mut page = DevicesPage { more_devices: listing.more_devices, ..Default::default() };
        let mut room = PAGE_BYTES_MAX;
        for &id in &listing.devices {
            if room == 0 {
                page.more_devices = true;
                break;
            }
            let Some(key) = self.accounts.device_of_user(caller.user, id) else { continue };
            let (view, next_link) =
                view(&self.accounts[key], listing.first_link, listing.content, &mut room);
            page.devices.push(view);
            page.next_link = next_link;
            if next_link.is_some() {
                room = 0;
            }
        }
        let reply = match listing.single && page.devices.is_empty() {
            true => Reply::Failed(Failure::NoSuchDevice),
            false => Reply::Devices(page),
        };
        self.reply(caller.channel, caller.request, reply);
    }
}

/// A device with its links from `first_link` on while there is room, and where to go on.
fn view(
    device: &Device,
    first_link: u32,
    content: Content,
    room: &mut usize,
) -> (DeviceView, Option<u32>) {
    let kept = |href: &str| {
        let projection = device.traffic.projection.as_ref()?;
        let instance = Href::parse(href).ok()?.instance();
        projection.get(instance).map(|representation| representation.body.to_vec())
    };
    let mut view = DeviceView {
        device: device.id,
        status: if device.connection.is_some() { Status::Online } else { Status::Offline },
        description: kept(DESCRIPTION),
        platform: kept(PLATFORM),
        name: device.directory.as_ref().and_then(|directory| directory.name()).map(str::to_owned),
        links: Vec::new(),
    };
    let described = [&view.description, &view.platform];
    let described: usize = described.into_iter().flatten().map(Vec::len).sum();
    *room = room.saturating_sub(described + LINK_OVERHEAD_BYTES);
    let Some(directory) = &device.directory else { return (view, None) };
    for (number, link) in directory.links().enumerate().skip(first_link as usize) {
        let mut shown = link_view(link);
        if content == Content::All {
            shown.representation = kept(link.href());
        }
        let bytes = link.before_endpoint().len()
            + link.after_endpoint().0.len()
            + shown.representation.as_ref().map_or(0, Vec::len)
            + LINK_OVERHEAD_BYTES;
        // At least one link a page, or there would be no end.
        if bytes > *room && !view.links.is_empty() {
            return (view, Some(number as u32));
        }
        *room = room.saturating_sub(bytes);
        view.links.push(shown);
    }
    (view, None)
}

/// A link as partners see it.
pub(crate) fn link_view(link: LinkRef<'_>) -> LinkView {
    let mut view = LinkView {
        href: link.href().to_owned(),
        resource_types: link.resource_types().map(str::to_owned).collect(),
        interfaces: link.interfaces().map(str::to_owned).collect(),
        policy: link.policy(),
        title: None,
        media_types: Vec::new(),
        tag_pos_desc: None,
        tag_pos_rel: None,
        tag_func_desc: None,
        tag_locn: None,
        representation: None,
    };
    let mut pairs = link.pairs();
    while let Ok(Item::Text(key)) = pairs.next_item() {
        let value = pairs.clone();
        if pairs.skip().is_err() {
            break;
        }
        take_pair(&mut view, key, value);
    }
    view
}

fn take_pair(view: &mut LinkView, key: &str, mut value: Reader<'_>) {
    let text = |value: &mut Reader<'_>| match value.next_item() {
        Ok(Item::Text(text)) => Some(text.to_owned()),
        _ => None,
    };
    match key {
        "title" => view.title = text(&mut value),
        "tag-pos-desc" => view.tag_pos_desc = text(&mut value),
        "tag-func-desc" => view.tag_func_desc = text(&mut value),
        "tag-locn" => view.tag_locn = text(&mut value),
        "tag-pos-rel" => view.tag_pos_rel = position(&mut value),
        "type" => {
            if let Ok(Item::Array(Some(count))) = value.next_item() {
                view.media_types = (0..count).map_while(|_| text(&mut value)).collect();
            }
        }
        _ => {}
    }
}

fn position(value: &mut Reader<'_>) -> Option<[f64; 3]> {
    let Ok(Item::Array(Some(3))) = value.next_item() else { return None };
    let mut position = [0.0; 3];
    for coordinate in &mut position {
        let Ok(Item::Float(number)) = value.next_item() else { return None };
        *coordinate = number;
    }
    Some(position)
}
