//! The records of the whole cloud, on the shard of partition 0: clients, logins, signing keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use shared::channel::authorization::{ClientRecord, LoginRecord, SigningKey};
use shared::channel::message::Failure;

use crate::limits::{CLIENTS_MAX, LOGINS_MAX, REGISTRY_RECORD_BYTES_MAX};

/// Bytes after which a page of records ends, well below a message of the shard channel.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// What a record takes besides its texts.
const OVERHEAD_BYTES: usize = 128;

/// Keys that are kept: one to come, the one that signs, and the one before.
const SIGNING_KEYS_KEPT: usize = 3;

/// A record that has a name and changes as a whole.
pub trait Record: Clone {
    /// How many there may be.
    const MAX: usize;

    /// What it is found under.
    fn key(&self) -> &str;

    /// Rises with every change.
    fn revision(&self) -> u64;

    /// What it takes in memory and on a page, roughly.
    fn bytes(&self) -> usize;
}

impl Record for ClientRecord {
    const MAX: usize = CLIENTS_MAX;

    fn key(&self) -> &str {
        &self.id
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn bytes(&self) -> usize {
        let lists = self.redirect_uris.iter().chain(&self.events_hosts);
        let lists = lists.map(|text| text.len() + 24).sum::<usize>();
        let texts = [&self.id, &self.name, &self.contact, &self.authorities];
        let texts = texts.into_iter().map(String::len).sum::<usize>();
        OVERHEAD_BYTES + lists + texts + self.secrets.len() * 64
    }
}

impl Record for LoginRecord {
    const MAX: usize = LOGINS_MAX;

    fn key(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.name.len() + self.password_hash.len()
    }
}

/// Records of one kind, by name.
pub struct Records<R>(BTreeMap<String, R>);

impl<R> Default for Records<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Record> Records<R> {
    /// The record of this name.
    pub fn get(&self, name: &str) -> Option<&R> {
        self.0.get(name)
    }

    /// A page of records behind a name, and whether there are more.
    pub fn page(&self, after: Option<&str>) -> (Vec<R>, bool) {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind =
            self.0.range::<str, _>((begin, Bound::Unbounded)).map(|(_, record)| record);
        let (mut page, mut bytes) = (Vec::new(), 0);
        for record in behind.by_ref() {
            bytes += record.bytes();
            page.push(record.clone());
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        (page, behind.next().is_some())
    }

    /// Whether a record may be put where there is one of this revision, or none.
    pub fn check(&self, record: &R, replaces: Option<u64>) -> Result<(), Failure> {
        if record.bytes() > REGISTRY_RECORD_BYTES_MAX {
            return Err(Failure::RecordTooLarge);
        }
        let known = self.get(record.key()).map(Record::revision);
        let rises = replaces.is_none_or(|replaced| record.revision() > replaced);
        if known != replaces || !rises {
            return Err(Failure::RecordChanged);
        }
        if known.is_none() && self.0.len() >= R::MAX {
            return Err(Failure::Overloaded);
        }
        Ok(())
    }
}

/// All of them.
#[derive(Default)]
pub struct Registry {
    /// Partner clouds and apps.
    pub clients: Records<ClientRecord>,
    /// How users log in.
    pub logins: Records<LoginRecord>,
    /// The newest first.
    signing_keys: Vec<SigningKey>,
}

impl Registry {
    /// Adds a client, or replaces it.
    pub fn put_client(&mut self, client: ClientRecord) {
        self.clients.0.insert(client.id.clone(), client);
    }

    /// Takes a client out.
    pub fn remove_client(&mut self, id: &str) {
        self.clients.0.remove(id);
    }

    /// Adds a login, or replaces it.
    pub fn put_login(&mut self, login: LoginRecord) {
        self.logins.0.insert(login.name.clone(), login);
    }

    /// Takes a login out.
    pub fn remove_login(&mut self, name: &str) {
        self.logins.0.remove(name);
    }

    /// The keys, the newest first.
    pub fn signing_keys(&self) -> &[SigningKey] {
        &self.signing_keys
    }

    /// Adds a key.
    pub fn put_signing_key(&mut self, key: SigningKey) {
        self.remove_signing_key(&key.id);
        self.signing_keys.push(key);
        self.signing_keys.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    }

    /// Takes a key out.
    pub fn remove_signing_key(&mut self, id: &str) {
        self.signing_keys.retain(|key| key.id != id);
    }

    /// The keys that are not needed any more once there is another one.
    pub fn superseded_keys(&self) -> impl Iterator<Item = &SigningKey> {
        self.signing_keys.iter().skip(SIGNING_KEYS_KEPT - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::UserId;

    fn login(name: &str, revision: u64) -> LoginRecord {
        LoginRecord {
            name: name.into(),
            revision,
            user: UserId::from_bytes([1; 16]),
            password_hash: String::new(),
            enabled: true,
            created: 1,
        }
    }

    #[test]
    fn a_record_is_only_put_where_the_caller_thinks_it_is() {
        let mut registry = Registry::default();
        let check = |registry: &Registry, record: &LoginRecord, replaces| {
            registry.logins.check(record, replaces)
        };
        assert_eq!(check(&registry, &login("a", 1), None), Ok(()));
        assert_eq!(check(&registry, &login("a", 2), Some(1)), Err(Failure::RecordChanged));
        registry.put_login(login("a", 1));
        assert_eq!(check(&registry, &login("a", 1), None), Err(Failure::RecordChanged));
        assert_eq!(check(&registry, &login("a", 2), Some(1)), Ok(()));
        assert_eq!(check(&registry, &login("a", 1), Some(1)), Err(Failure::RecordChanged));
        let long = LoginRecord { password_hash: "x".repeat(100_000), ..login("b", 1) };
        assert_eq!(check(&registry, &long, None), Err(Failure::RecordTooLarge));
    }

    #[test]
    fn pages_end_and_go_on_where_they_ended() {
        let mut registry = Registry::default();
        for nth in 0..3000 {
            registry.put_login(login(&format!("user{nth:04}"), 1));
        }
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let (page, more) = registry.logins.page(after.as_deref());
            assert!(page.iter().map(Record::bytes).sum::<usize>() < 2 * PAGE_BYTES_MAX);
            after = page.last().map(|login| login.name.clone());
            seen.extend(page.into_iter().map(|login| login.name));
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), 3000);
        assert!(seen.is_sorted());
    }

    #[test]
    fn the_newest_key_comes_first_and_the_third_oldest_goes() {
        let mut registry = Registry::default();
        for created in [2, 1, 3] {
            let key = SigningKey { id: format!("k{created}"), created, pkcs8: vec![] };
            registry.put_signing_key(key);
        }
        let ids: Vec<_> = registry.signing_keys().iter().map(|key| &*key.id).collect();
        assert_eq!(ids, ["k3", "k2", "k1"]);
        let gone: Vec<_> = registry.superseded_keys().map(|key| &*key.id).collect();
        assert_eq!(gone, ["k1"], "a new one and two are kept");
    }
}
