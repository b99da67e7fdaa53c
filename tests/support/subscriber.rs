//! A partner cloud that is subscribed, seen from the shard: what an `api` process would deliver to it.

use std::time::Duration;

use gateway::events::Ending;
use gateway::shard::{ChannelId, Input};
use shared::channel::events::{
    BodyFormat, Delivery, EventBody, EventType, EventsCommand, NewSubscription, Outcome, Target,
    Trouble,
};
use shared::channel::message::{Command, Reply, Subject};
use shared::ids::{GrantId, ShardId, SubscriptionId, UserId};
use shared::placement::{PARTITIONS, PartitionId};
use shared::secret::Secret;

use crate::user::User;
use crate::world::World;

/// What a receiver in trouble answers.
pub const UNAVAILABLE: Trouble = Trouble::Status(503);

/// An attempt that comes to nothing.
pub const FAILED: Outcome = Outcome::Failed { why: UNAVAILABLE, retry_after_secs: None };

/// A notification that its receiver does not take.
pub const REFUSED: Outcome = Outcome::Refused { why: Trouble::Status(400) };

const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription and its receiver.
pub struct Subscriber {
    /// Where it is.
    pub world: World,
    /// Whose devices it is about.
    pub user: UserId,
    /// Its id.
    pub id: SubscriptionId,
    /// What it is about.
    pub target: Target,
    /// Whose it is.
    pub client: String,
}

impl User {
    /// What is asked for by a client without a grant.
    pub fn wish(&self, target: Target, types: &[EventType]) -> NewSubscription {
        NewSubscription {
            client: "partner".into(),
            target,
            types: types.iter().copied().collect(),
            url: "https://partner.example/events".into(),
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            correlation: "8804e90c-53f7-45b8-a9af-128b6bc8cd10".into(),
            format: BodyFormat::Json,
        }
    }

    /// Asks for a subscription.
    pub fn ask_to_subscribe(&self, grant: Option<GrantId>, wish: NewSubscription) -> Reply {
        let subject = Subject::User { user: self.id, grant };
        let command = Command::Events(EventsCommand::Subscribe(wish));
        self.world.command_about(subject, command)
    }

    /// A subscriber; its events are delivered as soon as somebody takes them.
    #[track_caller]
    pub fn subscribed(&self, target: Target, types: &[EventType]) -> Subscriber {
        self.subscribed_under(None, self.wish(target, types))
    }

    /// The same under a grant.
    #[track_caller]
    pub fn subscribed_under(&self, grant: Option<GrantId>, wish: NewSubscription) -> Subscriber {
        let (target, client) = (wish.target.clone(), wish.client.clone());
        let Reply::Subscribed(id) = self.ask_to_subscribe(grant, wish) else {
            panic!("not subscribed");
        };
        self.world.deliver_all();
        Subscriber { world: self.world.clone(), user: self.id, id, target, client }
    }
}

impl Subscriber {
    /// The notifications that are with its courier, taken by the test, not answered.
    pub fn under_way(&self) -> Vec<Delivery> {
        self.world.take_deliveries(|delivery| delivery.id == self.id)
    }

    /// The one notification that is with its courier.
    #[track_caller]
    pub fn next(&self) -> Delivery {
        let mut all = self.under_way();
        assert_eq!(all.len(), 1, "one at a time: {all:?}");
        all.remove(0)
    }

    /// Takes everything that comes, one after the other, and says what it was.
    pub fn accept_all(&self) -> Vec<(u64, EventType, EventBody)> {
        let mut taken = Vec::new();
        loop {
            let some = self.under_way();
            if some.is_empty() {
                return taken;
            }
            for delivery in some {
                self.report(&delivery, Outcome::Accepted);
                taken.push((delivery.number, delivery.event.event_type, delivery.event.body));
            }
        }
    }

    /// Nothing is to be delivered.
    #[track_caller]
    pub fn expect_silence(&self) {
        assert_eq!(self.under_way(), []);
    }

    /// Says what came of a delivery.
    pub fn report(&self, delivery: &Delivery, outcome: Outcome) {
        self.world.report(delivery, outcome);
    }

    /// Its client ends it.
    pub fn unsubscribe(&self) -> Reply {
        self.world.command(self.user, self.unsubscribing())
    }

    /// The command with which its client ends it.
    pub fn unsubscribing(&self) -> Command {
        let (id, client) = (self.id, self.client.clone());
        let target = self.target.clone();
        Command::Events(EventsCommand::Unsubscribe { id, client, target })
    }

    /// Whether it stands.
    pub fn stands(&self) -> bool {
        let (id, client) = (self.id, self.client.clone());
        let target = self.target.clone();
        let command = Command::Events(EventsCommand::ReadSubscription { id, client, target });
        self.world.command(self.user, command) == Reply::Done
    }
}

/// What was told, without the bodies.
pub fn told(all: &[(u64, EventType, EventBody)]) -> Vec<(u64, EventType)> {
    all.iter().map(|(number, event_type, _)| (*number, *event_type)).collect()
}

impl World {
    /// The `api` process of all commands delivers from now on, if it does not yet.
    pub fn deliver_all(&self) {
        for shard in 0..self.setup.shards {
            let partitions = (0..PARTITIONS).filter_map(PartitionId::new);
            let placement = self.setup.placement();
            let mut its = partitions.filter(|at| placement.shard_of(*at) == ShardId(shard));
            let subject = Subject::Partition(its.next().unwrap());
            let command = Command::Events(EventsCommand::Deliver);
            let request = self.send_command_about(subject, command, PATIENCE);
            assert_eq!(self.reply(request), Some(Reply::Done));
        }
    }

    /// The `api` process dies.
    pub fn lose_api(&self) {
        let nodes = self.state().nodes.len();
        self.state().deliveries.clear();
        for node in 0..nodes {
            self.state().handle(node, Input::ChannelClosed { channel: ChannelId(1) });
        }
        self.settle();
    }

    /// Deliveries that are with couriers, taken by the test.
    pub fn take_deliveries(&self, is_one: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        let mut state = self.state();
        let all = std::mem::take(&mut state.deliveries);
        let (taken, kept) = all.into_iter().partition(|(_, delivery)| is_one(delivery));
        state.deliveries = kept;
        let taken: std::collections::VecDeque<_> = taken;
        taken.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Says what came of a delivery.
    pub fn report(&self, delivery: &Delivery, outcome: Outcome) {
        let (id, number) = (delivery.id, delivery.number);
        let command = Command::Events(EventsCommand::Delivered { id, number, outcome });
        assert_eq!(self.command(delivery.user, command), Reply::Done);
    }

    /// The subscriptions that were ended, and why.
    pub fn subscriptions_ended(&self) -> Vec<(SubscriptionId, Ending)> {
        self.state().subscriptions_ended.clone()
    }

    /// Records in the store, by table.
    pub fn stored(&self, table: gateway::store::Table) -> usize {
        use gateway::store::Store;
        let mut durable = self.state().store.durable.clone();
        let mut count = 0;
        durable
            .load_all(&mut |_, of, _, _| count += usize::from(of == table))
            .expect("memory can be read");
        count
    }
}
