//! Every reply to a command, judged at the moment in which it leaves its shard.

use shared::channel::events::{EventsCommand, NewSubscription};
use shared::channel::message::{Command, LinkView, Reply, ReplyEnvelope};
use shared::ids::UserId;

use super::asked::Value;
use super::canary;
use crate::simulation::partner::Commanded;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

impl Simulation {
    pub(in crate::simulation) fn judge_reply(&mut self, to: &Commanded, envelope: &ReplyEnvelope) {
        if let Some(found) = canary::foreign(to.user, &shown(&envelope.reply)) {
            let seen = format!("a reply for user {} shows {found}", to.user);
            self.fail(Invariant::Isolation, seen);
        }
        self.judge_grant_of(to, &envelope.reply);
        let user = self.users[to.user];
        match (&to.command, &envelope.reply) {
            (Command::ListDevices { after: None, .. }, Reply::Devices(page))
                if !page.more_devices =>
            {
                let devices: Vec<_> = page.devices.iter().map(|view| view.device).collect();
                if !self.model.views.listed(user, to.step, &devices) {
                    let seen = format!("a list of devices that was never so: {devices:?}");
                    self.fail(Invariant::CommitFirst, seen);
                }
            }
            (Command::Retrieve { .. } | Command::Update { .. }, Reply::Device(answer)) => {
                self.judge_retrieved(to, answer);
            }
            (Command::RemoveDevice { device }, Reply::Done) => {
                let removed =
                    self.model.views.since(user, to.step, |view| !view.devices.contains(device));
                if !removed {
                    let seen = format!("{device} is removed before it is durable");
                    self.fail(Invariant::CommitFirst, seen);
                }
            }
            (Command::Authorization(command), reply) => {
                self.judge_authorization(to, command, reply);
            }
            (Command::Events(command), reply) => self.judge_events_reply(to, command, reply),
            _ => {}
        }
        self.model.facts.settle((to.channel.0 | 1 << 63, envelope.request));
    }

    fn judge_events_reply(&mut self, to: &Commanded, command: &EventsCommand, reply: &Reply) {
        match (command, reply) {
            (EventsCommand::Subscribe(asked), _) => self.judge_subscribed(to, asked, reply),
            (
                EventsCommand::Unsubscribe { id, .. } | EventsCommand::ReadSubscription { id, .. },
                Reply::Done,
            ) => {
                let found = self.model.receivers.find(*id);
                if found.is_none_or(|found| found.user != to.user) {
                    let seen = format!("user {} has {id} of somebody else", to.user);
                    return self.fail(Invariant::Isolation, seen);
                }
                let key = (self.users[to.user], *id);
                let outbox = self.model.acknowledged.outboxes.of_users.get(&key);
                let stands = outbox.is_some_and(|it| it.asked.is_some() && it.ending.is_none());
                if stands && matches!(command, EventsCommand::Unsubscribe { .. }) {
                    let seen = format!("{id} has ended before it is durable");
                    self.fail(Invariant::CommitFirst, seen);
                }
            }
            _ => {}
        }
    }

    fn judge_subscribed(&mut self, to: &Commanded, asked: &NewSubscription, reply: &Reply) {
        let Some(number) = self.model.receivers.number_in(&asked.correlation) else { return };
        let Reply::Subscribed(id) = reply else {
            self.model.receivers.all[number].failed = true;
            return;
        };
        if !self.model.receivers.name(number, *id) {
            let seen = format!("subscription {number} has two ids");
            return self.fail(Invariant::EventsComplete, seen);
        }
        let user = self.users[to.user];
        let outbox = self.model.acknowledged.outboxes.of_users.get(&(user, *id));
        if outbox.is_none_or(|outbox| outbox.asked.as_ref() != Some(asked)) {
            let seen = format!("{id} is acknowledged and not durable");
            return self.fail(Invariant::CommitFirst, seen);
        }
        let was_there = asked.target.device().is_none_or(|device| {
            self.model.views.since(user, to.step, |view| view.devices.contains(&device))
        });
        if !was_there {
            let seen = format!("user {} is subscribed to {:?}", to.user, asked.target);
            self.fail(Invariant::Isolation, seen);
        }
    }

    fn judge_retrieved(&mut self, to: &Commanded, answer: &shared::channel::message::DeviceAnswer) {
        let Some(value) = Value::parse(&answer.body) else { return };
        let of = &self.peers[value.peer];
        let asked = match &to.command {
            Command::Retrieve { device, .. } | Command::Update { device, .. } => *device,
            _ => return,
        };
        if of.di != asked {
            let seen = format!("{asked} is asked and {} answers", of.di);
            self.fail(Invariant::AnsweredOnce, seen);
        }
    }

    /// The number of a user.
    pub(in crate::simulation) fn number_of(&self, user: UserId) -> Option<usize> {
        self.users.iter().position(|known| *known == user)
    }
}

/// All texts and bodies of a reply.
fn shown(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Device(answer) => answer.body.clone(),
        Reply::Devices(page) => {
            let mut all = Vec::new();
            for device in &page.devices {
                all.extend(device.description.iter().flatten());
                all.extend(device.platform.iter().flatten());
                all.extend(device.name.iter().flat_map(|name| name.bytes()));
                all.extend(shown_links(&device.links));
            }
            all
        }
        other => format!("{other:?}").into_bytes(),
    }
}

/// All texts and bodies of links.
pub(super) fn shown_links(links: &[LinkView]) -> Vec<u8> {
    let mut all = Vec::new();
    for link in links {
        all.extend(link.href.bytes());
        all.extend(link.resource_types.iter().flat_map(|rt| rt.bytes()));
        all.extend(link.title.iter().flat_map(|title| title.bytes()));
        all.extend(link.representation.iter().flatten());
    }
    all
}
