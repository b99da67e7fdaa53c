//! Filling a shard from the store, before it serves anybody.

use shared::placement::PartitionId;

use super::Shard;
use crate::account::record::{
    self, ClaimRecord, DeviceRecord, DeviceTokenRecord, UnreadableRecord, UserRecord,
};
use crate::authorization::edit::Edit;
use crate::connection::tickets::TicketKey;
use crate::directory::Directory;
use crate::events::record::{self as event_record, OutboxRecord, ProgressRecord};
use crate::seeded::{Bug, is_planted};
use crate::store::{Key, Table};

impl Shard {
    /// Takes one record of a partition of this shard, in the order of the store's keys. Records of
    /// areas that this shard does not have are left to them.
    pub fn load(
        &mut self,
        partition: PartitionId,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), UnreadableRecord> {
        debug_assert_eq!(self.placement.shard_of(partition), self.id);
        match table {
            Table::User => {
                UserRecord::from_bytes(value)?;
                let user = self.router.accounts.user_or_new(record::parse_user_key(key)?);
                self.router.accounts[user].registered = true;
            }
            Table::Device => {
                let (user, device) = record::parse_device_key(key)?;
                let account = DeviceRecord::from_bytes(value)?.into_account();
                self.router.accounts.put_device(user, device, account);
            }
            Table::Directory if is_planted(Bug::LinksAreNotLoaded) => {}
            Table::Directory => {
                let (user, device) = record::parse_device_key(key)?;
                let directory = Directory::from_stored(value)?;
                let key = self.router.accounts.device_of_user(user, device);
                // Devices come before directories; links without a device were left by no version.
                let key = key.ok_or(UnreadableRecord)?;
                self.expiries.update(key, Some(&directory), |_| true, false, self.now.instant);
                self.router.accounts[key].directory = Some(directory);
            }
            Table::Claim => {
                let device = record::parse_claim_key(key)?;
                self.claims.load(device, ClaimRecord::from_bytes(value)?.user);
            }
            Table::DeviceToken => {
                let (user, digest) = record::parse_token_key(key)?;
                self.device_tokens.insert(user, digest, DeviceTokenRecord::from_bytes(value)?);
            }
            Table::Departure => {
                UserRecord::from_bytes(value)?;
                self.departures.load(record::parse_user_key(key)?, self.now.instant);
            }
            Table::TicketKey => {
                let key = TicketKey::from_stored(&self.store_key, key, value)?;
                self.ticketing.load(key);
            }
            Table::Grant
            | Table::AuthorizationCode
            | Table::Client
            | Table::Login
            | Table::SigningKey => {
                if let Some(edit) = Edit::from_stored(&self.store_key, table, key, value)? {
                    self.authorization.apply(edit);
                }
            }
            Table::Subscription | Table::Outbox | Table::Progress | Table::ToldOnline => {
                self.load_events(partition, table, key, value)?;
            }
            Table::Meta | Table::Representation => {}
        }
        Ok(())
    }

    fn load_events(
        &mut self,
        partition: PartitionId,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), UnreadableRecord> {
        let events = &mut self.events;
        events.loaded = true;
        if table == Table::ToldOnline {
            let (user, device) = record::parse_device_key(key)?;
            events.told_online.insert((user, device));
            return Ok(());
        }
        let (_, id, position) = event_record::parse_key(key)?;
        if table == Table::Subscription {
            let read = event_record::read_subscription(key, value, &self.store_key)?;
            events.subscriptions.insert(read);
            return Ok(());
        }
        // Subscriptions come before their outboxes. Where one was refused or has ended while something
        // was on its way to it, that is left.
        let Some(subscription) = events.subscriptions.get_mut(id) else {
            events.orphans.push(Key::new(partition, table, key));
            return Ok(());
        };
        match position {
            Some(position) => {
                let record = OutboxRecord::from_bytes(value)?;
                subscription.load_event(position, record, value.len());
                if !subscription.listens() {
                    events.subscriptions.unwatch(id);
                }
            }
            None => subscription.load_progress(&ProgressRecord::from_bytes(value)?),
        }
        Ok(())
    }
}
