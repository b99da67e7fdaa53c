//! Every change of the tables of this area: as it is written, and back from what was written.

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::channel::authorization::{ClientRecord, LoginRecord, SigningKey};
use shared::ids::{GrantId, UserId};
use shared::placement::PartitionId;

use super::codes::Code;
use super::grants::Grant;
use crate::account::record::UnreadableRecord;
use crate::store::{Key, NotOurs, SEAL_NONCE_BYTES, StoreKey, Table, Write};

const SIGNING_PURPOSE: &str = "access token signing keys";

/// One change.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A code exists, or has another state.
    PutCode([u8; 32], Code),
    /// A code is forgotten.
    RemoveCode(UserId, [u8; 32]),
    /// A grant exists, or has another state.
    PutGrant(GrantId, Grant),
    /// A grant has ended.
    RemoveGrant(UserId, GrantId),
    /// A client exists, or is another one.
    PutClient(ClientRecord),
    /// A client is gone.
    RemoveClient(String),
    /// A login exists, or is another one.
    PutLogin(LoginRecord),
    /// A login is gone.
    RemoveLogin(String),
    /// A key exists; with it what the store keeps of it.
    PutSigningKey(SigningKey, Vec<u8>),
    /// A key is forgotten.
    RemoveSigningKey(String),
}

impl Edit {
    /// A new key, encrypted for the store. `nonce` is random.
    pub fn put_signing_key(
        store_key: &StoreKey,
        nonce: [u8; SEAL_NONCE_BYTES],
        key: SigningKey,
    ) -> Self {
        let mut plain = key.created.to_be_bytes().to_vec();
        plain.extend_from_slice(&key.pkcs8);
        let sealed = store_key.seal(SIGNING_PURPOSE, key.id.as_bytes(), nonce, &plain);
        Self::PutSigningKey(key, sealed)
    }

    /// How it is written.
    pub fn write(&self) -> Write {
        match self {
            Self::PutCode(digest, code) => {
                Write { key: code_key(code.user, digest), value: Some(to_bytes(code)) }
            }
            Self::RemoveCode(user, digest) => Write { key: code_key(*user, digest), value: None },
            Self::PutGrant(id, grant) => {
                Write { key: grant_key(grant.user, *id), value: Some(to_bytes(grant)) }
            }
            Self::RemoveGrant(user, id) => Write { key: grant_key(*user, *id), value: None },
            Self::PutClient(client) => {
                Write { key: named_key(Table::Client, &client.id), value: Some(to_bytes(client)) }
            }
            Self::RemoveClient(id) => Write { key: named_key(Table::Client, id), value: None },
            Self::PutLogin(login) => {
                Write { key: named_key(Table::Login, &login.name), value: Some(to_bytes(login)) }
            }
            Self::RemoveLogin(name) => Write { key: named_key(Table::Login, name), value: None },
            Self::PutSigningKey(key, sealed) => {
                Write { key: signing_key_key(&key.id), value: Some(sealed.clone()) }
            }
            Self::RemoveSigningKey(id) => Write { key: signing_key_key(id), value: None },
        }
    }

