//! One device whose light all the others observe: a change is told to everybody, and the next one when
//! everybody has it.

use std::time::Instant;

use shared::coap::Token;

use crate::engine::Engine;
use crate::jobs::Job;
use crate::peer::Stage;

/// The peer that is observed.
pub(crate) const DEVICE: u32 = 0;

impl Engine {
    /// The device tells a change, if everybody has the one before.
    pub(crate) fn tell_all(&mut self, now: u64) {
        if self.tally.busy > 0 || self.peers[DEVICE as usize].observation.is_none() {
            return;
        }
        let change = self.next_token;
        self.next_token += 1;
        let mut notification = Vec::with_capacity(128);
        self.write_change(DEVICE, change, &mut notification);
        self.peers[DEVICE as usize].due = now;
        self.tally.busy = self.ready.len() as u32;
        self.say(DEVICE, &[&notification]);
    }

    /// A notification has come. What an observer has asked with stays its token.
    pub(crate) fn on_notified(&mut self, peer: u32, token: Token) {
        let state = &self.peers[peer as usize];
        let awaits = peer != DEVICE && state.stage == Stage::Idle;
        if matches!(self.job, Job::Request { .. }) && awaits && token.as_u64() == Some(state.token)
        {
            let due = self.peers[DEVICE as usize].due;
            self.tally.done_since(self.now().saturating_sub(due));
            self.tally.last = Instant::now();
        }
    }
}
