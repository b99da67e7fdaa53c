//! The loop of a shard: what happened goes into the core, what the core wants done is done, then
//! sleep.
//!
//! ```text
//! turn: events of the ring ─┐
//!       mail, news, store  ─┼─► Shard::handle ─► outputs ─► ring, mail, store, channels ─► rest
//!       commands, deadlines ┘
//! ```
//!
//! A turn takes a bounded number of events. The rest is one system call: it hands the kernel what is
//! to be done, and sleeps there until something completes, the doorbell rings or a deadline comes.
//! Whoever has something for a shard rings its doorbell.
//!
//! Handshakes are steps of another task queue with fewer shares, a few at a time, with turns in
//! between: a storm of new connections does not hurt those that are in. Where a turn finds nothing to
//! do, the next steps are taken at once: shares divide what both want.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use shared::channel::message::{CommandEnvelope, NO_COMMAND, Reply, ReplyEnvelope};
use shared::ids::ShardId;
use shared::ring::DeviceRing;
use shared::time::{Instant, Now};

use super::acks::Acknowledgements;
use super::channels::{Channels, Lost};
use super::clock::Clock;
use super::control::{News, Notice, ToControl};
use super::handover::Handover;
use super::heap::Heap;
use super::mail::{Letter, Mail, Outbox};
use super::store::ShardPort;
use super::turns::Turns;
use super::wake::Wake;
use crate::shard::{ChannelId, Input, Output, Shard};

/// Events of the ring in one turn.
const EVENTS_PER_TURN: usize = 256;

/// Steps of handshakes that wait are taken together until they have taken so long: what goes out and comes
/// in costs less then, and nobody else waits much longer than for one.
const STEPS_TOGETHER: Duration = Duration::from_micros(150);

/// How long a stop may take beyond the time over which devices are told: peers that do not read, moves
/// to a shard that has ended.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Everything of one shard, core and shell.
pub struct Driver {
    pub(super) shard: Shard,
    pub(super) ring: DeviceRing,
    pub(super) clock: Clock,
    /// The time of the turn, or of the step of a handshake. Both clocks are read once for each: what is
    /// handled in a turn is handled at one time.
    pub(super) now: Now,
    pub(super) handover: Handover,
    /// To every other shard.
    pub(super) outboxes: Vec<Outbox>,
    /// From other shards.
    pub(super) letters: Receiver<Letter>,
    pub(super) store: ShardPort,
    pub(super) channels: Channels,
    pub(super) news: Receiver<News>,
    pub(super) to_control: ToControl,
    /// Memory for the commands of one turn.
    pub(super) commands: Vec<(ChannelId, CommandEnvelope)>,
    /// Peers that are to be told that their bytes have come.
    pub(super) acks: Acknowledgements,
    /// What handshakes leave behind in it.
    pub(super) heap: Heap,
    /// How long turns take, and how long it is from one to the next.
    pub(super) turns: Turns,
    /// The gateway is stopping: when this shard ends at the latest.
    pub(super) stop_by: Option<Instant>,
}

/// How the two tasks of a shard wait for each other.
#[derive(Default)]
pub struct Handshakes {
    /// There are steps to be taken.
    wanted: Wake,
    /// One has been taken.
    taken: Wake,
}

/// Runs a shard until the gateway has stopped and its devices are gone.
pub async fn run(driver: Rc<RefCell<Driver>>, handshakes: Rc<Handshakes>) -> io::Result<()> {
    loop {
        let had_events = driver.borrow_mut().turn();
        if driver.borrow().has_stopped() {
            driver.borrow().log_counters();
            return Ok(());
        }
        if driver.borrow().shard.has_handshakes() {
            driver.borrow_mut().ring.submit()?;
            handshakes.wanted.call();
            if had_events {
                glommio::executor().yield_task_queue_now().await;
            } else {
                handshakes.taken.called().await;
            }
        } else {
            driver.borrow_mut().rest()?;
        }
    }
}

/// Takes the steps of handshakes, one at a time, for ever.
pub async fn run_handshakes(
    driver: Rc<RefCell<Driver>>,
    handshakes: Rc<Handshakes>,
) -> io::Result<()> {
    loop {
        handshakes.wanted.called().await;
        while driver.borrow().shard.has_handshakes() {
            driver.borrow_mut().handshakes()?;
            handshakes.taken.call();
            glommio::executor().yield_task_queue_now().await;
        }
    }
}

impl Driver {
    /// Says whether the ring had something.
    fn turn(&mut self) -> bool {
        self.now = self.clock.now();
        self.turns.begin(self.now.instant);
        let had_events = self.take_events();
        self.take_letters();
        self.take_news();
        self.take_store_answers();
        self.take_commands();
        self.take_deadlines();
        self.carry_out();
        self.acknowledge_overdue();
        for lost in self.channels.flush() {
            self.lose_channel(lost);
        }
        self.outboxes.iter_mut().for_each(Outbox::flush);
        self.turns.end(self.clock.instant(), had_events);
        had_events
    }

    /// Hands the kernel what is to be done, and sleeps there until there is something to do again.
    fn rest(&mut self) -> io::Result<()> {
        // Nobody rings when a letter box that was full has room again.
        let undelivered = self.outboxes.iter().any(Outbox::is_waiting);
        let may_sleep = self.channels.announce_sleep() && !undelivered;
        let slept =
            if may_sleep { self.ring.wait(self.until_deadline()) } else { self.ring.submit() };
        self.channels.wake();
        self.turns.sleep();
        slept
    }

