//! Codes and grants: what a user's shard does for the authorization server (cloud reference 3.5 to 3.8).

use shared::channel::authorization::{AuthorizationCommand, Granted};
use shared::channel::message::{Failure, Reply, Subject};
use shared::ids::{GrantId, UserId};
use shared::scope::Scopes;
use shared::secret::Secret;

use super::Shard;
use super::staging::{Change, Gate, Waiter};
use crate::account::token;
use crate::authorization::codes::{Code, Presented, Verdict};
use crate::authorization::edit::Edit;
use crate::authorization::grants::{Grant, Refreshed};
use crate::authorization::refresh_token::{self, Claim};
use crate::command::ReplyTo;
use crate::limits::{
    CLIENT_ID_BYTES_MAX, CODE_LIFETIME_SECS_MAX, CODE_REMEMBERED_SECS, CODES_PER_USER_MAX,
    GRANTS_PER_CLIENT_MAX, GRANTS_PER_USER_MAX, REDIRECT_URI_BYTES_MAX,
};

/// Codes and grants that are removed in one commit because they have expired.
const EXPIRED_AT_ONCE: usize = 256;

/// A code to be issued.
struct Issue {
    user: UserId,
    client: String,
    redirect_uri: String,
    scopes: Scopes,
    challenge: Option<[u8; 32]>,
    lifetime_secs: u32,
}

impl Shard {
    /// A command about codes and grants. Whatever is being changed already is waited for.
    pub(super) fn on_authorization_command(
        &mut self,
        to: ReplyTo,
        subject: Subject,
        command: AuthorizationCommand,
    ) {
        let gates = self.gates_of(subject, &command);
        if let Some(&gate) = gates.iter().find(|gate| self.staging.is_closed(**gate)) {
            let waiter = Waiter::Authorization(to, subject, command);
            if self.staging.wait(gate, waiter).is_err() {
                self.answer(to, Reply::Failed(Failure::Overloaded));
            }
            return;
        }
        if self.check_commits().is_err() {
            return self.answer(to, Reply::Failed(Failure::Overloaded));
        }
        if let Err(failure) = self.carry_out(to, subject, command) {
            self.answer(to, Reply::Failed(failure));
        }
    }

    /// What a command is about: whoever changes the same goes first.
    fn gates_of(&self, subject: Subject, command: &AuthorizationCommand) -> Vec<Gate> {
        let of_token = |token| Claim::parse(token).map(|claim| Gate::Grant(claim.grant));
        match command {
            AuthorizationCommand::RedeemCode { code, .. } => {
                let digest = token::digest(code.reveal());
                let redeemed = self.authorization.codes.get(&digest).and_then(|code| code.redeemed);
                [Gate::Code(digest)].into_iter().chain(redeemed.map(Gate::Grant)).collect()
            }
            AuthorizationCommand::Refresh { token, .. }
            | AuthorizationCommand::RevokeRefreshToken { token, .. } => {
                of_token(token).into_iter().collect()
            }
            AuthorizationCommand::RevokeGrant { grant, .. } => vec![Gate::Grant(*grant)],
            AuthorizationCommand::RevokeGrants => match subject {
                Subject::User { user, .. } => {
                    let grants = self.authorization.grants.of_user(user);
                    grants.map(|(id, _)| Gate::Grant(id)).collect()
                }
                Subject::Partition(_) => Vec::new(),
            },
            AuthorizationCommand::IssueCode { .. }
            | AuthorizationCommand::ReadRefreshToken { .. }
            | AuthorizationCommand::CheckGrant => Vec::new(),
        }
    }

    /// Every gate of the command is open.
    fn carry_out(
        &mut self,
        to: ReplyTo,
        subject: Subject,
        command: AuthorizationCommand,
    ) -> Result<(), Failure> {
        let of_user = || match subject {
            Subject::User { user, .. } => Ok(user),
            Subject::Partition(_) => Err(Failure::WrongShard),
        };
        match command {
            AuthorizationCommand::IssueCode {
                client,
                redirect_uri,
                scopes,
                challenge,
                lifetime_secs,
            } => {
                let user = of_user()?;
                let issue = Issue { user, client, redirect_uri, scopes, challenge, lifetime_secs };
                self.issue_code(to, issue)
            }
            AuthorizationCommand::RedeemCode { code, client, redirect_uri, challenge } => {
                let digest = token::digest(code.reveal());
                let presented =
                    Presented { client: &client, redirect_uri: &redirect_uri, challenge };
                self.redeem_code(to, digest, presented)
            }
            AuthorizationCommand::Refresh { token, client, scopes } => {
                self.refresh_grant(to, &token, &client, scopes)
            }
            AuthorizationCommand::ReadRefreshToken { token } => {
                let (claim, grant) = self.grant_of(&token)?;
                if !matches!(
                    grant.refresh(claim.generation, self.now.unix),
                    Refreshed::New(_) | Refreshed::Again
                ) {
                    return Err(Failure::InvalidGrant);
                }
                let granted = self.granted(claim.grant, &grant, grant.scopes);
                self.answer(to, Reply::Granted(granted));
                Ok(())
            }
            AuthorizationCommand::RevokeRefreshToken { token, client } => {
                // An unknown token needs no revocation (RFC 7009 §2.2).
                let Ok((claim, grant)) = self.grant_of(&token) else {
                    self.answer(to, Reply::Done);
                    return Ok(());
                };
                self.give_up(to, claim.grant, &grant, &client)
            }
            AuthorizationCommand::CheckGrant => {
                of_user()?;
                self.answer(to, Reply::Done);
                Ok(())
            }
            AuthorizationCommand::RevokeGrant { grant: id, client } => {
                let user = of_user()?;
                let known = self.authorization.grants.get(id).filter(|grant| grant.user == user);
                let Some(grant) = known.cloned() else {
                    self.answer(to, Reply::Done);
                    return Ok(());
                };
                self.give_up(to, id, &grant, &client)
            }
            AuthorizationCommand::RevokeGrants => {
                let user = of_user()?;
                let ids: Vec<_> =
                    self.authorization.grants.of_user(user).map(|(id, _)| id).collect();
                let edits = ids.iter().map(|id| Edit::RemoveGrant(user, *id)).collect();
                let gates = ids.into_iter().map(Gate::Grant).collect();
                self.commit_edits(edits, gates, Some((to, Reply::Done)));
                Ok(())
            }
        }
    }

