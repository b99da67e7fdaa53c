//! Changes to the store and back: staged, committed, made.

use shared::channel::message::{Failure, Reply};

use super::Shard;
use super::input::{CommitId, Output};
use super::news::News;
use super::staging::{Change, Gate, Staged, Waiter};
use crate::limits::COMMITS_MAX;
use crate::reject::Reject;
use crate::store::{Batch, CommitOutcome, Write};

impl Shard {
    /// Writes a change. It is made when the commit is acknowledged.
    pub(super) fn commit(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
        change: Change,
        gates: impl IntoIterator<Item = Gate>,
    ) {
        self.commit_with(writes, change, gates, News::default());
    }

    /// Writes a change together with what it tells subscribers.
    pub(super) fn commit_with(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
        change: Change,
        gates: impl IntoIterator<Item = Gate>,
        news: News,
    ) {
        if let Some(requester) = change.requester() {
            self.router.wire.request_begun(requester.connection);
        }
        let gates = gates.into_iter().collect();
        let commit = self.staging.stage(change, gates, news.appended);
        let batch: Batch = writes.into_iter().chain(news.writes).collect();
        self.outputs.push_back(Output::Commit { commit, batch });
    }

    /// Whether one more change may be under way.
    pub(super) fn check_commits(&self) -> Result<(), Reject> {
        if self.staging.len() >= COMMITS_MAX {
            return Err(Reject::unavailable("too many changes under way"));
        }
        Ok(())
    }

    /// A commit has ended.
    pub(super) fn on_committed(&mut self, commit: CommitId, outcome: CommitOutcome) {
        let Some(Staged { change, gates, appended }) = self.staging.take(commit) else { return };
        let done = match outcome {
            CommitOutcome::Done => true,
            // An unknown outcome never gets here: the shell loads everything again by starting anew.
            CommitOutcome::Refused | CommitOutcome::Unknown => false,
        };
        if !done {
            self.counters.commits_refused += 1;
        }
        let waits = change.requester().map(|requester| requester.connection);
        self.make(change, done);
        self.news_committed(appended, done);
        if let Some(connection) = waits {
            self.router.wire.request_ended(connection);
        }
        for gate in gates {
            self.reopen(gate);
        }
        // A store that refuses is asked again after a while.
        if done {
            self.go_on_leaving();
        }
    }

    fn make(&mut self, change: Change, done: bool) {
        match change {
            Change::SignUp { user, device, account, token_digest, requester } => {
                if done {
                    self.device_tokens.remove(&token_digest);
                    let key = self.router.accounts.put_device(user, device, account);
                    self.signed_up(key, &requester);
                } else {
                    self.device_tokens.release(&token_digest);
                    self.refuse(&requester, &Reject::unavailable("try again"));
                }
            }
            Change::Refresh { device, account, requester } => {
                if done {
                    self.router.accounts[device].account = account;
                    self.answer_refresh(&requester, device);
                } else {
                    self.refuse(&requester, &Reject::unavailable("try again"));
                }
            }
            Change::Noted => {}
            Change::Links { device, directory, gone, requester, published } => {
                let links = (directory, gone);
                self.links_committed(device, links, &requester, published, done);
            }
            Change::Expired { device, directory, gone } => {
                if done {
                    self.set_links(device, directory, &gone, &[]);
                }
            }
            Change::Remove { user, device, tokens, by } => {
                self.removal_committed(user, device, &tokens, &by, done);
            }
            Change::Claim { claiming } => self.claim_committed(claiming, done),
            Change::Unclaim { device } => self.unclaim_committed(device, done),
            Change::Token { user, digest, record, caller, reply } => {
                if done {
                    self.device_tokens.insert(user, digest, record);
                }
                let reply = if done { reply } else { Reply::Failed(Failure::StoreUnavailable) };
                self.router.reply(caller.channel, caller.request, reply);
            }
            Change::TicketKey(key) => self.ticket_key_committed(key, done),
            Change::TokensExpired(digests) => {
                self.expiring = false;
                if done {
                    for digest in &digests {
                        self.device_tokens.remove(digest);
                    }
                }
            }
            Change::User { user, caller } => {
                if done {
                    let key = self.router.accounts.user_or_new(user);
                    self.router.accounts[key].registered = true;
                }
                let reply =
                    if done { Reply::Done } else { Reply::Failed(Failure::StoreUnavailable) };
                self.router.reply(caller.channel, caller.request, reply);
            }
            Change::DepartureBegun(user) => self.departure_begun(user, done),
            Change::Cleared { user, tokens, edits } => self.cleared(user, &tokens, edits, done),
            Change::Departed(user) => self.departed(user, done),
            Change::Subscribed { id, caller } => self.subscription_committed(id, caller, done),
            Change::Unsubscribed { caller } => {
                let failed = Reply::Failed(Failure::StoreUnavailable);
                let reply = if done { Reply::Done } else { failed };
                self.router.reply(caller.channel, caller.request, reply);
            }
            Change::Told { user, devices, online } => {
                self.told_committed(user, &devices, online, done);
            }
            Change::DealtWith { id } => self.dealt_with_committed(id, done),
            Change::Forgotten { id } => self.forgotten_committed(id, done),
            Change::Authorization { edits, answer } => self.edits_committed(edits, answer, done),
        }
    }

    /// Opens a gate; those who waited go on.
    pub(super) fn reopen(&mut self, gate: Gate) {
        for waiter in self.staging.open(gate) {
            match waiter {
                Waiter::Connection(id) => self.resume(id),
                Waiter::Command(caller, command) => self.on_account_command(caller, command),
                Waiter::Authorization(to, subject, command) => {
                    self.on_authorization_command(to, subject, command);
                }
                Waiter::Registry(to, command) => self.on_registry_command(to, command),
                Waiter::Peer(shard, message) => self.on_peer(shard, message),
            }
        }
    }
}
