//! The gateway's end of the shard channel: a thread that answers commands from a [`World`].

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use shared::channel::authorization::RegistryCommand;
use shared::channel::message::{Command, Failure, Reply, ReplyEnvelope, Subject};
use shared::channel::{
    ChannelError, GatewayEnd, Offer, Rest, RingBytes, SendError, is_lost, welcome,
};
use shared::ids::{CloudId, ShardId};
use shared::placement::Placement;

use super::world::World;

pub(crate) const CLOUD_ID: &str = "c10d0000-0000-4000-8000-000000000000";
pub(crate) const ENDPOINT: &str = "coaps+tcp://cloud.example:5684";

/// A running gateway. It goes away when it is dropped.
pub(crate) struct Gateway {
    socket: PathBuf,
    stopping: Arc<AtomicBool>,
    /// Commands are left in the rings.
    paused: Arc<AtomicBool>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// With so many shards, on this socket.
    pub(crate) fn start(socket: &Path, shards: u16, world: World) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (stopping, paused) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let turns = Turns {
            listener,
            stopping: stopping.clone(),
            paused: paused.clone(),
            wake: wake.try_clone().unwrap(),
            doorbells: (0..shards)
                .map(|_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
                .collect(),
            processes: Vec::new(),
            world,
        };
        let thread = std::thread::spawn(move || turns.run());
        Self { socket: socket.into(), stopping, paused, wake, thread: Some(thread) }
    }

    /// Reads no commands any more.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).unwrap();
        let ended = self.thread.take().unwrap().join();
        // The directory may have gone before.
        let _gone = std::fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

struct Turns {
    listener: UnixListener,
    stopping: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    wake: OwnedFd,
    doorbells: Vec<OwnedFd>,
    processes: Vec<(UnixStream, Vec<GatewayEnd>)>,
    world: World,
}

impl Turns {
    fn run(mut self) {
        while !self.stopping.load(Ordering::SeqCst) {
            if self.turn() == Rest::Sleep {
                self.wait();
            }
        }
    }

    fn turn(&mut self) -> Rest {
        let mut rest = Rest::Sleep;
        let placement = Placement::new(self.doorbells.len() as u16).unwrap();
        self.processes.retain_mut(|(socket, ends)| {
            if is_lost(socket) {
                return false;
            }
            if self.paused.load(Ordering::SeqCst) {
                return true;
            }
            for (end, shard) in ends.iter_mut().zip((0..).map(ShardId)) {
                match serve(end, placement, shard, &self.world) {
                    Ok(Rest::StayAwake) => rest = Rest::StayAwake,
                    Ok(Rest::Sleep) => {}
                    Err(_) => return false,
                }
            }
            true
        });
        rest
    }

    fn wait(&mut self) {
        let fixed = [self.listener.as_fd(), self.wake.as_fd()];
        let doorbells = self.doorbells.iter().map(AsFd::as_fd);
        let sockets = self.processes.iter().map(|(socket, _)| socket.as_fd());
        let mut all: Vec<_> = fixed
            .into_iter()
            .chain(doorbells)
            .chain(sockets)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        poll(&mut all, None).unwrap();
        let connecting = !all[0].revents().is_empty();
        for doorbell in &self.doorbells {
            let _nothing_rung = rustix::io::read(doorbell, &mut [0; 8]);
        }
        if connecting {
            self.admit();
        }
    }

    fn admit(&mut self) {
        let (socket, _) = self.listener.accept().unwrap();
        let cloud: CloudId = CLOUD_ID.parse().unwrap();
        let doorbells = self.doorbells.iter().map(AsFd::as_fd).collect();
        let offer = Offer::new(cloud, ENDPOINT, RingBytes::default(), doorbells).unwrap();
        if let Ok(ends) = welcome(&socket, &offer, Duration::from_secs(10)) {
            self.processes.push((socket, ends));
        }
    }
}

fn serve(
    end: &mut GatewayEnd,
    placement: Placement,
    shard: ShardId,
    world: &World,
) -> Result<Rest, ChannelError> {
    end.wake();
    while let Some(envelope) = end.next_command()? {
        let request = envelope.request;
        let reply = match envelope.subject {
            Subject::User { user, .. } if placement.shard_of_user(user) == shard => {
                world.reply(envelope)
            }
            Subject::User { .. } => Some(Reply::Failed(Failure::WrongShard)),
            // The authorization server is tested with the real gateway. Those who come with a token of
            // the credentials file are no registered clients.
            Subject::Partition(_) if is_about_a_client(&envelope.command) => {
                Some(Reply::Failed(Failure::NoSuchRecord))
            }
            Subject::Partition(_) => Some(Reply::Failed(Failure::StoreUnavailable)),
        };
        let Some(reply) = reply else { continue };
        match end.send(&ReplyEnvelope { request, reply }) {
            Ok(()) => {}
            Err(SendError::TooLarge) => {
                let reply = Reply::Failed(Failure::AnswerTooLarge);
                let _full = end.send(&ReplyEnvelope { request, reply });
            }
            Err(SendError::Full) => {}
            Err(SendError::Lost(how)) => return Err(how),
        }
    }
    end.announce_sleep()
}

fn is_about_a_client(command: &Command) -> bool {
    matches!(command, Command::Registry(RegistryCommand::ReadClient { .. }))
}
