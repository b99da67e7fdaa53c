//! One world from its first step to its rest.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use gateway::config::{Limits, Timers};
use shared::ids::{DeviceId, UserId};
use shared::time::{Instant, Now};

use super::agenda::{Agenda, Event};
use super::clock::{CLOCK_STEPS_MAX, WallClock};
use super::cloud::Cloud;
use super::dice::Dice;
use super::model::Model;
use super::network::Link;
use super::partner::Partner;
use super::peer::Peer;
use super::plan::{Fault, Plan};
use super::trace::Trace;
use super::verdict::{Counts, Invariant, Outcome, Violation};

/// Ticks at one time after which a shard asks for nothing but ticks.
const TICKS_MAX: u32 = 100_000;

/// Everybody is back in this time, whatever has happened: waits of up to a minute between tries, and
/// what the cloud lets wait.
const RETURN: Duration = Duration::from_secs(400);
/// For the last answers and notifications.
const AUDIT: Duration = Duration::from_secs(60);
/// For the last notifications of links.
const SETTLE: Duration = Duration::from_secs(20);
/// For connections whose end nobody has told the cloud of.
const REST: Duration = Duration::from_secs(200);

/// What everybody does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Season {
    /// Everything, and everything goes wrong.
    Storm,
    /// They get back in, and nothing goes wrong.
    Calm,
    /// They look at everything once more.
    Audit,
}

/// A world.
pub struct Simulation {
    pub(super) plan: Plan,
    pub(super) limits: Limits,
    pub(super) timers: Timers,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    agenda: Agenda,
    pub(super) instant: Instant,
    pub(super) clock: WallClock,
    /// Inputs of shards so far.
    pub(super) step: u64,
    /// Shards are swept after so many steps.
    pub(super) sweep_every: u64,
    pub(super) cloud: Cloud,
    pub(super) links: Vec<Link>,
    pub(super) peers: Vec<Peer>,
    pub(super) partners: Vec<Partner>,
    /// Channels that there have been.
    pub(super) channels: u64,
    pub(super) users: Vec<UserId>,
    pub(super) model: Model,
    pub(super) counts: Counts,
    /// When the last message between two shards arrives.
    pub(super) mail_at: [Instant; 64],
    /// Devices that have changed hands.
    pub(super) sold: BTreeSet<DeviceId>,
    pub(super) season: Season,
    /// Peers that have looked at everything.
    pub(super) audited: BTreeSet<usize>,
    /// The step at which the last changes were over.
    pub(super) settled: u64,
    /// When that was.
    pub(super) settled_at: Instant,
    /// Notifications that had been dealt with when that was looked at last.
    pub(super) told: u64,
    violation: Option<Violation>,
}

/// Runs a world to its end.
pub fn simulate(plan: &Plan) -> Outcome {
    simulate_with(plan, false)
}

/// The same, and prints every step.
pub fn simulate_traced(plan: &Plan) -> Outcome {
    simulate_with(plan, true)
}

fn simulate_with(plan: &Plan, printed: bool) -> Outcome {
    let mut simulation = Simulation::new(plan.clone(), printed);
    let run = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if let Err(panic) = run {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        simulation.fail(Invariant::Consistency, format!("panic: {}", text.unwrap_or("?")));
    }
    let Simulation { mut counts, trace, violation, step, .. } = simulation;
    counts.steps = step;
    Outcome { counts, digest: trace.digest(), violation }
}

/// The bounds of a world. Replies with single-use tokens get lost with `api` processes, and a user of
/// hundreds of devices asks for another one each time.
fn limits(plan: &Plan) -> Limits {
    Limits {
        outbox_events_max: plan.outbox,
        single_use_tokens_per_user_max: 1000 + 100 * plan.peers,
        ..Limits::default()
    }
}

