//! A subscription: what was asked for, what waits, and how its deliveries go.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use shared::channel::events::{
    Deliveries, Event, EventBody, NewSubscription, SubscriptionState, SubscriptionView, Trouble,
};
use shared::ids::{GrantId, SubscriptionId, UserId};
use shared::time::UnixTime;

use super::outbox::{Outbox, Waiting};
use super::record::{OutboxRecord, ProgressRecord};
use crate::command::Caller;
use crate::shard::input::{ChannelId, CommitId};

/// Why a subscription ends, beside the receiver's wish (cloud reference 5.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Ending {
    /// Its client has ended it.
    Unsubscribed,
    /// What the user had granted has ended.
    Revoked,
    /// Its device is not the user's any more.
    DeviceGone,
    /// Its resource is not published any more.
    ResourceGone,
    /// A notification could not be delivered for a day.
    GivenUp,
    /// More waits than may.
    Overflowing,
    /// The receiver refuses everything.
    Refused,
    /// The receiver does not want it: it is not even told.
    Unwanted,
}

impl Ending {
    /// As it stands in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Revoked => "revoked",
            Self::DeviceGone => "device_gone",
            Self::ResourceGone => "resource_gone",
            Self::GivenUp => "given_up",
            Self::Overflowing => "overflow",
            Self::Refused => "refused",
            Self::Unwanted => "unwanted",
        }
    }

    /// Whether what waits is dropped: nobody wants it, nobody may have it, or nobody takes it.
    pub const fn drops_waiting(self) -> bool {
        !matches!(self, Self::DeviceGone | Self::ResourceGone)
    }

    /// Whether what it ends for happens once: it has to stand in that very commit, for nobody notices
    /// it again.
    pub const fn is_unrepeated(self) -> bool {
        matches!(self, Self::DeviceGone | Self::ResourceGone)
    }

    /// Whether it is only tried a few times to say so.
    pub const fn is_brief(self) -> bool {
        matches!(self, Self::Unsubscribed | Self::GivenUp | Self::Overflowing | Self::Refused)
    }
}

/// How far a subscription has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Changes that were staged before it are on their way; then come the initial notifications.
    Waiting {
        /// The last of those changes.
        behind: CommitId,
        /// Who asked for it.
        caller: Caller,
    },
    /// It is on its way to the store itself.
    Starting,
    /// It stands.
    Active,
    /// Its last notification says that it has ended.
    Ending(Ending),
}

/// Where its first notification is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// There is none, or it may not be handed out yet.
    Idle,
    /// With those that are ready for a process.
    Ready,
    /// With a process that delivers it.
    UnderWay(ChannelId),
    /// Delivered; that is on its way to the store.
    Settling,
    /// It failed and is tried again later.
    Pausing,
}

/// The representations of a subscription to a resource.
#[derive(Default, Debug)]
pub struct Content {
    /// One is on its way to the store.
    pub writing: bool,
    /// The newest one that is not.
    pub pending: Option<Arc<Event>>,
    /// Stands for the newest one that is in the outbox, or was.
    pub newest: Option<[u8; 16]>,
    /// Stands for the newest one that was in the outbox.
    pub dealt_with: Option<[u8; 16]>,
}

/// What stands for a representation.
pub fn digest(body: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    *digest.first_chunk().expect("sixteen of thirty-two")
}

/// A subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Names it.
    pub id: SubscriptionId,
    /// Whose devices it is about.
    pub user: UserId,
    /// What it ends with.
    pub grant: Option<GrantId>,
    /// What was asked for.
    pub asked: NewSubscription,
    /// Scheme, host and port of the receiver.
    pub receiver: Arc<str>,
    /// Since when.
    pub created: UnixTime,
    /// How far it is.
    pub stage: Stage,
    /// What waits.
    pub outbox: Outbox,
    /// Where the first of it is.
    pub way: Way,
    /// Attempts for the first of it that failed.
    pub failures: u32,
    /// When the first of them failed.
    pub first_failure: Option<UnixTime>,
    /// Notifications in a row that the receiver has refused.
    pub refusals: u8,
    /// Representations, if it is about a resource.
    pub content: Content,
    /// How its deliveries have gone, for operators.
    pub deliveries: Deliveries,
}

