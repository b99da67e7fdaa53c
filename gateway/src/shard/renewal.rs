//! Another certificate, other anchors, newer revocation lists, without a restart (design: identity).

use super::Shard;
use crate::connection::tls::Acceptor;
use crate::connection::{CloseReason, ConnectionId};

impl Shard {
    /// New handshakes are done by the new rules; who is in and is not trusted any more is cut off.
    pub(super) fn on_renewed(&mut self, acceptor: Acceptor) {
        self.acceptor.renew(acceptor);
        let connections: Vec<_> = self.router.wire.connections.iter().map(|(id, _)| id).collect();
        for id in connections {
            self.check_trust(id);
        }
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