    fn issue_code(&mut self, to: ReplyTo, issue: Issue) -> Result<(), Failure> {
        let Issue { user, client, redirect_uri, scopes, challenge, lifetime_secs } = issue;
        if self.departures.has(user) {
            return Err(Failure::Overloaded);
        }
        if client.len() > CLIENT_ID_BYTES_MAX || redirect_uri.len() > REDIRECT_URI_BYTES_MAX {
            return Err(Failure::RecordTooLarge);
        }
        self.expire_grants();
        if self.authorization.codes.count_of(user, self.now.unix) >= CODES_PER_USER_MAX {
            return Err(Failure::Overloaded);
        }
        let mut random = [0; 32];
        self.random.fill(&mut random);
        let text = token::single_use(user, &random);
        let lifetime = u64::from(lifetime_secs).min(CODE_LIFETIME_SECS_MAX);
        let expires = self.now.unix.plus_secs(lifetime).0;
        let code = Code { user, client, redirect_uri, scopes, challenge, expires, redeemed: None };
        let edits = vec![Edit::PutCode(token::digest(&text), code)];
        let reply = Reply::AuthorizationCode(Secret::new(text));
        self.commit_edits(edits, Vec::new(), Some((to, reply)));
        Ok(())
    }

    fn redeem_code(
        &mut self,
        to: ReplyTo,
        digest: [u8; 32],
        presented: Presented<'_>,
    ) -> Result<(), Failure> {
        let code = match self.authorization.codes.judge(&digest, presented, self.now.unix) {
            Verdict::Good(code) => code,
            Verdict::Replayed(grant) => return self.end_stolen(to, grant),
            Verdict::Refused => return Err(Failure::InvalidGrant),
        };
        let user = code.user;
        let mut edits = Vec::new();
        let mut gates = vec![Gate::Code(digest)];
        if let Some(unused) = self.grant_that_yields(user, &code.client)? {
            edits.push(Edit::RemoveGrant(user, unused));
            gates.push(Gate::Grant(unused));
        }
        let mut random = [0; 16];
        self.random.fill(&mut random);
        let id = GrantId::from_random(random);
        let now = self.now.unix.0;
        let (client, scopes) = (code.client.clone(), code.scopes);
        let grant = Grant { user, client, scopes, created: now, generation: 0, renewed: now };
        let granted = self.granted(id, &grant, scopes);
        let expires = now + CODE_REMEMBERED_SECS;
        edits.push(Edit::PutCode(digest, Code { expires, redeemed: Some(id), ..code }));
        edits.push(Edit::PutGrant(id, grant));
        self.commit_edits(edits, gates, Some((to, Reply::Granted(granted))));
        Ok(())
    }

    /// The grant that ends for another one of the same client, if there are too many.
    fn grant_that_yields(&self, user: UserId, client: &str) -> Result<Option<GrantId>, Failure> {
        let grants = &self.authorization.grants;
        let of_client: Vec<_> =
            grants.of_user(user).filter(|(_, grant)| grant.client == client).collect();
        if of_client.len() >= GRANTS_PER_CLIENT_MAX {
            let open = of_client.into_iter().filter(|(id, _)| {
                // Whoever refreshes it at this moment uses it.
                !self.staging.is_closed(Gate::Grant(*id))
            });
            let unused = open.min_by_key(|(_, grant)| grant.renewed).map(|(id, _)| id);
            return unused.map(Some).ok_or(Failure::Overloaded);
        }
        if grants.of_user(user).count() >= GRANTS_PER_USER_MAX {
            return Err(Failure::Overloaded);
        }
        Ok(None)
    }

