//! Commands of Mediators: users, single-use tokens, removal of devices (design: identity).

use shared::channel::events::EventsCommand;
use shared::channel::message::{
    Command, CommandEnvelope, Failure, OutstandingToken, Reply, Subject,
};
use shared::ids::{DeviceId, UserId};
use shared::placement::PartitionId;

use super::Shard;
use super::claims::{ClaimOutcome, Takeover};
use super::input::{ChannelId, PeerMessage};
use super::staging::{Change, Gate, Remover, Waiter};
use super::transactions::Transaction;
use crate::account::record::{self, DeviceTokenRecord};
use crate::account::token;
use crate::command::{Caller, ReplyTo};
use crate::seeded::{Bug, is_planted};

/// Expired tokens that are removed in one commit.
const EXPIRED_AT_ONCE: usize = 256;

impl Shard {
    /// An `api` process asks for something.
    pub(super) fn on_command(&mut self, channel: ChannelId, envelope: CommandEnvelope) {
        let CommandEnvelope { request, patience_ms, subject, command } = envelope;
        self.counters.commands += 1;
        let to = ReplyTo { channel, request };
        if let Err(failure) = self.check_subject(subject) {
            return self.answer(to, Reply::Failed(failure));
        }
        let (command, user, grant) = match (command, subject) {
            (Command::Events(EventsCommand::Deliver), Subject::Partition(_)) => {
                return self.on_courier(to);
            }
            (Command::Events(EventsCommand::EndClient { client }), Subject::Partition(_)) => {
                return self.end_client(to, &client);
            }
            (Command::ReadFigures, Subject::Partition(_)) => {
                let figures = Box::new(self.figures());
                return self.answer(to, Reply::Figures(figures));
            }
            (
                Command::Events(EventsCommand::ListSubscriptions { after, client }),
                Subject::Partition(_),
            ) => {
                let page = self.events.subscriptions.page(after, client.as_deref());
                return self.answer(to, page);
            }
            (Command::Authorization(command), subject) => {
                return self.on_authorization_command(to, subject, command);
            }
            (Command::Registry(command), Subject::Partition(PartitionId::CLOUD)) => {
                return self.on_registry_command(to, command);
            }
            (Command::Registry(_) | Command::ReadFigures, _) | (_, Subject::Partition(_)) => {
                return self.answer(to, Reply::Failed(Failure::WrongShard));
            }
            (command, Subject::User { user, grant }) => (command, user, grant),
        };
        let patience = std::time::Duration::from_millis(u64::from(patience_ms));
        let patience = patience.min(self.router.timers.request);
        let caller = Caller { channel, request, user, until: self.now.instant + patience };
        match self.router.command(caller, command) {
            Some(Command::Events(command)) => self.on_events_command(caller, grant, command),
            Some(command) => self.on_account_command(caller, command),
            None => {}
        }
    }

    /// Whether a command is this shard's, and nobody has forbidden it.
    fn check_subject(&self, subject: Subject) -> Result<(), Failure> {
        let shard = match subject {
            Subject::User { user, .. } => self.placement.shard_of_user(user),
            Subject::Partition(partition) => self.placement.shard_of(partition),
        };
        if shard != self.id {
            return Err(Failure::WrongShard);
        }
        match subject {
            Subject::User { user, grant: Some(grant) }
                if !self.authorization.grants.is_live(user, grant, self.now.unix)
                    && !is_planted(Bug::RevokedGrantsAreGood) =>
            {
                Err(Failure::GrantRevoked)
            }
            _ => Ok(()),
        }
    }

    /// The commands that change accounts.
    pub(super) fn on_account_command(&mut self, caller: Caller, command: Command) {
        let user = caller.user;
        if matches!(command, Command::DeleteUser) {
            let to = ReplyTo { channel: caller.channel, request: caller.request };
            return self.delete_user(to, user);
        }
        // Nothing begins for somebody who leaves.
        if self.departures.has(user) {
            return self.fail(caller, Failure::Overloaded);
        }
        let gate = match &command {
            Command::RegisterMediator => Gate::User(user),
            Command::RemoveDevice { device } => Gate::Account(user, *device),
            Command::ListDeviceTokens => return self.list_tokens(caller),
            Command::IssueDeviceToken { device } => return self.issue_token(caller, *device),
            Command::ListDevices { .. }
            | Command::ReadDevice { .. }
            | Command::Retrieve { .. }
            | Command::Update { .. }
            | Command::DeleteUser
            | Command::Authorization(_)
            | Command::Registry(_)
            | Command::Events(_)
            | Command::ReadFigures => {
                unreachable!("these commands are carried out elsewhere")
            }
        };
        if self.staging.is_closed(gate) {
            if self.staging.wait(gate, Waiter::Command(caller, command)).is_err() {
                self.fail(caller, Failure::Overloaded);
            }
            return;
        }
        if self.check_commits().is_err() {
            return self.fail(caller, Failure::Overloaded);
        }
        match command {
            Command::RemoveDevice { device } => self.remove_device(caller, device),
            _ => self.register_user(caller, gate),
        }
    }

