//! Events on their way to consumers (cloud reference 5.6 to 5.10).
//!
//! ```text
//! shard ═ Delivery ═► Courier: one attempt each ─► notification: body, headers, signature ─► sender
//! shard ◄═ Delivered ═══ Outcome ◄────────────────────────────────────── status, or what went wrong
//! ```
//!
//! Nothing is kept here: which notification is next, when it is tried again and when it is given up
//! is the shard's. [`rules`] says where notifications may go, [`connector`] gets there and checks it
//! once more, [`distrust`] says what to do where the receiver's certificate is not trusted,
//! [`answer`] what an answer means, [`signature`] makes and checks `Event-Signature`, [`verify`] does
//! that on the command line.

mod answer;
mod connector;
mod distrust;
mod notification;
pub mod rules;
mod sender;
pub mod signature;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use shared::channel::events::{Delivery, EventsCommand, Outcome, Trouble};
use shared::channel::message::{Command, Reply, Subject};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::app::App;
use crate::config::{Events, millis};
use crate::shards::Unanswered;
use rules::Rules;
use sender::Sender;

/// How often a shard is told what came of a delivery, if it does not listen.
const REPORTS_MAX: u32 = 10;

/// Between two of them.
const REPORT_AGAIN: Duration = Duration::from_millis(100);

/// What the process knows about sending events.
pub struct Webhooks {
    /// Where they may go.
    pub rules: Arc<Rules>,
    /// Whether signing secrets have exactly 32 characters (OP-6).
    pub strict_secrets: bool,
    sender: Sender,
}

impl Webhooks {
    /// As it is configured.
    pub fn new(config: &Events) -> Self {
        let rules = Arc::new(Rules::new(config));
        Self {
            strict_secrets: config.strict_signing_secret,
            sender: Sender::new(config, rules.clone()),
            rules,
        }
    }
}

/// Delivers what the shards hand over on one link, until the link is lost. The shards bound how much
/// that is at a time.
pub async fn deliver(app: Arc<App>, mut deliveries: UnboundedReceiver<Delivery>) {
    // Attempts end with the link: the shards hand the same notifications to whoever comes next.
    let mut attempts = JoinSet::new();
    loop {
        tokio::select! {
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => {
                    attempts.spawn(attempt(app.clone(), delivery));
                }
                None => return,
            },
            Some(_) = attempts.join_next() => {}
        }
    }
}

async fn attempt(app: Arc<App>, delivery: Delivery) {
    let within = millis(app.events.attempt_ms);
    let sent = tokio::time::timeout(within, app.webhooks.sender.send(&app, &delivery)).await;
    let outcome = match sent {
        Ok(outcome) => outcome,
        Err(_) => {
            note(&delivery, "no answer in time");
            Outcome::Failed { why: Trouble::TimedOut, retry_after_secs: None }
        }
    };
    report(&app, &delivery, outcome).await;
}

async fn report(app: &App, delivery: &Delivery, outcome: Outcome) {
    let subject = Subject::User { user: delivery.user, grant: None };
    let (id, number) = (delivery.id, delivery.number);
    for _ in 0..REPORTS_MAX {
        let command = Command::Events(EventsCommand::Delivered { id, number, outcome });
        match app.shards.ask(subject, command, millis(app.timeouts.store_ms)).await {
            Err(Unanswered::Busy) => tokio::time::sleep(REPORT_AGAIN).await,
            Ok(Reply::Failed(failure)) => {
                tracing::warn!(subscription = %id, ?failure, "a shard does not take an outcome");
                return;
            }
            // Where it is lost the shard takes the delivery back.
            Ok(_) | Err(_) => return,
        }
    }
}

/// What is said of a delivery that was not taken: never to whom it went, nor what is in it.
fn note(delivery: &Delivery, reason: &str) {
    tracing::info!(
        subscription = %delivery.id,
        client = delivery.client,
        number = delivery.number,
        reason,
        "notification not taken"
    );
}

/// The same of one whose receiver could not show who it is, and what can be done about that.
fn warn(delivery: &Delivery, reason: &str, advice: &str) {
    tracing::warn!(
        subscription = %delivery.id,
        client = delivery.client,
        number = delivery.number,
        reason,
        advice,
        "notification not sent: its receiver is not trusted"
    );
}
