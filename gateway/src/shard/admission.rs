//! Who is let in, and in which order: budgets of new connections (design: what is promised).
//!
//! In a storm everybody comes at once, and nobody waits longer than two seconds at first. A handshake that
//! is begun and not finished in that time is work for nothing. So one that has been begun goes on first,
//! and where some wait for long the newest goes first; who has waited for as long as devices do is gone,
//! and is reset before anything is done for it. While nobody waits for long they go in the order of their
//! coming: on a busy shard that never finds its queue empty, the newest first would forget the one at its
//! end. Where more come than may be under way, the one that has waited longest makes room.

use std::collections::VecDeque;
use std::time::Duration;

use shared::time::Instant;

use super::{Output, Shard};
use crate::config::Handshakes;
use crate::connection::close::Closing;
use crate::connection::{CloseReason, ConnectionId};

/// The longest that a step of a handshake waits for its turn. Devices give up after two seconds at
/// first (device reference 3.5), and the rest of the handshake needs some of them.
const WAIT_MAX: Duration = Duration::from_millis(1750);

/// Where somebody has waited for so long there are more than can be served in time: the newest goes first.
const LONG: Duration = Duration::from_millis(500);

/// What may be ahead of the rate of handshakes: a second's worth would come as one pause for the others.
const AHEAD_MAX: Duration = Duration::from_millis(100);

/// The log is told so seldom that nobody more is let in: once is enough to act on.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A bound that keeps new connections out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Of all connections of the shard.
    Connections,
    /// Of those that are not signed in.
    NotSignedIn,
    /// Of handshakes under way.
    Handshakes,
}

impl Bound {
    /// Its key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Connections => "cores.connections_max",
            Self::NotSignedIn => "cores.not_signed_in_max",
            Self::Handshakes => "cores.handshakes.in_flight_max",
        }
    }
}

/// How many may come.
#[derive(Clone, PartialEq, Debug)]
pub struct Budgets {
    /// Connections of this shard that are not signed in.
    pub not_signed_in_max: usize,
    /// Handshakes and sign-ins.
    pub handshakes: Handshakes,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { not_signed_in_max: usize::MAX, handshakes: Handshakes::default() }
    }
}

/// A handshake that has something to do.
#[derive(Clone, Copy)]
struct Step {
    connection: ConnectionId,
    since: Instant,
}

/// The handshakes of a shard.
pub(super) struct Admission {
    /// Accepted, and neither finished nor ended.
    under_way: usize,
    /// Those of which nothing has been done yet, in the order of their coming.
    new: VecDeque<Step>,
    /// Those that have been begun, in the order in which they could go on.
    begun: VecDeque<Step>,
    /// When the next one would be begun if they came in regular intervals.
    regular: Instant,
    every: Duration,
    /// When the log was last told of a bound that is reached.
    told: Option<Instant>,
}

impl Admission {
    pub(super) fn new(budgets: &Handshakes, now: Instant) -> Self {
        Self {
            under_way: 0,
            new: VecDeque::new(),
            begun: VecDeque::new(),
            regular: now,
            every: Duration::from_secs(1) / budgets.per_sec_max,
            told: None,
        }
    }

    /// Handshakes that wait for a step.
    pub(super) fn waiting(&self) -> usize {
        self.new.len() + self.begun.len()
    }

    /// Handshakes that have been accepted, and neither finished nor ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// A connection was accepted.
    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    /// The handshake of a connection is over, one way or the other.
    pub(super) fn end(&mut self) {
        debug_assert!(self.under_way > 0, "it has been accepted");
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// A handshake has something to do; for the first time, or again.
    pub(super) fn push(&mut self, connection: ConnectionId, is_new: bool, now: Instant) {
        let queue = if is_new { &mut self.new } else { &mut self.begun };
        queue.push_back(Step { connection, since: now });
    }

    /// Whether there is a step to be taken now.
    pub(super) fn has_step(&self, now: Instant) -> bool {
        !self.begun.is_empty() || (!self.new.is_empty() && self.may_begin(now))
    }

    /// When there is one that cannot be taken yet, or somebody has waited for too long.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let has_to_wait = !self.new.is_empty() && !self.may_begin(now);
        let wait = self.regular.since(now).saturating_sub(AHEAD_MAX);
        let begins = has_to_wait.then_some(now + wait);
        let late =
            [&self.new, &self.begun].map(|queue| queue.front().map(|step| step.since + WAIT_MAX));
        late.into_iter().chain([begins]).flatten().min()
    }

