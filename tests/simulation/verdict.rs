//! How a simulation ends.

use std::collections::BTreeMap;
use std::fmt;

use shared::coap::Code;

/// What must always be so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// Nothing of a user ever reaches another one.
    Isolation,
    /// What was acknowledged is not lost.
    Durability,
    /// Every request is answered exactly once, or its connection is gone; it reaches a device at most
    /// once.
    AnsweredOnce,
    /// No device id ever has two users.
    OneOwner,
    /// A device gets in with what it stored last, whatever answers were lost.
    NoLockout,
    /// Nobody sees a change before it is durable.
    CommitFirst,
    /// Whoever observes has the latest state in the end, and never an older one after a newer one.
    LatestState,
    /// The notifications of a subscription come in their order, with numbers that have no gaps, and what
    /// comes again is the same under the same number.
    EventsInOrder,
    /// Subscribers are told of everything that is stored, once for each number, and know the present in
    /// the end; no subscription ends without a reason.
    EventsComplete,
    /// Nothing is done under a grant that has ended, and no code is good twice.
    Revocation,
    /// No table grows without its bound: at rest they are what the records say.
    Bounded,
    /// Tables agree with each other; nothing panics.
    Consistency,
}

impl Invariant {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Isolation,
        Self::Durability,
        Self::AnsweredOnce,
        Self::OneOwner,
        Self::NoLockout,
        Self::CommitFirst,
        Self::LatestState,
        Self::EventsInOrder,
        Self::EventsComplete,
        Self::Revocation,
        Self::Bounded,
        Self::Consistency,
    ];
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// In which world.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, invariant, seen } = self;
        write!(f, "seed {seed}, step {step}: {invariant:?}: {seen}")
    }
}

/// What a simulation has been through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Inputs of shards.
    pub steps: u64,
    /// Requests of devices and clients.
    pub requests: u64,
    /// Answers and notifications of the cloud, and its requests to devices: all were searched for
    /// what belongs to other users.
    pub messages: u64,
    /// Commands of `api` processes.
    pub commands: u64,
    /// Notifications that were handed to `api` processes.
    pub notifications: u64,
    /// Commits that became durable.
    pub commits: u64,
    /// Connections that moved between shards.
    pub moves: u64,
    /// Starts of the gateway after it was killed.
    pub crashes: u64,
    /// Links that were opened.
    pub links: u64,
    /// Answers to requests for resources of the user's own devices, by code.
    pub own: BTreeMap<u8, u64>,
    /// Answers to requests for resources of other users' devices, by code.
    pub foreign: BTreeMap<u8, u64>,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            requests: self.requests + other.requests,
            messages: self.messages + other.messages,
            commands: self.commands + other.commands,
            notifications: self.notifications + other.notifications,
            commits: self.commits + other.commits,
            moves: self.moves + other.moves,
            crashes: self.crashes + other.crashes,
            links: self.links + other.links,
            own: sums(self.own, other.own),
            foreign: sums(self.foreign, other.foreign),
        }
    }
}

fn sums(mut one: BTreeMap<u8, u64>, other: BTreeMap<u8, u64>) -> BTreeMap<u8, u64> {
    for (code, count) in other {
        *one.entry(code).or_default() += count;
    }
    one
}

/// Counts by code, the most frequent first.
fn by_code(counts: &BTreeMap<u8, u64>) -> String {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let all: Vec<_> = all
        .into_iter()
        .map(|(code, count)| format!("{} {count}", Code::from_byte(*code)))
        .collect();
    all.join(", ")
}

impl Counts {
    /// What was asked of devices, and how it was answered.
    #[must_use]
    pub fn answers(&self) -> String {
        format!("own devices: {}; foreign ones: {}", by_code(&self.own), by_code(&self.foreign))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, requests, messages, commands, .. } = self;
        let Self { notifications, commits, moves, crashes, links, .. } = self;
        write!(
            f,
            "{steps} steps, {links} connections, {requests} requests, {messages} messages searched, \
             {commands} commands, {notifications} notifications, {commits} commits, {moves} moves, {crashes} crashes"
        )
    }
}

/// How a simulation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What it has been through.
    pub counts: Counts,
    /// Of the whole trace.
    pub digest: u64,
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
}
