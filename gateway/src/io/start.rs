//! How the gateway comes up, and how it goes down.
//!
//! Everything that can be wrong is found out before the first device is let in: configuration,
//! state, certificates, kernel, addresses.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use glommio::{Latency, LocalExecutorBuilder, Placement as Pin, Shares};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::channel::{InvalidOffer, NotARingSize, Offer, RingBytes};
use shared::config::Invalid;
use shared::ids::ShardId;
use shared::placement::{PartitionId, Placement};
use shared::ring::{DeviceRing, Doorbell, listen};

use super::channels::Channels;
use super::clock::Clock;
use super::control::{Control, ControlError, ControlThread, News, Notice, ToControl, ToShard};
use super::driver::{self, Driver};
use super::handover::Handover;
use super::mail::{Outbox, PostOffice, post_offices};
use super::random::SystemRandom;
use super::store::{Loader, ShardPort, State, StateError, StoreThread};
use super::wake::{Wake, hear};
use crate::account::record::UnreadableRecord;
use crate::config::{Config, Machine, Plan, Tls};
use crate::connection::tls::{Acceptor, CloudCertificate};
use crate::directory::discovery::Endpoint;
use crate::identity::{AnchorsError, Source, TrustAnchors};
use crate::shard::{Parts, Settings, Shard};
use crate::store::{StoreError, StoreKey};

/// Accepts that each shard keeps under way per listening address.
const ACCEPTS: u16 = 64;

/// Slots beyond the connections: accepts under way, and arrivals from other shards.
const SPARE_SLOTS: u32 = 1024;

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

/// What all shards are made of.
struct Common {
    config: Config,
    plan: Plan,
    placement: Placement,
    key: StoreKey,
    certificate: CloudCertificate,
    tls: Tls,
    clock: Clock,
}

/// A shard that has come up.
struct Started {
    id: ShardId,
    doorbell: Doorbell,
    event_fd: OwnedFd,
}

/// Runs the gateway until it is told to stop. `ready` is called when devices and api processes are
/// let in; `stop` returns when it is time to go.
pub fn run(
    config: Config,
    machine: &Machine,
    ready: impl FnOnce(),
    stop: impl FnOnce() -> io::Result<()>,
) -> Result<(), StartError> {
    let plan = config.cores.plan(machine).map_err(StartError::Config)?;
    let shards = plan.cpus.len() as u16;
    let placement = Placement::new(shards)
        .ok_or_else(|| StartError::Config(Invalid::new("cores.shards", "between 1 and 4096")))?;
    let certificate = load_certificate(&config.tls)?;
    let State { dir: _dir, key, store } = State::open(&config)?;
    let control = control(&config)?;
    let control_socket = control.listen()?;
    let (to_control, ear) = ToControl::new().map_err(|cause| StartError::Thread {
        what: "the control thread",
        cause: cause.to_string(),
    })?;
    let tls = config.tls.clone();
    let common = Common { config, plan, placement, key, certificate, tls, clock: Clock::start() };
    let loader = store.loader();
    let mut threads = Vec::new();
    let (started, starting) = channel();
    let mut ports = Vec::new();
    let mut news_senders = Vec::new();
    for (number, office) in (0..shards).zip(post_offices(shards)) {
        let (news, receiver) = channel();
        news_senders.push(news);
        let (port, port_receiver) = channel();
        ports.push(port);
        let birth = Birth {
            id: ShardId(number),
            parts: common.parts(ShardId(number))?,
            loader: loader.clone(),
            office,
            news: receiver,
            to_control: to_control.clone(),
            started: started.clone(),
            port: port_receiver,
            clock: common.clock,
            listen: common.config.listen.addresses.clone(),
            backlog: common.config.listen.backlog,
            ring: common.ring_config(),
            shares: (
                usize::from(common.config.cores.shares.traffic),
                usize::from(common.config.cores.shares.handshakes),
            ),
        };
        threads.push(spawn(birth, common.plan.cpus[usize::from(number)])?);
    }
    drop((started, loader));
    let started = collect(&starting, shards)?;
    let doorbells: Vec<Doorbell> = started.iter().map(|shard| shard.doorbell.clone()).collect();
    let wakes = doorbells.iter().cloned().map(|doorbell| {
        let wake: super::store::Wake = Box::new(move || doorbell.ring());
        wake
    });
    let store_config = &common.config.store;
    let (store, store_ports) = StoreThread::start(Box::new(store), store_config, wakes.collect())
        .map_err(thread("the store"))?;
    for (sender, port) in ports.iter().zip(store_ports) {
        // A shard that has failed meanwhile is found out below.
        let _ = sender.send(port);
    }
    let ready_shards = collect(&starting, shards)?;
    debug_assert_eq!(ready_shards.len(), usize::from(shards));
    let to_shards: Vec<ToShard> = news_senders
        .into_iter()
        .zip(doorbells)
        .map(|(news, doorbell)| ToShard { news, doorbell })
        .collect();
    let control_thread = {
        let event_fds: Vec<OwnedFd> = started.into_iter().map(|shard| shard.event_fd).collect();
        let to_shards = to_shards.clone();
        let ring_bytes = RingBytes::new(common.config.control.ring_bytes as u32)?;
        let cloud = &common.config.cloud;
        let (cloud_id, endpoint) = (cloud.id, cloud.endpoint.clone());
        // Checked here, so that the thread cannot fail on it.
        offer(cloud_id, &endpoint, ring_bytes, &event_fds)?;
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let offer = offer(cloud_id, &endpoint, ring_bytes, &event_fds)
                    .expect("the same offer was made before");
                let thread = ControlThread {
                    control,
                    listener: control_socket,
                    offer,
                    shards: to_shards,
                    ear,
                };
                thread.run()
            })
            .map_err(thread("the control thread"))?
    };
    ready();
    let stopped = stop();
    let over_secs = common.config.timers.drain.as_secs() as u32;
    tracing::info!(over_secs, "stopping: telling the devices");
    to_control.tell(Notice::Stop);
    for shard in &to_shards {
        shard.tell(News::Stop { over_secs });
    }
    for thread in threads {
        let ended = thread.join();
        ended
            .map_err(|_| panicked("a shard"))?
            .map_err(|cause| StartError::Stopped { what: "a shard", cause: cause.to_string() })?;
    }
    store.stop();
    let control_ended = control_thread.join().map_err(|_| panicked("the control thread"))?;
    control_ended.and(stopped).map_err(|cause| StartError::Stopped {
        what: "the control thread or the wait for a signal",
        cause: cause.to_string(),
    })
}

