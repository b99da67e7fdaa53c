//! How the gateway comes up, and how it goes down.
//!
//! Everything that can be wrong is found out before the first device is let in: configuration,
//! state, certificates, kernel, addresses.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::JoinHandle;

use shared::channel::{InvalidOffer, NotARingSize, Offer, RingBytes};
use shared::config::Invalid;
use shared::ids::ShardId;
use shared::placement::Placement;

use super::birth::{Common, Ends, Joined, ShardThread, Started, spawn};
use super::clock::Clock;
use super::control::{Control, ControlError, ControlThread, Ear, News, Notice, ToControl, ToShard};
use super::files::{acceptor, group_id, load_certificate, refuse_taken_addresses};
use super::machine::{Asked, Requests};
use super::mail::{Letter, letter_boxes};
use super::store::{Loader, State, StateError, StoreThread};
use crate::account::record::UnreadableRecord;
use crate::config::{Cloud, Config, Machine};
use crate::identity::AnchorsError;
use crate::store::StoreError;

/// Why the gateway does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit the machine.
    #[error("{key}: {problem}", key = .0.key, problem = .0.problem)]
    Config(Invalid),
    /// The state directory or the store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored record cannot be read.
    #[error(transparent)]
    Record(#[from] UnreadableRecord),
    /// A file of the configuration cannot be read.
    #[error("{key}: cannot read {path}: {cause}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Trust anchors or revocation lists.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The cloud's certificate and key.
    #[error("tls.certificate and tls.key: {0}")]
    Certificate(rustls::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {cause}{}", listen_hint(.cause))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The device ring.
    #[error(transparent)]
    Ring(#[from] shared::ring::StartError),
    /// The socket for api processes.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What api processes are offered.
    #[error("cloud.endpoint, control.ring_bytes: {0}")]
    Offer(String),
    /// A thread or an executor.
    #[error("cannot start {what}: {cause}")]
    Thread {
        /// Which.
        what: &'static str,
        /// What the system said.
        cause: String,
    },
    /// Something that goes on did not.
    #[error("{what} has stopped: {cause}")]
    Stopped {
        /// What.
        what: &'static str,
        /// Why.
        cause: String,
    },
}

fn listen_hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            ". Another program has the port: choose another one in listen.addresses, or stop it"
        }
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => ". The address is none of this machine's",
        _ => "",
    }
}

impl From<InvalidOffer> for StartError {
    fn from(error: InvalidOffer) -> Self {
        Self::Offer(error.to_string())
    }
}

impl From<NotARingSize> for StartError {
    fn from(error: NotARingSize) -> Self {
        Self::Offer(error.to_string())
    }
}

/// Runs the gateway until it is asked to stop. `ready` is called when devices and api processes are
/// let in.
///
/// # Errors
/// What keeps it from starting, or has stopped it; the text says what to mend.
pub fn run(
    config: Config,
    machine: &Machine,
    ready: impl FnOnce(),
    Requests { asker, asked }: Requests,
) -> Result<(), StartError> {
    let plan = config.cores.plan(machine).map_err(StartError::Config)?;
    let shards = plan.cpus.len() as u16;
    let placement = Placement::new(shards)
        .ok_or_else(|| StartError::Config(Invalid::new("cores.shards", "between 1 and 4096")))?;
    let certificate = load_certificate(&config.tls, config.cloud.id)?;
    refuse_taken_addresses(&config.listen.addresses)?;
    let State { dir: _dir, key, store } = State::open(&config)?;
    let control = control(&config)?;
    let control_socket = control.listen()?;
    let (to_control, ear) = ToControl::new().map_err(thread("the control thread"))?;
    let common = Common { config, plan, placement, key, certificate, clock: Clock::start() };
    let nursery = Nursery::open(&common, store.loader(), &to_control, &asker)?;
    let started = nursery.collect()?;
    let store = nursery.start_store(Box::new(store), &common.config.store, &started)?;
    nursery.collect()?;
    let (threads, to_shards) = nursery.leave(&started);
    let event_fds = started.into_iter().map(|shard| shard.event_fd).collect();
    let control = start_control(
        Socket { control, listener: control_socket, ear },
        &common.config,
        event_fds,
        to_shards.clone(),
        asker,
    )?;
    let gateway = Running { threads, to_shards, store, control, to_control };
    ready();
    gateway.serve(&asked, &common.config);
    let over_secs = common.config.timers.drain.as_secs() as u32;
    gateway.stop(over_secs)
}

