//! The gateway is stopping: every peer is told, nobody new is let in.
//!
//! The Releases are spread over some time, because devices are back within two seconds (device
//! reference 2.5).

use std::time::Duration;

use shared::coap::signal;
use shared::time::Instant;

use super::Shard;
use crate::connection::close::Closing;
use crate::connection::signaling::SIGNAL_TOKEN;
use crate::connection::{CloseReason, ConnectionId, Phase};
use crate::limits::FLUSH;

/// Those who are still to be told.
pub(super) struct Drain {
    /// The next one last.
    waiting: Vec<ConnectionId>,
    /// Between two of them.
    step: Duration,
    next: Instant,
    /// How long all of it takes, in seconds: who is told should stay away for as long.
    over_secs: u32,
}

impl Drain {
    /// When the next one is told; none when all were.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    fn pop(&mut self, now: Instant) -> Option<ConnectionId> {
        if self.next > now {
            return None;
        }
        let id = self.waiting.pop()?;
        self.next = self.next + self.step;
        Some(id)
    }
}

impl Shard {
    /// Begins to tell all peers, spread over so many seconds.
    pub(super) fn on_drain(&mut self, over_secs: u32) {
        let mut waiting: Vec<_> = self.router.wire.connections.iter().map(|(id, _)| id).collect();
        waiting.reverse();
        let count = u32::try_from(waiting.len().max(1)).unwrap_or(u32::MAX);
        let step = Duration::from_secs(over_secs.into()) / count;
        self.drain = Some(Drain { waiting, step, next: self.now.instant, over_secs });
    }

    /// Whether the gateway is stopping.
    pub(super) fn is_stopping(&self) -> bool {
        self.drain.is_some()
    }

    /// Tells those whose turn it is.
    pub(super) fn drain_some(&mut self) {
        let now = self.now.instant;
        while let Some(id) = self.drain.as_mut().and_then(|drain| drain.pop(now)) {
            self.release(id);
        }
    }

    /// A connection has come from another shard, or could not go there: it is told next.
    pub(super) fn drain_too(&mut self, id: ConnectionId) {
        if let Some(drain) = &mut self.drain {
            drain.waiting.push(id);
        }
    }

    fn release(&mut self, id: ConnectionId) {
        let Some(connection) = self.router.wire.connections.get(id) else { return };
        let hold_off = self.drain.as_ref().map(|drain| drain.over_secs).filter(|&secs| secs > 0);
        match connection.phase {
            Phase::Open { .. } | Phase::SignedIn => {
                self.router.wire.write(id, |out| {
                    let text = "the cloud is restarting";
                    signal::write_release(out, SIGNAL_TOKEN, None, hold_off, text);
                });
                self.close_after(id, CloseReason::Stopping, FLUSH, false);
            }
            // Under way already: it is told where it arrives.
            Phase::Moving { .. } if connection.is_gone() => {}
            Phase::Handshake { .. } | Phase::Moving { .. } => {
                self.end(id, CloseReason::Stopping, Closing::Reset);
            }
            Phase::Closing { .. } => {}
        }
    }
}
