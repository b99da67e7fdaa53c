//! What all handlers share, and how they ask the shards.

use std::sync::Arc;
use std::time::Duration;

use shared::channel::message::{Command, Reply};
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, Caller};
use crate::config::{Config, Limits, Timeouts, millis};
use crate::problem::{Intent, Problem};
use crate::shards::Shards;
use crate::trace::Correlations;

/// The state of the process. Everything else belongs to a request or to the gateway.
pub struct App {
    /// What is refused because there is too much of it.
    pub limits: Limits,
    /// What is given up because it takes too long.
    pub timeouts: Timeouts,
    /// Knows tokens.
    pub authenticator: Authenticator,
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
        match self.shards.ask(caller, command, patience).await {
            Ok(Reply::Failed(failure)) => Err(Problem::of_failure(failure, intent)),
            Ok(reply) => Ok(reply),
            Err(unanswered) => Err(unanswered.problem(intent)),
        }
    }
}

/// A shard answered something else than was asked: a mistake of one of the two processes.
pub(crate) fn unexpected_reply(asked: &'static str) -> Problem {
    tracing::error!(asked, "a shard's reply does not fit the command");
    Problem::internal()
}