    /// The change that leads from nothing to a stored record; none for a table of another area.
    pub fn from_stored(
        store_key: &StoreKey,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Self>, UnreadableRecord> {
        let edit = match table {
            Table::Grant => {
                let id = key.get(16..).and_then(|id| id.try_into().ok()).ok_or(UnreadableRecord)?;
                Self::PutGrant(GrantId::from_bytes(id), from_bytes(value)?)
            }
            Table::AuthorizationCode => {
                let digest = key.get(16..).and_then(|digest| digest.try_into().ok());
                Self::PutCode(digest.ok_or(UnreadableRecord)?, from_bytes(value)?)
            }
            Table::Client => Self::PutClient(from_bytes(value)?),
            Table::Login => Self::PutLogin(from_bytes(value)?),
            Table::SigningKey => {
                let unsealed = store_key.unseal(SIGNING_PURPOSE, key, value);
                let plain = unsealed.map_err(|NotOurs| UnreadableRecord)?;
                let (created, pkcs8) = plain.split_first_chunk().ok_or(UnreadableRecord)?;
                let id = String::from_utf8(key.to_vec()).map_err(|_| UnreadableRecord)?;
                let created = u64::from_be_bytes(*created);
                let key = SigningKey { id, created, pkcs8: pkcs8.to_vec() };
                Self::PutSigningKey(key, value.to_vec())
            }
            _ => return Ok(None),
        };
        Ok(Some(edit))
    }
}

fn code_key(user: UserId, digest: &[u8; 32]) -> Key {
    let parts: [&[u8]; 2] = [user.as_bytes(), digest];
    Key::of_parts(PartitionId::of_user(user), Table::AuthorizationCode, &parts)
}

fn grant_key(user: UserId, id: GrantId) -> Key {
    let parts: [&[u8]; 2] = [user.as_bytes(), id.as_bytes()];
    Key::of_parts(PartitionId::of_user(user), Table::Grant, &parts)
}

fn named_key(table: Table, name: &str) -> Key {
    Key::new(PartitionId::CLOUD, table, &digest(name))
}

fn signing_key_key(id: &str) -> Key {
    Key::new(PartitionId::CLOUD, Table::SigningKey, id.as_bytes())
}

/// What stands for a name in keys and gates.
pub fn digest(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

fn to_bytes<R>(record: &R) -> Vec<u8>
where
    R: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
{
    rkyv::to_bytes::<rancor::Error>(record).expect("writing to memory cannot fail").into_vec()
}

fn from_bytes<R>(bytes: &[u8]) -> Result<R, UnreadableRecord>
where
    R: Archive,
    R::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>
        + Deserialize<R, HighDeserializer<rancor::Error>>,
{
    rkyv::from_bytes::<R, rancor::Error>(bytes).map_err(|_| UnreadableRecord)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::scope::Scopes;

    fn client() -> ClientRecord {
        ClientRecord {
            id: "partner".into(),
            revision: 3,
            name: "Partner Cloud".into(),
            contact: String::new(),
            secrets: vec![],
            redirect_uris: vec!["https://partner.example/cb".into()],
            scopes: Scopes::READ,
            introspects: false,
            authorities: String::new(),
            events_hosts: Vec::new(),
            enabled: true,
            created: 1,
        }
    }

    fn edits(store_key: &StoreKey) -> Vec<Edit> {
        let user = UserId::from_bytes([1; 16]);
        let grant = Grant {
            user,
            client: "partner".into(),
            scopes: Scopes::READ,
            created: 1,
            generation: 2,
            renewed: 3,
        };
        let code = Code {
            user,
            client: "partner".into(),
            redirect_uri: "https://partner.example/cb".into(),
            scopes: Scopes::READ,
            challenge: None,
            expires: 60,
            redeemed: None,
        };
        let login = LoginRecord {
            name: "anna".into(),
            revision: 1,
            user,
            password_hash: "$argon2id$".into(),
            enabled: true,
            created: 1,
        };
        let key = SigningKey { id: "kid".into(), created: 5, pkcs8: vec![0x5e; 70] };
        vec![
            Edit::PutGrant(GrantId::from_bytes([2; 16]), grant),
            Edit::PutCode([4; 32], code),
            Edit::PutClient(client()),
            Edit::PutLogin(login),
            Edit::put_signing_key(store_key, [6; 12], key),
        ]
    }

    #[test]
    fn what_was_written_leads_to_the_same_change() {
        let store_key = StoreKey::from_bytes([3; 32]);
        for edit in edits(&store_key) {
            let write = edit.write();
            let (table, value) = (write.key.table(), write.value.unwrap());
            let read = Edit::from_stored(&store_key, table, write.key.rest(), &value).unwrap();
            assert_eq!(format!("{:?}", read.unwrap()), format!("{edit:?}"));
            let damaged = &value[..2];
            assert!(Edit::from_stored(&store_key, table, write.key.rest(), damaged).is_err());
        }
    }

    #[test]
    fn a_signing_key_is_encrypted_at_rest() {
        let store_key = StoreKey::from_bytes([3; 32]);
        let write = edits(&store_key).pop().unwrap().write();
        let value = write.value.unwrap();
        assert!(!value.windows(8).any(|window| window == [0x5e; 8]));
        let other = StoreKey::from_bytes([4; 32]);
        assert!(Edit::from_stored(&other, Table::SigningKey, b"kid", &value).is_err());
    }
}
