//! Accounts of this shard: its users, their devices, and who owns what.

use hashbrown::DefaultHashBuilder;
use shared::channel::figures::TableMemory;
use shared::ids::{DeviceId, UserId};
use shared::time::UnixTime;
use std::hash::BuildHasher;

use super::token::Origin;
use crate::connection::ConnectionId;
use crate::directory::Directory;
use crate::memory::Heap;
use crate::seeded::{Bug, is_planted};
use crate::slab::{Key, Slab};
use crate::split_index::SplitIndex;

/// Names a user of this shard.
pub type UserKey = Key<User>;

/// Names a device of this shard.
pub type DeviceKey = Key<Device>;

/// A user with at least one device, or one that a Mediator has registered.
pub struct User {
    /// `uid`.
    pub id: UserId,
    /// In ascending order of their ids.
    pub devices: Vec<DeviceKey>,
    /// Rises when the links of any of the devices change.
    pub links_version: u32,
    /// Whether the user is stored by itself, not only through devices.
    pub registered: bool,
}

/// The right of a device to its account: what its tokens are derived from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Drawn at sign-up.
    pub seed: [u8; 16],
    /// Counts the refreshes since.
    pub generation: u32,
    /// The refresh token of the generation before still counts: the answer with this one may have
    /// been lost. Ends with the first use of a token of this generation.
    pub previous_counts: bool,
    /// When the access token expires; never when none.
    pub expires: Option<UnixTime>,
    /// The sign-up that can be repeated.
    pub repeatable: Option<Box<Repeatable>>,
    /// SHA-256 of the public key that signed up.
    pub key_digest: [u8; 32],
    /// When it signed up.
    pub created: UnixTime,
}

/// A sign-up whose answer may have been lost (device reference 1.3, rule 12).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repeatable {
    /// Digest of the single-use token that it used.
    pub token_digest: [u8; 32],
    /// The same token is answered the same way until then, or until the first sign-in.
    pub until: UnixTime,
}

/// A device that has signed up.
pub struct Device {
    /// `di`.
    pub id: DeviceId,
    /// Whose it is.
    pub user: UserKey,
    /// Its tokens.
    pub account: Account,
    /// Its links, if it has published any.
    pub directory: Option<Directory>,
    /// The connection it is signed in on.
    pub connection: Option<ConnectionId>,
    /// Requests under way towards it, and what is kept while it is in use.
    pub traffic: crate::proxy::Traffic,
}

/// Users and devices of one shard.
#[derive(Default)]
pub struct Accounts {
    users: Slab<User>,
    devices: Slab<Device>,
    user_index: SplitIndex<UserKey>,
    device_index: SplitIndex<DeviceKey>,
    hasher: DefaultHashBuilder,
}

impl Accounts {
    /// The user with this id.
    pub fn user(&self, id: UserId) -> Option<UserKey> {
        self.user_index.find(self.hasher.hash_one(id), |&key| self.users[key].id == id).copied()
    }

    /// The device with this id, whoever owns it.
    pub fn device(&self, id: DeviceId) -> Option<DeviceKey> {
        let hash = self.hasher.hash_one(id);
        self.device_index.find(hash, |&key| self.devices[key].id == id).copied()
    }

    /// The device with this id, if it belongs to this user. The wall between users: every request
    /// for a device passes through it.
    pub fn device_of(&self, user: UserKey, id: DeviceId) -> Option<DeviceKey> {
        let foreign = is_planted(Bug::ForeignDevicesAnswer);
        self.device(id).filter(|&device| self.devices[device].user == user || foreign)
    }

    /// The same, for a user that may not exist.
    pub fn device_of_user(&self, user: UserId, id: DeviceId) -> Option<DeviceKey> {
        self.device_of(self.user(user)?, id)
    }

    /// The user with this id, added if it is new.
    pub fn user_or_new(&mut self, id: UserId) -> UserKey {
        if let Some(user) = self.user(id) {
            return user;
        }
        let user = User { id, devices: Vec::new(), links_version: 0, registered: false };
        let key = self.users.insert(user);
        let (users, hasher) = (&self.users, &self.hasher);
        let rehash = |&key: &UserKey| hasher.hash_one(users[key].id);
        self.user_index.insert(hasher.hash_one(id), key, rehash);
        key
    }

