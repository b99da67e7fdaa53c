//! The socket on which `api` processes introduce themselves, on a thread of its own.
//!
//! It gives each shard its end of the channel, and tells all shards when a process is gone.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;
use std::{fs, io, thread};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use shared::channel::{Allowed, GatewayEnd, Offer, Peer, Refusal, is_lost, refuse, welcome};
use shared::ring::Doorbell;

use crate::connection::tls::Acceptor;
use crate::shard::ChannelId;

/// For an introduction. One at a time; who is slow is sent away.
const PATIENCE: Duration = Duration::from_secs(2);

/// News for a shard.
pub enum News {
    /// A process has been introduced: the shard's end of its channel.
    Opened(ChannelId, GatewayEnd),
    /// A process is gone.
    Closed(ChannelId),
    /// Write what was counted to the log.
    Count,
    /// There are another certificate, other anchors and revocation lists.
    Renewed(Box<Acceptor>),
    /// The gateway is stopping: say goodbye to the devices over so many seconds.
    Stop {
        /// Seconds.
        over_secs: u32,
    },
}

/// The way to a shard.
#[derive(Clone)]
pub struct ToShard {
    /// Its letter box.
    pub news: Sender<News>,
    /// Wakes it.
    pub doorbell: Doorbell,
}

impl ToShard {
    /// Tells the shard something. A shard that has stopped hears nothing.
    pub fn tell(&self, news: News) {
        if self.news.send(news).is_ok() {
            self.doorbell.ring();
        }
    }
}

/// What the thread is told.
pub enum Notice {
    /// This channel broke the rules.
    Hang(ChannelId),
    /// The gateway is stopping.
    Stop,
}

/// The way to the thread.
#[derive(Clone)]
pub struct ToControl {
    notices: Sender<Notice>,
    bell: Arc<OwnedFd>,
}

impl ToControl {
    /// The way, and what the thread needs to hear what is said.
    pub fn new() -> io::Result<(Self, Ear)> {
        let (sender, notices) = std::sync::mpsc::channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok((Self { notices: sender, bell: Arc::clone(&bell) }, Ear { notices, bell }))
    }

    /// Tells the thread something. One that has stopped hears nothing.
    pub fn tell(&self, notice: Notice) {
        if self.notices.send(notice).is_ok() {
            // Full means rung already.
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }
}

/// Where the thread hears what it is told.
pub struct Ear {
    notices: Receiver<Notice>,
    bell: Arc<OwnedFd>,
}

/// What the socket needs to know.
#[derive(Clone, Debug)]
pub struct Control {
    /// Where it is.
    pub path: PathBuf,
    /// Whose members may connect, besides our own user.
    pub group: Option<u32>,
    /// `api` processes at a time.
    pub processes_max: usize,
}

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The system refuses something.
    #[error("{path}: cannot {doing}: {cause}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Something else is there.
    #[error("{path} exists and is not a socket: choose another control.socket")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
}

impl Control {
    /// Opens the socket: mode 0660, and the group if there is one.
    pub fn listen(&self) -> Result<UnixListener, ControlError> {
        let failed = |doing| {
            let path = self.path.clone();
            move |cause| ControlError::Io { path, doing, cause }
        };
        if let Some(directory) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed("create its directory"))?;
        }
        remove_stale(&self.path, failed("remove what an earlier run left"))?;
        let listener = UnixListener::bind(&self.path).map_err(failed("open the control socket"))?;
        let mode = fs::Permissions::from_mode(0o660);
        fs::set_permissions(&self.path, mode).map_err(failed("set its mode"))?;
        if let Some(group) = self.group {
            std::os::unix::fs::chown(&self.path, None, Some(group))
                .map_err(failed("give it to control.group"))?;
        }
        listener.set_nonblocking(true).map_err(failed("set it up"))?;
        Ok(listener)
    }

    fn allowed(&self) -> Allowed {
        let mut allowed = Allowed::own_user();
        allowed.gids.extend(self.group);
        allowed
    }
}

/// The lock on the state directory has proved that no other gateway uses the socket.
fn remove_stale(
    path: &Path,
    failed: impl FnOnce(io::Error) -> ControlError,
) -> Result<(), ControlError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed),
        Ok(_) => Err(ControlError::NotASocket { path: path.into() }),
        Err(_) => Ok(()),
    }
}

/// The thread's state.
pub struct ControlThread<'o> {
    /// What the socket needs to know.
    pub control: Control,
    /// The socket.
    pub listener: UnixListener,
    /// What every process is offered.
    pub offer: Offer<'o>,
    /// All shards, in order.
    pub shards: Vec<ToShard>,
    /// Where it is told to stop.
    pub ear: Ear,
}

impl ControlThread<'_> {
    /// Introduces processes until the gateway stops.
    pub fn run(self) -> io::Result<()> {
        let mut links = Links { open: BTreeMap::new(), last: 0 };
        loop {
            loop {
                match self.ear.notices.try_recv() {
                    Ok(Notice::Hang(id)) => links.hang_up(id, &self.shards),
                    Err(TryRecvError::Empty) => break,
                    Ok(Notice::Stop) | Err(TryRecvError::Disconnected) => {
                        return fs::remove_file(&self.control.path);
                    }
                }
            }
            self.wait(&links)?;
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if let Err(error) = self.introduce(socket, &mut links) {
                        tracing::warn!(%error, "an api process was not introduced");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "an api process could not be accepted");
                    thread::sleep(Duration::from_millis(100));
                }
            }
            links.drop_lost(&self.shards);
        }
    }

    fn wait(&self, links: &Links) -> io::Result<()> {
        let mut watched = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&*self.ear.bell, PollFlags::IN),
        ];
        watched.extend(links.open.values().map(|link| PollFd::new(link, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(&*self.ear.bell, &mut [0; 8]) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn introduce(
        &self,
        socket: UnixStream,
        links: &mut Links,
    ) -> Result<(), Box<dyn std::error::Error>> {
        socket.set_nonblocking(false)?;
        let peer = Peer::of(&socket)?;
        let refusal = if !self.control.allowed().admits(&peer) {
            Some(Refusal::NotAllowed)
        } else if links.open.len() >= self.control.processes_max {
            Some(Refusal::TooManyProcesses)
        } else {
            None
        };
        if let Some(why) = refusal {
            refuse(&socket, why, PATIENCE)?;
            let (pid, uid) = (peer.pid, peer.uid);
            return Err(format!("refused process {pid:?} of user {uid}: {why}").into());
        }
        let ends = welcome(&socket, &self.offer, PATIENCE)?;
        links.last += 1;
        let id = ChannelId(links.last);
        for (shard, end) in self.shards.iter().zip(ends) {
            shard.tell(News::Opened(id, end));
        }
        tracing::info!(channel = id.0, pid = peer.pid, "api process connected");
        links.open.insert(id, socket);
        Ok(())
    }
}

/// The sockets of introduced processes; their hang-up is the end of the channels.
struct Links {
    open: BTreeMap<ChannelId, UnixStream>,
    last: u64,
}

impl Links {
    fn drop_lost(&mut self, shards: &[ToShard]) {
        let lost = self.open.iter().filter(|(_, link)| is_lost(link));
        for id in lost.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.hang_up(id, shards);
        }
    }

    fn hang_up(&mut self, id: ChannelId, shards: &[ToShard]) {
        if self.open.remove(&id).is_some() {
            tracing::info!(channel = id.0, "api process disconnected");
            for shard in shards {
                shard.tell(News::Closed(id));
            }
        }
    }
}
