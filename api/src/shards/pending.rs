//! Commands under way on one shard: their numbers, who waits for them, and until when. No I/O, and no
//! clock but the one that comes in.

use std::collections::{BTreeSet, HashMap};

use shared::time::Instant;

/// Commands that were sent and not yet answered. `W` is whoever waits.
#[derive(Debug)]
pub(super) struct Pending<W> {
    waiting: HashMap<u64, (Instant, W)>,
    deadlines: BTreeSet<(Instant, u64)>,
    next_request: u64,
    commands_max: usize,
    closed: bool,
}

/// Why a command cannot begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotBegun {
    /// As many as may be are under way.
    Full,
    /// The link is lost.
    Closed,
}

impl<W> Pending<W> {
    /// For at most so many commands at a time.
    pub(super) fn new(commands_max: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_request: 0,
            commands_max,
            closed: false,
        }
    }

    /// A number for a command that is about to be sent. Numbers are never used twice on one link.
    pub(super) fn begin(&mut self, waiter: W, deadline: Instant) -> Result<u64, NotBegun> {
        if self.closed {
            return Err(NotBegun::Closed);
        }
        if self.waiting.len() >= self.commands_max {
            return Err(NotBegun::Full);
        }
        let request = self.next_request;
        self.next_request += 1;
        self.waiting.insert(request, (deadline, waiter));
        self.deadlines.insert((deadline, request));
        self.check();
        Ok(request)
    }

    /// Whoever waits for this command, which is over. None if it was over before, or never began.
    pub(super) fn end(&mut self, request: u64) -> Option<W> {
        let (deadline, waiter) = self.waiting.remove(&request)?;
        self.deadlines.remove(&(deadline, request));
        self.check();
        Some(waiter)
    }

    /// Whoever has waited for too long, one at a time.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<W> {
        let &(deadline, request) = self.deadlines.first()?;
        if deadline > now { None } else { self.end(request) }
    }

    /// The link is lost: everybody who waits, and nobody will any more.
    pub(super) fn close(&mut self) -> impl Iterator<Item = W> + use<W> {
        self.closed = true;
        self.deadlines.clear();
        std::mem::take(&mut self.waiting).into_values().map(|(_, waiter)| waiter)
    }

    fn check(&self) {
        debug_assert_eq!(self.waiting.len(), self.deadlines.len());
        debug_assert!(self.waiting.len() <= self.commands_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(secs: u64) -> Instant {
        Instant::START + Duration::from_secs(secs)
    }

    #[test]
    fn a_reply_goes_to_whoever_sent_the_command_and_only_once() {
        let mut pending = Pending::new(8);
        let first = pending.begin("first", at(1)).unwrap();
        let second = pending.begin("second", at(1)).unwrap();
        assert_eq!(pending.end(second), Some("second"));
        assert_eq!(pending.end(second), None);
        assert_eq!(pending.end(99), None);
        assert_eq!(pending.end(first), Some("first"));
    }

    #[test]
    fn whoever_waits_too_long_is_told_in_order_of_the_deadlines() {
        let mut pending = Pending::new(8);
        pending.begin("late", at(3)).unwrap();
        let early = pending.begin("early", at(1)).unwrap();
        assert_eq!(pending.next_expired(at(0)), None);
        assert_eq!(pending.next_expired(at(2)), Some("early"));
        assert_eq!(pending.next_expired(at(2)), None);
        assert_eq!(pending.end(early), None, "a reply that comes later finds nobody");
        assert_eq!(pending.next_expired(at(3)), Some("late"));
    }

    #[test]
    fn no_more_commands_are_under_way_than_allowed() {
        let mut pending = Pending::new(1);
        let request = pending.begin((), at(1)).unwrap();
        assert_eq!(pending.begin((), at(1)), Err(NotBegun::Full));
        pending.end(request);
        assert!(pending.begin((), at(1)).is_ok());
    }

    #[test]
    fn a_lost_link_lets_everybody_go_and_nobody_in() {
        let mut pending = Pending::new(8);
        pending.begin(1, at(1)).unwrap();
        pending.begin(2, at(1)).unwrap();
        let mut let_go: Vec<_> = pending.close().collect();
        let_go.sort();
        assert_eq!(let_go, [1, 2]);
        assert_eq!(pending.begin(3, at(1)), Err(NotBegun::Closed));
        assert_eq!(pending.next_expired(at(9)), None);
    }

    proptest! {
        /// Everybody who begins is let go exactly once: by a reply, by the clock, or by the loss.
        #[test]
        fn everybody_is_let_go_exactly_once(
            steps in proptest::collection::vec((0u8..3, 0u64..20), 0..60)
        ) {
            let mut pending = Pending::new(10);
            let (mut begun, mut let_go) = (Vec::new(), Vec::new());
            for (nth, (step, value)) in steps.into_iter().enumerate() {
                match step {
                    0 => begun.extend(pending.begin(nth, at(value)).map(|_| nth)),
                    1 => let_go.extend(pending.end(value)),
                    _ => while let Some(waiter) = pending.next_expired(at(value)) {
                        let_go.push(waiter);
                    },
                }
            }
            let_go.extend(pending.close());
            let_go.sort();
            prop_assert_eq!(begun, let_go);
        }
    }
}
