//! Filling a shard from the store, before it serves anybody.

use shared::placement::PartitionId;

use super::Shard;
use crate::account::record::{
    self, ClaimRecord, DeviceRecord, DeviceTokenRecord, UnreadableRecord, UserRecord,
};
use crate::authorization::edit::Edit;
use crate::connection::tickets::TicketKey;
use crate::directory::Directory;
use crate::seeded::{Bug, is_planted};
use crate::store::Table;

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
            Table::Meta | Table::Representation | Table::Subscription | Table::Outbox => {}
        }
        Ok(())
    }
}