fn thread(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |cause| StartError::Thread { what, cause: cause.to_string() }
}

fn panicked(what: &'static str) -> StartError {
    StartError::Stopped { what, cause: "it panicked".into() }
}

fn offer<'d>(
    cloud: shared::ids::CloudId,
    endpoint: &str,
    ring_bytes: RingBytes,
    event_fds: &'d [OwnedFd],
) -> Result<Offer<'d>, InvalidOffer> {
    use std::os::fd::AsFd;
    Offer::new(cloud, endpoint, ring_bytes, event_fds.iter().map(AsFd::as_fd).collect())
}

/// Waits until every shard has said something; in their order then. An error of one is the error of all.
fn collect(
    from: &Receiver<Result<Started, StartError>>,
    shards: u16,
) -> Result<Vec<Started>, StartError> {
    let started = (0..shards).map(|_| from.recv().map_err(|_| panicked("a shard"))?);
    let mut started: Vec<Started> = started.collect::<Result<_, StartError>>()?;
    started.sort_by_key(|shard| shard.id);
    Ok(started)
}

impl Common {
    fn parts(&self, id: ShardId) -> Result<Parts, StartError> {
        let anchors = load_anchors(&self.tls)?;
        let acceptor =
            Acceptor::new(self.certificate.clone(), anchors).map_err(StartError::Certificate)?;
        let random = SystemRandom::new().map_err(StateError::from)?;
        Ok(Parts {
            id,
            placement: self.placement,
            settings: Settings {
                cloud: self.config.cloud.clone(),
                endpoints: vec![Endpoint::new(&self.config.cloud.endpoint)],
                ticket_lifetime: self.config.tls.ticket,
                connections_max: self.plan.connections_max as usize,
            },
            limits: self.config.limits.clone(),
            timers: self.config.timers.clone(),
            store_key: self.key.clone(),
            acceptor,
            random: Box::new(random),
        })
    }

    fn ring_config(&self) -> shared::ring::Config {
        let ring = &self.config.cores.ring;
        shared::ring::Config {
            sockets: self.plan.connections_max.saturating_add(SPARE_SLOTS),
            sockets_per_ring: Some(self.plan.sockets_per_ring),
            submission_entries: ring.entries,
            completion_entries: ring.entries * 8,
            buffers_per_ring: ring.receive_buffers,
            buffer_bytes: ring.receive_buffer_bytes,
            ..Default::default()
        }
    }
}

/// What a shard is born with, on its way to its thread.
struct Birth {
    id: ShardId,
    parts: Parts,
    loader: Option<Loader>,
    office: PostOffice,
    news: Receiver<News>,
    to_control: ToControl,
    started: Sender<Result<Started, StartError>>,
    port: Receiver<ShardPort>,
    clock: Clock,
    listen: Vec<SocketAddr>,
    backlog: u32,
    ring: shared::ring::Config,
    shares: (usize, usize),
}

type ShardThread = JoinHandle<io::Result<()>>;

