//! The cloud's own records on the shard of partition 0: clients, logins, signing keys.

use shared::channel::authorization::{RegistryCommand, SigningKey};
use shared::channel::message::{Failure, Reply};

use super::Shard;
use super::staging::{Gate, Waiter};
use crate::authorization::edit::{Edit, digest};
use crate::command::ReplyTo;
use crate::limits::REGISTRY_RECORD_BYTES_MAX;
use crate::store::{KEY_REST_BYTES_MAX, SEAL_NONCE_BYTES};

impl Shard {
    /// A command about the cloud's records.
    pub(super) fn on_registry_command(&mut self, to: ReplyTo, command: RegistryCommand) {
        if let Some(gate) = gate_of(&command).filter(|gate| self.staging.is_closed(*gate)) {
            if self.staging.wait(gate, Waiter::Registry(to, command)).is_err() {
                self.answer(to, Reply::Failed(Failure::Overloaded));
            }
            return;
        }
        if self.check_commits().is_err() {
            return self.answer(to, Reply::Failed(Failure::Overloaded));
        }
        let gate = gate_of(&command);
        match self.register(command) {
            Ok((edits, reply)) if edits.is_empty() => self.answer(to, reply),
            Ok((edits, reply)) => {
                self.commit_edits(edits, gate.into_iter().collect(), Some((to, reply)));
            }
            Err(failure) => self.answer(to, Reply::Failed(failure)),
        }
    }

    /// What a command changes, and the answer to it.
    fn register(&mut self, command: RegistryCommand) -> Result<(Vec<Edit>, Reply), Failure> {
        let registry = &self.authorization.registry;
        let found = |reply| Ok((Vec::new(), reply));
        match command {
            RegistryCommand::ReadClient { id } => {
                let client = registry.clients.get(&id).ok_or(Failure::NoSuchRecord)?;
                found(Reply::Client(client.clone()))
            }
            RegistryCommand::ListClients { after } => {
                let (clients, more) = registry.clients.page(after.as_deref());
                found(Reply::Clients { clients, more })
            }
            RegistryCommand::PutClient { client, replaces } => {
                registry.clients.check(&client, replaces)?;
                Ok((vec![Edit::PutClient(client)], Reply::Done))
            }
            RegistryCommand::RemoveClient { id } => {
                registry.clients.get(&id).ok_or(Failure::NoSuchRecord)?;
                Ok((vec![Edit::RemoveClient(id)], Reply::Done))
            }
            RegistryCommand::ReadLogin { name } => {
                let login = registry.logins.get(&name).ok_or(Failure::NoSuchRecord)?;
                found(Reply::Login(login.clone()))
            }
            RegistryCommand::ListLogins { after } => {
                let (logins, more) = registry.logins.page(after.as_deref());
                found(Reply::Logins { logins, more })
            }
            RegistryCommand::PutLogin { login, replaces } => {
                registry.logins.check(&login, replaces)?;
                Ok((vec![Edit::PutLogin(login)], Reply::Done))
            }
            RegistryCommand::RemoveLogin { name } => {
                registry.logins.get(&name).ok_or(Failure::NoSuchRecord)?;
                Ok((vec![Edit::RemoveLogin(name)], Reply::Done))
            }
            RegistryCommand::ReadSigningKeys => {
                found(Reply::SigningKeys(registry.signing_keys().to_vec()))
            }
            RegistryCommand::AddSigningKey { key, newest } => self.add_signing_key(key, newest),
        }
    }

    /// Several processes of `api` may find at the same time that a key is due: the first one counts.
    fn add_signing_key(
        &mut self,
        key: SigningKey,
        newest: Option<String>,
    ) -> Result<(Vec<Edit>, Reply), Failure> {
        let registry = &self.authorization.registry;
        let keys = registry.signing_keys();
        if keys.first().map(|key| &key.id) != newest.as_ref() {
            return Ok((Vec::new(), Reply::SigningKeys(keys.to_vec())));
        }
        if key.id.len() > KEY_REST_BYTES_MAX || key.pkcs8.len() > REGISTRY_RECORD_BYTES_MAX {
            return Err(Failure::RecordTooLarge);
        }
        let superseded: Vec<_> = registry.superseded_keys().map(|key| key.id.clone()).collect();
        let kept = keys.iter().filter(|key| !superseded.contains(&key.id));
        let reply = Reply::SigningKeys([&key].into_iter().chain(kept).cloned().collect());
        let mut nonce = [0; SEAL_NONCE_BYTES];
        self.random.fill(&mut nonce);
        let put = Edit::put_signing_key(&self.store_key, nonce, key);
        let removed = superseded.into_iter().map(Edit::RemoveSigningKey);
        Ok((removed.chain([put]).collect(), reply))
    }
}

/// The record that a command reads or changes.
fn gate_of(command: &RegistryCommand) -> Option<Gate> {
    match command {
        RegistryCommand::ListClients { .. } | RegistryCommand::ListLogins { .. } => None,
        RegistryCommand::ReadClient { id } | RegistryCommand::RemoveClient { id } => {
            Some(Gate::Client(digest(id)))
        }
        RegistryCommand::PutClient { client, .. } => Some(Gate::Client(digest(&client.id))),
        RegistryCommand::ReadLogin { name } | RegistryCommand::RemoveLogin { name } => {
            Some(Gate::Login(digest(name)))
        }
        RegistryCommand::PutLogin { login, .. } => Some(Gate::Login(digest(&login.name))),
        RegistryCommand::ReadSigningKeys | RegistryCommand::AddSigningKey { .. } => {
            Some(Gate::SigningKeys)
        }
    }
}
