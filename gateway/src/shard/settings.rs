//! What the operator decides for a shard, beside bounds and timers.

use crate::account::rights::Lifetime;
use crate::directory::discovery::Endpoint;
use crate::shard::Listener;

/// What the operator decides.
pub struct Settings {
    /// The `authprovider` that devices may name.
    pub provider: String,
    /// How long tokens of devices live whose certificate proves their id.
    pub lifetime_bound: Lifetime,
    /// How long tokens of other devices live.
    pub lifetime_unbound: Lifetime,
    /// How long single-use tokens live, in seconds.
    pub single_use_secs: u64,
    /// A token that was issued for a device moves it away from another user, even if its certificate
    /// does not prove its id.
    pub takeover_allowed: bool,
    /// Endpoints in discovered links, one for every listening address; at least one.
    pub endpoints: Vec<Endpoint>,
}

impl Settings {
    /// The endpoint that clients of this listening address are told.
    pub fn endpoint(&self, listener: Option<Listener>) -> &Endpoint {
        let at = listener.map_or(0, |listener| usize::from(listener.0));
        self.endpoints.get(at).unwrap_or(&self.endpoints[0])
    }
}
