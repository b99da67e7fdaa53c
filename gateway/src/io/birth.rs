//! How a shard comes to life on its core: ring, listeners, what is stored, the other shards.
//!
//! ```text
//! main thread          thread of the shard
//! spawn ─────────────► executor, ring, records from the store, listeners
//!        ◄── Started ─
//! Joined ────────────► ways to the store and to the other shards
//!        ◄── Started ─ driver::run
//! ```

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::thread::JoinHandle;

use glommio::{Latency, LocalExecutorBuilder, Placement as Pin, Shares};
use shared::ids::ShardId;
use shared::placement::{PartitionId, Placement};
use shared::ring::{DeviceRing, Doorbell, listen};

use super::acks::Acknowledgements;
use super::channels::Channels;
use super::clock::Clock;
use super::control::{News, ToControl};
use super::driver::{self, Driver, Handshakes};
use super::files::acceptor;
use super::handover::Handover;
use super::heap::Heap;
use super::machine::Asked;
use super::mail::{Letter, Outbox};
use super::random::SystemRandom;
use super::start::{StartError, ask_to_stop, thread};
use super::store::{Loader, ShardPort, StateError};
use super::turns::Turns;
use crate::config::{Config, Plan, Ring};
use crate::connection::tls::CloudCertificate;
use crate::directory::discovery::Endpoint;
use crate::shard::{Budgets, Parts, Settings, Shard};
use crate::store::StoreKey;

/// Accepts that each shard keeps under way per listening address.
const ACCEPTS: u16 = 64;

/// What all shards are made of.
pub(super) struct Common {
    pub(super) config: Config,
    pub(super) plan: Plan,
    pub(super) placement: Placement,
    pub(super) key: StoreKey,
    pub(super) certificate: CloudCertificate,
    pub(super) clock: Clock,
}

/// A shard that has come up.
pub(super) struct Started {
    pub(super) id: ShardId,
    /// Wakes it.
    pub(super) doorbell: Doorbell,
    /// What the doorbell rings, for other processes.
    pub(super) event_fd: OwnedFd,
}

impl Started {
    fn now(id: ShardId, ring: &DeviceRing) -> Result<Self, StartError> {
        let event_fd = clone_event_fd(ring).map_err(thread("a shard"))?;
        Ok(Self { id, doorbell: ring.doorbell(), event_fd })
    }
}

fn clone_event_fd(ring: &DeviceRing) -> io::Result<OwnedFd> {
    ring.event_fd().as_fd().try_clone_to_owned()
}

/// The ends that a shard keeps of what leads to it and away from it.
pub(super) struct Ends {
    /// From other shards.
    pub(super) letters: Receiver<Letter>,
    /// From the main thread and the control thread.
    pub(super) news: Receiver<News>,
    /// To the control thread.
    pub(super) to_control: ToControl,
    /// What there is once all shards have come up.
    pub(super) joined: Receiver<Joined>,
    /// Where a shard says how far it has come: twice, the second time when it serves.
    pub(super) started: Sender<Result<Started, StartError>>,
}

/// The ways of a shard to what has come up beside it.
pub(super) struct Joined {
    /// To the store.
    pub(super) store: ShardPort,
    /// To all shards, in their order.
    pub(super) shards: Vec<(SyncSender<Letter>, Doorbell)>,
}

impl Common {
    /// What a shard is born with.
    pub(super) fn birth(
        &self,
        id: ShardId,
        loader: Option<Loader>,
        ends: Ends,
    ) -> Result<Birth, StartError> {
        let cores = &self.config.cores;
        Ok(Birth {
            id,
            cpu: self.plan.cpus[usize::from(id.0)],
            parts: self.parts(id)?,
            loader,
            ends,
            clock: self.clock,
            listen: self.config.listen.addresses.clone(),
            backlog: self.config.listen.backlog,
            ring: self.ring_config(),
            shares: (cores.shares.traffic.into(), cores.shares.handshakes.into()),
        })
    }

    fn parts(&self, id: ShardId) -> Result<Parts, StartError> {
        let acceptor = acceptor(&self.config.tls, self.certificate.clone())?;
        let random = SystemRandom::new().map_err(StateError::from)?;
        Ok(Parts {
            id,
            placement: self.placement,
            settings: Settings {
                cloud: self.config.cloud.clone(),
                endpoints: vec![Endpoint::new(&self.config.cloud.endpoint)],
                ticket_lifetime: self.config.tls.ticket,
                connections_max: self.plan.connections_max as usize,
                budgets: Budgets {
                    not_signed_in_max: self.plan.not_signed_in_max as usize,
                    handshakes: self.config.cores.handshakes.clone(),
                },
            },
            limits: self.config.limits.clone(),
            timers: self.config.timers.clone(),
            store_key: self.key.clone(),
            acceptor,
            random: Box::new(random),
        })
    }

    fn ring_config(&self) -> shared::ring::Config {
        let (ring, plan) = (&self.config.cores.ring, &self.plan);
        let entries = Ring::of_each(ring.entries, plan.rings);
        shared::ring::Config {
            sockets: plan.sockets,
            sockets_per_ring: Some(plan.sockets_per_ring),
            submission_entries: entries,
            completion_entries: entries * 8,
            buffers_per_ring: Ring::of_each(ring.receive_buffers.into(), plan.rings) as u16,
            buffer_bytes: ring.receive_buffer_bytes,
            ..Default::default()
        }
    }
}

