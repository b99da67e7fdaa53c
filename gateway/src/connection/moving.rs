//! A connection on its way to the shard of its user.
//!
//! It takes everything that belongs to it: TLS, what the peer has proved and announced, and the text
//! that was received and not processed, with the request that named the user in front, and bodies of
//! which some blocks have come. Its exchanges,
//! observations and session do not move, because it has none before it is signed in.

use std::net::SocketAddr;

use super::{Connection, ConnectionId, PeerCapabilities, Phase, Unprocessed, tls};
use crate::blockwise::transfers::Upload;
use crate::config::Timers;
use crate::identity::Verified;
use crate::session::Session;
use crate::shard::Listener;
use shared::record::Records;
use shared::time::Instant;

/// The data of a connection between two shards. The descriptor travels beside it.
pub struct Moving {
    transport: tls::Transport,
    identity: Option<Box<Verified>>,
    peer: SocketAddr,
    listener: Listener,
    capabilities: PeerCapabilities,
    input: Option<Box<Unprocessed>>,
    /// Bodies of which some blocks have come.
    uploads: Vec<Upload>,
    moves: u8,
    /// How much of the time to sign in is left goes by the clock of all shards.
    until: Instant,
    heard: Instant,
}

impl Moving {
    /// A connection whose handshake is over, done elsewhere: a simulation begins with keys that it
    /// knows, because a TLS library draws its own.
    pub fn established(
        records: Records,
        identity: Verified,
        peer: SocketAddr,
        listener: Listener,
        now: Instant,
        timers: &Timers,
    ) -> Self {
        Self {
            transport: tls::Transport::Records(records),
            identity: Some(Box::new(identity)),
            peer,
            listener,
            capabilities: PeerCapabilities::default(),
            input: None,
            uploads: Vec::new(),
            moves: 0,
            until: now + timers.first_request,
            heard: now,
        }
    }

    /// Takes a connection that has nothing to send apart.
    pub fn take(connection: &mut Connection, uploads: Vec<Upload>, until: Instant) -> Self {
        debug_assert!(connection.output.is_idle(), "it moves when everything is sent");
        debug_assert!(matches!(connection.session, Session::SignedOut));
        debug_assert!(connection.exchanges.is_none() && connection.observations.is_none());
        Self {
            transport: std::mem::replace(&mut connection.transport, tls::Transport::Gone),
            identity: connection.identity.take(),
            peer: connection.peer,
            listener: connection.listener,
            capabilities: connection.capabilities,
            input: connection.input.take(),
            uploads,
            moves: connection.moves + 1,
            until,
            heard: connection.heard,
        }
    }

    /// The bodies of which some blocks have come.
    pub fn take_uploads(&mut self) -> Vec<Upload> {
        std::mem::take(&mut self.uploads)
    }

    /// It could not go: that was no move.
    pub fn come_back(mut self, id: ConnectionId) -> Connection {
        self.moves -= 1;
        self.into_connection(id)
    }

    /// Puts it together again, in the slot that it has now.
    pub fn into_connection(self, id: ConnectionId) -> Connection {
        Connection {
            generation: id.generation,
            phase: Phase::Open { until: self.until },
            session: Session::SignedOut,
            transport: self.transport,
            identity: self.identity,
            peer: self.peer,
            listener: self.listener,
            capabilities: self.capabilities,
            output: super::send_buffer::Outgoing::default(),
            input: self.input,
            parked: false,
            settled: false,
            moves: self.moves,
            heard: self.heard,
            pinged: None,
            requests: 0,
            observations: None,
            observation_count: 0,
            exchanges: None,
        }
    }
}
