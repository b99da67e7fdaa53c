//! Who delivers what: `api` processes take notifications of subscriptions that are ready, receiver by
//! receiver in turn, so that a slow one delays nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use shared::channel::events::DELIVERIES_PER_RECEIVER_MAX;
use shared::ids::SubscriptionId;

use crate::shard::input::ChannelId;

/// Deliveries of a shard that a process has at a time.
const PER_PROCESS_MAX: usize = 256;

/// Deliveries of a shard to one receiver at a time, while its last delivery has failed.
const PER_TROUBLED_RECEIVER_MAX: usize = 2;

#[derive(Default, Debug)]
struct Receiver {
    under_way: usize,
    is_troubled: bool,
    is_in_turn: bool,
    ready: VecDeque<SubscriptionId>,
}

impl Receiver {
    fn has_room(&self) -> bool {
        let most =
            if self.is_troubled { PER_TROUBLED_RECEIVER_MAX } else { DELIVERIES_PER_RECEIVER_MAX };
        self.under_way < most
    }
}

/// The processes, and what is ready for them.
#[derive(Default, Debug)]
pub struct Couriers {
    /// How many deliveries each process has.
    processes: BTreeMap<ChannelId, usize>,
    receivers: BTreeMap<Arc<str>, Receiver>,
    turn: VecDeque<Arc<str>>,
}

impl Couriers {
    /// A process delivers from now on.
    pub fn add(&mut self, channel: ChannelId) {
        self.processes.entry(channel).or_default();
    }

    /// A process is gone.
    pub fn remove(&mut self, channel: ChannelId) {
        self.processes.remove(&channel);
    }

    /// A subscription has something to deliver.
    pub fn ready(&mut self, receiver: &Arc<str>, id: SubscriptionId) {
        let entry = self.receivers.entry(receiver.clone()).or_default();
        entry.ready.push_back(id);
        self.take_turn(receiver);
    }

    fn take_turn(&mut self, receiver: &Arc<str>) {
        if let Some(entry) = self.receivers.get_mut(receiver)
            && !entry.is_in_turn
            && entry.has_room()
            && !entry.ready.is_empty()
        {
            entry.is_in_turn = true;
            self.turn.push_back(receiver.clone());
        }
    }

    /// The next subscription whose turn it is, and the process for it, which has one more delivery
    /// from now on; so has the receiver.
    pub fn assign(&mut self) -> Option<(ChannelId, Arc<str>, SubscriptionId)> {
        let (&channel, under_way) = self.processes.iter_mut().min_by_key(|(_, count)| **count)?;
        if *under_way >= PER_PROCESS_MAX {
            return None;
        }
        let receiver = self.turn.pop_front()?;
        let entry = self.receivers.get_mut(&receiver)?;
        entry.is_in_turn = false;
        let id = entry.ready.pop_front()?;
        entry.under_way += 1;
        *under_way += 1;
        self.take_turn(&receiver);
        Some((channel, receiver, id))
    }

    /// A delivery is over; `is_troubled` says whether it failed, if it came to anything.
    pub fn over(&mut self, receiver: &Arc<str>, channel: ChannelId, is_troubled: Option<bool>) {
        if let Some(count) = self.processes.get_mut(&channel) {
            *count = count.saturating_sub(1);
        }
        let Some(entry) = self.receivers.get_mut(receiver) else { return };
        entry.under_way = entry.under_way.saturating_sub(1);
        entry.is_troubled = is_troubled.unwrap_or(entry.is_troubled);
        let is_forgotten = entry.under_way == 0 && entry.ready.is_empty() && !entry.is_troubled;
        if is_forgotten {
            self.receivers.remove(receiver);
        } else {
            self.take_turn(receiver);
        }
    }

    /// A receiver has one subscription less. Of one that has nothing to do nothing is kept.
    pub fn forget(&mut self, receiver: &str) {
        let idle = |entry: &Receiver| entry.under_way == 0 && entry.ready.is_empty();
        if self.receivers.get(receiver).is_some_and(idle) {
            self.receivers.remove(receiver);
        }
    }

    /// Deliveries under way.
    pub fn under_way(&self) -> usize {
        self.processes.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SubscriptionId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        SubscriptionId::from_bytes(bytes)
    }

    /// Case 148.
    #[test]
    fn one_receiver_does_not_take_the_place_of_others() {
        let (slow, quick): (Arc<str>, Arc<str>) = ("https://slow".into(), "https://quick".into());
        let mut couriers = Couriers::default();
        for number in 0..1000 {
            couriers.ready(&slow, id(number));
        }
        couriers.ready(&quick, id(1000));
        assert!(couriers.assign().is_none(), "nobody delivers yet");
        couriers.add(ChannelId(1));
        let first: Vec<_> = std::iter::from_fn(|| couriers.assign()).collect();
        assert_eq!(first.len(), DELIVERIES_PER_RECEIVER_MAX + 1);
        assert_eq!(first[1].2, id(1000), "receivers take turns");
        for _ in 0..DELIVERIES_PER_RECEIVER_MAX {
            couriers.over(&slow, ChannelId(1), Some(true));
        }
        let then = std::iter::from_fn(|| couriers.assign()).count();
        assert_eq!(then, PER_TROUBLED_RECEIVER_MAX, "who fails gets less");
        couriers.over(&slow, ChannelId(1), Some(false));
        assert!(std::iter::from_fn(|| couriers.assign()).count() > PER_TROUBLED_RECEIVER_MAX);
    }

    #[test]
    fn processes_share_and_a_receiver_with_nothing_to_do_is_forgotten() {
        let receiver: Arc<str> = "https://a".into();
        let mut couriers = Couriers::default();
        couriers.add(ChannelId(1));
        couriers.add(ChannelId(2));
        couriers.ready(&receiver, id(1));
        couriers.ready(&receiver, id(2));
        let channels: Vec<_> =
            std::iter::from_fn(|| couriers.assign()).map(|(at, ..)| at).collect();
        assert_eq!(channels, [ChannelId(1), ChannelId(2)]);
        couriers.over(&receiver, ChannelId(1), Some(false));
        couriers.remove(ChannelId(2));
        couriers.over(&receiver, ChannelId(2), None);
        assert!(couriers.receivers.is_empty() && couriers.under_way() == 0);
    }
}
