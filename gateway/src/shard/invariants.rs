//! What holds between any two inputs; swept after each one in debug builds.

use super::Shard;
use crate::connection::Phase;
use crate::session::Session;

impl Shard {
    /// Nobody is connected and nothing is under way: nothing is left but what the store has. Says
    /// which table has something left.
    pub fn check_at_rest(&self) -> Result<(), &'static str> {
        let router = &self.router;
        let tables = [
            (router.wire.connections.len(), "connections"),
            (router.exchanges.len(), "exchanges"),
            (router.observations.len().0, "observations on devices"),
            (router.observations.len().1, "observers"),
            (router.gathers.len(), "lists being gathered"),
            (router.asked.size().0, "requests that may be answered in blocks"),
            (router.wire.transfers.size().0, "peers with transfers in blocks"),
            (router.unanswered.len(), "requests without an answer"),
            (self.link_observers.len(), "observers of links"),
            (self.transactions.len(), "sign-ups waiting for a claim"),
            (self.claims.under_way(), "claims under way"),
            (self.staging.len(), "commits under way"),
            (self.staging.gates(), "closed gates"),
            (self.repairs.len(), "connections with something to mend"),
            (self.pacing.waiting(), "connections that wait"),
            (self.admission.waiting(), "handshakes"),
            (self.events.starting.len(), "subscriptions waiting for changes before them"),
            (self.events.couriers.under_way(), "notifications being delivered"),
            (self.events.leases.len(), "leases of notifications"),
            (self.events.telling.len(), "users of whom something is being told"),
            (self.events.told_next.len(), "devices that are told of next"),
        ];
        match tables.into_iter().find(|(len, _)| *len > 0) {
            Some((_, table)) => Err(table),
            None => Ok(()),
        }
    }

    /// Panics when a table disagrees with another one.
    pub fn check_invariants(&self) {
        let accounts = &self.router.accounts;
        let mut sessions = 0;
        for (id, connection) in self.router.wire.connections.iter() {
            if let Session::SignedIn(who) = connection.session {
                sessions += 1;
                let device = accounts.find_device(who.device()).expect("a session has a device");
                assert_eq!(device.connection, Some(id), "a device is signed in on its session");
                assert_eq!(device.user, who.user(), "a session's user owns the device");
                assert_eq!(connection.phase, Phase::SignedIn);
                assert!(connection.settled, "who is signed in never moves");
            } else {
                assert!(connection.exchanges.is_none(), "only devices with a session are asked");
                assert!(connection.observations.is_none(), "only sessions observe");
                assert_ne!(connection.phase, Phase::SignedIn);
            }
        }
        assert_eq!(self.counters.sessions, sessions, "sessions are counted");
        for (key, device) in accounts.devices() {
            assert!(accounts[device.user].devices.contains(&key), "a device is its user's");
            if let Some(id) = device.connection {
                let connection = self.router.wire.connections.get(id);
                let connection = connection.expect("a device's connection exists");
                assert!(
                    matches!(connection.session, Session::SignedIn(who) if who.device() == key)
                );
            } else {
                assert_eq!(device.traffic.in_flight, 0, "nothing is asked of who is offline");
                assert!(device.traffic.upstreams.is_none(), "nobody observes who is offline");
            }
        }
        assert!(self.router.unanswered.is_empty(), "nobody is left without an answer");
    }
}
