//! Commands of `api` processes that ask devices or list them (cloud reference 4).
//!
//! [`devices`] makes the pages of a list, [`gather`] fetches the representations that a list needs
//! and that are not known; here is what reads and changes one resource.

pub mod devices;
pub mod gather;

use shared::channel::message::{Command, Failure, Reply};
use shared::coap::RequestType;
use shared::ids::{DeviceId, Href, UserId};
use shared::time::Instant;

use crate::account::DeviceKey;
use crate::proxy::translate::OwnRequest;
use crate::proxy::{Purpose, Router};
use crate::seeded::{Bug, is_planted};
use crate::shard::input::ChannelId;

/// Where a command came from, and until when its sender waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The channel.
    pub channel: ChannelId,
    /// The command's number there.
    pub request: u64,
    /// Whose data it is about.
    pub user: UserId,
    /// When the sender gives up.
    pub until: Instant,
}

/// Where the reply to a command goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    /// The channel.
    pub channel: ChannelId,
    /// The command's number there.
    pub request: u64,
}

/// A resource that a command is about.
struct Resource<'a> {
    device: DeviceId,
    href: &'a str,
    interface: Option<&'a str>,
}

impl Router {
    /// Carries out a command that reads, or asks a device. Commands that change accounts are none of
    /// its business: they come back.
    pub fn command(&mut self, caller: Caller, command: Command) -> Option<Command> {
        let outcome = match &command {
            Command::ListDevices { after, content } => {
                self.list_devices(caller, *after, *content);
                Ok(())
            }
            Command::ReadDevice { device, first_link, content } => {
                self.read_device(caller, *device, *first_link, *content)
            }
            Command::Retrieve { device, href, interface } => {
                let resource = Resource { device: *device, href, interface: interface.as_deref() };
                self.ask_resource(caller, &resource, RequestType::Get, &[])
            }
            Command::Update { device, href, interface, body } => {
                let resource = Resource { device: *device, href, interface: interface.as_deref() };
                self.ask_resource(caller, &resource, RequestType::Post, body)
            }
            Command::RegisterMediator
            | Command::IssueDeviceToken { .. }
            | Command::ListDeviceTokens
            | Command::RemoveDevice { .. }
            | Command::DeleteUser
            | Command::Authorization(_)
            | Command::Registry(_)
            | Command::Events(_)
            | Command::ReadFigures => return Some(command),
        };
        if let Err(failure) = outcome {
            self.reply(caller.channel, caller.request, Reply::Failed(failure));
        }
        None
    }

    /// The device of a command's user.
    pub(crate) fn device_of(&self, user: UserId, device: DeviceId) -> Result<DeviceKey, Failure> {
        if is_planted(Bug::ForeignDevicesAreCommanded) {
            return self.accounts.device(device).ok_or(Failure::NoSuchDevice);
        }
        self.accounts.device_of_user(user, device).ok_or(Failure::NoSuchDevice)
    }

    fn ask_resource(
        &mut self,
        caller: Caller,
        resource: &Resource<'_>,
        method: RequestType,
        body: &[u8],
    ) -> Result<(), Failure> {
        let device = self.device_of(caller.user, resource.device)?;
        let href = Href::parse(resource.href).map_err(|_| Failure::NoSuchResource)?;
        let directory = self.accounts[device].directory.as_ref();
        let link = directory
            .and_then(|directory| directory.link(href.as_str()))
            .ok_or(Failure::NoSuchResource)?;
        let query = match resource.interface {
            Some(name) if !link.interfaces().any(|interface| interface == name) => {
                return Err(Failure::NoSuchInterface);
            }
            interface => interface.map(|name| format!("if={name}")),
        };
        let plain_read = method == RequestType::Get && query.is_none();
        let purpose = Purpose::Command {
            channel: caller.channel,
            request: caller.request,
            device,
            projects: plain_read.then(|| href.instance()),
        };
        let request = OwnRequest {
            method,
            href: href.as_str(),
            queries: &query.as_deref().into_iter().collect::<Vec<_>>(),
            observe: None,
            body,
        };
        self.ask_own(device, purpose, caller.until, &request)?;
        Ok(())
    }
}
