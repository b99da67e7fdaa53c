//! The notifications of one subscription that have not been dealt with, in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use shared::channel::events::{Event, EventType};
use shared::ids::{SubscriptionId, UserId};

use super::subscription::Ending;
use crate::config::Limits;

/// A notification that waits, or that somebody is delivering.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its place in the store: rises, with gaps where the store has refused.
    pub position: u64,
    /// What has happened.
    pub event: Arc<Event>,
    /// What it takes in the store.
    pub bytes: usize,
}

/// A notification on its way to the store.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Of which user.
    pub user: UserId,
    /// Of which subscription.
    pub id: SubscriptionId,
    /// It, and where.
    pub waiting: Waiting,
    /// It is the last one, for this reason.
    pub ending: Option<Ending>,
    /// It takes the place of an older one.
    pub rewrites: bool,
}

/// Places before those of what happens, for the initial notifications: they are written last.
const INITIAL_POSITIONS: u64 = 1 << 20;

/// What waits, and how it is numbered.
#[derive(Default, Debug)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    next_initial: u64,
    next_position: u64,
    done: u64,
    bytes: usize,
    staged: usize,
    /// The first one may have been seen by the receiver: it stays what it is.
    shown: bool,
    rewriting: Option<u64>,
    dropped: Vec<u64>,
    /// The last word of the subscription is durable; perhaps it has been dealt with since.
    ended: bool,
}

impl Outbox {
    /// An empty one, with places for initial notifications.
    pub fn new() -> Self {
        Self { next_position: INITIAL_POSITIONS, ..Self::default() }
    }

    /// The place of an initial notification, which is on its way to the store from now on.
    pub fn stage_initial(&mut self, bytes: usize) -> u64 {
        let position = self.next_initial;
        self.next_initial += 1;
        self.staged += 1;
        self.bytes += bytes;
        position
    }

