//! What must be so when everything has calmed down.

use shared::channel::events::Target;
use shared::ids::DeviceId;

use super::asked::{Target as Observed, Value};
use super::events::Subscribed;
use super::outboxes::is_complete;
use crate::simulation::network::Link;
use crate::simulation::peer::HREFS;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

/// Notifications that the slowest receiver is told while everybody waits for the last of them.
const AT_ONCE_MAX: usize = 10;

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

    /// Whether some subscription has notifications to go out, and they do go out. A slow receiver gets
    /// its time, and one that gets nothing is no reason to wait.
    pub(in crate::simulation) fn is_telling(&mut self) -> bool {
        let outboxes = self.model.acknowledged.outboxes.of_users.values();
        let standing = outboxes.filter(|outbox| outbox.asked.is_some());
        let (mut told, mut has_more) = (0, false);
        for outbox in standing {
            told += outbox.done;
            has_more |= !outbox.waiting.is_empty();
        }
        let before = std::mem::replace(&mut self.told, told);
        has_more && told != before
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
                    Observed::Resource { of, href, version } => {
                        self.babbles(*of) || self.peers[*of].resources[*href].version == *version
                    }
                    Observed::Links(known) => {
                        self.model.views.since(user, self.settled, |view| view.links == *known)
                    }
                };
                if !latest {
                    let seen = format!("link {number} has an old state: {observing:?}");
                    return self.fail(Invariant::LatestState, seen);
                }
            }
        }
        self.check_told_of_present();
        self.check_facts();
    }

    /// Notifications that a receiver has not been told yet.
    fn waits_for(&self, known: &Subscribed) -> usize {
        let outboxes = &self.model.acknowledged.outboxes.of_users;
        let outbox = known.id.and_then(|id| outboxes.get(&(self.users[known.user], id)));
        outbox.map_or(0, |outbox| outbox.waiting.len())
    }

    /// Whether a device has begun a message that is none: all that it says is the rest of it.
    fn babbles(&self, peer: usize) -> bool {
        let link = self.peers[peer].link;
        link.is_some_and(|link| self.links[link].babbles)
    }

    /// Subscribers know who is online, and the representations of those who are.
    fn check_told_of_present(&mut self) {
        let wrong = self.current_receivers().find_map(|(number, known)| {
            let user = known.user;
            // A slow one has the rest of its time when nobody makes news any more.
            if self.waits_for(known) > AT_ONCE_MAX {
                return None;
            }
            let untold = match &known.asked.target {
                // Somebody's token has expired in this moment.
                Target::Devices if known.heard > self.settled_at => return None,
                Target::Devices => {
                    let mut devices = self.peers.iter().map(|peer| peer.di);
                    devices.find(|device| {
                        let online = known.told.online.contains(device);
                        self.steadily_online(user, *device).is_some_and(|(is, _)| is != online)
                    })?
                }
                Target::Resource(device, href) => {
                    let Some((true, peer)) = self.steadily_online(user, *device) else {
                        return None;
                    };
                    if self.babbles(peer) {
                        return None;
                    }
                    let at = HREFS.iter().position(|known| known == href)?;
                    let value = known.told.content.as_deref().and_then(Value::parse);
                    let latest = self.peers[peer].resources[at].version;
                    let knows = value.is_some_and(|it| (it.peer, it.version) == (peer, latest));
                    (!knows).then_some(*device)?
                }
                Target::Device(_) => return None,
            };
            Some(format!("subscription {number}, {:?}: {untold}: {:?}", known.asked, known.told))
        });
        if let Some(seen) = wrong {
            self.fail(Invariant::EventsComplete, seen);
        }
    }

    /// The subscriptions that stand, and whose receivers have refused nothing.
    fn current_receivers(&self) -> impl Iterator<Item = (usize, &Subscribed)> {
        let outboxes = &self.model.acknowledged.outboxes.of_users;
        self.model.receivers.all.iter().enumerate().filter(|(_, known)| {
            let outbox = known.id.and_then(|id| outboxes.get(&(self.users[known.user], id)));
            let stands = outbox.is_some_and(|it| it.asked.is_some() && it.ending.is_none());
            // Nothing is owed to a receiver that has said 410, though its subscription may come back
            // when the process dies before the store has taken its end.
            stands && !known.has_gaps && !known.unwanted && is_complete(&known.asked)
        })
    }

    /// Whether a device is online, and which peer it is; none if that has changed lately.
    fn steadily_online(&self, user: usize, device: DeviceId) -> Option<(bool, usize)> {
        let of_device = |link: &&Link| {
            link.user == user && self.peers[link.peer].di == device && link.signed_in.is_some()
        };
        let links = || self.links.iter().filter(of_device);
        if let Some(link) = links().find(|link| link.is_open()) {
            let since = link.signed_in.filter(|since| *since <= self.settled_at);
            return since.map(|_| (true, link.peer));
        }
        let lately = |link: &Link| link.closed.is_none_or(|at| at > self.settled_at);
        (!links().any(lately)).then_some((false, 0))
    }

    /// Nobody is connected: nothing is left but what the records say.
    pub(in crate::simulation) fn check_rest(&mut self) {
        self.check_all_told();
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
            let outboxes = self.model.acknowledged.outboxes.of_users.iter();
            let subscriptions = outboxes.filter(|((user, _), outbox)| {
                outbox.asked.is_some() && placement.shard_of_user(*user).index() == node
            });
            let subscriptions = subscriptions.count();
            let expected = (0, devices, subscriptions);
            if (sizes.connections, sizes.devices, sizes.subscriptions) != expected {
                let seen = format!("shard {node} at rest: {sizes:?}, not {expected:?}");
                return self.fail(Invariant::Bounded, seen);
            }
        }
    }

    /// Everything that subscribers had to be told they have been told: nobody is online, and what is
    /// stored is what they know.
    fn check_all_told(&mut self) {
        let records = &self.model.acknowledged;
        // What belongs to no subscription is removed at the next start, if the store refuses to before.
        let waits = records
            .outboxes
            .of_users
            .iter()
            .find(|(_, outbox)| outbox.asked.is_some() && !outbox.waiting.is_empty());
        if let Some(((user, id), outbox)) = waits {
            let (count, first) = (outbox.waiting.len(), outbox.waiting.values().next());
            let seen = format!("{id} of {user} still has {count}, the first is {first:?}");
            return self.fail(Invariant::EventsComplete, seen);
        }
        let wrong = self.current_receivers().find(|(_, known)| {
            let (user, told) = (self.users[known.user], &known.told);
            match &known.asked.target {
                Target::Devices => {
                    told.devices.iter().ne(&records.devices_of(user)) || !told.online.is_empty()
                }
                Target::Device(device) => {
                    let links = records.links.get(&(user, *device)).into_iter().flatten();
                    told.links != links.cloned().collect()
                }
                Target::Resource(..) => false,
            }
        });
        if let Some((number, known)) = wrong {
            let seen = format!("subscription {number}, {:?}, knows {:?}", known.asked, known.told);
            self.fail(Invariant::EventsComplete, seen);
        }
    }
}
