//! Devices that tell changes to whoever observes their lights: a change is done when it has arrived at
//! the receiver of events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::Result;
use benches::messages::{self, Asked};
use benches::receiver;
use rustls::ServerConfig;
use shared::coap::{Observe, ResponseType, Token};

use crate::engine::Engine;
use crate::observing::DEVICE;
use crate::peer::{Observation, Stage};

impl Engine {
    /// From now on devices tell changes instead of asking for anything.
    pub(crate) fn receive_events(
        &mut self,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<()> {
        let (sender, arrivals) = channel();
        let doorbell = self.doorbell();
        self.arrivals = Some(arrivals);
        receiver::start(address, tls, move |arrival| {
            // Nobody takes it when the process ends.
            if sender.send(arrival).is_ok() {
                doorbell.ring();
            }
        })
    }

    /// The server asks a device: everything is its light.
    pub(crate) fn on_request(&mut self, peer: u32, token: Token, observe: Option<Observe>) {
        let mut answer = Vec::with_capacity(128);
        match observe {
            Some(Observe::Register) if self.tells_changes(peer) => {
                self.peers[peer as usize].observation = Some(Observation { token, sequence: 1 });
                messages::notification(&mut answer, token, 1, 0);
            }
            _ => messages::answer(&mut answer, ResponseType::Content, token, &messages::light()),
        }
        self.say(peer, &[&answer]);
    }

    /// Whether a device tells of its changes.
    fn tells_changes(&self, peer: u32) -> bool {
        self.arrivals.is_some() || (self.asked == Asked::Observed && peer == DEVICE)
    }

    /// Appends a device's notification of the change with this number.
    pub(crate) fn write_change(&mut self, peer: u32, number: u64, out: &mut Vec<u8>) {
        if let Some(observation) = &mut self.peers[peer as usize].observation {
            observation.sequence += 1;
            messages::notification(out, observation.token, observation.sequence, number);
        }
    }

    /// Changes have arrived. One that nobody waits for any more comes again, or is the state in which
    /// an observation has begun.
    pub(crate) fn take_arrivals(&mut self) {
        while let Some(arrival) = self.arrivals.as_ref().and_then(|all| all.try_recv().ok()) {
            let Some(peer) = arrival.device.checked_sub(self.first) else { continue };
            let Some(state) = self.peers.get(peer as usize) else { continue };
            if state.stage == Stage::Asking && state.token == arrival.number {
                self.on_done(peer, self.nanos_at(arrival.at));
            }
        }
    }
}
