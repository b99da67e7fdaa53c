//! One link to the gateway, from its introduction to its loss (I/O).
//!
//! Handlers put commands into the ring themselves, under the lock of the shard's end: that is shorter
//! than a way through a task. Replies are taken out by one task, the [`Line`], which also watches the
//! deadlines and the socket.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::channel::events::{Delivery, EventsCommand};
use shared::channel::message::{Command, CommandEnvelope, NO_COMMAND, Reply, Subject};
use shared::channel::{ApiEnd, ApiLink, ChannelError, LinkError, Rest, SendError};
use shared::ids::ShardId;
use shared::placement::Placement;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::pending::{NotBegun, Pending};
use super::{Cloud, Unanswered};

/// How long the gateway may take to introduce itself.
const INTRODUCTION_PATIENCE: Duration = Duration::from_secs(5);

/// How often deadlines are looked at.
const DEADLINE_TICK: Duration = Duration::from_millis(100);

/// How much longer we wait than the shard does, so that its own answer comes first.
const SHARD_HEAD_START: Duration = Duration::from_millis(300);

/// Replies taken from one shard before the next one's turn.
const REPLIES_PER_TURN: usize = 256;

/// Why there is no link, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkLost {
    #[error("cannot connect: {0}; is the gateway running, and may this process use its socket?")]
    Connect(io::Error),
    #[error(transparent)]
    Introduction(#[from] LinkError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the gateway hung up")]
    HungUp,
    #[error("cannot wait for the gateway: {0}")]
    System(#[from] io::Error),
}

/// Times between attempts to connect: soon at first, then every five seconds.
pub(super) struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl BackOff {
    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Duration::from_secs(5));
        now
    }
}

type Waiter = oneshot::Sender<Result<Reply, Unanswered>>;

struct Shard {
    end: ApiEnd,
    pending: Pending<Waiter>,
}

/// The shards, as handlers use them.
pub(super) struct Link {
    cloud: Cloud,
    placement: Placement,
    shards: Vec<Mutex<Shard>>,
    started: Instant,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

/// What tells that a shard has replied, or that the gateway is gone.
pub(super) struct Line {
    bell: pipe::Receiver,
    socket: UnixStream,
}

/// Connects, and lets the gateway introduce itself.
pub(super) async fn connect(
    path: &Path,
    commands_max: usize,
    deliveries: mpsc::UnboundedSender<Delivery>,
) -> Result<(Link, Line), LinkLost> {
    let connecting = UnixStream::connect(path);
    let socket = tokio::time::timeout(INTRODUCTION_PATIENCE, connecting)
        .await
        .map_err(|_| LinkLost::Introduction(LinkError::TimedOut))?
        .and_then(UnixStream::into_std)
        .map_err(LinkLost::Connect)?;
    let introduced = tokio::task::spawn_blocking(move || {
        shared::channel::introduce(&socket, INTRODUCTION_PATIENCE).map(|link| (link, socket))
    });
    let (ApiLink { cloud, endpoint, placement, shards, bell }, socket) =
        introduced.await.map_err(io::Error::other)??;
    let shard = |end| Mutex::new(Shard { end, pending: Pending::new(commands_max) });
    let link = Link {
        cloud: Cloud { id: cloud, endpoint },
        placement,
        shards: shards.into_iter().map(shard).collect(),
        started: Instant::now(),
        deliveries,
    };
    socket.set_nonblocking(true)?;
    let line = Line {
        bell: pipe::Receiver::from_owned_fd(bell.as_fd().try_clone_to_owned()?)?,
        socket: UnixStream::from_std(socket)?,
    };
    Ok((link, line))
}

impl Link {
    pub(super) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    pub(super) fn shards(&self) -> u16 {
        self.placement.shards()
    }

    /// Tells every shard that this process delivers notifications.
    pub(super) fn offer_to_deliver(&self, patience: Duration) -> Result<(), Unanswered> {
        // Nobody needs the answers: what was not heard shows in what is not delivered.
        self.send_to_all(&Command::Events(EventsCommand::Deliver), patience).map(drop)
    }

    /// The same command for every shard, about one of its partitions.
    pub(super) fn send_to_all(
        &self,
        command: &Command,
        patience: Duration,
    ) -> Result<Vec<oneshot::Receiver<Result<Reply, Unanswered>>>, Unanswered> {
        let one_of = |shard| self.placement.partitions_of(ShardId(shard)).next();
        let subjects = (0..self.shards()).filter_map(one_of).map(Subject::Partition);
        subjects.map(|subject| self.send(subject, command.clone(), patience)).collect()
    }

