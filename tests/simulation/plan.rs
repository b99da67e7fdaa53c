//! What a seed draws before anything happens: how many there are, and how bad the world is.

use std::fmt;
use std::time::Duration;

use super::dice::Dice;

/// Something that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The network loses a connection; one end may notice late or never.
    Cut,
    /// What one side sends arrives in many pieces, down to single bytes.
    Split,
    /// A peer does not read for a while.
    Stall,
    /// The gateway is killed, and starts again with whatever was stored.
    Crash,
    /// The store refuses a commit.
    Refusal,
    /// The store takes long.
    SlowDisk,
    /// An `api` process dies with commands under way.
    PartnerLoss,
    /// A device answers late, twice, badly or not at all.
    BadDevice,
    /// A peer sends what is no message, or no request.
    Nonsense,
    /// A device changes hands.
    Sale,
    /// The receiver of notifications fails, does not want them, or gets them while its `api` process
    /// thinks that it has failed.
    BadReceiver,
    /// Somebody sets the wall clock, forward or back.
    ClockStep,
}

impl Fault {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Cut,
        Self::Split,
        Self::Stall,
        Self::Crash,
        Self::Refusal,
        Self::SlowDisk,
        Self::PartnerLoss,
        Self::BadDevice,
        Self::Nonsense,
        Self::Sale,
        Self::BadReceiver,
        Self::ClockStep,
    ];

    /// How the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Split => "split",
            Self::Stall => "stall",
            Self::Crash => "crash",
            Self::Refusal => "refusal",
            Self::SlowDisk => "slow-disk",
            Self::PartnerLoss => "partner-loss",
            Self::BadDevice => "bad-device",
            Self::Nonsense => "nonsense",
            Self::Sale => "sale",
            Self::BadReceiver => "bad-receiver",
            Self::ClockStep => "clock-step",
        }
    }

    /// How often it happens where it may, in a thousand; where a world has it at all.
    fn rate(self) -> u16 {
        match self {
            Self::Cut => 12,
            Self::Split => 150,
            Self::Stall => 10,
            Self::Crash => 1000,
            Self::Refusal => 60,
            Self::SlowDisk => 1000,
            Self::PartnerLoss => 40,
            Self::BadDevice => 60,
            Self::Nonsense => 8,
            Self::Sale => 8,
            Self::BadReceiver => 100,
            Self::ClockStep => 1000,
        }
    }
}

/// How large worlds may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// A few peers for a minute: many of these run with the other tests.
    Small,
    /// Up to hundreds of peers for some minutes.
    Full,
}

/// Everything that is decided before the first step.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Where the numbers come from.
    pub seed: u64,
    /// Shards at the first start; later starts draw again.
    pub shards: u16,
    /// Users.
    pub users: usize,
    /// Devices and clients.
    pub peers: usize,
    /// How long they act, before the world calms down.
    pub span: Duration,
    /// Most time between two acts of a peer.
    pub pause: Duration,
    /// Most time that anything needs on a network.
    pub delay: Duration,
    /// Life of an access token; none for ever.
    pub token_secs: Option<u64>,
    /// Whether a token for a device moves it away from another user.
    pub takeover: bool,
    /// After so many requests it ends, if it has not ended before.
    pub requests: Option<u64>,
    /// Notifications that may wait for one subscription.
    pub outbox: usize,
    /// How often each fault happens where it may, in a thousand.
    pub faults: [u16; Fault::ALL.len()],
}

impl Plan {
    /// What this seed draws.
    pub fn of_seed(seed: u64, scale: Scale) -> Self {
        let mut dice = Dice::new(seed ^ 0x706c_616e);
        let (peers, span) = match scale {
            Scale::Small => (dice.between(2, 12), dice.between(20, 60)),
            Scale::Full if dice.below(50) == 0 => (dice.between(100, 400), dice.between(30, 60)),
            Scale::Full => (dice.between(2, 40), dice.between(30, 240)),
        };
        let mut faults = [0; Fault::ALL.len()];
        for fault in Fault::ALL {
            faults[fault as usize] = match dice.below(3) {
                0 => 0,
                1 => fault.rate(),
                _ => (fault.rate() * 3).min(1000),
            };
        }
        Self {
            seed,
            shards: dice.between(1, 4) as u16,
            users: dice.between(1, 6) as usize,
            peers: peers as usize,
            span: Duration::from_secs(span),
            pause: Duration::from_millis(*dice.pick(&[500, 2000, 5000])),
            delay: Duration::from_millis(*dice.pick(&[1, 30, 300, 2000])),
            token_secs: *dice.pick(&[None, Some(60), Some(120), Some(3600)]),
            takeover: dice.below(2) == 0,
            requests: None,
            faults,
            outbox: *dice.pick(&[1000, 1000, 1000, 20]),
        }
    }

    /// Most time that an attempt to deliver takes. Notifications of a subscription go out one after the
    /// other, and the more devices there are the more of them: whoever subscribes to hundreds of devices
    /// answers faster, or loses the subscription by its bound.
    pub fn longest_attempt(&self) -> Duration {
        let peers = u32::try_from(self.peers).unwrap_or(u32::MAX);
        Duration::from_secs(40) / peers.max(20)
    }

    /// How often a fault happens where it may, in a thousand.
    pub fn rate(&self, fault: Fault) -> u16 {
        self.faults[fault as usize]
    }

    /// Without one of the faults.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.faults[fault as usize] = 0;
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} shards, {} users, {} peers, {} s, pauses {:?}, delays {:?}, tokens {:?}, takeover {}, outboxes {}",
            self.shards,
            self.users,
            self.peers,
            self.span.as_secs(),
            self.pause,
            self.delay,
            self.token_secs,
            self.takeover,
            self.outbox
        )?;
        for fault in Fault::ALL {
            write!(f, ", {} {}", fault.name(), self.rate(fault))?;
        }
        Ok(())
    }
}
