//! Links that expire, and the devices that have some (device reference 8.2).

use std::collections::BTreeMap;
use std::time::Duration;

use shared::time::Instant;

use super::Shard;
use super::agenda::Agenda;
use super::staging::{Change, Gate};
use crate::account::{DeviceKey, record};
use crate::directory::expiry::LinkExpiry;
use crate::directory::{Directory, publish};

/// When an expiry that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Devices with links that expire, by the index of their key.
#[derive(Default)]
pub(super) struct Expiries {
    devices: BTreeMap<u32, LinkExpiry>,
    agenda: Agenda<u32>,
}

impl Expiries {
    /// When the next link expires.
    pub(super) fn due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    fn schedule(&mut self, index: u32) {
        match self.devices.get(&index).and_then(LinkExpiry::next) {
            Some(at) => self.agenda.set(index, at),
            None => self.agenda.clear(index),
        }
    }

    /// A device has signed in: the clock of its links runs.
    pub(super) fn start(&mut self, device: DeviceKey, now: Instant) {
        if let Some(expiry) = self.devices.get_mut(&device.index()) {
            expiry.start(now);
            self.schedule(device.index());
        }
    }

    /// A device's session has ended: the clock of its links stands still.
    pub(super) fn pause(&mut self, device: DeviceKey, now: Instant) {
        if let Some(expiry) = self.devices.get_mut(&device.index()) {
            expiry.pause(now);
            self.agenda.clear(device.index());
        }
    }

    /// A device has other links; of those the ones for which `renewed` says so begin their time.
    pub(super) fn update(
        &mut self,
        device: DeviceKey,
        links: Option<&Directory>,
        renewed: impl Fn(u32) -> bool,
        is_online: bool,
        now: Instant,
    ) {
        let index = device.index();
        let expires = links.is_some_and(|links| links.links().any(|link| link.ttl() > 0));
        let (Some(links), true) = (links, expires) else { return self.forget(device) };
        let expiry = self.devices.entry(index).or_insert_with(|| {
            let mut new = LinkExpiry::default();
            if is_online {
                new.start(now);
            }
            new
        });
        expiry.update(links, renewed, now);
        self.schedule(index);
    }

    /// A device is gone, or has no links that expire.
    pub(super) fn forget(&mut self, device: DeviceKey) {
        self.devices.remove(&device.index());
        self.agenda.clear(device.index());
    }
}

impl Shard {
    /// Takes out the links whose time is up.
    pub(super) fn expire_links(&mut self) {
        let now = self.now.instant;
        while let Some(index) = self.expiries.agenda.next_due(now) {
            let key = DeviceKey::from_index(index);
            let Some(expiry) = self.expiries.devices.get(&index) else { continue };
            let expired = expiry.expired(now);
            if expired.is_empty() {
                self.expiries.schedule(index);
                continue;
            }
            // Until the store has said so, or something else about the device is decided.
            self.expiries.agenda.set(index, now + AGAIN);
            self.commit_expiry(key, &expired);
        }
    }

    fn commit_expiry(&mut self, key: DeviceKey, expired: &[u32]) {
        let Some(directory) =
            self.router.accounts.find_device(key).and_then(|d| d.directory.as_ref())
        else {
            return self.expiries.forget(key);
        };
        let Some((rest, gone)) = publish::unpublish(directory, expired) else { return };
        let origin = self.router.accounts.origin(key);
        let gate = Gate::Account(origin.user, origin.device);
        if self.staging.is_closed(gate) || self.check_commits().is_err() {
            return;
        }
        self.staging.close(gate);
        let write = record::put_directory(origin.user, origin.device, rest.as_ref());
        let news = self.news_of_links(origin.user, origin.device, rest.as_ref());
        let change = Change::Expired { device: key, directory: rest, gone };
        self.commit_with([write], change, Some(gate), news);
    }
}