    /// How long nothing is due; none if nothing ever is.
    fn until_deadline(&self) -> Option<Duration> {
        let deadlines = [self.shard.poll_timeout(), self.acks.due(), self.heap.due(), self.stop_by];
        let deadline = deadlines.into_iter().flatten().min()?;
        Some(deadline.since(self.clock.instant()))
    }

    fn handshakes(&mut self) -> io::Result<()> {
        self.now = self.clock.now();
        let begun = self.now.instant;
        self.heap.used(begun);
        while self.shard.has_handshakes() && self.now.instant.since(begun) < STEPS_TOGETHER {
            self.shard.handle(Input::Handshake, self.now);
            self.carry_out();
            self.now = self.clock.now();
        }
        self.ring.submit()
    }

    fn take_events(&mut self) -> bool {
        (0..EVENTS_PER_TURN).take_while(|_| self.take_event()).count() > 0
    }

    fn take_letters(&mut self) {
        while let Ok((from, mail)) = self.letters.try_recv() {
            self.on_mail(from, mail);
        }
    }

    fn take_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Opened(channel, end) => {
                    tracing::debug!(channel = channel.0, "channel opened");
                    self.channels.open(channel, end);
                }
                News::Closed(channel) => {
                    self.channels.close(channel);
                    self.shard.handle(Input::ChannelClosed { channel }, self.now);
                }
                News::Count => self.log_counters(),
                News::Renewed(acceptor) => {
                    self.shard.handle(Input::Renewed { acceptor }, self.now);
                }
                News::Stop { over_secs } => {
                    let over = Duration::from_secs(over_secs.into());
                    self.stop_by = Some(self.now.instant + over + STOP_MARGIN);
                    self.ring.stop_listening();
                    self.shard.handle(Input::Drain { over_secs }, self.now);
                }
            }
        }
    }

    fn take_commands(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        for lost in self.channels.take(&mut commands) {
            self.lose_channel(lost);
        }
        for (channel, envelope) in commands.drain(..) {
            self.shard.handle(Input::Command { channel, envelope }, self.now);
        }
        self.commands = commands;
    }

    fn take_deadlines(&mut self) {
        if self.shard.poll_timeout().is_some_and(|at| at <= self.now.instant) {
            self.shard.handle(Input::Tick, self.now);
        }
        self.heap.tidy(self.now.instant);
    }

    /// Tells peers that their bytes have come to whom nothing has been sent in time, not even now.
    fn acknowledge_overdue(&mut self) {
        while let Some(connection) = self.acks.next_due(self.now.instant) {
            self.acknowledge(connection);
        }
    }

    /// Does what the core wants done.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Receive { connection, how } => self.receive(connection, how),
                Output::Acknowledge { connection } => {
                    self.acks.wait(connection, self.now.instant);
                }
                Output::Send { connection, bytes, range } => self.send(connection, bytes, range),
                Output::Close { connection, how } => self.close(connection, how),
                Output::Move { connection, to, state } => {
                    let mail = self.handover.depart(connection, to, state);
                    self.post(to, mail);
                }
                Output::Peer { to, message } => self.post(to, Mail::Peer(message)),
                Output::Commit { commit, batch } => self.commit(commit, batch),
                Output::Reply { channel, mut envelope } => {
                    if let Reply::Figures(figures) = &mut envelope.reply {
                        self.complete(figures);
                    }
                    if let Some(lost) = self.channels.reply(channel, *envelope) {
                        self.lose_channel(lost);
                    }
                }
                Output::Delivery { channel, delivery } => {
                    let (request, reply) = (NO_COMMAND, Reply::Delivery(delivery));
                    if let Some(lost) =
                        self.channels.reply(channel, ReplyEnvelope { request, reply })
                    {
                        self.lose_channel(lost);
                    }
                }
                Output::SubscriptionEnded { id, why } => {
                    tracing::info!(subscription = %id, reason = why.name(), "subscription ends");
                }
                Output::Ended { peer, device, reason } => {
                    let device = device.map(tracing::field::display);
                    tracing::debug!(%peer, device, reason = reason.name(), "connection ended");
                }
                Output::KeyChanged { device } => {
                    tracing::warn!(%device, "another key than at sign-up");
                }
                Output::Full { bound } => tracing::warn!(
                    shard = self.shard.id().0,
                    connections = self.shard.sizes().connections,
                    bound = bound.key(),
                    "new connections are turned away: raise this bound, or add gateways"
                ),
                Output::TlsFailed { peer, error } => tracing::info!(%peer, %error, "TLS failed"),
            }
        }
    }

    fn lose_channel(&mut self, Lost { id, cause }: Lost) {
        tracing::warn!(channel = id.0, %cause, "channel to an api process closed");
        self.channels.close(id);
        self.to_control.tell(Notice::Hang(id));
    }

    pub(super) fn post(&mut self, to: ShardId, mail: Mail) {
        if let Some(outbox) = self.outboxes.iter_mut().find(|outbox| outbox.to() == to) {
            outbox.post(mail);
        }
    }

    fn log_counters(&self) {
        tracing::info!(shard = self.shard.id().0, counts = %self.shard.counters(), "counters");
    }

    fn has_stopped(&self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let (connections, commits) = (self.shard.sizes().connections, self.store.waiting());
        let is_late = self.now.instant >= stop_by;
        if is_late {
            tracing::warn!(connections, commits, "stopping without waiting any longer");
        }
        is_late || (connections == 0 && commits == 0)
    }
}
