//! Another certificate, other anchors, newer revocation lists, without a restart (design: identity).

use super::Shard;
use crate::connection::tls::Acceptor;
use crate::connection::{CloseReason, ConnectionId};

/// Slots that are looked at in one go: half a millisecond, so that nobody waits for a reload.
const SLOTS_PER_TICK: u32 = 2048;

impl Shard {
    /// New handshakes are done by the new rules; who is in and is not trusted any more is cut off, with
    /// the ticks that follow.
    pub(super) fn on_renewed(&mut self, acceptor: Acceptor) {
        self.acceptor.renew(acceptor);
        self.renewing = Some(0);
    }

    /// Looks whether some more of those who were in before the last renewal are still trusted.
    pub(super) fn go_on_renewing(&mut self) {
        let Some(first) = self.renewing else { return };
        let slots = self.router.wire.connections.slots();
        let behind = first.saturating_add(SLOTS_PER_TICK).min(slots);
        for slot in first..behind {
            if let Some(id) = self.router.wire.connections.occupant(slot) {
                self.check_trust(id);
            }
        }
        self.renewing = (behind < slots).then_some(behind);
    }

    /// Ends a connection whose peer is not trusted any more. Costs no signature.
    pub(super) fn check_trust(&mut self, id: ConnectionId) {
        let connection = self.router.wire.connections.get(id);
        let verified = connection.and_then(|connection| connection.identity.as_deref());
        if verified.is_some_and(|it| !self.acceptor.is_trusted(it, self.now.unix)) {
            self.finish(id, CloseReason::Distrusted);
        }
    }
}
