//! Requests that are passed on to the device that owns the resource, and its answers back
//! (device reference 10).
//!
//! [`forwards`] is the way there, [`answers`] the way back, [`translate`] what happens to the options
//! on both, [`projection`] the last representations that were seen.

pub mod answers;
mod blocks;
pub mod forwards;
pub mod projection;
pub mod translate;

use std::collections::VecDeque;

use shared::channel::message::{Failure, Reply, ReplyEnvelope};
use shared::coap::{ResponseType, Token};
use shared::ids::DeviceId;
use shared::time::Instant;

use crate::account::{Accounts, DeviceKey};
use crate::blockwise::Asked;
use crate::command::gather::{GatherKey, Gathers};
use crate::config::{Limits, Timers};
use crate::connection::ConnectionId;
use crate::connection::exchanges::Exchanges;
use crate::observe::{Observations, ObserverKey, Sample, UpstreamKey};
use crate::reject::Reject;
use crate::shard::input::ChannelId;
use crate::shard::wire::Wire;

pub use projection::Projection;

/// On whose behalf a request went to a device, and so what becomes of the response.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// A client's request.
    Forward(Forward),
    /// A command of an `api` process.
    Command {
        /// On which channel it came.
        channel: ChannelId,
        /// Its number there.
        request: u64,
        /// The device that was asked.
        device: DeviceKey,
        /// The projection takes the answer, under this number of a link.
        projects: Option<u32>,
    },
    /// A representation for a list that is being gathered.
    Fetch {
        /// The list.
        gather: GatherKey,
        /// The device that was asked.
        device: DeviceKey,
        /// The number of the link.
        instance: u32,
    },
    /// An observation: its first answer, then its notifications.
    Observe(UpstreamKey),
    /// The present state for an observer who joins a running observation.
    Join {
        /// Who, while the observation is the same.
        observer: ObserverKey,
        /// Counts the observers that had this key.
        serial: u32,
        /// The device that was asked.
        device: DeviceKey,
    },
    /// The present representation, for subscriptions.
    Sample {
        /// The device that was asked.
        device: DeviceKey,
        /// The number of the link.
        instance: u32,
    },
    /// The rest of a notification of which the first block has come.
    Rest {
        /// The device that was asked.
        device: DeviceKey,
        /// The token of the observation.
        observed: Token,
    },
    /// Nobody waits for the answer.
    Absorb {
        /// The device that was asked.
        device: DeviceKey,
    },
}

impl Purpose {
    /// The device that was asked; for an observation that is known where the observation is.
    pub fn device(&self) -> Option<DeviceKey> {
        match self {
            Self::Forward(forward) => Some(forward.device),
            Self::Command { device, .. }
            | Self::Fetch { device, .. }
            | Self::Join { device, .. }
            | Self::Sample { device, .. }
            | Self::Rest { device, .. }
            | Self::Absorb { device } => Some(*device),
            Self::Observe(_) => None,
        }
    }
}

/// A client's request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// Who asked.
    pub client: ConnectionId,
    /// The client's token.
    pub token: Token,
    /// What the client accepts, if it said so.
    pub accept: Option<u16>,
    /// Classes of answers that the client does not want.
    pub no_response: u8,
    /// The device that was asked.
    pub device: DeviceKey,
}

/// What a device keeps while it is in use: nothing when it is idle.
#[derive(Default)]
pub struct Traffic {
    /// Requests under way towards the device.
    pub in_flight: u16,
    /// Requests that wait until fewer are under way.
    pub queue: Option<Box<VecDeque<Queued>>>,
    /// First observation on the device.
    pub upstreams: Option<UpstreamKey>,
    /// How many they are.
    pub upstream_count: u16,
    /// The last representations seen.
    pub projection: Option<Box<Projection>>,
}

/// A request that waits for room.
pub struct Queued {
    /// The message for the device, with an empty token of eight bytes.
    pub message: Vec<u8>,
    /// On whose behalf.
    pub purpose: Purpose,
    /// Given up then.
    pub until: Instant,
}

/// Everything that a request between two connections touches, and the present.
pub struct Router {
    /// Connections.
    pub wire: Wire,
    /// Requests of ours awaiting responses.
    pub exchanges: Exchanges,
    /// Those of them that are asked or answered in blocks.
    pub asked: Asked,
    /// Users and devices.
    pub accounts: Accounts,
    /// Who observes what.
    pub observations: Observations,
    /// Lists of representations that are being gathered.
    pub gathers: Gathers,
    /// Answers for `api` processes.
    pub replies: VecDeque<(ChannelId, ReplyEnvelope)>,
    /// Representations of resources to which somebody is subscribed.
    pub samples: Vec<Sample>,
    /// Devices on which an observation for subscriptions has ended.
    pub unwatched: Vec<DeviceId>,
    /// Requests that ended without a response, and have not been seen to.
    pub unanswered: VecDeque<(Purpose, Unanswered)>,
    /// Bounds.
    pub limits: Limits,
    /// Timers.
    pub timers: Timers,
    /// The present.
    pub now: Instant,
}

/// Why a request has no response (device reference 10.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// The device's connection is gone.
    Lost,
    /// The device took too long.
    TimedOut,
    /// The request is larger than the device takes.
    TooLarge,
    /// The device is not a device of this cloud any more.
    Removed,
    /// What the device answered must not be passed on.
    BadAnswer,
}

impl From<Unanswered> for Reject {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Lost => Self::unavailable("device is offline"),
            Unanswered::TimedOut => {
                Self::new(ResponseType::GatewayTimeout, "the device did not answer in time")
            }
            Unanswered::TooLarge => {
                Self::new(ResponseType::RequestEntityTooLarge, "larger than the device takes")
            }
            Unanswered::Removed => Self::not_found(),
            Unanswered::BadAnswer => {
                Self::new(ResponseType::BadGateway, "the device answered badly")
            }
        }
    }
}

impl From<Unanswered> for Failure {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Lost => Self::DeviceLost,
            Unanswered::TimedOut => Self::DeviceTimedOut,
            Unanswered::TooLarge => Self::TooLargeForDevice,
            Unanswered::Removed => Self::NoSuchDevice,
            Unanswered::BadAnswer => Self::DeviceAnsweredBadly,
        }
    }
}

impl Router {
    /// Answers a command.
    pub fn reply(&mut self, channel: ChannelId, request: u64, reply: Reply) {
        self.replies.push_back((channel, ReplyEnvelope { request, reply }));
    }
}