    fn refresh_grant(
        &mut self,
        to: ReplyTo,
        token: &Secret,
        client: &str,
        scopes: Option<Scopes>,
    ) -> Result<(), Failure> {
        let (claim, grant) = self.grant_of(token)?;
        if grant.client != client {
            return Err(Failure::InvalidGrant);
        }
        let scopes = scopes.unwrap_or(grant.scopes);
        match grant.refresh(claim.generation, self.now.unix) {
            Refreshed::Reused => self.end_stolen(to, claim.grant),
            Refreshed::Refused => Err(Failure::InvalidGrant),
            Refreshed::New(_) | Refreshed::Again if !grant.scopes.contain(scopes) => {
                Err(Failure::ScopeExceeded)
            }
            Refreshed::Again => {
                let granted = self.granted(claim.grant, &grant, scopes);
                self.answer(to, Reply::Granted(granted));
                Ok(())
            }
            Refreshed::New(next) => {
                let granted = self.granted(claim.grant, &next, scopes);
                let edits = vec![Edit::PutGrant(claim.grant, next)];
                let gates = vec![Gate::Grant(claim.grant)];
                self.commit_edits(edits, gates, Some((to, Reply::Granted(granted))));
                Ok(())
            }
        }
    }

    /// The grant that a refresh token of ours stands for.
    fn grant_of(&self, token: &Secret) -> Result<(Claim, Grant), Failure> {
        let claim = Claim::parse(token).ok_or(Failure::InvalidGrant)?;
        let grant = self.authorization.grants.get(claim.grant).ok_or(Failure::InvalidGrant)?;
        if !claim.is_made_for(&self.store_key, grant.user) {
            return Err(Failure::InvalidGrant);
        }
        Ok((claim, grant.clone()))
    }

    fn granted(&self, id: GrantId, grant: &Grant, scopes: Scopes) -> Granted {
        let refresh_token = refresh_token::make(&self.store_key, grant.user, id, grant.generation);
        Granted { user: grant.user, grant: id, client: grant.client.clone(), scopes, refresh_token }
    }

    /// A client ends a grant, if it is its own.
    fn give_up(
        &mut self,
        to: ReplyTo,
        id: GrantId,
        grant: &Grant,
        client: &str,
    ) -> Result<(), Failure> {
        if grant.client != client {
            return Err(Failure::InvalidGrant);
        }
        let edits = vec![Edit::RemoveGrant(grant.user, id)];
        self.commit_edits(edits, vec![Gate::Grant(id)], Some((to, Reply::Done)));
        Ok(())
    }

    /// A code or a refresh token was used a second time: nobody knows by whom, so nobody keeps it.
    fn end_stolen(&mut self, to: ReplyTo, id: GrantId) -> Result<(), Failure> {
        let Some(grant) = self.authorization.grants.get(id) else {
            return Err(Failure::InvalidGrant);
        };
        self.counters.grants_stolen += 1;
        let edits = vec![Edit::RemoveGrant(grant.user, id)];
        let refusal = Reply::Failed(Failure::InvalidGrant);
        self.commit_edits(edits, vec![Gate::Grant(id)], Some((to, refusal)));
        Ok(())
    }

    /// Removes codes and grants that have expired, some at a time.
    pub(super) fn expire_grants(&mut self) {
        if self.expiring_grants || self.check_commits().is_err() {
            return;
        }
        let now = self.now.unix;
        let codes = self.authorization.codes.expired(now).take(EXPIRED_AT_ONCE);
        let codes =
            codes.map(|(user, digest)| (Gate::Code(digest), Edit::RemoveCode(user, digest)));
        let grants = self.authorization.grants.expired(now).take(EXPIRED_AT_ONCE);
        let grants = grants.map(|(user, id)| (Gate::Grant(id), Edit::RemoveGrant(user, id)));
        let open = codes.chain(grants).filter(|(gate, _)| !self.staging.is_closed(*gate));
        let (gates, edits): (Vec<_>, Vec<_>) = open.unzip();
        if !edits.is_empty() {
            self.expiring_grants = true;
            self.commit_edits(edits, gates, None);
        }
    }

    /// Writes changes behind these gates, which are open. They are made, and answered, when they are
    /// durable.
    pub(super) fn commit_edits(
        &mut self,
        edits: Vec<Edit>,
        gates: Vec<Gate>,
        answer: Option<(ReplyTo, Reply)>,
    ) {
        for gate in &gates {
            self.staging.close(*gate);
        }
        let writes: Vec<_> = edits.iter().map(Edit::write).collect();
        self.commit(writes, Change::Authorization { edits, answer }, gates);
    }

    /// Changes of this area are durable, or were refused.
    pub(super) fn edits_committed(
        &mut self,
        edits: Vec<Edit>,
        answer: Option<(ReplyTo, Reply)>,
        done: bool,
    ) {
        if done {
            for edit in edits {
                if let Edit::RemoveGrant(_, grant) = edit {
                    self.events.revoked.push_back(grant);
                }
                self.authorization.apply(edit);
            }
        }
        match answer {
            Some((to, reply)) if done => self.answer(to, reply),
            Some((to, _)) => self.answer(to, Reply::Failed(Failure::StoreUnavailable)),
            None => self.expiring_grants = false,
        }
    }

    pub(super) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        self.router.reply(to.channel, to.request, reply);
    }
}
