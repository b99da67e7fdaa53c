//! The introduction: how an `api` process and the gateway come to share memory.
//!
//! ```text
//! api                                gateway
//!  │ ── Hello { version } ─────────────► │ who is it (SO_PEERCRED)? the same version?
//!  │ ◄── Welcome { cloud, endpoint, … }  │ or Refused
//!  │ ◄── descriptors, 126 shards at most │ the bell (once), then per shard memory and doorbell
//!  │ ◄── descriptors …                   │
//!  ╪ ═══════ rings, from here on ═══════ ╪ nobody writes to the socket any more: it only hangs up
//! ```
//!
//! Both functions block, but not beyond the patience they are given: the gateway calls its one on a
//! control thread, `api` its one where blocking is allowed. All memory is mapped and all descriptors
//! are closed again, whatever goes wrong in between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rkyv::rancor::Failure;
use rustix::io::Errno;

use super::doorbell::{Bell, Doorbell};
use super::end::{ApiEnd, GatewayEnd};
use super::message::PROTOCOL_VERSION;
use super::region::{Halves, NotARingSize, RegionError, RingBytes};
use super::socket::{DESCRIPTORS_MAX, Introduction};
use super::welcome::{Answer, Refusal, Welcome, is_endpoint};
use crate::ids::CloudId;
use crate::placement::Placement;

/// Shards whose descriptors go in one message: two each, and room for the bell.
const SHARDS_PER_MESSAGE: usize = (DESCRIPTORS_MAX - 1) / 2;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It took too long.
    #[error("the other side of the shard channel does not answer in time")]
    TimedOut,
    /// The other side closed the socket. On the side of `api` its log says no more than that: the
    /// gateway's does.
    #[error("the other side of the shard channel hung up during the introduction")]
    HungUp,
    /// The two processes come from different builds.
    #[error(
        "the other side speaks version {theirs} of the shard channel, this one version {ours}: run api and gateway of the same release"
    )]
    VersionMismatch {
        /// Our version.
        ours: u32,
        /// The version of the other side.
        theirs: u32,
    },
    /// What is at the other end of the socket is something else, or broken.
    #[error("the other side of the socket does not speak the shard channel: {0}")]
    Malformed(&'static str),
    /// Descriptors were sent, but this process may not have as many.
    #[error("descriptors were lost on the way: raise the limit of open files (RLIMIT_NOFILE)")]
    DescriptorsLost,
    /// The gateway does not want this process.
    #[error("the gateway refuses: {0}")]
    Refused(Refusal),
    /// The shared memory can't be made, or is not as agreed.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The system refuses.
    #[error("the introduction over the socket fails: {0}")]
    System(Errno),
}

/// What the gateway offers to every `api` process.
#[derive(Clone, Debug)]
pub struct Offer<'d> {
    welcome: Welcome,
    ring_bytes: RingBytes,
    doorbells: Vec<BorrowedFd<'d>>,
}

/// What can't be offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidOffer {
    /// No shards, or more than there are partitions.
    #[error("{0} is no number of shards")]
    Shards(usize),
    /// Not an address for devices.
    #[error("the endpoint told to devices must be of the form coaps+tcp://host:port")]
    Endpoint,
}

impl<'d> Offer<'d> {
    /// Of this cloud, whose devices connect to `endpoint` (`coaps+tcp://host:port`), with one
    /// doorbell per shard, in order: an eventfd, or the writing end of a pipe, that wakes it.
    pub fn new(
        cloud: CloudId,
        endpoint: impl Into<String>,
        ring_bytes: RingBytes,
        doorbells: Vec<BorrowedFd<'d>>,
    ) -> Result<Self, InvalidOffer> {
        let endpoint = endpoint.into();
        if !is_endpoint(&endpoint) {
            return Err(InvalidOffer::Endpoint);
        }
        let shards = u16::try_from(doorbells.len())
            .ok()
            .and_then(Placement::new)
            .ok_or(InvalidOffer::Shards(doorbells.len()))?
            .shards();
        let welcome = Welcome { cloud, endpoint, shards, ring_bytes: ring_bytes.into() };
        Ok(Self { welcome, ring_bytes, doorbells })
    }
}

/// Gateway: introduces itself to a process that has just connected, and answers with one end per
/// shard, in order. The socket must be kept: its hang-up is the end of the link
/// ([`is_lost`](super::is_lost)).
///
/// The caller has checked before who it is ([`Peer`](super::Peer)).
pub fn welcome(
    socket: &UnixStream,
    offer: &Offer<'_>,
    patience: Duration,
) -> Result<Vec<GatewayEnd>, LinkError> {
    let introduction = Introduction::within(patience, socket);
    hear_hello(&introduction)?;
    answer(&introduction, &Answer::Welcome(offer.welcome.clone()))?;
    let (bell, doorbell) = Bell::with_doorbell().map_err(LinkError::System)?;
    let mut ends = Vec::with_capacity(offer.doorbells.len());
    for (nth, shards) in offer.doorbells.chunks(SHARDS_PER_MESSAGE).enumerate() {
        let mut memories = Vec::with_capacity(shards.len());
        for _ in shards {
            let (memory, halves) = Halves::create(offer.ring_bytes)?;
            memories.push(memory);
            ends.push(GatewayEnd::new(halves, doorbell.clone()));
        }
        let bell = (nth == 0).then(|| bell.as_fd());
        let pairs =
            memories.iter().zip(shards).flat_map(|(memory, doorbell)| [memory.as_fd(), *doorbell]);
        let descriptors: Vec<_> = bell.into_iter().chain(pairs).collect();
        introduction.send_descriptors(&descriptors)?;
    }
    Ok(ends)
}

