//! Keys of session tickets: made by the shard of partition 0, used by all.

use std::time::Duration;

use shared::ids::ShardId;
use shared::placement::PartitionId;
use shared::time::Instant;

use super::Shard;
use super::input::PeerMessage;
use super::staging::Change;
use crate::connection::tickets::{TicketKey, TicketKeys};
use crate::store::{Key, Table, Write};

/// How often it is looked whether a new key is due.
const LOOK: Duration = Duration::from_secs(60);

/// What a shard knows of ticket keys.
#[derive(Default)]
pub(super) struct Ticketing {
    keys: TicketKeys,
    /// Keys that were loaded and are forgotten with the next new one.
    stale: Vec<TicketKey>,
    /// When it is looked again; none on shards that make no keys.
    next_look: Option<Instant>,
    /// The other shards have been told the keys that were loaded.
    told: bool,
    committing: bool,
}

impl Ticketing {
    /// A key that was stored.
    pub(super) fn load(&mut self, key: TicketKey) {
        self.stale.extend(self.keys.add(key));
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next_look
    }
}

fn partition() -> PartitionId {
    PartitionId::new(0).expect("there is a first partition")
}

fn store_key_of(key: &TicketKey) -> Key {
    Key::new(partition(), Table::TicketKey, key.id())
}

impl Shard {
    /// Begins to look after ticket keys, if this shard is the one that does.
    pub(super) fn start_ticketing(&mut self) {
        let is_ours = self.placement.shard_of(partition()) == self.id;
        if is_ours && !self.settings.ticket_lifetime.is_zero() {
            self.ticketing.next_look = Some(self.now.instant);
        }
    }

    /// Makes a new key when the newest one has made tickets for long enough.
    pub(super) fn renew_ticket_key(&mut self) {
        let now = self.now.instant;
        if self.ticketing.next_look.is_none_or(|at| at > now) {
            return;
        }
        self.ticketing.next_look = Some(now + LOOK);
        if !self.ticketing.told {
            self.ticketing.told = true;
            self.tell_ticket_keys();
        }
        let lifetime = self.settings.ticket_lifetime;
        if self.ticketing.committing || !self.ticketing.keys.needs_new(lifetime, self.now.unix) {
            return;
        }
        let (mut id, mut secret, mut nonce) = ([0; 8], [0; 32], [0; 12]);
        self.random.fill(&mut id);
        self.random.fill(&mut secret);
        self.random.fill(&mut nonce);
        let key = TicketKey::new(id, secret, self.now.unix);
        let mut keys = self.ticketing.keys.clone();
        let forgotten = keys.add(key.clone());
        let stale = std::mem::take(&mut self.ticketing.stale);
        let deletes = forgotten.iter().chain(&stale);
        let deletes = deletes.map(|key| Write { key: store_key_of(key), value: None });
        let value = Some(key.to_stored(&self.store_key, nonce));
        let put = Write { key: store_key_of(&key), value };
        let writes: Vec<_> = deletes.chain([put]).collect();
        self.ticketing.committing = true;
        self.commit(writes, Change::TicketKey(key), None);
    }

    /// A new key is durable: from now on all shards make tickets with it.
    pub(super) fn ticket_key_committed(&mut self, key: TicketKey, done: bool) {
        self.ticketing.committing = false;
        if done {
            self.ticketing.keys.add(key);
            self.tell_ticket_keys();
        }
    }

    fn tell_ticket_keys(&mut self) {
        for shard in (0..self.placement.shards()).map(ShardId) {
            let keys = self.ticketing.keys.clone();
            self.tell(shard, PeerMessage::TicketKeys(keys));
        }
    }

    /// The keys from now on.
    pub(super) fn on_ticket_keys(&mut self, keys: &TicketKeys) {
        self.acceptor.use_ticket_keys(keys, self.settings.ticket_lifetime);
    }
}