/// Where shards come up.
struct Nursery {
    threads: Vec<ShardThread>,
    news: Vec<Sender<News>>,
    joined: Vec<Sender<Joined>>,
    letter_boxes: Vec<SyncSender<Letter>>,
    starting: Receiver<Result<Started, StartError>>,
}

impl Nursery {
    /// Starts the threads of all shards.
    fn open(
        common: &Common,
        loader: Option<Loader>,
        to_control: &ToControl,
        asker: &Sender<Asked>,
    ) -> Result<Self, StartError> {
        let shards = common.plan.cpus.len() as u16;
        let (started, starting) = channel();
        let (letter_boxes, letters) = letter_boxes(shards);
        let mut nursery =
            Self { threads: vec![], news: vec![], joined: vec![], letter_boxes, starting };
        for (number, letters) in (0..shards).zip(letters) {
            let (news_sender, news) = channel();
            let (joined_sender, joined) = channel();
            let (to_control, started) = (to_control.clone(), started.clone());
            let ends = Ends { letters, news, to_control, joined, started };
            let birth = common.birth(ShardId(number), loader.clone(), ends)?;
            nursery.threads.push(spawn(birth, asker.clone())?);
            nursery.news.push(news_sender);
            nursery.joined.push(joined_sender);
        }
        Ok(nursery)
    }

    /// Waits until every shard has said something; in their order then. An error of one is the error
    /// of all.
    fn collect(&self) -> Result<Vec<Started>, StartError> {
        let hear = |_: &ShardThread| self.starting.recv().map_err(|_| panicked("a shard"))?;
        let started = self.threads.iter().map(hear);
        let mut started: Vec<Started> = started.collect::<Result<_, StartError>>()?;
        started.sort_by_key(|shard| shard.id);
        Ok(started)
    }

    /// Starts the store, and gives each shard its ways to it and to all shards.
    fn start_store(
        &self,
        store: Box<dyn crate::store::Store>,
        config: &crate::config::Store,
        started: &[Started],
    ) -> Result<StoreThread, StartError> {
        let wakes = started.iter().map(|shard| {
            let doorbell = shard.doorbell.clone();
            let wake: super::store::Wake = Box::new(move || doorbell.ring());
            wake
        });
        let (store, ports) =
            StoreThread::start(store, config, wakes.collect()).map_err(thread("the store"))?;
        let doorbells = started.iter().map(|shard| shard.doorbell.clone());
        let shards: Vec<_> = self.letter_boxes.iter().cloned().zip(doorbells).collect();
        for (sender, store) in self.joined.iter().zip(ports) {
            // A shard that has failed meanwhile is found out when it is heard of next.
            let _ = sender.send(Joined { store, shards: shards.clone() });
        }
        Ok(store)
    }

    /// All shards serve: their threads, and the ways to them.
    fn leave(self, started: &[Started]) -> (Vec<ShardThread>, Vec<ToShard>) {
        let doorbells = started.iter().map(|shard| shard.doorbell.clone());
        let ways = self.news.into_iter().zip(doorbells);
        (self.threads, ways.map(|(news, doorbell)| ToShard { news, doorbell }).collect())
    }
}

/// The control socket, before its thread runs.
struct Socket {
    control: Control,
    listener: UnixListener,
    ear: Ear,
}

