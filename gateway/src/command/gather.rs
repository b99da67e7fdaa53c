//! Fetches the representations that a list needs and that nobody has seen, then makes the list.
//!
//! Per device a few requests are under way at a time. A device that says nothing holds a list up for
//! [`PATIENCE`] at most, and never beyond the deadline of the command: every list is complete in time,
//! with whatever is known by then.

use std::time::Duration;

use shared::channel::message::Failure;
use shared::coap::RequestType;
use shared::ids::{DeviceId, Href};
use shared::time::Instant;

use super::Caller;
use super::devices::Listing;
use crate::account::DeviceKey;
use crate::proxy::translate::OwnRequest;
use crate::proxy::{Purpose, Router};
use crate::slab::{Key, Slab};

/// Names a list that is being gathered.
pub type GatherKey = Key<Gather>;

/// Fetches under way per device and list.
const FETCHES_PER_DEVICE: usize = 4;

/// How long a list waits for what devices say: less than whoever asks for a single resource does.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lists that may be gathered at a time.
const GATHERS_MAX: usize = 4096;

/// The lists that are being gathered.
pub type Gathers = Slab<Gather>;

/// A list that waits for representations.
pub struct Gather {
    caller: Caller,
    listing: Listing,
    devices: Vec<Wanted>,
    under_way: usize,
    /// When devices have had time enough.
    until: Instant,
}

/// What is wanted of one device.
pub struct Wanted {
    /// The device.
    pub key: DeviceKey,
    /// Its id, as long as the key means the same device.
    pub id: DeviceId,
    /// Resources, the next one last.
    pub hrefs: Vec<Href>,
}

impl Router {
    /// Makes a list as soon as everything wanted has been fetched, or cannot be.
    pub(super) fn gather(
        &mut self,
        caller: Caller,
        listing: Listing,
        devices: Vec<Wanted>,
    ) -> Result<(), Failure> {
        if devices.is_empty() {
            self.reply_listing(caller, &listing);
            return Ok(());
        }
        if self.gathers.len() >= GATHERS_MAX {
            return Err(Failure::Overloaded);
        }
        let first: Vec<_> = devices.iter().map(|device| device.key).collect();
        let until = caller.until.min(self.now + PATIENCE);
        let key = self.gathers.insert(Gather { caller, listing, devices, under_way: 0, until });
        for device in first {
            for _ in 0..FETCHES_PER_DEVICE {
                self.fetch_next(key, device);
            }
        }
        self.finish_gather(key);
        Ok(())
    }

    /// A fetch has ended, whatever came of it.
    pub(crate) fn fetched(&mut self, key: GatherKey, device: DeviceKey) {
        if let Some(gather) = self.gathers.get_mut(key) {
            gather.under_way = gather.under_way.saturating_sub(1);
            self.fetch_next(key, device);
            self.finish_gather(key);
        }
    }

    /// Asks a device for the next resource that it can be asked for.
    fn fetch_next(&mut self, key: GatherKey, device: DeviceKey) {
        while let Some(gather) = self.gathers.get_mut(key) {
            let until = gather.until;
            let Some(wanted) = gather.devices.iter_mut().find(|wanted| wanted.key == device) else {
                return;
            };
            let same = self.accounts.find_device(device).is_some_and(|found| found.id == wanted.id);
            if !same || until <= self.now {
                wanted.hrefs.clear();
            }
            let Some(href) = wanted.hrefs.pop() else { return };
            let purpose = Purpose::Fetch { gather: key, device, instance: href.instance() };
            let request = OwnRequest {
                method: RequestType::Get,
                href: href.as_str(),
                queries: &[],
                observe: None,
                body: &[],
            };
            if self.ask_own(device, purpose, until, &request).is_ok() {
                self.gathers[key].under_way += 1;
                return;
            }
        }
    }

    fn finish_gather(&mut self, key: GatherKey) {
        let done = self.gathers.get(key).is_some_and(|gather| {
            gather.under_way == 0 && gather.devices.iter().all(|wanted| wanted.hrefs.is_empty())
        });
        if done && let Some(gather) = self.gathers.remove(key) {
            self.reply_listing(gather.caller, &gather.listing);
        }
    }
}
