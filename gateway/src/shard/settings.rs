//! What the operator decides for a shard, beside bounds and timers.

use std::time::Duration;

use crate::config::Cloud;
use crate::directory::discovery::Endpoint;
use crate::shard::{Budgets, Listener};

/// What the operator decides.
pub struct Settings {
    /// Who the cloud is, and how long its tokens live.
    pub cloud: Cloud,
    /// Endpoints in discovered links, one for every listening address; at least one.
    pub endpoints: Vec<Endpoint>,
    /// How long a session can be resumed; zero for never.
    pub ticket_lifetime: Duration,
    /// Connections of this shard, signed in or not.
    pub connections_max: usize,
    /// How many may come at a time.
    pub budgets: Budgets,
}

impl Settings {
    /// The endpoint that clients of this listening address are told.
    pub fn endpoint(&self, listener: Option<Listener>) -> &Endpoint {
        let at = listener.map_or(0, |listener| usize::from(listener.0));
        self.endpoints.get(at).unwrap_or(&self.endpoints[0])
    }
}