/// Gateway: tells a process that has just connected why it is not wanted.
pub fn refuse(socket: &UnixStream, why: Refusal, patience: Duration) -> Result<(), LinkError> {
    let introduction = Introduction::within(patience, socket);
    hear_hello(&introduction)?;
    answer(&introduction, &Answer::Refused(why))
}

/// What an `api` process has once it is introduced.
pub struct ApiLink {
    /// The cloud's own id.
    pub cloud: CloudId,
    /// Where devices find the cloud: `coaps+tcp://host:port`.
    pub endpoint: String,
    /// Which of the shards has which user.
    pub placement: Placement,
    /// One end per shard, in order.
    pub shards: Vec<ApiEnd>,
    /// Readable when any shard has rung.
    pub bell: Bell,
}

/// `api`: introduces itself to the gateway. The socket must be kept: its hang-up is the end of the
/// link ([`is_lost`](super::is_lost)).
pub fn introduce(socket: &UnixStream, patience: Duration) -> Result<ApiLink, LinkError> {
    let introduction = Introduction::within(patience, socket);
    introduction.send(PROTOCOL_VERSION, &[])?;
    let welcome = hear_answer(&introduction)?;
    let placement = Placement::new(welcome.shards)
        .ok_or(LinkError::Malformed("it has an impossible number of shards"))?;
    let ring_bytes = RingBytes::new(welcome.ring_bytes)
        .map_err(|NotARingSize(_)| LinkError::Malformed("its rings have an impossible size"))?;
    if !is_endpoint(&welcome.endpoint) {
        return Err(LinkError::Malformed("its endpoint is not coaps+tcp://host:port"));
    }
    let (bell, shards) = receive_shards(&introduction, welcome.shards.into(), ring_bytes)?;
    Ok(ApiLink { cloud: welcome.cloud, endpoint: welcome.endpoint, placement, shards, bell })
}

fn receive_shards(
    introduction: &Introduction<'_>,
    shards: usize,
    ring_bytes: RingBytes,
) -> Result<(Bell, Vec<ApiEnd>), LinkError> {
    let mut bell = None;
    let mut ends = Vec::new();
    while ends.len() < shards {
        let pairs = (shards - ends.len()).min(SHARDS_PER_MESSAGE);
        let count = 2 * pairs + usize::from(bell.is_none());
        let mut descriptors = introduction.receive_descriptors(count)?.into_iter();
        bell = bell.or_else(|| descriptors.next());
        while let (Some(memory), Some(doorbell)) = (descriptors.next(), descriptors.next()) {
            let halves = Halves::adopt(memory.as_fd(), ring_bytes)?;
            ends.push(ApiEnd::new(halves, Doorbell::new(doorbell)));
        }
    }
    let bell: OwnedFd = bell.expect("the first message has it, and there is at least one shard");
    Ok((Bell::new(bell), ends))
}

/// A Hello is a head without a body. To one of another version we name ours.
fn hear_hello(introduction: &Introduction<'_>) -> Result<(), LinkError> {
    let (theirs, length) = introduction.receive_head()?;
    if theirs != PROTOCOL_VERSION {
        introduction.send(PROTOCOL_VERSION, &[])?;
        return Err(LinkError::VersionMismatch { ours: PROTOCOL_VERSION, theirs });
    }
    if length != 0 {
        return Err(LinkError::Malformed("its introduction has a body"));
    }
    Ok(())
}

fn hear_answer(introduction: &Introduction<'_>) -> Result<Welcome, LinkError> {
    let (theirs, length) = introduction.receive_head()?;
    if theirs != PROTOCOL_VERSION {
        return Err(LinkError::VersionMismatch { ours: PROTOCOL_VERSION, theirs });
    }
    let body = introduction.receive_body(length)?;
    match rkyv::from_bytes::<Answer, Failure>(&body) {
        Ok(Answer::Welcome(welcome)) => Ok(welcome),
        Ok(Answer::Refused(why)) => Err(LinkError::Refused(why)),
        Err(Failure) => Err(LinkError::Malformed("its answer does not validate")),
    }
}

fn answer(introduction: &Introduction<'_>, answer: &Answer) -> Result<(), LinkError> {
    let body = rkyv::to_bytes::<Failure>(answer).expect("a bounded value in growing memory");
    introduction.send(PROTOCOL_VERSION, &body)
}
