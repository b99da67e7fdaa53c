//! What users have granted to clients: codes and refresh tokens that are out, grants that have ended.

use std::collections::{BTreeMap, BTreeSet};

use gateway::account::token;
use gateway::authorization::refresh_token::{self, Claim};
use shared::channel::authorization::{AuthorizationCommand, Granted};
use shared::channel::message::{Failure, Reply};
use shared::ids::GrantId;
use shared::secret::Secret;

use crate::simulation::cloud::STORE_KEY;
use crate::simulation::partner::Commanded;
use crate::simulation::run::Simulation;
use crate::simulation::verdict::Invariant;

/// A code that was given out.
pub(in crate::simulation) struct CodeOut {
    pub(in crate::simulation) user: usize,
    pub(in crate::simulation) code: Secret,
    pub(in crate::simulation) client: String,
    pub(in crate::simulation) challenge: Option<[u8; 32]>,
}

/// A grant that a client knows of.
pub(in crate::simulation) struct Known {
    pub(in crate::simulation) user: usize,
    pub(in crate::simulation) grant: GrantId,
    pub(in crate::simulation) client: String,
    /// Refresh tokens, the newest last.
    pub(in crate::simulation) tokens: Vec<Secret>,
}

#[derive(Default)]
pub(in crate::simulation) struct Consents {
    pub(in crate::simulation) codes: Vec<CodeOut>,
    pub(in crate::simulation) known: Vec<Known>,
    /// Codes for which somebody has been granted something.
    redeemed: BTreeSet<[u8; 32]>,
    /// Since which step.
    ended: BTreeMap<GrantId, u64>,
}

impl Consents {
    /// The grants that are not there any more ended at this step.
    pub(super) fn end(&mut self, grants: impl IntoIterator<Item = GrantId>, step: u64) {
        for grant in grants {
            self.ended.entry(grant).or_insert(step);
        }
    }

    /// Whether a grant had ended before a step.
    pub(super) fn had_ended(&self, grant: GrantId, step: u64) -> bool {
        self.ended.get(&grant).is_some_and(|ended| *ended < step)
    }
}

impl Simulation {
    /// Under a grant that has ended nothing is done, under one that stands everything may be.
    pub(super) fn judge_grant_of(&mut self, to: &Commanded, reply: &Reply) {
        let Some(grant) = to.grant else { return };
        let refused = *reply == Reply::Failed(Failure::GrantRevoked);
        if !refused && self.model.consents.had_ended(grant, to.step) {
            let seen = format!("{:?} is done under {grant}, which has ended", to.command);
            return self.fail(Invariant::Revocation, seen);
        }
        if refused && self.model.acknowledged.grants.contains_key(&grant) {
            self.fail(Invariant::NoLockout, format!("{grant} is refused, and stands"));
        }
    }

    pub(super) fn judge_authorization(
        &mut self,
        to: &Commanded,
        command: &AuthorizationCommand,
        reply: &Reply,
    ) {
        match (command, reply) {
            (
                AuthorizationCommand::IssueCode { client, challenge, .. },
                Reply::AuthorizationCode(code),
            ) => {
                if !self.model.acknowledged.codes.contains_key(&token::digest(code.reveal())) {
                    let seen = "a code is given out before it is durable";
                    self.fail(Invariant::CommitFirst, seen.into());
                }
                let (code, client, challenge) = (code.clone(), client.clone(), *challenge);
                let out = CodeOut { user: to.user, code, client, challenge };
                self.model.consents.codes.push(out);
            }
            (AuthorizationCommand::RedeemCode { code, .. }, Reply::Granted(granted)) => {
                if !self.model.consents.redeemed.insert(token::digest(code.reveal())) {
                    let seen = "something is granted twice for the same code";
                    return self.fail(Invariant::Revocation, seen.into());
                }
                self.judge_granted(to, granted);
            }
            (AuthorizationCommand::Refresh { .. }, Reply::Granted(granted)) => {
                self.judge_granted(to, granted);
            }
            (AuthorizationCommand::RedeemCode { .. }, Reply::Failed(Failure::InvalidGrant)) => {
                self.judge_refused_code(command);
            }
            (
                AuthorizationCommand::Refresh { token, client, .. },
                Reply::Failed(Failure::InvalidGrant),
            ) => self.judge_refused_token(token, client),
            (AuthorizationCommand::RevokeGrant { grant, .. }, Reply::Done)
                if self.model.acknowledged.grants.contains_key(grant) =>
            {
                let seen = format!("{grant} has ended before that is durable");
                self.fail(Invariant::CommitFirst, seen);
            }
            _ => {}
        }
    }

    /// A client gets what its user has granted, and that is durable.
    fn judge_granted(&mut self, to: &Commanded, granted: &Granted) {
        let Granted { user, grant, client, refresh_token, .. } = granted;
        if *user != self.users[to.user] {
            let seen = format!("user {} has consented, and {user}'s grant is given out", to.user);
            return self.fail(Invariant::Isolation, seen);
        }
        let records = &self.model.acknowledged.grants;
        let is_durable = records.get(grant).is_some_and(|record| {
            let made = |generation| {
                refresh_token::make(&STORE_KEY, *user, *grant, generation) == *refresh_token
            };
            record.user == *user && record.client == *client && made(record.generation)
        });
        if !is_durable {
            let seen = format!("{grant} is given out, and is not durable");
            return self.fail(Invariant::CommitFirst, seen);
        }
        let consents = &mut self.model.consents;
        let at = consents.known.iter().position(|known| known.grant == *grant);
        let at = at.unwrap_or_else(|| {
            let (client, tokens) = (client.clone(), Vec::new());
            consents.known.push(Known { user: to.user, grant: *grant, client, tokens });
            consents.known.len() - 1
        });
        if consents.known[at].tokens.last() != Some(refresh_token) {
            consents.known[at].tokens.push(refresh_token.clone());
        }
    }

    /// A code that is good, and presented as it must be, is not refused.
    fn judge_refused_code(&mut self, command: &AuthorizationCommand) {
        let AuthorizationCommand::RedeemCode { code, client, redirect_uri, challenge } = command
        else {
            return;
        };
        let now = self.clock.latest(self.instant);
        let known = self.model.acknowledged.codes.get(&token::digest(code.reveal()));
        let is_good = known.is_some_and(|known| {
            known.redeemed.is_none()
                && known.expires > now.0
                && known.client == *client
                && known.redirect_uri == *redirect_uri
                && known.challenge == *challenge
        });
        if is_good {
            self.fail(Invariant::NoLockout, "a code that is good is refused".into());
        }
    }

    /// The newest refresh token of a grant that stands is not refused.
    fn judge_refused_token(&mut self, token: &Secret, client: &str) {
        let Some(claim) = Claim::parse(token) else { return };
        let known = self.model.acknowledged.grants.get(&claim.grant);
        let is_good = known
            .is_some_and(|known| known.client == client && known.generation == claim.generation);
        if is_good {
            let seen = format!("the newest refresh token of {} is refused", claim.grant);
            self.fail(Invariant::NoLockout, seen);
        }
    }
}