    fn now(&self) -> shared::time::Instant {
        shared::time::Instant::START + self.started.elapsed()
    }

    /// Puts a command into the ring of the shard that it is for, and says where its reply will come out.
    pub(super) fn send(
        &self,
        subject: Subject,
        command: Command,
        patience: Duration,
    ) -> Result<oneshot::Receiver<Result<Reply, Unanswered>>, Unanswered> {
        let (waiter, reply) = oneshot::channel();
        let deadline = self.now() + patience + SHARD_HEAD_START;
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let mut envelope = CommandEnvelope { request: 0, patience_ms, subject, command };
        let shard = match subject {
            Subject::User { user, .. } => self.placement.shard_of_user(user),
            Subject::Partition(partition) => self.placement.shard_of(partition),
        };
        let mut shard = lock(&self.shards[shard.index()]);
        envelope.request = shard.pending.begin(waiter, deadline).map_err(|why| match why {
            NotBegun::Full => Unanswered::Busy,
            NotBegun::Closed => Unanswered::NotConnected,
        })?;
        let sent = shard.end.send(&envelope).and_then(|()| Ok(shard.end.flush()?));
        if let Err(why) = sent {
            shard.pending.end(envelope.request);
            return Err(match why {
                SendError::Full => Unanswered::Busy,
                SendError::TooLarge => Unanswered::TooLarge,
                SendError::Lost(_) => Unanswered::Lost,
            });
        }
        Ok(reply)
    }

    /// Takes replies out of all rings and lets go whoever has waited for too long.
    fn turn(&self) -> Result<Rest, ChannelError> {
        let now = self.now();
        let mut rest = Rest::Sleep;
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.end.wake();
            for _ in 0..REPLIES_PER_TURN {
                let Some(envelope) = shard.end.next_reply()? else { break };
                if envelope.request == NO_COMMAND {
                    if let Reply::Delivery(delivery) = envelope.reply {
                        // Where nobody delivers nobody has offered to.
                        let _nobody = self.deliveries.send(*delivery);
                    }
                    continue;
                }
                // Nobody waits any more for a reply that comes after its deadline.
                if let Some(waiter) = shard.pending.end(envelope.request) {
                    // Its handler may have gone, with the connection of whoever asked.
                    let _gone = waiter.send(Ok(envelope.reply));
                }
            }
            while let Some(waiter) = shard.pending.next_expired(now) {
                let _gone = waiter.send(Err(Unanswered::TimedOut));
            }
            if shard.end.announce_sleep()? == Rest::StayAwake {
                rest = Rest::StayAwake;
            }
        }
        Ok(rest)
    }

    /// The link is lost: so is everything under way.
    pub(super) fn close(&self) {
        for shard in &self.shards {
            for waiter in lock(shard).pending.close() {
                let _gone = waiter.send(Err(Unanswered::Lost));
            }
        }
    }
}

impl Line {
    /// Serves the link until it is lost, and says why.
    pub(super) async fn serve(&self, link: &Link) -> LinkLost {
        match self.serve_until_lost(link).await {
            Err(lost) => lost,
            Ok(never) => match never {},
        }
    }

    async fn serve_until_lost(&self, link: &Link) -> Result<std::convert::Infallible, LinkLost> {
        let mut tick = tokio::time::interval(DEADLINE_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if link.turn()? == Rest::StayAwake {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                rung = self.bell.readable() => {
                    rung?;
                    self.hear_bell()?;
                }
                heard = self.socket.readable() => {
                    heard?;
                    self.check_socket()?;
                }
                _ = tick.tick() => {}
            }
        }
    }

    /// Forgets that the bell was rung. A pipe that is never empty is looked at again later.
    fn hear_bell(&self) -> Result<(), LinkLost> {
        let mut rung = [0; 4096];
        for _ in 0..16 {
            match self.bell.try_read(&mut rung) {
                Ok(0) => return Err(LinkLost::HungUp),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The gateway says nothing after its introduction, so whatever comes is the end.
    fn check_socket(&self) -> Result<(), LinkLost> {
        match self.socket.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(LinkLost::HungUp),
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_to_connect_become_rarer_but_never_end() {
        let mut back_off = BackOff::default();
        let times: Vec<_> = (0..10).map(|_| back_off.next().as_millis()).collect();
        assert_eq!(times, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }
}
