//! What users have granted to OAuth clients, and the cloud's records of clients, logins and signing
//! keys (design: identity; cloud reference 3).
//!
//! ```text
//! user's partition   codes ── redeemed ──► grants ── refresh tokens, derived from the store key
//! partition 0        registry: clients, logins, signing keys
//! ```
//!
//! [`codes`] and [`grants`] decide what a presented code or token is good for, [`registry`] keeps the
//! cloud's records, [`edit`] is every change of all of them, as it is written and as it is made. What
//! follows from a decision is done in `shard`. The protocol itself (HTTP, JSON, JWT, pages) is `api`'s.

pub mod codes;
pub mod edit;
pub mod grants;
pub mod refresh_token;
pub mod registry;

use codes::Codes;
use edit::Edit;
use grants::Grants;
use registry::Registry;

/// The tables of a shard.
#[derive(Default)]
pub struct Authorization {
    /// Codes of this shard's users.
    pub codes: Codes,
    /// Grants of this shard's users.
    pub grants: Grants,
    /// The cloud's records; empty but on the shard of partition 0.
    pub registry: Registry,
}

impl Authorization {
    /// Makes a change that is durable.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::PutCode(digest, code) => self.codes.put(digest, code),
            Edit::RemoveCode(_, digest) => self.codes.remove(&digest),
            Edit::PutGrant(id, grant) => self.grants.put(id, grant),
            Edit::RemoveGrant(_, id) => self.grants.remove(id),
            Edit::PutClient(client) => self.registry.put_client(client),
            Edit::RemoveClient(id) => self.registry.remove_client(&id),
            Edit::PutLogin(login) => self.registry.put_login(login),
            Edit::RemoveLogin(name) => self.registry.remove_login(&name),
            Edit::PutSigningKey(key, _) => self.registry.put_signing_key(key),
            Edit::RemoveSigningKey(id) => self.registry.remove_signing_key(&id),
        }
    }
}
