//! The records of accounts, links, claims, tokens, grants and subscriptions as tables.

use std::collections::{BTreeMap, BTreeSet};

use gateway::account::record::{
    ClaimRecord, DeviceRecord, DeviceTokenRecord, parse_claim_key, parse_device_key,
    parse_token_key,
};
use gateway::account::{Account, record};
use gateway::authorization::codes::Code;
use gateway::authorization::edit::Edit;
use gateway::authorization::grants::Grant;
use gateway::directory::Directory;
use gateway::store::{Batch, Table};
use shared::ids::{DeviceId, GrantId, SubscriptionId, UserId};

use super::outboxes::Outboxes;
use crate::simulation::cloud::STORE_KEY;
use crate::simulation::verdict::Invariant;

const READABLE: &str = "the gateway writes records that it can read";

#[derive(Clone, Default)]
pub(in crate::simulation) struct Records {
    pub(super) accounts: BTreeMap<(UserId, DeviceId), Account>,
    /// Hrefs in their order.
    pub(super) links: BTreeMap<(UserId, DeviceId), Vec<String>>,
    pub(super) claims: BTreeMap<DeviceId, UserId>,
    pub(super) tokens: BTreeMap<[u8; 32], (UserId, DeviceTokenRecord)>,
    pub(super) outboxes: Outboxes,
    pub(super) codes: BTreeMap<[u8; 32], Code>,
    pub(super) grants: BTreeMap<GrantId, Grant>,
    registered: BTreeSet<UserId>,
}

impl Records {
    /// Carries a batch out. Returns the users whom it is about.
    pub(super) fn apply(&mut self, batch: &Batch) -> BTreeSet<UserId> {
        let mut users = BTreeSet::new();
        for write in batch.writes() {
            let (rest, value) = (write.key.rest(), write.value.as_deref());
            match write.key.table() {
                Table::Device => {
                    let key = parse_device_key(rest).expect(READABLE);
                    users.insert(key.0);
                    let account =
                        value.map(|value| DeviceRecord::from_bytes(value).expect(READABLE));
                    set(&mut self.accounts, key, account.map(DeviceRecord::into_account));
                }
                Table::Directory => {
                    let key = parse_device_key(rest).expect(READABLE);
                    users.insert(key.0);
                    set(&mut self.links, key, value.map(hrefs));
                }
                Table::Claim => {
                    let key = parse_claim_key(rest).expect(READABLE);
                    let claim = value.map(|value| ClaimRecord::from_bytes(value).expect(READABLE));
                    set(&mut self.claims, key, claim.map(|claim| claim.user));
                }
                Table::DeviceToken => {
                    let (user, digest) = parse_token_key(rest).expect(READABLE);
                    let token =
                        value.map(|value| DeviceTokenRecord::from_bytes(value).expect(READABLE));
                    set(&mut self.tokens, digest, token.map(|token| (user, token)));
                }
                Table::User => {
                    self.registered.insert(record::parse_user_key(rest).expect(READABLE));
                }
                Table::Grant => {
                    let id = rest[16..].try_into().map(GrantId::from_bytes).expect(READABLE);
                    let edit = value.and_then(|value| edit(Table::Grant, rest, value));
                    let grant = edit.and_then(|edit| match edit {
                        Edit::PutGrant(_, grant) => Some(grant),
                        _ => None,
                    });
                    set(&mut self.grants, id, grant);
                }
                Table::AuthorizationCode => {
                    let digest = rest[16..].try_into().expect(READABLE);
                    let edit = value.and_then(|value| edit(Table::AuthorizationCode, rest, value));
                    let code = edit.and_then(|edit| match edit {
                        Edit::PutCode(_, code) => Some(code),
                        _ => None,
                    });
                    set(&mut self.codes, digest, code);
                }
                Table::Subscription | Table::Outbox | Table::Progress | Table::ToldOnline => {
                    users.insert(self.outboxes.write(write));
                }
                _ => {}
            }
        }
        self.outboxes.settle(&users);
        users
    }

