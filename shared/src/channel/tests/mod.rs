//! The channel as gateway and `api` use it: real memory, real descriptors, real sockets.
#![cfg(not(loom))]

mod allocations;
mod ends;
mod hostile;
mod introduction;
mod messages;
mod processes;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::*;
use crate::channel::message::{
    Command, CommandEnvelope, DeviceAnswer, Reply, ReplyEnvelope, Subject,
};
use crate::ids::{CloudId, DeviceId, UserId};

/// Long enough for any machine: what takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(50);

const CLOUD: CloudId = CloudId::from_bytes([7; 16]);
const ENDPOINT: &str = "coaps+tcp://cloud.example:5684";

/// A gateway and an `api` process, introduced.
struct Linked {
    gateway: Vec<GatewayEnd>,
    api: ApiLink,
    doorbells: Vec<OwnedFd>,
    gateway_socket: UnixStream,
    api_socket: UnixStream,
}

fn linked(shards: usize) -> Linked {
    let (gateway_socket, api_socket) = UnixStream::pair().unwrap();
    let doorbells = doorbells(shards);
    let (gateway, api) = thread::scope(|scope| {
        let welcoming = scope.spawn(|| welcome(&gateway_socket, &offer(&doorbells), PATIENCE));
        let api = introduce(&api_socket, PATIENCE).unwrap();
        (welcoming.join().unwrap().unwrap(), api)
    });
    Linked { gateway, api, doorbells, gateway_socket, api_socket }
}

fn doorbells(shards: usize) -> Vec<OwnedFd> {
    let flags = EventfdFlags::CLOEXEC;
    (0..shards).map(|_| rustix::event::eventfd(0, flags).unwrap()).collect()
}

fn offer(doorbells: &[OwnedFd]) -> Offer<'_> {
    let doorbells = doorbells.iter().map(AsFd::as_fd).collect();
    Offer::new(CLOUD, ENDPOINT, RingBytes::SMALLEST, doorbells).unwrap()
}

/// Waits until a descriptor is readable or has hung up.
fn await_readable(descriptor: impl AsFd) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, Some(&patience)), Ok(1), "nothing happens");
}

fn is_readable(descriptor: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
}

fn command(request: u64) -> CommandEnvelope {
    CommandEnvelope {
        request,
        patience_ms: 2000,
        subject: Subject::User { user: UserId::from_bytes([3; 16]), grant: None },
        command: Command::Update {
            device: DeviceId::from_bytes([4; 16]),
            href: "/light/1".into(),
            interface: None,
            body: request.to_le_bytes().repeat(request as usize % 25),
        },
    }
}

fn reply(request: u64) -> ReplyEnvelope {
    let body = request.to_be_bytes().repeat(request as usize % 31);
    let answer = DeviceAnswer { code: 0x45, content_format: Some(10_000), max_age: None, body };
    ReplyEnvelope { request, reply: Reply::Device(answer) }
}
