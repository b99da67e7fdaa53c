//! What must be so when everything has calmed down.

use super::asked::Target;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

impl Simulation {
    /// Everybody who has something to get in with is in.
    pub(in crate::simulation) fn check_return(&mut self) {
        let out = self.peers.iter().enumerate().find(|(_, peer)| !peer.retired && !peer.got_in);
        if let Some((number, peer)) = out {
            let (session, has_account) = (peer.session, peer.stored.is_some());
            let seen = format!("peer {number} does not get in: {session:?}, account {has_account}");
            self.fail(Invariant::NoLockout, seen);
        }
    }

    /// Everybody has had all answers, and has seen the latest state.
    pub(in crate::simulation) fn check_latest(&mut self) {
        for number in 0..self.links.len() {
            let link = &self.links[number];
            if !link.is_open() {
                continue;
            }
            let patience = std::time::Duration::from_secs(60);
            let old = |asked: &&super::asked::Asked| self.instant.since(asked.at) > patience;
            // Behind half a message everything is its other half.
            if let Some(asked) = link.asked.values().find(old).filter(|_| !link.babbles) {
                let seen = format!("link {number}: {:?} has no answer", asked.what);
                return self.fail(Invariant::AnsweredOnce, seen);
            }
            let user = self.users[link.user];
            for observing in link.observing.values() {
                let latest = match &observing.target {
                    Target::Resource { of, href, version } => {
                        self.peers[*of].resources[*href].version == *version
                    }
                    Target::Links(known) => {
                        self.model.views.since(user, self.settled, |view| view.links == *known)
                    }
                };
                if !latest {
                    let seen = format!("link {number} has an old state: {observing:?}");
                    return self.fail(Invariant::LatestState, seen);
                }
            }
        }
        self.check_facts();
    }

    /// Nobody is connected: nothing is left but what the records say.
    pub(in crate::simulation) fn check_rest(&mut self) {
        let placement = self.cloud.placement;
        for node in 0..self.cloud.nodes.len() {
            let shard = &self.cloud.nodes[node].shard;
            if let Err(left) = shard.check_at_rest() {
                return self.fail(Invariant::Bounded, format!("shard {node} at rest: {left}"));
            }
            let sizes = shard.sizes();
            let accounts = self.model.acknowledged.accounts.keys();
            let devices =
                accounts.filter(|(user, _)| placement.shard_of_user(*user).index() == node).count();
            if (sizes.connections, sizes.devices) != (0, devices) {
                let seen = format!("shard {node} at rest: {sizes:?} for {devices} devices");
                return self.fail(Invariant::Bounded, seen);
            }
        }
    }
}
