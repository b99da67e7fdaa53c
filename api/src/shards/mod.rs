//! Commands to the shard that owns the user, and its replies.
//!
//! ```text
//! handler ─ask─► Shards ─► Link of today ─► the user's shard: number, deadline, ring     link
//! handler ◄───── whoever waits ◄─ number ◄─ reply, deadline passed, or link lost         pending
//! ```
//!
//! Nobody waits without end: a full ring or table and a missing link are answered at once, a lost
//! link when it is lost, everything else by its deadline.

mod link;
mod pending;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use shared::channel::events::Delivery;
use shared::channel::message::{Command, Reply, Subject};
use shared::ids::CloudId;
use tokio::sync::mpsc;

use crate::problem::{Intent, Problem};
use link::Link;

/// What the gateway told us when it introduced itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cloud {
    /// The cloud's own id, `sid` to devices.
    pub id: CloudId,
    /// Where devices connect, `cis` to them.
    pub endpoint: String,
}

/// Why a command has no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The gateway is not there.
    #[error("the gateway is not connected")]
    NotConnected,
    /// The gateway went away while the reply was awaited: the command may have been carried out.
    #[error("the connection to the gateway was lost")]
    Lost,
    /// The shard has more to do than it can.
    #[error("the shard is overloaded")]
    Busy,
    /// The command is larger than a message may be.
    #[error("the command is too large")]
    TooLarge,
    /// The deadline passed: the command may have been carried out.
    #[error("the shard did not answer in time")]
    TimedOut,
}

impl Unanswered {
    /// As the consumer is told.
    pub fn problem(self, intent: Intent) -> Problem {
        match (self, intent) {
            (Self::NotConnected, _) => Problem::unavailable("the devices cannot be reached"),
            (Self::Lost, Intent::Read) => {
                Problem::unavailable("the connection to the devices was lost")
            }
            (Self::Lost, Intent::Update) => Problem::unavailable(
                "the connection to the devices was lost; the update may still have happened",
            ),
            (Self::Busy, _) => Problem::overloaded(),
            (Self::TooLarge, _) => Problem::too_large("the body is larger than devices take"),
            (Self::TimedOut, intent) => Problem::too_slow(intent),
        }
    }
}

/// For a shard to hear that events can be delivered.
const COURIER_PATIENCE: Duration = Duration::from_secs(10);

/// Delivers the notifications of one link.
pub type Courier = dyn Fn(mpsc::UnboundedReceiver<Delivery>) -> BoxFuture + Send + Sync + 'static;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All shards of the gateway, as long as it is there.
pub struct Shards {
    link: RwLock<Option<Arc<Link>>>,
    socket: PathBuf,
    commands_max: usize,
}

impl Shards {
    /// Behind this socket, with at most so many commands under way per shard.
    pub fn new(socket: PathBuf, commands_max: usize) -> Self {
        Self { link: RwLock::new(None), socket, commands_max }
    }

    /// The gateway is there, with all its shards.
    pub fn is_ready(&self) -> bool {
        self.today().is_some()
    }

    /// What the gateway said of itself, if it is there.
    pub fn cloud(&self) -> Option<Cloud> {
        self.today().map(|link| link.cloud().clone())
    }

    /// Asks the shard of whatever it is about, which gives up after `patience`.
    pub async fn ask(
        &self,
        subject: Subject,
        command: Command,
        patience: Duration,
    ) -> Result<Reply, Unanswered> {
        let link = self.today().ok_or(Unanswered::NotConnected)?;
        let reply = link.send(subject, command, patience)?;
        drop(link);
        reply.await.unwrap_or(Err(Unanswered::Lost))
    }

    /// Asks every shard the same.
    pub async fn ask_all(
        &self,
        command: &Command,
        patience: Duration,
    ) -> Result<Vec<Reply>, Unanswered> {
        let link = self.today().ok_or(Unanswered::NotConnected)?;
        let awaited = link.send_to_all(command, patience)?;
        drop(link);
        let mut replies = Vec::with_capacity(awaited.len());
        for reply in awaited {
            replies.push(reply.await.unwrap_or(Err(Unanswered::Lost))?);
        }
        Ok(replies)
    }

    /// Keeps a link to the gateway, for as long as it is polled. With somebody who delivers, the
    /// notifications of each link are handed over as they come, until the link is lost.
    pub async fn keep_linked(&self, courier: Option<&Courier>) -> Infallible {
        let mut back_off = link::BackOff::default();
        loop {
            let (sender, deliveries) = mpsc::unbounded_channel();
            match link::connect(&self.socket, self.commands_max, sender).await {
                Ok((link, line)) => {
                    let work = courier.map(|courier| tokio::spawn(courier(deliveries)));
                    if courier.is_some()
                        && let Err(error) = link.offer_to_deliver(COURIER_PATIENCE)
                    {
                        tracing::warn!(%error, "a shard does not hear that events can be delivered");
                    }
                    back_off = link::BackOff::default();
                    let link = Arc::new(link);
                    tracing::info!(shards = link.shards(), cloud = %link.cloud().id, "gateway connected");
                    self.replace(Some(link.clone()));
                    let reason = line.serve(&link).await;
                    self.replace(None);
                    link.close();
                    if let Some(work) = work {
                        work.abort();
                    }
                    tracing::warn!(%reason, "gateway lost");
                }
                Err(error) => {
                    let socket = self.socket.display();
                    tracing::warn!(%socket, %error, "gateway not reached");
                }
            }
            tokio::time::sleep(back_off.next()).await;
        }
    }

    fn today(&self) -> Option<Arc<Link>> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, link: Option<Arc<Link>>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }
}
