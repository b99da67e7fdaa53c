//! Devices from their shard, page by page.
//!
//! A shard is believed only as far as it makes progress: ids and links ascend, and one device has a
//! bounded number of pages.

use std::sync::Arc;

use axum::http::StatusCode;
use shared::channel::message::{Command, Content, DeviceView, DevicesPage, Reply};
use shared::ids::DeviceId;

use crate::app::{App, unexpected_reply};
use crate::auth::Caller;
use crate::problem::{Intent, Problem};

/// Most pages with links of one device, each of at most half a MiB.
const PAGES_PER_DEVICE_MAX: usize = 16;

/// The devices of one user.
pub(super) struct Pages {
    app: Arc<App>,
    caller: Arc<Caller>,
    content: Content,
}

/// Some devices, complete with all their links.
pub(super) struct Page {
    pub(super) devices: Vec<DeviceView>,
    /// The last of them, if there are more behind it.
    pub(super) more_behind: Option<DeviceId>,
}

impl Pages {
    pub(super) fn new(app: Arc<App>, caller: Arc<Caller>, content: Content) -> Self {
        Self { app, caller, content }
    }

    /// The first page.
    pub(super) async fn first(&self) -> Result<Page, Problem> {
        self.page(None, self.content).await
    }

    /// The page behind this device.
    pub(super) async fn behind(&self, device: DeviceId) -> Result<Page, Problem> {
        self.page(Some(device), self.content).await
    }

    /// How many devices there are behind this one.
    pub(super) async fn count_behind(&self, device: DeviceId) -> Result<usize, Problem> {
        let (mut count, mut after) = (0, Some(device));
        while after.is_some() {
            let page = self.list(after, Content::Base).await?;
            count += page.devices.len();
            after = more_behind(&page);
        }
        Ok(count)
    }

    /// One device.
    pub(super) async fn device(&self, device: DeviceId) -> Result<DeviceView, Problem> {
        let (mut view, next_link) = self.links(device, 0).await?;
        self.complete(&mut view, next_link).await?;
        Ok(view)
    }

    async fn page(&self, after: Option<DeviceId>, content: Content) -> Result<Page, Problem> {
        let mut page = self.list(after, content).await?;
        let more_behind = more_behind(&page);
        if let Some(last) = page.devices.last_mut() {
            self.complete(last, page.next_link).await?;
        }
        Ok(Page { devices: page.devices, more_behind })
    }

    async fn list(
        &self,
        after: Option<DeviceId>,
        content: Content,
    ) -> Result<DevicesPage, Problem> {
        let page = self.ask(Command::ListDevices { after, content }).await?;
        let ids = || page.devices.iter().map(|view| view.device);
        let ascending = after.into_iter().chain(ids()).is_sorted_by(|a, b| a < b);
        if !ascending || page.devices.is_empty() && page.more_devices {
            return Err(unexpected_reply("list devices"));
        }
        Ok(page)
    }

    /// Adds the links that did not fit on the device's first page.
    async fn complete(
        &self,
        view: &mut DeviceView,
        mut next_link: Option<u32>,
    ) -> Result<(), Problem> {
        let mut pages = 1;
        while let Some(first_link) = next_link {
            let expected = u32::try_from(view.links.len()).ok();
            if Some(first_link) != expected || pages == PAGES_PER_DEVICE_MAX {
                return Err(unexpected_reply("read a device"));
            }
            let (more, next) = match self.links(view.device, first_link).await {
                // The device, or its last links, left since the page before.
                Err(problem) if problem.status() == StatusCode::NOT_FOUND => break,
                Ok((more, _)) if more.links.is_empty() => break,
                more => more?,
            };
            view.links.extend(more.links);
            next_link = next;
            pages += 1;
        }
        Ok(())
    }

    async fn links(
        &self,
        device: DeviceId,
        first_link: u32,
    ) -> Result<(DeviceView, Option<u32>), Problem> {
        let command = Command::ReadDevice { device, first_link, content: self.content };
        let page = self.ask(command).await?;
        let mut views = page.devices.into_iter();
        match (views.next(), views.next()) {
            (Some(view), None) if view.device == device => Ok((view, page.next_link)),
            _ => Err(unexpected_reply("read a device")),
        }
    }

    async fn ask(&self, command: Command) -> Result<DevicesPage, Problem> {
        match self.app.ask_store(&self.caller, command, Intent::Read).await? {
            Reply::Devices(page) => Ok(page),
            _ => Err(unexpected_reply("devices")),
        }
    }
}

fn more_behind(page: &DevicesPage) -> Option<DeviceId> {
    page.devices.last().filter(|_| page.more_devices).map(|view| view.device)
}
