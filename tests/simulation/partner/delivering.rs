//! `api` processes deliver notifications to receivers, which take them, fail, or do not want them.

use std::time::Duration;

use gateway::shard::ChannelId;
use shared::channel::events::{Delivery, EventBody, EventsCommand, Outcome};
use shared::channel::message::Command;

use crate::simulation::agenda::{Attempt, Event};
use crate::simulation::plan::Fault;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;
use crate::{FAILED, REFUSED, UNAVAILABLE};

/// What becomes of an attempt.
struct Fate {
    /// What the receiver makes of it; none if it does not reach the receiver.
    taken: Option<bool>,
    /// What the process says; none if it says nothing.
    outcome: Option<Outcome>,
}

impl Simulation {
    /// A shard hands a notification to a process.
    pub(in crate::simulation) fn handed_out(
        &mut self,
        channel: ChannelId,
        delivery: Box<Delivery>,
    ) {
        self.counts.notifications += 1;
        self.counts.messages += 1;
        let Delivery { correlation, number, event, .. } = &*delivery;
        let of = match &event.body {
            EventBody::Devices(devices) => &devices[..],
            EventBody::Links(device, _) => std::slice::from_ref(device),
            EventBody::Content(_) | EventBody::Nothing => &[],
        };
        self.tell(format_args!("event {correlation} {number} {:?} {of:?}", event.event_type));
        self.judge_delivery(&delivery);
        if !self.is_channel_open(channel) {
            let seen = "a notification is handed to a process that is gone";
            return self.fail(Invariant::EventsComplete, seen.into());
        }
        let at = self.soon();
        self.enter(at, Event::Delivery { channel, delivery });
    }

    /// A process makes an attempt.
    pub(in crate::simulation) fn attempt(&mut self, channel: ChannelId, delivery: &Delivery) {
        if !self.is_channel_open(channel) {
            // It had begun before it, or the gateway, was gone.
            if self.dice.below(2) == 0 {
                self.receive(delivery, true);
            }
            return;
        }
        let Fate { taken, outcome } = self.fate(delivery);
        if let Some(takes) = taken {
            self.receive(delivery, takes);
        }
        let Some(outcome) = outcome else { return };
        let Delivery { user, id, number, .. } = *delivery;
        let attempt = Attempt { user, id, number, outcome };
        let most = self.plan.longest_attempt();
        let takes = self.dice.time(Duration::from_millis(1), most);
        self.enter(self.instant + takes, Event::Attempted { channel, attempt });
    }

    fn fate(&mut self, delivery: &Delivery) -> Fate {
        let refuses = self.model.receivers.find(delivery.id).is_some_and(|it| it.refuses);
        if refuses {
            return Fate { taken: Some(false), outcome: Some(REFUSED) };
        }
        if !self.dice.happens(self.rate(Fault::BadReceiver)) {
            return Fate { taken: Some(true), outcome: Some(Outcome::Accepted) };
        }
        match self.dice.below(16) {
            0..5 => Fate { taken: None, outcome: Some(FAILED) },
            5..8 => Fate { taken: Some(true), outcome: Some(FAILED) },
            8..10 => {
                let retry_after_secs = Some(self.dice.between(1, 20) as u32);
                Fate {
                    taken: None,
                    outcome: Some(Outcome::Failed { why: UNAVAILABLE, retry_after_secs }),
                }
            }
            10..12 => Fate { taken: None, outcome: None },
            12..14 => Fate { taken: Some(true), outcome: None },
            14 => Fate { taken: Some(false), outcome: Some(REFUSED) },
            _ => Fate { taken: Some(false), outcome: Some(Outcome::Gone) },
        }
    }

    /// A process says how an attempt ended.
    pub(in crate::simulation) fn report(&mut self, channel: ChannelId, attempt: Attempt) {
        let Attempt { user, id, number, outcome } = attempt;
        let process = self.partners.iter().position(|partner| partner.channel == channel);
        let (Some(process), Some(user)) = (process, self.number_of(user)) else { return };
        self.model.receivers.attempted(id, number, outcome);
        let command = Command::Events(EventsCommand::Delivered { id, number, outcome });
        self.command(process, user, command, None);
    }
}