    pub(super) fn fail(&mut self, caller: Caller, failure: Failure) {
        self.router.reply(caller.channel, caller.request, Reply::Failed(failure));
    }

    fn register_user(&mut self, caller: Caller, gate: Gate) {
        let known = self.router.accounts.user(caller.user);
        if known.is_some_and(|key| self.router.accounts[key].registered) {
            return self.router.reply(caller.channel, caller.request, Reply::Done);
        }
        self.staging.close(gate);
        let write = record::put_user(caller.user, self.now.unix);
        self.commit([write], Change::User { user: caller.user, caller }, Some(gate));
    }

    fn issue_token(&mut self, caller: Caller, device: Option<DeviceId>) {
        match device {
            // Who may take devices over may have tokens for them; otherwise it is asked first
            // whether somebody else has the device.
            Some(device) if !self.takeover_allowed() => {
                let transaction = Transaction::DeviceToken { caller, device };
                let transaction = u64::from(self.transactions.insert(transaction).index());
                let takeover = Takeover::Inquiry;
                let (to, user) = (self.placement.shard_of_device(device), caller.user);
                self.tell(to, PeerMessage::Claim { transaction, device, user, takeover });
            }
            device => self.make_token(caller, device),
        }
    }

    /// The shard of the device id has said whether somebody else has the device.
    pub(super) fn on_device_inquired(
        &mut self,
        caller: Caller,
        device: DeviceId,
        outcome: ClaimOutcome,
    ) {
        match outcome {
            ClaimOutcome::Granted => self.make_token(caller, Some(device)),
            ClaimOutcome::OwnedByAnother => self.fail(caller, Failure::OwnedByAnother),
            ClaimOutcome::Unavailable => self.fail(caller, Failure::StoreUnavailable),
        }
    }

    fn make_token(&mut self, caller: Caller, device: Option<DeviceId>) {
        let user = caller.user;
        let most = self.router.limits.single_use_tokens_per_user_max;
        let outstanding = self.device_tokens.of_user(user).take(most).count();
        let leaves = self.departures.has(user);
        if leaves || outstanding >= most || self.check_commits().is_err() {
            return self.fail(caller, Failure::Overloaded);
        }
        let mut random = [0; 32];
        self.random.fill(&mut random);
        let token = token::single_use(user, &random);
        let digest = token::digest(&token);
        let expires_in_secs = self.settings.cloud.single_use_token.as_secs();
        let expires = self.now.unix.plus_secs(expires_in_secs).0;
        let record = DeviceTokenRecord { device, expires };
        let write = record::put_device_token(user, &digest, &record);
        let reply = Reply::DeviceToken { token, expires_in_secs };
        self.commit([write], Change::Token { user, digest, record, caller, reply }, None);
    }

    fn list_tokens(&mut self, caller: Caller) {
        let now = self.now.unix.0;
        let tokens = self.device_tokens.of_user(caller.user);
        let live = tokens.filter(|(_, record)| record.expires > now);
        let list = live.map(|(_, record)| OutstandingToken {
            device: record.device,
            expires_in_secs: record.expires - now,
        });
        let reply = Reply::DeviceTokens(list.collect());
        self.router.reply(caller.channel, caller.request, reply);
    }

    /// A lost or sold device: its tokens, its account, its links and its session end.
    fn remove_device(&mut self, caller: Caller, device: DeviceId) {
        let user = caller.user;
        let tokens = self.device_tokens.of_user(user);
        let tokens: Vec<_> = tokens
            .filter(|(_, record)| record.device == Some(device))
            .map(|(digest, _)| *digest)
            .collect();
        let owned = self.router.accounts.device_of_user(user, device).is_some();
        if !owned && tokens.is_empty() {
            return self.fail(caller, Failure::NoSuchDevice);
        }
        self.staging.close(Gate::Account(user, device));
        self.commit_removal(user, device, Remover::Command(caller), tokens);
    }

    /// Removes expired single-use tokens, some at a time.
    pub(super) fn expire_device_tokens(&mut self) {
        if self.expiring || self.check_commits().is_err() {
            return;
        }
        let expired: Vec<(UserId, [u8; 32])> =
            self.device_tokens.expired(self.now.unix).take(EXPIRED_AT_ONCE).collect();
        if expired.is_empty() {
            return;
        }
        self.expiring = true;
        let writes: Vec<_> = expired
            .iter()
            .map(|(user, digest)| record::delete_device_token(*user, digest))
            .collect();
        let digests = expired.into_iter().map(|(_, digest)| digest).collect();
        self.commit(writes, Change::TokensExpired(digests), None);
    }
}