fn start_control(
    socket: Socket,
    config: &Config,
    event_fds: Vec<OwnedFd>,
    shards: Vec<ToShard>,
    asker: Sender<Asked>,
) -> Result<JoinHandle<io::Result<()>>, StartError> {
    let ring_bytes = RingBytes::new(config.control.ring_bytes as u32)?;
    let cloud = config.cloud.clone();
    // Checked here, so that the thread cannot fail on it.
    offer(&cloud, ring_bytes, &event_fds)?;
    let body = move || {
        let offer = offer(&cloud, ring_bytes, &event_fds).expect("the same offer was made before");
        let Socket { control, listener, ear } = socket;
        let result = ControlThread { control, listener, offer, shards, ear }.run();
        ask_to_stop(&asker);
        result
    };
    let started = std::thread::Builder::new().name("control".into()).spawn(body);
    started.map_err(thread("the control thread"))
}

fn offer<'d>(
    cloud: &Cloud,
    ring_bytes: RingBytes,
    event_fds: &'d [OwnedFd],
) -> Result<Offer<'d>, InvalidOffer> {
    let event_fds = event_fds.iter().map(AsFd::as_fd).collect();
    Offer::new(cloud.id, &cloud.endpoint, ring_bytes, event_fds)
}

/// A gateway that serves.
struct Running {
    threads: Vec<ShardThread>,
    to_shards: Vec<ToShard>,
    store: StoreThread,
    control: JoinHandle<io::Result<()>>,
    to_control: ToControl,
}

impl Running {
    /// Does what it is asked to, until that is to stop.
    fn serve(&self, asked: &Receiver<Asked>, config: &Config) {
        loop {
            match asked.recv() {
                Ok(Asked::Counters) => {
                    self.to_shards.iter().for_each(|shard| shard.tell(News::Count));
                }
                Ok(Asked::Reload) => match self.reload(config) {
                    Ok(()) => tracing::info!("certificates and revocation lists were read again"),
                    Err(error) => {
                        tracing::error!(%error, "not reloaded: everything stays as it was")
                    }
                },
                Ok(Asked::Stop) | Err(_) => return,
            }
        }
    }

    /// Reads what `[tls]` names again. All shards get it, or none when something is wrong with it.
    fn reload(&self, config: &Config) -> Result<(), StartError> {
        let certificate = load_certificate(&config.tls, config.cloud.id)?;
        let acceptor = |_| acceptor(&config.tls, certificate.clone());
        let acceptors: Vec<_> = self.to_shards.iter().map(acceptor).collect::<Result<_, _>>()?;
        for (shard, acceptor) in self.to_shards.iter().zip(acceptors) {
            shard.tell(News::Renewed(Box::new(acceptor)));
        }
        Ok(())
    }

    /// Says goodbye to the devices, lets the shards end, then what they depend on.
    fn stop(self, over_secs: u32) -> Result<(), StartError> {
        tracing::info!(over_secs, "stopping: telling the devices");
        self.to_control.tell(Notice::Stop);
        for shard in &self.to_shards {
            shard.tell(News::Stop { over_secs });
        }
        for thread in self.threads {
            ended(thread, "a shard")?;
        }
        self.store.stop();
        ended(self.control, "the control thread")
    }
}

fn ended(thread: JoinHandle<io::Result<()>>, what: &'static str) -> Result<(), StartError> {
    let result = thread.join().map_err(|_| panicked(what))?;
    result.map_err(|cause| StartError::Stopped { what, cause: cause.to_string() })
}

/// A thread has ended: without it nothing goes on. When all are stopping, nobody listens any more.
pub(super) fn ask_to_stop(asker: &Sender<Asked>) {
    let _ = asker.send(Asked::Stop);
}

pub(super) fn thread(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |cause| StartError::Thread { what, cause: cause.to_string() }
}

fn panicked(what: &'static str) -> StartError {
    StartError::Stopped { what, cause: "it panicked".into() }
}

fn control(config: &Config) -> Result<Control, StartError> {
    let group = config.control.group.as_deref().map(group_id).transpose()?;
    Ok(Control {
        path: config.control.socket.clone(),
        group,
        processes_max: config.control.processes_max,
    })
}