    /// Adds a device, or gives an existing one of the same user a new account. The device keeps its
    /// links then.
    pub fn put_device(&mut self, user: UserId, id: DeviceId, account: Account) -> DeviceKey {
        let owner = self.user_or_new(user);
        if let Some(device) = self.device(id) {
            debug_assert!(self.devices[device].user == owner, "no device ever has two users");
            self.devices[device].account = account;
            return device;
        }
        let traffic = crate::proxy::Traffic::default();
        let device =
            Device { id, user: owner, account, directory: None, connection: None, traffic };
        let key = self.devices.insert(device);
        let (devices, hasher) = (&self.devices, &self.hasher);
        let rehash = |&key: &DeviceKey| hasher.hash_one(devices[key].id);
        self.device_index.insert(hasher.hash_one(id), key, rehash);
        let list = &mut self.users[owner].devices;
        let at = list.partition_point(|&other| self.devices[other].id < id);
        list.insert(at, key);
        key
    }

    /// Takes a device out. A user who is then without devices, and was not registered, goes with it.
    pub fn remove_device(&mut self, key: DeviceKey) -> Option<Device> {
        let device = self.devices.remove(key)?;
        let hash = self.hasher.hash_one(device.id);
        self.device_index.remove(hash, |&other| other == key);
        let user = &mut self.users[device.user];
        user.devices.retain(|&other| other != key);
        user.links_version = user.links_version.wrapping_add(1);
        if !user.registered {
            let id = user.id;
            self.forget_user(id);
        }
        Some(device)
    }

    /// Takes a user out who has no devices left, registered or not.
    pub fn forget_user(&mut self, id: UserId) {
        let Some(key) = self.user(id).filter(|&key| self.users[key].devices.is_empty()) else {
            return;
        };
        let hash = self.hasher.hash_one(id);
        self.user_index.remove(hash, |&other| other == key);
        self.users.remove(key);
    }

    /// What the tokens of a device are derived from.
    pub fn origin(&self, key: DeviceKey) -> Origin {
        let device = &self.devices[key];
        Origin {
            user: self.users[device.user].id,
            device: device.id,
            seed: device.account.seed,
            generation: device.account.generation,
        }
    }

    /// Some of the devices, evenly spread over the table.
    pub fn some_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.some()
    }

    /// What users and devices occupy, without links and what belongs to traffic.
    pub fn memory(&self) -> Vec<TableMemory> {
        let (mut lists, mut users) = (Heap::default(), 0);
        for user in self.users.some() {
            let each = size_of::<DeviceKey>();
            lists.add(user.devices.len() * each, user.devices.capacity() * each);
            users += 1;
        }
        let (mut sign_ups, mut devices) = (Heap::default(), 0);
        for device in self.devices.some() {
            sign_ups.add_box(device.account.repeatable.as_deref());
            devices += 1;
        }
        vec![
            self.users.memory("users"),
            lists.extrapolated(users, self.users.len()).table("users.devices"),
            self.user_index.memory("users.index"),
            self.devices.memory("devices"),
            sign_ups.extrapolated(devices, self.devices.len()).table("devices.sign_ups"),
            self.device_index.memory("devices.index"),
        ]
    }

    /// Number of users.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Number of devices.
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// All devices, in no meaningful order.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceKey, &Device)> {
        self.devices.iter()
    }

    /// The device, if the key still has one.
    pub fn find_device(&self, key: DeviceKey) -> Option<&Device> {
        self.devices.get(key)
    }
}

impl std::ops::Index<UserKey> for Accounts {
    type Output = User;

    fn index(&self, key: UserKey) -> &User {
        &self.users[key]
    }
}

impl std::ops::IndexMut<UserKey> for Accounts {
    fn index_mut(&mut self, key: UserKey) -> &mut User {
        &mut self.users[key]
    }
}

impl std::ops::Index<DeviceKey> for Accounts {
    type Output = Device;

    fn index(&self, key: DeviceKey) -> &Device {
        &self.devices[key]
    }
}

impl std::ops::IndexMut<DeviceKey> for Accounts {
    fn index_mut(&mut self, key: DeviceKey) -> &mut Device {
        &mut self.devices[key]
    }
}
