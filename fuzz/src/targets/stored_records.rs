//! Records as a damaged disk may hold them: keys, accounts, tokens, links, grants, clients.
//!
//! What must hold: they are read as something whole, or refused.

use gateway::account::record::{
    ClaimRecord, DeviceRecord, DeviceTokenRecord, UserRecord, parse_claim_key, parse_device_key,
    parse_token_key, parse_user_key,
};
use gateway::authorization::edit::Edit;
use gateway::directory::Directory;
use gateway::store::{Key, StoreKey, Table};

use crate::bounded;

/// One input: the length of a key, the key, the value.
pub fn run(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(len).min(rest.len()));
    if let Ok(key) = bounded(key.len(), || Key::parse(key)) {
        assert_eq!(Key::new(key.partition(), key.table(), key.rest()), key);
    }
    let _ =
        (parse_device_key(key), parse_token_key(key), parse_claim_key(key), parse_user_key(key));
    let _ = bounded(value.len(), || UserRecord::from_bytes(value));
    let _ = bounded(value.len(), || ClaimRecord::from_bytes(value));
    let _ = bounded(value.len(), || DeviceTokenRecord::from_bytes(value));
    let _ =
        bounded(value.len(), || DeviceRecord::from_bytes(value).map(DeviceRecord::into_account));
    if let Ok(directory) = bounded(value.len(), || Directory::from_stored(value)) {
        look_at(&directory);
    }
    let store_key = StoreKey::from_bytes([1; 32]);
    for table in
        [Table::Grant, Table::AuthorizationCode, Table::Client, Table::Login, Table::SigningKey]
    {
        let _ = bounded(data.len(), || Edit::from_stored(&store_key, table, key, value));
    }
}

/// Everything of an archive that was found sound can be looked at.
fn look_at(directory: &Directory) {
    let mut bytes = directory.name().map_or(0, str::len);
    for link in directory.links() {
        bytes += link.href().len() + link.before_endpoint().len() + link.after_endpoint().0.len();
        bytes += link.resource_types().map(str::len).sum::<usize>();
        bytes += link.interfaces().map(str::len).sum::<usize>();
        let _ = (link.instance(), link.ttl(), link.policy(), link.anchor());
        assert!(directory.link(link.href()).is_some());
    }
    assert!(bytes < usize::MAX / 2);
    let _ = directory.to_record();
}