impl Simulation {
    fn new(plan: Plan, printed: bool) -> Self {
        let mut dice = Dice::new(plan.seed);
        let users = (0..plan.users).map(|_| UserId::from_random(dice.bytes())).collect();
        let mut peers: Vec<Peer> = Vec::new();
        for _ in 0..plan.peers {
            // Some devices have a twin, of another user as like as not.
            let twin = peers.last().filter(|_| plan.rate(Fault::Sale) > 0 && dice.below(8) == 0);
            let di = twin.map(|twin| twin.di);
            let (id, user) = (DeviceId::from_random(dice.bytes()), dice.below(plan.users));
            let di = di.filter(|di| !peers.iter().any(|peer| peer.di == *di && peer.user == user));
            let (proves_id, takes_blocks) = (dice.below(3) == 0, dice.below(3) == 0);
            peers.push(Peer::new(di.unwrap_or(id), user, proves_id, takes_blocks));
        }
        Self {
            limits: limits(&plan),
            timers: Timers::default(),
            dice,
            trace: Trace::new(printed),
            agenda: Agenda::default(),
            instant: Instant::START,
            clock: WallClock::default(),
            step: 0,
            sweep_every: plan.peers as u64 / 20 + 1,
            cloud: Cloud::new(plan.shards),
            links: Vec::new(),
            peers,
            partners: (1..=2).map(Partner::new).collect(),
            channels: 2,
            users,
            model: Model::default(),
            counts: Counts::default(),
            mail_at: [Instant::START; 64],
            sold: BTreeSet::new(),
            season: Season::Storm,
            audited: BTreeSet::new(),
            settled: 0,
            settled_at: Instant::START,
            told: 0,
            violation: None,
            plan,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.instant, unix: self.clock.unix(self.instant) }
    }

    /// How often a fault happens now, in a thousand.
    pub(super) fn rate(&self, fault: Fault) -> u16 {
        if self.season == Season::Storm { self.plan.rate(fault) } else { 0 }
    }

    pub(super) fn enter(&mut self, at: Instant, event: Event) {
        self.agenda.enter(at, event);
    }

    pub(super) fn tell(&mut self, what: fmt::Arguments<'_>) {
        self.trace.tell(self.step, self.instant, what);
    }

    /// An invariant does not hold. The first one counts.
    pub(super) fn fail(&mut self, invariant: Invariant, seen: String) {
        if self.violation.is_none() {
            self.tell(format_args!("VIOLATION {invariant:?}: {seen}"));
            let (seed, step) = (self.plan.seed, self.step);
            self.violation = Some(Violation { seed, step, invariant, seen });
        }
    }

    fn run(&mut self) {
        let plan = self.plan.clone();
        self.tell(format_args!("seed {}: {plan}", plan.seed));
        self.prepare();
        let mut ticks = 0;
        while self.violation.is_none() {
            let shards = self.cloud.nodes.iter().filter_map(|node| node.shard.poll_timeout()).min();
            match (shards, self.agenda.next_at()) {
                (Some(due), next) if next.is_none_or(|next| due <= next) => {
                    if due > self.instant {
                        (self.instant, ticks) = (due, 0);
                    }
                    ticks += 1;
                    if !self.tick() || ticks > TICKS_MAX {
                        self.fail(Invariant::Consistency, "time does not go on".into());
                    }
                }
                (_, Some(next)) => {
                    if next > self.instant {
                        (self.instant, ticks) = (next, 0);
                    }
                    let Some(event) = self.agenda.take() else { return };
                    if matches!(event, Event::Rest) {
                        if self.is_telling() {
                            self.enter(self.instant + SETTLE, Event::Rest);
                            continue;
                        }
                        return self.check_rest();
                    }
                    self.happen(event);
                }
                _ => return,
            }
        }
    }

    /// Enters what is going to happen whatever happens.
    fn prepare(&mut self) {
        self.start();
        for peer in 0..self.peers.len() {
            let at = self.dice.time(Duration::ZERO, Duration::from_secs(5));
            self.enter(Instant::START + at, Event::Wake { peer });
        }
        for partner in 0..self.partners.len() {
            self.enter(Instant::START, Event::PartnerWakes { partner });
        }
        if self.plan.rate(Fault::Crash) > 0 {
            for _ in 0..self.dice.between(1, 5) {
                let at = self.dice.time(Duration::ZERO, self.plan.span);
                let event = if self.dice.below(3) == 0 { Event::Stop } else { Event::Crash };
                self.enter(Instant::START + at, event);
            }
        }
        if self.plan.rate(Fault::ClockStep) > 0 {
            for _ in 0..self.dice.between(1, CLOCK_STEPS_MAX) {
                let at = self.dice.time(Duration::ZERO, self.plan.span);
                self.enter(Instant::START + at, Event::ClockStep);
            }
        }
        self.enter(Instant::START + self.plan.span, Event::Calm);
    }