    /// Whether one more of this size may wait. That the subscription has ended always may.
    pub fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        self.waiting.len() + self.staged < limits.outbox_events_max
            && self.bytes + bytes <= limits.outbox_bytes_max
    }

    /// The place of a new notification, which is on its way to the store from now on.
    pub fn stage(&mut self, bytes: usize) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        self.staged += 1;
        self.bytes += bytes;
        position
    }

    /// The notification that waits last, if it is of this type and another one may take its place.
    pub fn replaceable(&self, event_type: EventType) -> Option<&Waiting> {
        let last = self.waiting.back()?;
        let is_shown = self.shown && self.waiting.len() == 1;
        let may = last.event.event_type == event_type && !is_shown && self.staged == 0;
        may.then_some(last)
    }

    /// Another notification is on its way to the place of an older one, which is not handed out any
    /// more.
    pub fn stage_again(&mut self, position: u64, bytes: usize) {
        self.rewriting = Some(position);
        self.staged += 1;
        self.bytes += bytes;
    }

    /// A notification is durable.
    pub fn insert(&mut self, waiting: Waiting, rewrites: bool) {
        self.staged -= 1;
        self.ended |= is_last_word(&waiting);
        if rewrites {
            self.rewriting = None;
            if let Some(older) = self.waiting.iter_mut().find(|w| w.position == waiting.position) {
                self.bytes -= older.bytes;
                *older = waiting;
                return;
            }
        }
        let at = self.waiting.partition_point(|before| before.position < waiting.position);
        self.waiting.insert(at, waiting);
    }

    /// The store has refused a notification.
    pub fn abandon(&mut self, waiting: &Waiting, rewrites: bool) {
        self.staged -= 1;
        self.bytes -= waiting.bytes;
        if rewrites {
            self.rewriting = None;
        }
    }

    /// What is stored, found at the start. The first one may have been handed out before.
    pub fn load(&mut self, waiting: Waiting) {
        self.next_position = self.next_position.max(waiting.position + 1);
        self.bytes += waiting.bytes;
        self.ended |= is_last_word(&waiting);
        self.waiting.push_back(waiting);
        self.shown = true;
    }

    /// How many were dealt with before the start.
    pub fn set_done(&mut self, done: u64) {
        self.done = done;
    }

    /// The first one, if it may be handed out.
    pub fn first(&self) -> Option<&Waiting> {
        self.waiting.front().filter(|first| self.rewriting != Some(first.position))
    }

    /// The number of the first one: how many were dealt with before it.
    pub fn number(&self) -> u64 {
        self.done
    }

    /// The first one is being handed out.
    pub fn show(&mut self) {
        self.shown = true;
    }

    /// The first one has been dealt with.
    pub fn take(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.bytes;
        self.shown = false;
        self.done += 1;
        Some(first)
    }

    /// Drops everything but what the receiver may have seen already, and what says that the
    /// subscription has ended. Returns the places.
    pub fn clear(&mut self) -> Vec<u64> {
        let keep = usize::from(self.shown && !self.waiting.is_empty());
        let mut dropped = Vec::new();
        for waiting in self.waiting.split_off(keep) {
            if is_last_word(&waiting) {
                self.waiting.push_back(waiting);
            } else {
                self.bytes -= waiting.bytes;
                dropped.push(waiting.position);
            }
        }
        dropped
    }

    /// The places of what [`clear`](Self::clear) drops.
    pub fn droppable(&self) -> impl Iterator<Item = u64> {
        let keep = usize::from(self.shown);
        let others = self.waiting.iter().skip(keep).filter(|waiting| !is_last_word(waiting));
        others.map(|waiting| waiting.position)
    }

    /// Whether the last word of the subscription is among them.
    pub fn has_last_word(&self) -> bool {
        self.waiting.iter().any(is_last_word)
    }

    /// Whether the last word is durable, or was: there is no second one.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is stored behind the last word, found at the start: its place is emptied at the end.
    pub fn load_late(&mut self, position: u64) {
        self.next_position = self.next_position.max(position + 1);
        self.dropped.push(position);
    }

    /// The last word is durable, or was loaded: what is not to be sent before it is dropped. Its places
    /// in the store are emptied at the end.
    pub fn drop_waiting(&mut self) {
        let dropped = self.clear();
        self.dropped.extend(dropped);
    }

    /// Every place in the store that may hold something.
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().map(|waiting| waiting.position).chain(self.dropped.iter().copied())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn is_last_word(waiting: &Waiting) -> bool {
    waiting.event.event_type == EventType::SubscriptionCancelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::channel::events::EventBody;

    fn waiting(position: u64, event_type: EventType) -> Waiting {
        let event = Arc::new(Event { event_type, body: EventBody::Nothing });
        Waiting { position, event, bytes: 10 }
    }

    fn content(outbox: &mut Outbox) -> u64 {
        let position = outbox.stage(10);
        outbox.insert(waiting(position, EventType::ResourceContentChanged), false);
        position
    }

    #[test]
    fn numbers_have_no_gaps_where_the_store_has_refused() {
        let mut outbox = Outbox::default();
        let refused = outbox.stage(10);
        let stored = outbox.stage(10);
        outbox.abandon(&waiting(refused, EventType::DevicesOnline), false);
        outbox.insert(waiting(stored, EventType::DevicesOffline), false);
        assert_eq!((outbox.number(), outbox.first().unwrap().position), (0, 1));
        outbox.take();
        assert_eq!((outbox.number(), outbox.len(), outbox.bytes), (1, 0, 0));
    }

    #[test]
    fn a_representation_is_replaced_until_somebody_may_have_seen_it() {
        let mut outbox = Outbox::default();
        let first = content(&mut outbox);
        let replaceable = |outbox: &Outbox| {
            let last = outbox.replaceable(EventType::ResourceContentChanged);
            last.map(|waiting| waiting.position)
        };
        assert_eq!(replaceable(&outbox), Some(first));
        outbox.stage_again(first, 10);
        assert!(outbox.first().is_none(), "it is not handed out while a newer one is on its way");
        outbox.insert(waiting(first, EventType::ResourceContentChanged), true);
        assert_eq!((outbox.len(), outbox.bytes), (1, 10));
        outbox.show();
        assert_eq!(replaceable(&outbox), None);
        let second = content(&mut outbox);
        assert_eq!(replaceable(&outbox), Some(second), "behind it waits one");
        let mut others = Outbox::default();
        let position = others.stage(10);
        others.insert(waiting(position, EventType::DevicesOnline), false);
        assert_eq!(replaceable(&others), None, "it is of another type");
    }

    #[test]
    fn what_was_loaded_may_have_been_seen() {
        let mut outbox = Outbox::default();
        outbox.load(waiting(7, EventType::ResourceContentChanged));
        outbox.set_done(3);
        assert!(outbox.replaceable(EventType::ResourceContentChanged).is_none());
        assert_eq!(outbox.number(), 3);
        assert_eq!(outbox.stage(1), 8);
        assert!(Outbox::new().stage_initial(1) < Outbox::new().stage(1));
    }

    #[test]
    fn clearing_leaves_what_may_have_been_seen_and_the_last_word() {
        let mut outbox = Outbox::default();
        for event_type in
            [EventType::DevicesOnline, EventType::DevicesOffline, EventType::SubscriptionCancelled]
        {
            let position = outbox.stage(10);
            outbox.insert(waiting(position, event_type), false);
        }
        outbox.show();
        assert!(outbox.has_last_word());
        assert_eq!(outbox.droppable().collect::<Vec<_>>(), [1]);
        assert_eq!(outbox.clear(), [1]);
        assert_eq!(outbox.positions().collect::<Vec<_>>(), [0, 2]);
        outbox.take();
        assert_eq!(outbox.clear(), [0u64; 0]);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_bytes() {
        let limits = Limits { outbox_events_max: 2, outbox_bytes_max: 25, ..Limits::default() };
        let mut outbox = Outbox::default();
        assert!(outbox.has_room(25, &limits) && !outbox.has_room(26, &limits));
        outbox.stage(10);
        content(&mut outbox);
        assert!(!outbox.has_room(1, &limits), "what is on its way counts");
    }
}