    /// What these users' subscribers have been told, or are going to be, is what is stored. Nobody who
    /// does not want it is told.
    pub(super) fn check_told(
        &self,
        users: &BTreeSet<UserId>,
        is_unwanted: impl Fn(SubscriptionId) -> bool,
    ) -> Result<(), (Invariant, String)> {
        for &user in users {
            let links = |device| self.links.get(&(user, device)).cloned().unwrap_or_default();
            let devices = self.devices_of(user);
            let untrue = self.outboxes.find_untrue(user, &devices, links, &is_unwanted);
            if let Some(seen) = untrue {
                return Err((Invariant::EventsComplete, seen));
            }
        }
        Ok(())
    }

    /// Every account of the batch has a claim that names its user, and no device has two users.
    pub(super) fn check_owners(&self, batch: &Batch) -> Result<(), (Invariant, String)> {
        for write in batch.writes() {
            let device = match write.key.table() {
                Table::Device => parse_device_key(write.key.rest()).expect(READABLE).1,
                Table::Claim => parse_claim_key(write.key.rest()).expect(READABLE),
                _ => continue,
            };
            let owners: Vec<UserId> = self
                .accounts
                .keys()
                .filter(|(_, of)| *of == device)
                .map(|(user, _)| *user)
                .collect();
            if let [one, other, ..] = owners[..] {
                return Err((Invariant::OneOwner, format!("{device} has users {one} and {other}")));
            }
            if let [owner] = owners[..]
                && self.claims.get(&device) != Some(&owner)
            {
                let seen =
                    format!("{device} of {owner} is claimed by {:?}", self.claims.get(&device));
                return Err((Invariant::OneOwner, seen));
            }
        }
        Ok(())
    }

    /// All who have something.
    pub(super) fn users(&self) -> BTreeSet<UserId> {
        let owners = self.accounts.keys().map(|(user, _)| *user);
        owners.chain(self.registered.iter().copied()).collect()
    }

    /// Who has a device.
    pub(in crate::simulation) fn owner(&self, device: DeviceId) -> Option<UserId> {
        self.accounts.keys().find(|(_, of)| *of == device).map(|(user, _)| *user)
    }

    /// How many subscriptions a user has.
    pub(in crate::simulation) fn subscriptions_of(&self, user: UserId) -> usize {
        self.outboxes.of_user(user).filter(|(_, outbox)| outbox.asked.is_some()).count()
    }

    /// The device ids of a user, in their order.
    pub(super) fn devices_of(&self, user: UserId) -> Vec<DeviceId> {
        self.range(&self.accounts, user).map(|(device, _)| device).collect()
    }

    /// The hrefs that a device has published.
    pub(in crate::simulation) fn hrefs_of(&self, user: UserId, device: DeviceId) -> &[String] {
        self.links.get(&(user, device)).map_or(&[], Vec::as_slice)
    }

    /// The links of a user as `/<device id>/<href>`, in the order of discovery.
    pub(super) fn links_of(&self, user: UserId) -> Vec<String> {
        let of_devices = self.range(&self.links, user);
        of_devices
            .flat_map(|(di, hrefs)| hrefs.iter().map(move |href| format!("/{di}{href}")))
            .collect()
    }

    fn range<'a, T>(
        &self,
        table: &'a BTreeMap<(UserId, DeviceId), T>,
        user: UserId,
    ) -> impl Iterator<Item = (DeviceId, &'a T)> + use<'a, T> {
        let first = (user, DeviceId::from_bytes([0; 16]));
        let last = (user, DeviceId::from_bytes([0xff; 16]));
        table.range(first..=last).map(|((_, device), value)| (*device, value))
    }
}

fn set<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(table.insert(key, value)),
        None => drop(table.remove(&key)),
    }
}

fn edit(table: Table, key: &[u8], value: &[u8]) -> Option<Edit> {
    Edit::from_stored(&STORE_KEY, table, key, value).expect(READABLE)
}

fn hrefs(value: &[u8]) -> Vec<String> {
    let directory = Directory::from_stored(value).expect(READABLE);
    directory.links().map(|link| link.href().to_owned()).collect()
}