impl Subscription {
    /// One that was asked for.
    pub fn new(
        id: SubscriptionId,
        user: UserId,
        grant: Option<GrantId>,
        asked: NewSubscription,
        created: UnixTime,
        stage: Stage,
    ) -> Self {
        Self {
            id,
            user,
            grant,
            receiver: receiver(&asked.url).into(),
            asked,
            created,
            stage,
            outbox: Outbox::new(),
            way: Way::Idle,
            failures: 0,
            first_failure: None,
            refusals: 0,
            content: Content::default(),
            deliveries: Deliveries::default(),
        }
    }

    /// Something went wrong with its first notification.
    pub fn note_trouble(&mut self, why: Trouble, now: UnixTime) {
        self.deliveries.last_trouble = Some((why, now.0));
    }

    /// As operators see it.
    pub fn view(&self) -> SubscriptionView {
        let state = match self.stage {
            Stage::Waiting { .. } | Stage::Starting => SubscriptionState::Starting,
            Stage::Active => SubscriptionState::Active,
            Stage::Ending(_) => SubscriptionState::Ending,
        };
        let failing_since = self.first_failure.map(|at| at.0);
        SubscriptionView {
            id: self.id,
            user: self.user,
            client: self.asked.client.clone(),
            target: self.asked.target.clone(),
            types: self.asked.types,
            receiver: self.receiver.to_string(),
            created: self.created.0,
            state,
            next_number: self.outbox.number(),
            waiting: u32::try_from(self.outbox.len()).unwrap_or(u32::MAX),
            deliveries: Deliveries { failing_since, ..self.deliveries },
        }
    }

    /// A notification that waited before the start.
    pub fn load_event(&mut self, position: u64, record: OutboxRecord, bytes: usize) {
        if matches!(self.stage, Stage::Ending(_)) {
            return self.outbox.load_late(position);
        }
        if let EventBody::Content(body) = &record.event.body {
            self.content.newest = Some(digest(body));
        }
        self.outbox.load(Waiting { position, event: Arc::new(record.event), bytes });
        if let Some(ending) = record.ending {
            self.stage = Stage::Ending(ending);
            if ending.drops_waiting() {
                self.outbox.drop_waiting();
            }
        }
    }

    /// How far it had come before the start. Comes after what waits.
    pub fn load_progress(&mut self, record: &ProgressRecord) {
        self.outbox.set_done(record.done);
        self.refusals = record.refusals;
        self.first_failure = record.first_failure.map(UnixTime);
        self.content.dealt_with = record.newest;
        self.content.newest = self.content.newest.or(record.newest);
    }

    /// Whether it takes notifications of what happens: until its end is durable, which may be refused.
    pub fn listens(&self) -> bool {
        match self.stage {
            Stage::Ending(Ending::Unwanted) => false,
            Stage::Ending(_) => !self.outbox.has_last_word(),
            _ => true,
        }
    }

    /// Whether nothing is to be sent any more but its last word, or not even that, and that is durable.
    pub fn drops_waiting(&self) -> bool {
        match self.stage {
            Stage::Ending(Ending::Unwanted) => true,
            Stage::Ending(why) => why.drops_waiting() && self.outbox.has_last_word(),
            _ => false,
        }
    }

    /// Whether its first notification may be handed out.
    pub fn is_ready(&self) -> bool {
        self.way == Way::Idle
            && matches!(self.stage, Stage::Active | Stage::Ending(_))
            && self.outbox.first().is_some()
    }
}

/// Scheme, host and port of a URL.
fn receiver(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_scheme_host_and_port() {
        for (url, of) in [
            ("https://a.example/events?x=1", "https://a.example"),
            ("https://a.example:8443?x", "https://a.example:8443"),
            ("https://a.example", "https://a.example"),
            ("", ""),
        ] {
            assert_eq!(receiver(url), of);
        }
    }
}