/// What a shard is born with, on its way to its thread.
pub(super) struct Birth {
    id: ShardId,
    cpu: usize,
    parts: Parts,
    loader: Option<Loader>,
    ends: Ends,
    clock: Clock,
    listen: Vec<SocketAddr>,
    backlog: u32,
    ring: shared::ring::Config,
    shares: (usize, usize),
}

pub(super) type ShardThread = JoinHandle<io::Result<()>>;

/// Starts the thread of a shard, which asks all to stop when it ends.
pub(super) fn spawn(birth: Birth, asker: Sender<Asked>) -> Result<ShardThread, StartError> {
    let name = format!("shard-{}", birth.id);
    let body = move || {
        let executor = LocalExecutorBuilder::new(Pin::Fixed(birth.cpu))
            .name(&format!("shard-{}", birth.id))
            // Sockets are not glommio's: it needs its ring for an eventfd and a few timers only.
            .ring_depth(128)
            .io_memory(64 * 1024)
            .make();
        match executor {
            Ok(executor) => {
                let result = executor.run(live(birth));
                ask_to_stop(&asker);
                result
            }
            Err(error) => {
                let cause = error.to_string();
                let failed = StartError::Thread { what: "a shard", cause };
                // Nobody waits for a shard any more once another one has failed.
                let _ = birth.ends.started.send(Err(failed));
                Ok(())
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(body).map_err(thread("a shard"))
}

/// The life of a shard.
async fn live(birth: Birth) -> io::Result<()> {
    let started = birth.ends.started.clone();
    let shares = birth.shares;
    let driver = match come_up(birth) {
        Ok(Some(driver)) => driver,
        Ok(None) => return Ok(()),
        Err(error) => {
            // As above.
            let _ = started.send(Err(error));
            return Ok(());
        }
    };
    drop(started);
    let handshakes = Rc::new(Handshakes::default());
    let queue = |shares, name| {
        glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
    };
    let failed = |error: glommio::GlommioError<()>| io::Error::other(error.to_string());
    let steps = driver::run_handshakes(Rc::clone(&driver), Rc::clone(&handshakes));
    glommio::spawn_local_into(steps, queue(shares.1, "handshakes")).map_err(failed)?.detach();
    let turns = driver::run(driver, handshakes);
    glommio::spawn_local_into(turns, queue(shares.0, "traffic")).map_err(failed)?.await
}

/// Opens the ring and the listeners, fills the shard, joins the others. None when the gateway has
/// given up meanwhile.
fn come_up(birth: Birth) -> Result<Option<Rc<RefCell<Driver>>>, StartError> {
    let mut ring = DeviceRing::new(birth.ring)?;
    let placement = birth.parts.placement;
    let mut shard = Shard::new(birth.parts, birth.clock.now());
    if let Some(loader) = birth.loader {
        fill(&mut shard, &loader, placement, birth.id)?;
    }
    for &address in &birth.listen {
        let listening = listen(address, i32::try_from(birth.backlog).unwrap_or(i32::MAX))
            .and_then(|listener| ring.add_listener(listener, ACCEPTS));
        listening.map_err(|cause| StartError::Listen { address, cause })?;
    }
    let Ends { letters, news, to_control, joined, started } = birth.ends;
    let said = started.send(Ok(Started::now(birth.id, &ring)?));
    let (Ok(()), Ok(joined)) = (said, joined.recv()) else { return Ok(None) };
    let serves = Started::now(birth.id, &ring)?;
    let driver = Driver {
        shard,
        ring,
        clock: birth.clock,
        now: birth.clock.now(),
        handover: Handover::default(),
        outboxes: outboxes(birth.id, joined.shards),
        letters,
        store: joined.store,
        channels: Channels::default(),
        news,
        to_control,
        commands: Vec::new(),
        acks: Acknowledgements::default(),
        heap: Heap::default(),
        turns: Turns::default(),
        stop_by: None,
    };
    Ok(started.send(Ok(serves)).is_ok().then(|| Rc::new(RefCell::new(driver))))
}

/// The ways to all shards but this one.
fn outboxes(from: ShardId, shards: Vec<(SyncSender<Letter>, Doorbell)>) -> Vec<Outbox> {
    let ways = (0..).map(ShardId).zip(shards).filter(|&(to, _)| to != from);
    ways.map(|(to, (letter_box, doorbell))| Outbox::new(from, to, letter_box, doorbell)).collect()
}

/// Reads the partitions of a shard. They are neighbours.
fn fill(
    shard: &mut Shard,
    loader: &Loader,
    placement: Placement,
    id: ShardId,
) -> Result<(), StartError> {
    let mut partitions = placement.partitions_of(id);
    let Some(first) = partitions.next() else { return Ok(()) };
    let last: PartitionId = partitions.last().unwrap_or(first);
    let mut result = Ok(());
    loader.load_range(first..=last, &mut |key, value| {
        if result.is_ok() {
            result = shard.load(key.partition(), key.table(), key.rest(), value);
        }
    })?;
    Ok(result?)
}