fn spawn(birth: Birth, cpu: usize) -> Result<ShardThread, StartError> {
    let name = format!("shard-{}", birth.id);
    let body = move || {
        let executor = LocalExecutorBuilder::new(Pin::Fixed(cpu))
            .name(&format!("shard-{}", birth.id))
            // Sockets are not glommio's: it needs its ring for an eventfd and a few timers only.
            .ring_depth(128)
            .io_memory(64 * 1024)
            .make();
        match executor {
            Ok(executor) => executor.run(live(birth)),
            Err(error) => {
                let cause = error.to_string();
                let _ = birth.started.send(Err(StartError::Thread { what: "a shard", cause }));
                Ok(())
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(body).map_err(thread("a shard"))
}

/// The life of a shard.
async fn live(birth: Birth) -> io::Result<()> {
    let started = birth.started.clone();
    let (driver, wake) = match come_up(birth).await {
        Ok(Some(driver)) => driver,
        Ok(None) => return Ok(()),
        Err(error) => {
            let _ = started.send(Err(error));
            return Ok(());
        }
    };
    let event_fd = {
        use std::os::fd::AsFd;
        driver.borrow().ring.event_fd().as_fd().try_clone_to_owned()?
    };
    let ear = glommio::spawn_local(hear(event_fd, Rc::clone(&wake))).detach();
    let handshakes = Rc::new(Wake::default());
    let shares = driver.borrow().shares;
    let queue = glommio::executor().create_task_queue(
        Shares::Static(shares.1),
        Latency::NotImportant,
        "handshakes",
    );
    let steps = driver::run_handshakes(Rc::clone(&driver), Rc::clone(&handshakes));
    let steps = glommio::spawn_local_into(steps, queue)
        .map_err(|error| io::Error::other(error.to_string()))?
        .detach();
    drop((ear, steps));
    driver::run(driver, wake, handshakes).await
}

/// Opens the ring and the listeners, fills the shard, joins the others.
async fn come_up(birth: Birth) -> Result<Option<(Rc<RefCell<Driver>>, Rc<Wake>)>, StartError> {
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
    let event_fd = {
        use std::os::fd::AsFd;
        ring.event_fd().as_fd().try_clone_to_owned().map_err(thread("a shard"))?
    };
    let said =
        birth.started.send(Ok(Started { id: birth.id, doorbell: ring.doorbell(), event_fd }));
    let (Ok(()), Ok(store)) = (said, birth.port.recv()) else { return Ok(None) };
    let wake = Rc::new(Wake::default());
    let driver = Rc::new(RefCell::new(Driver {
        shard,
        ring,
        clock: birth.clock,
        handover: Handover::default(),
        outboxes: Vec::new(),
        inbox: VecDeque::new(),
        store,
        channels: Channels::default(),
        news: birth.news,
        to_control: birth.to_control,
        commands: Vec::new(),
        shares: birth.shares,
        stopping: false,
    }));
    for (from, receiver) in birth.office.receivers {
        let (driver, wake) = (Rc::clone(&driver), Rc::clone(&wake));
        glommio::spawn_local(async move {
            let receiver = receiver.connect().await;
            while let Some(mail) = receiver.recv().await {
                driver.borrow_mut().inbox.push_back((from, mail));
                wake.call();
            }
        })
        .detach();
    }
    for (to, sender) in birth.office.senders {
        let sender = sender.connect().await;
        driver.borrow_mut().outboxes.push(Outbox::new(to, sender));
    }
    let event_fd = {
        use std::os::fd::AsFd;
        driver.borrow().ring.event_fd().as_fd().try_clone_to_owned().map_err(thread("a shard"))?
    };
    let doorbell = driver.borrow().ring.doorbell();
    if birth.started.send(Ok(Started { id: birth.id, doorbell, event_fd })).is_err() {
        return Ok(None);
    }
    Ok(Some((driver, wake)))
}

fn sources(files: &[(String, Vec<u8>)]) -> Vec<Source<'_>> {
    files.iter().map(|(name, bytes)| Source { name, bytes }).collect()
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

fn control(config: &Config) -> Result<Control, StartError> {
    let group = config.control.group.as_deref().map(group_id).transpose()?;
    Ok(Control {
        path: config.control.socket.clone(),
        group,
        processes_max: config.control.processes_max,
    })
}

/// The number of a group: as it is, or by its name in the system's list.
fn group_id(name: &str) -> Result<u32, StartError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let list = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| {
        StartError::Config(Invalid::new("control.group", format!("no group is called {name}")))
    })
}

fn file(
    key: &'static str,
    path: &Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> StartError {
    let path = path.to_path_buf();
    move |cause| StartError::File { key, path: path.clone(), cause }
}

fn load_certificate(tls: &Tls) -> Result<CloudCertificate, StartError> {
    let failed = file("tls.certificate", &tls.certificate);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
        .map_err(|error| failed(error.into()))?
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.into()))?;
    if chain.is_empty() {
        return Err(failed("it has no certificate in PEM form".into()));
    }
    let failed = file("tls.key", &tls.key);
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| failed(error.into()))?;
    Ok(CloudCertificate { chain, key })
}

fn load_anchors(tls: &Tls) -> Result<TrustAnchors, StartError> {
    let read = |key: &'static str, paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| {
                let bytes = fs::read(path).map_err(|error| file(key, path)(error.into()))?;
                Ok((path.display().to_string(), bytes))
            })
            .collect::<Result<Vec<_>, StartError>>()
    };
    let identity = read("tls.identity_anchors", &tls.identity_anchors)?;
    let manufacturer = read("tls.manufacturer_anchors", &tls.manufacturer_anchors)?;
    let crls = read("tls.crls", &tls.crls)?;
    Ok(TrustAnchors::parse(&sources(&identity), &sources(&manufacturer), &sources(&crls))?)
}
