//! What all handlers share, and how they ask the shards.

use std::sync::Arc;
use std::time::Duration;

use shared::channel::authorization::{AuthorizationCommand, RegistryCommand};
use shared::channel::events::{EventsCommand, SubscriptionView};
use shared::channel::message::{Command, Failure, Reply, Subject};
use shared::ids::{GrantId, SubscriptionId, UserId};
use shared::placement::PartitionId;
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, Caller};
use crate::config::{Config, Events, Limits, Timeouts, millis};
use crate::oauth::Oauth;
use crate::problem::{Intent, Problem};
use crate::shards::{Shards, Unanswered};
use crate::trace::Correlations;
use crate::webhooks::Webhooks;

/// The state of the process. Everything else belongs to a request or to the gateway.
pub struct App {
    /// What is refused because there is too much of it.
    pub limits: Limits,
    /// What is given up because it takes too long.
    pub timeouts: Timeouts,
    /// Knows tokens.
    pub authenticator: Authenticator,
    /// How events are sent.
    pub events: Events,
    /// Sends them.
    pub webhooks: Webhooks,
    /// What the authorization server holds.
    pub oauth: Oauth,
    /// Where the users are.
    pub shards: Shards,
    /// One permit per list of devices being sent.
    pub lists: Arc<Semaphore>,
    /// Makes correlation ids.
    pub correlations: Correlations,
}

impl App {
    /// With these limits; `seed` is random.
    pub fn new(config: &Config, seed: [u64; 2]) -> Self {
        let limits = config.limits.clone();
        Self {
            timeouts: config.timeouts.clone(),
            authenticator: Authenticator::default(),
            events: config.events.clone(),
            webhooks: Webhooks::new(&config.events),
            oauth: Oauth::new(&config.authorization),
            shards: Shards::new(config.gateway.socket.clone(), limits.commands_per_shard),
            lists: Arc::new(Semaphore::new(limits.lists)),
            correlations: Correlations::new(seed),
            limits,
        }
    }

    /// Asks the caller's shard for what takes a device's answer.
    pub async fn ask_device(
        &self,
        caller: &Caller,
        command: Command,
        intent: Intent,
    ) -> Result<Reply, Problem> {
        self.ask(caller, command, intent, millis(self.timeouts.device_ms)).await
    }

    /// Asks the caller's shard for what it has itself, or in the store.
    pub async fn ask_store(
        &self,
        caller: &Caller,
        command: Command,
        intent: Intent,
    ) -> Result<Reply, Problem> {
        self.ask(caller, command, intent, millis(self.timeouts.store_ms)).await
    }

    async fn ask(
        &self,
        caller: &Caller,
        command: Command,
        intent: Intent,
        patience: Duration,
    ) -> Result<Reply, Problem> {
        match self.shards.ask(caller.subject(), command, patience).await {
            Ok(Reply::Failed(failure)) => Err(Problem::of_failure(failure, intent)),
            Ok(reply) => Ok(reply),
            Err(unanswered) => Err(unanswered.problem(intent)),
        }
    }
}

/// Subscriptions of a shard, and where to go on.
pub type SubscriptionsPage = (Vec<SubscriptionView>, Option<SubscriptionId>);

/// Why the authorization server does not get what it asks a shard for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfulfilled {
    /// The shard says why.
    Failed(Failure),
    /// The shard does not say.
    Unanswered(Unanswered),
    /// What the shard or the system says makes no sense.
    Nonsense,
}

impl App {
    /// Asks for one of the cloud's records, or changes it.
    pub async fn ask_registry(&self, command: RegistryCommand) -> Result<Reply, Unfulfilled> {
        let subject = Subject::Partition(PartitionId::CLOUD);
        self.ask_about(subject, Command::Registry(command)).await
    }

    /// Asks the shard that knows a token.
    pub async fn ask_partition(
        &self,
        partition: PartitionId,
        command: AuthorizationCommand,
    ) -> Result<Reply, Unfulfilled> {
        self.ask_about(Subject::Partition(partition), Command::Authorization(command)).await
    }

    /// Asks for the end of a user and everything that is theirs. It goes on however long this waits.
    pub async fn ask_to_delete(&self, user: UserId) -> Result<Reply, Unfulfilled> {
        self.ask_about(Subject::User { user, grant: None }, Command::DeleteUser).await
    }

    /// Asks the shard of a user.
    pub async fn ask_user(
        &self,
        user: UserId,
        grant: Option<GrantId>,
        command: AuthorizationCommand,
    ) -> Result<Reply, Unfulfilled> {
        self.ask_about(Subject::User { user, grant }, Command::Authorization(command)).await
    }

    /// Asks every shard to end what users have let a client be told.
    pub async fn end_client(&self, client: &str) -> Result<(), Unfulfilled> {
        let command = Command::Events(EventsCommand::EndClient { client: client.to_owned() });
        let replies = self.shards.ask_all(&command, millis(self.timeouts.store_ms)).await;
        for reply in replies.map_err(Unfulfilled::Unanswered)? {
            match reply {
                Reply::Done => {}
                Reply::Failed(Failure::Overloaded) => {
                    return Err(Unfulfilled::Unanswered(Unanswered::Busy));
                }
                Reply::Failed(failure) => return Err(Unfulfilled::Failed(failure)),
                _ => return Err(Unfulfilled::Nonsense),
            }
        }
        Ok(())
    }

    /// Asks every shard for its subscriptions behind this one, or for those of a client among them;
    /// each says where to go on, if there may be more.
    pub async fn list_subscriptions(
        &self,
        after: Option<SubscriptionId>,
        client: Option<&str>,
    ) -> Result<Vec<SubscriptionsPage>, Unfulfilled> {
        let client = client.map(str::to_owned);
        let command = Command::Events(EventsCommand::ListSubscriptions { after, client });
        let replies = self.shards.ask_all(&command, millis(self.timeouts.store_ms)).await;
        let replies = replies.map_err(Unfulfilled::Unanswered)?.into_iter();
        let pages = replies.map(|reply| match reply {
            Reply::Subscriptions { subscriptions, next } => Ok((subscriptions, next)),
            Reply::Failed(failure) => Err(Unfulfilled::Failed(failure)),
            _ => Err(Unfulfilled::Nonsense),
        });
        pages.collect()
    }

    async fn ask_about(&self, subject: Subject, command: Command) -> Result<Reply, Unfulfilled> {
        match self.shards.ask(subject, command, millis(self.timeouts.store_ms)).await {
            Ok(Reply::Failed(failure)) => Err(Unfulfilled::Failed(failure)),
            Ok(reply) => Ok(reply),
            Err(unanswered) => Err(Unfulfilled::Unanswered(unanswered)),
        }
    }
}

/// A shard answered something else than was asked: a mistake of one of the two processes.
pub(crate) fn unexpected_reply(asked: &'static str) -> Problem {
    tracing::error!(asked, "a shard's reply does not fit the command");
    Problem::internal()
}
