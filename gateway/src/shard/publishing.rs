//! Publish, unpublish, selection and discovery on a connection (device reference 8 and 9).

use shared::coap::{CoapOption, Request, ResponseType};
use shared::ocf::cbor::Writer;

use super::Shard;
use super::dispatch::Flow;
use super::staging::{Change, Echo, Gate};
use super::watching::{links_of, shape_of};
use super::wire::{Requester, write_format};
use crate::account::{DeviceKey, record};
use crate::connection::ConnectionId;
use crate::directory::discovery;
use crate::directory::publish;
use crate::directory::query::Query;
use crate::directory::{Directory, publish as publishing};
use crate::reject::{After, Reject};
use crate::seeded::{Bug, is_planted};
use crate::session::SignedIn;

/// What the head and the options of an answer take.
const ANSWER_OVERHEAD_BYTES: usize = 32;

impl Shard {
    /// POST `/oic/rd`.
    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        requester: &Requester,
        body: &[u8],
    ) -> Result<Flow, Reject> {
        let key = who.device();
        let origin = self.router.accounts.origin(key);
        let gate = Gate::Account(origin.user, origin.device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate);
        }
        let answer_bytes_max =
            self.router.wire.message_bytes_max(id).saturating_sub(ANSWER_OVERHEAD_BYTES);
        let before = self.router.accounts[key].directory.as_ref();
        let limits = &self.router.limits;
        let published = publishing::publish(origin.device, before, body, answer_bytes_max, limits)?;
        let now = self.now.instant;
        if !published.changed {
            let renewed = |number: u32| published.named.contains(&number);
            self.expiries.update(key, Some(&published.directory), renewed, true, now);
            self.answer_publish(requester, &published.echo);
            return Ok(Flow::Next);
        }
        self.check_commits().map_err(as_failed_publish)?;
        self.staging.close(gate);
        let write = record::put_directory(origin.user, origin.device, Some(&published.directory));
        let news = self.news_of_links(origin.user, origin.device, Some(&published.directory));
        let written = (!is_planted(Bug::LinksAreNotWritten)).then_some(write);
        if is_planted(Bug::LinksComeBeforeTheirCommit) {
            self.set_links(key, Some(published.directory.clone()), &[], &published.named);
        }
        let change = Change::Links {
            device: key,
            directory: Some(published.directory),
            gone: Vec::new(),
            requester: *requester,
            published: Some(Echo { body: published.echo, named: published.named }),
        };
        self.commit_with(written, change, Some(gate), news);
        Ok(Flow::Next)
    }

    /// DELETE `/oic/rd`.
    pub(super) fn unpublish(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<Flow, Reject> {
        let key = who.device();
        let origin = self.router.accounts.origin(key);
        let mut instances = Vec::new();
        for (name, value) in request.decoded_query() {
            match name {
                "di" if value.parse() != Ok(origin.device) => {
                    return Err(Reject::bad_request("di is not the session's"));
                }
                "ins" => instances
                    .push(value.parse().map_err(|_| Reject::bad_request("ins is not a number"))?),
                _ => {}
            }
        }
        let gate = Gate::Account(origin.user, origin.device);
        if self.staging.is_closed(gate) {
            return self.wait_at(gate);
        }
        let directory = self.router.accounts[key].directory.as_ref();
        let Some((rest, gone)) =
            directory.and_then(|directory| publish::unpublish(directory, &instances))
        else {
            self.router.wire.answer(requester, ResponseType::Deleted, |_| {});
            return Ok(Flow::Next);
        };
        debug_assert_eq!(id, requester.connection);
        self.check_commits()?;
        self.staging.close(gate);
        let write = record::put_directory(origin.user, origin.device, rest.as_ref());
        let requester = *requester;
        let news = self.news_of_links(origin.user, origin.device, rest.as_ref());
        let change =
            Change::Links { device: key, directory: rest, gone, requester, published: None };
        self.commit_with([write], change, Some(gate), news);
        Ok(Flow::Next)
    }

    /// Other links of a device are durable, or were refused.
    pub(super) fn links_committed(
        &mut self,
        key: DeviceKey,
        (directory, gone): (Option<Directory>, Vec<String>),
        requester: &Requester,
        published: Option<Echo>,
        done: bool,
    ) {
        if !done {
            let reject = as_failed_publish(Reject::unavailable("try again"));
            self.refuse(requester, &reject);
            return;
        }
        let named = published.as_ref().map_or(&[][..], |published| &published.named);
        self.set_links(key, directory, &gone, named);
        match published {
            Some(Echo { body, .. }) => {
                self.counters.publishes += 1;
                self.answer_publish(requester, &body);
            }
            None => self.router.wire.answer(requester, ResponseType::Deleted, |_| {}),
        }
    }

    /// A device takes no other code than 2.04 for success (device reference 1.3, rule 7).
    fn answer_publish(&mut self, requester: &Requester, echo: &[u8]) {
        self.repairs.clear(requester.connection);
        match echo {
            [] => self.router.wire.answer(requester, ResponseType::Changed, |_| {}),
            echo => self.router.wire.answer_cbor(requester, ResponseType::Changed, echo),
        }
    }

    /// A device has other links from now on. `gone` are the hrefs of those that it had, `named` the
    /// numbers of those that it has just published.
    pub(super) fn set_links(
        &mut self,
        key: DeviceKey,
        directory: Option<Directory>,
        gone: &[String],
        named: &[u32],
    ) {
        let device = &mut self.router.accounts[key];
        let (owner, is_online) = (device.user, device.connection.is_some());
        let now = self.now.instant;
        let renewed = |number: u32| named.contains(&number);
        self.expiries.update(key, directory.as_ref(), renewed, is_online, now);
        device.directory = directory;
        // What a device says of itself may be different after a publish.
        device.traffic.projection = None;
        let user = &mut self.router.accounts[owner];
        user.links_version = user.links_version.wrapping_add(1);
        self.links_changed(owner);
        if !gone.is_empty() {
            self.router.end_unpublished(key, gone);
        }
    }

    /// GET `/oic/rd`: a bias for choosing among directories; there is one.
    pub(super) fn select_directory(&mut self, requester: &Requester) {
        self.router.wire.answer(requester, ResponseType::Content, |message| {
            write_format(message, requester.format);
            message.payload_with(|body| {
                let mut out = Writer(body);
                out.map(3).text("rt").array(1).text("oic.wk.rd");
                out.text("if").array(1).text("oic.if.baseline").text("sel").unsigned(0);
            });
        });
    }

    /// GET `/oic/res`: the links of all devices of the session's user, and of nobody else.
    pub(super) fn discover(
        &mut self,
        id: ConnectionId,
        who: SignedIn,
        requester: &Requester,
        request: &Request<'_>,
    ) -> Result<(), Reject> {
        let query = Query::parse(request.decoded_query())?;
        self.counters.discoveries += 1;
        let etag = self.discovery_tag(who);
        let known = |option: shared::coap::Opt<'_>| {
            option.name() == CoapOption::ETag && option.value == etag
        };
        if request.options.into_iter().any(known) {
            self.router.wire.answer(requester, ResponseType::Valid, |message| {
                message.named(CoapOption::ETag, &etag);
            });
            return Ok(());
        }
        let shape = shape_of(requester.format);
        let listener = self.router.wire.connections.get(id).map(|connection| connection.listener);
        let endpoint = self.settings.endpoint(listener);
        // Accounts and wire are parts of the same router: the wire is taken by itself here.
        let crate::proxy::Router { wire, accounts, .. } = &mut self.router;
        let accounts: &crate::account::Accounts = accounts;
        let devices = links_of(accounts, who.user());
        let answered = wire.answer_bounded(requester, ResponseType::Content, |message| {
            message.named(CoapOption::ETag, &etag);
            write_format(message, requester.format);
            message.payload_with(|out| discovery::write(out, devices, &query, shape, endpoint));
        });
        if let Err(too_large) = answered {
            self.refuse_links(requester, too_large);
        }
        Ok(())
    }

    /// Changes whenever links of the user change, and with every start of the shard.
    fn discovery_tag(&self, who: SignedIn) -> [u8; 8] {
        let version = self.router.accounts[who.user()].links_version;
        let mut tag = [0; 8];
        tag[..4].copy_from_slice(&self.epoch.to_be_bytes());
        tag[4..].copy_from_slice(&version.to_be_bytes());
        tag
    }
}

/// A device does not publish again by itself on the same connection: after a failure it is made to
/// sign in again (device reference 8.1).
fn as_failed_publish(reject: Reject) -> Reject {
    Reject { after: After::CloseUnlessMended, ..reject }
}