    fn happen(&mut self, event: Event) {
        let epoch_now = self.cloud.epoch;
        let lives = |epoch: u64| epoch == epoch_now;
        match event {
            Event::Arrives { link, bytes } => self.arrive(link, bytes),
            Event::PeerGone { link, orderly } => self.end_arrives(link, orderly),
            Event::Read { epoch, node, connection } if lives(epoch) => self.read(node, connection),
            Event::Sent { epoch, node, connection } if lives(epoch) => {
                self.end_send(node, connection)
            }
            Event::Delivered { link, upto } => self.deliver(link, upto),
            Event::CloudGone { link } => self.gone(link),
            Event::Mail { epoch, from, to, message } if lives(epoch) => {
                self.deliver_mail(from, to, *message);
            }
            Event::MoveEnds { epoch } if lives(epoch) => self.end_move(),
            Event::CommitEnds { epoch } if lives(epoch) => self.end_commit(),
            Event::Wake { peer } => {
                self.wake(peer);
                self.check_count();
            }
            Event::Answer { link, late } => self.answer_late(link, late),
            Event::PartnerWakes { partner } => self.partner_wakes(partner),
            Event::Command { epoch, channel, envelope } if lives(epoch) => {
                self.deliver_command(channel, *envelope);
            }
            Event::Reply { channel, envelope } => self.hear_reply(channel, *envelope),
            Event::Delivery { channel, delivery } => self.attempt(channel, &delivery),
            Event::Attempted { channel, attempt } => self.report(channel, attempt),
            Event::Stop if self.cloud.is_up() && self.season == Season::Storm => self.stop(),
            Event::Crash
                if self.cloud.is_up() && (self.season == Season::Storm || self.cloud.stopping) =>
            {
                self.crash();
                let down = self.dice.time(Duration::from_millis(10), Duration::from_secs(5));
                self.enter(self.instant + down, Event::Start);
            }
            Event::Start if !self.cloud.is_up() => self.start(),
            Event::ClockStep if self.season == Season::Storm => self.set_clock(),
            Event::Calm => self.calm(),
            Event::Return => {
                self.check_return();
                self.season = Season::Audit;
            }
            Event::Settle => (self.settled, self.settled_at) = (self.step, self.instant),
            Event::Compare => {
                self.check_latest();
                self.all_leave();
                self.enter(self.instant + REST, Event::Rest);
            }
            _ => {}
        }
    }

    /// A world that ends by its number of requests ends now.
    fn check_count(&mut self) {
        let enough = self.plan.requests.is_some_and(|most| self.counts.requests >= most);
        if enough && self.season == Season::Storm {
            self.calm();
        }
    }

    fn calm(&mut self) {
        if self.season != Season::Storm {
            return;
        }
        self.tell(format_args!("calm"));
        self.season = Season::Calm;
        for number in 0..self.peers.len() {
            let peer = &self.peers[number];
            let owner = self.model.acknowledged.owner(peer.di).and_then(|it| self.number_of(it));
            let others = |(other, twin): (usize, &Peer)| {
                let first = owner.map_or(other < number, |owner| twin.user == owner);
                other != number && twin.di == peer.di && first && !twin.retired
            };
            let yields = owner != Some(peer.user) && self.peers.iter().enumerate().any(others);
            if yields {
                self.leave(number, true);
                self.peers[number].retired = true;
            }
            self.peers[number].got_in = false;
        }
        let back = self.instant + RETURN;
        self.enter(back, Event::Return);
        self.enter(back + AUDIT, Event::Settle);
        self.enter(back + AUDIT + SETTLE, Event::Compare);
    }

    fn all_leave(&mut self) {
        for number in 0..self.peers.len() {
            self.leave(number, true);
            self.peers[number].retired = true;
        }
    }
}
