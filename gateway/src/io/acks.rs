//! Peers that have not been told yet that their bytes have come.
//!
//! Real devices hold back the second of two messages until the first is acknowledged, and the system
//! waits some 40 ms for an answer to acknowledge it with (device reference 1.3, rule 16). Telling them
//! at once would be a segment for every message, a quarter of what it costs to pass one on. So the
//! answer is waited for here too, but not so long that anybody notices.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use shared::time::Instant;

use crate::connection::ConnectionId;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(5);

/// Who waits, and until when.
#[derive(Default)]
pub struct Acknowledgements {
    due: HashMap<ConnectionId, Instant>,
    /// In this order; an entry that `due` does not have as well is over.
    queue: VecDeque<(Instant, ConnectionId)>,
}

impl Acknowledgements {
    /// Bytes of this peer have come, and nothing goes to it now.
    pub fn wait(&mut self, connection: ConnectionId, now: Instant) {
        let at = now + PATIENCE;
        if let hashbrown::hash_map::Entry::Vacant(vacant) = self.due.entry(connection) {
            vacant.insert(at);
            self.queue.push_back((at, connection));
        }
    }

    /// Something goes to this peer, which tells it.
    pub fn sent(&mut self, connection: ConnectionId) {
        if !self.due.is_empty() && self.due.remove(&connection).is_some() {
            self.forget_those_over();
        }
    }

    /// When somebody is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Somebody who is to be told now.
    pub fn next_due(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, connection) = *self.queue.front()?;
        if at > now {
            return None;
        }
        self.due.remove(&connection);
        self.forget_those_over();
        Some(connection)
    }

    fn forget_those_over(&mut self) {
        while let Some((at, connection)) = self.queue.front() {
            if self.due.get(connection) == Some(at) {
                return;
            }
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnectionId = ConnectionId { index: 1, generation: 1 };
    const TWO: ConnectionId = ConnectionId { index: 2, generation: 1 };

    fn millis(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn whoever_gets_no_answer_in_time_is_told() {
        let mut waiting = Acknowledgements::default();
        waiting.wait(ONE, millis(0));
        waiting.wait(TWO, millis(1));
        waiting.wait(ONE, millis(2));
        assert_eq!(waiting.due(), Some(millis(5)));
        assert_eq!(waiting.next_due(millis(4)), None);
        assert_eq!(waiting.next_due(millis(5)), Some(ONE));
        assert_eq!(waiting.next_due(millis(5)), None);
        assert_eq!(waiting.next_due(millis(6)), Some(TWO));
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn whoever_gets_an_answer_needs_nothing_else() {
        let mut waiting = Acknowledgements::default();
        waiting.wait(ONE, millis(0));
        waiting.wait(TWO, millis(0));
        waiting.sent(ONE);
        assert_eq!(waiting.next_due(millis(5)), Some(TWO));
        assert_eq!((waiting.due(), waiting.next_due(millis(9))), (None, None));
    }

    /// The time of an earlier message says nothing about a later one.
    #[test]
    fn what_comes_after_an_answer_waits_anew() {
        let mut waiting = Acknowledgements::default();
        waiting.wait(ONE, millis(0));
        waiting.wait(TWO, millis(1));
        waiting.sent(ONE);
        waiting.wait(ONE, millis(3));
        assert_eq!(waiting.due(), Some(millis(6)));
        assert_eq!(waiting.next_due(millis(7)), Some(TWO));
        assert_eq!(waiting.next_due(millis(7)), None);
        assert_eq!(waiting.next_due(millis(8)), Some(ONE));
    }
}