    /// Whose step is taken now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ConnectionId> {
        if let Some(step) = pop_next(&mut self.begun, now) {
            return Some(step.connection);
        }
        if !self.may_begin(now) {
            return None;
        }
        let step = pop_next(&mut self.new, now)?;
        self.regular = self.regular.max(now) + self.every;
        Some(step.connection)
    }

    /// One that has waited for too long.
    fn pop_late(&mut self, now: Instant) -> Option<ConnectionId> {
        for queue in [&mut self.new, &mut self.begun] {
            if queue.front().is_some_and(|step| step.since + WAIT_MAX <= now) {
                return queue.pop_front().map(|step| step.connection);
            }
        }
        None
    }

    /// Whether the log is to be told now of a bound that is reached.
    fn tells(&mut self, now: Instant) -> bool {
        let tells = self.told.is_none_or(|told| told + TELL_EVERY <= now);
        if tells {
            self.told = Some(now);
        }
        tells
    }

    fn may_begin(&self, now: Instant) -> bool {
        self.regular <= now + AHEAD_MAX
    }
}

/// The next of a queue.
fn pop_next(queue: &mut VecDeque<Step>, now: Instant) -> Option<Step> {
    let is_long = queue.front()?.since + LONG <= now;
    if is_long { queue.pop_back() } else { queue.pop_front() }
}

impl Shard {
    /// Makes room for a connection that wants to be accepted, if need be and if somebody can yield.
    pub(super) fn make_room(&mut self) -> bool {
        while let Some(bound) = self.bound() {
            self.tell_of_bound(bound);
            // Those that have ended while they waited hold no place: the next one may.
            let Some(step) = self.admission.new.pop_front() else { return false };
            self.end(step.connection, CloseReason::Overloaded, Closing::Reset);
        }
        true
    }

    /// The bound that keeps one more out, if one does.
    fn bound(&self) -> Option<Bound> {
        let budgets = &self.settings.budgets;
        let strangers =
            self.router.wire.connections.len().saturating_sub(self.counters.sessions as usize);
        if self.is_full() {
            Some(Bound::Connections)
        } else if strangers >= budgets.not_signed_in_max {
            Some(Bound::NotSignedIn)
        } else if self.admission.under_way() >= budgets.handshakes.in_flight_max as usize {
            Some(Bound::Handshakes)
        } else {
            None
        }
    }

    /// Has the log say why somebody was not let in.
    pub(super) fn tell_of_bound(&mut self, bound: Bound) {
        if self.admission.tells(self.now.instant) {
            self.outputs.push_back(Output::Full { bound });
        }
    }

    /// Resets those who have waited for longer than they wait themselves.
    pub(super) fn refuse_late(&mut self) {
        while let Some(id) = self.admission.pop_late(self.now.instant) {
            self.end(id, CloseReason::Overloaded, Closing::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn connection(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 0 }
    }

    fn admission(per_sec_max: u32) -> Admission {
        Admission::new(&Handshakes { per_sec_max, ..Handshakes::default() }, at(0))
    }

    #[test]
    fn what_was_begun_goes_on_first_and_where_some_wait_for_long_the_newest() {
        for (millis, expected) in [(2, [3, 4, 1, 2, 5]), (501, [4, 3, 5, 2, 1])] {
            let mut admission = admission(1000);
            for (index, is_new) in [(1, true), (2, true), (3, false), (4, false), (5, true)] {
                admission.push(connection(index), is_new, at(1));
            }
            let order = std::iter::from_fn(|| admission.pop(at(millis))).map(|id| id.index);
            assert_eq!(order.collect::<Vec<_>>(), expected, "after {millis} ms");
        }
    }

    #[test]
    fn on_a_shard_that_is_never_idle_nobody_is_forgotten() {
        let mut admission = admission(10_000);
        (0..64).for_each(|index| admission.push(connection(index), true, at(0)));
        // A millisecond each: whoever is served is followed by the next at once.
        for millis in 1..=10_000 {
            assert!(admission.pop(at(millis)).is_some());
            admission.push(connection(64 + millis as u32), true, at(millis));
            assert_eq!(admission.pop_late(at(millis)), None, "after {millis} ms");
        }
    }

    #[test]
    fn so_many_begin_in_a_second_and_no_more() {
        let mut admission = admission(100);
        (0..1000).for_each(|index| admission.push(connection(index), true, at(0)));
        let mut begun = 0;
        for millis in 0..1000 {
            while admission.has_step(at(millis)) {
                assert!(admission.pop(at(millis)).is_some());
                begun += 1;
            }
            assert!(admission.due(at(millis)).is_some_and(|due| due > at(millis)));
        }
        assert!((100..=111).contains(&begun), "{begun}: a hundred, and ten ahead of their time");
    }

    #[test]
    fn who_has_waited_as_long_as_devices_do_is_late() {
        let mut admission = admission(1000);
        admission.push(connection(1), true, at(0));
        admission.push(connection(2), false, at(10));
        admission.push(connection(3), true, at(20));
        assert_eq!(admission.pop_late(at(1749)), None);
        let late = std::iter::from_fn(|| admission.pop_late(at(1765))).map(|id| id.index);
        assert_eq!(late.collect::<Vec<_>>(), [1, 2]);
        assert_eq!(admission.waiting(), 1);
    }
}
