//! `api` processes subscribe, for partner clouds.

use shared::channel::events::{
    BodyFormat, EventType, EventTypes, EventsCommand, NewSubscription, Target,
};
use shared::channel::message::{Command, Subject};
use shared::ids::ShardId;
use shared::secret::Secret;

use crate::simulation::model::events::Receivers;
use crate::simulation::peer::HREFS;
use crate::simulation::plan::Fault;
use crate::simulation::run::Simulation;

/// Subscriptions of one user at a time.
const PER_USER_MAX: usize = 6;

impl Simulation {
    /// A process tells every shard that it delivers.
    pub(super) fn introduce(&mut self, number: usize) {
        self.partners[number].delivers = true;
        let placement = self.cloud.placement;
        for shard in 0..placement.shards() {
            let partition = placement.partitions_of(ShardId(shard)).next();
            if let Some(partition) = partition {
                let command = Command::Events(EventsCommand::Deliver);
                self.command_about(number, Subject::Partition(partition), 0, command, None);
            }
        }
    }

    /// Somebody wants to be told of a peer, or of all that the user has.
    pub(super) fn subscribe(&mut self, number: usize, user: usize, peer: usize) {
        if self.model.acknowledged.subscriptions_of(self.users[user]) >= PER_USER_MAX {
            return;
        }
        let device = self.peers[peer].di;
        let target = match self.dice.below(5) {
            0..2 => Target::Devices,
            2 => Target::Device(device),
            _ => Target::Resource(device, (*self.dice.pick(&HREFS)).to_owned()),
        };
        let all: Vec<_> = EventType::ALL.into_iter().filter(|one| one.is_of(&target)).collect();
        let types: EventTypes = match self.dice.below(4) {
            0 => [*self.dice.pick(&all)].into_iter().collect(),
            _ => all.into_iter().collect(),
        };
        let correlation = Receivers::correlation(user, self.model.receivers.all.len());
        let asked = NewSubscription {
            client: format!("client {}", self.dice.below(3)),
            target,
            types,
            url: format!("https://{}.example/{}", self.dice.below(3), self.dice.below(9)),
            secret: Secret::new(format!("{:032}", self.dice.number())),
            correlation,
            format: *self.dice.pick(&[BodyFormat::Json, BodyFormat::OcfCbor, BodyFormat::Cbor]),
        };
        let refuses = self.dice.happens(self.rate(Fault::BadReceiver) / 3);
        let grant = if self.dice.below(2) == 0 { self.grant_of(user) } else { None };
        self.model.receivers.ask(user, asked.clone(), grant, refuses, self.step);
        let subject = Subject::User { user: self.users[user], grant };
        let command = Command::Events(EventsCommand::Subscribe(asked));
        self.command_about(number, subject, user, command, None);
    }

    /// A client looks whether it has a subscription, or ends it; now and then somebody else's.
    pub(super) fn use_subscription(&mut self, number: usize, user: usize, ends: bool) {
        let user_of = |of: usize| of == user;
        let is_strange = self.dice.below(4) == 0;
        let known: Vec<_> = self.model.receivers.all.iter().filter_map(|it| it.id).collect();
        let of_user = |id: &_| {
            self.model.receivers.find(*id).is_some_and(|it| is_strange || user_of(it.user))
        };
        let known: Vec<_> = known.into_iter().filter(of_user).collect();
        if known.is_empty() {
            return;
        }
        let id = *self.dice.pick(&known);
        let Some(found) = self.model.receivers.find_mut(id) else { return };
        let (client, target) = (found.asked.client.clone(), found.asked.target.clone());
        found.unsubscribed |= ends && found.user == user;
        let command = match ends {
            true => EventsCommand::Unsubscribe { id, client, target },
            false => EventsCommand::ReadSubscription { id, client, target },
        };
        self.command(number, user, Command::Events(command), None);
    }
}
