//! `api` processes as an authorization server: users consent, clients get tokens, and lose them.

use shared::channel::authorization::AuthorizationCommand;
use shared::channel::message::{Command, Subject};
use shared::ids::GrantId;
use shared::placement::PartitionId;
use shared::scope::Scopes;
use shared::secret::Secret;

use crate::simulation::model::canary;
use crate::simulation::run::Simulation;

/// Where codes are sent.
const REDIRECT_URI: &str = "https://client.example/back";

impl Simulation {
    /// Something about codes, tokens or grants of a user.
    pub(super) fn authorize(&mut self, number: usize, user: usize) {
        match self.dice.below(16) {
            0..4 => self.consent(number, user),
            4..9 => self.redeem(number, user),
            9..13 => self.refresh_grant(number, user),
            13 => self.revoke(number, user),
            14 => {
                let grant = self.grant_of(user);
                self.authorization(number, user, AuthorizationCommand::CheckGrant, grant);
            }
            _ if self.dice.below(4) == 0 => {
                self.authorization(number, user, AuthorizationCommand::RevokeGrants, None);
            }
            _ => {}
        }
    }

    /// A grant of a user that a client knows, whether it still stands or not.
    pub(super) fn grant_of(&mut self, user: usize) -> Option<GrantId> {
        let known: Vec<_> = self.model.consents.known.iter().filter(|it| it.user == user).collect();
        // Mostly one of the newest.
        let lately = &known[known.len().saturating_sub(4)..];
        (!lately.is_empty()).then(|| self.dice.pick(lately).grant)
    }

    fn consent(&mut self, number: usize, user: usize) {
        let client = format!("client {} of {}", self.dice.below(3), canary::of(user));
        let challenge = (self.dice.below(2) == 0).then(|| self.dice.bytes());
        let command = AuthorizationCommand::IssueCode {
            client,
            redirect_uri: REDIRECT_URI.into(),
            scopes: Scopes::READ.union(Scopes::OFFLINE_ACCESS),
            challenge,
            lifetime_secs: self.dice.between(1, 60) as u32,
        };
        self.authorization(number, user, command, None);
    }

    /// A client exchanges a code: mostly the newest one, which is mostly good.
    fn redeem(&mut self, number: usize, user: usize) {
        let codes = &self.model.consents.codes;
        let known: Vec<_> = codes.iter().filter(|it| it.user == user).collect();
        if known.is_empty() {
            return;
        }
        let newest = self.dice.below(4) > 0;
        let at = if newest { known.len() - 1 } else { self.dice.below(known.len()) };
        let (code, mut challenge) = (known[at].code.clone(), known[at].challenge);
        let client = known[at].client.clone();
        if self.dice.below(8) == 0 {
            challenge = Some([0; 32]);
        }
        let redirect_uri = REDIRECT_URI.into();
        let command = AuthorizationCommand::RedeemCode {
            code: code.clone(),
            client,
            redirect_uri,
            challenge,
        };
        self.about_token(number, user, &code, command);
    }

    /// A client refreshes: mostly with the newest token that it knows.
    fn refresh_grant(&mut self, number: usize, user: usize) {
        let Some(grant) = self.grant_of(user) else { return };
        let known = self.model.consents.known.iter().find(|known| known.grant == grant);
        let Some(known) = known else { return };
        let newest = self.dice.below(8) > 0;
        let last = known.tokens.len() - 1;
        let at = if newest { last } else { self.dice.below(known.tokens.len()) };
        let (token, client) = (known.tokens[at].clone(), known.client.clone());
        let command = AuthorizationCommand::Refresh { token: token.clone(), client, scopes: None };
        self.about_token(number, user, &token, command);
    }

    /// A client gives a grant up, by its name or by its token.
    fn revoke(&mut self, number: usize, user: usize) {
        let Some(grant) = self.grant_of(user) else { return };
        let known = self.model.consents.known.iter().find(|known| known.grant == grant);
        let Some((client, token)) =
            known.and_then(|known| Some((known.client.clone(), known.tokens.last()?.clone())))
        else {
            return;
        };
        if self.dice.below(2) == 0 {
            let command = AuthorizationCommand::RevokeGrant { grant, client };
            return self.authorization(number, user, command, None);
        }
        let command = AuthorizationCommand::RevokeRefreshToken { token: token.clone(), client };
        self.about_token(number, user, &token, command);
    }

    fn authorization(
        &mut self,
        number: usize,
        user: usize,
        command: AuthorizationCommand,
        grant: Option<GrantId>,
    ) {
        let subject = Subject::User { user: self.users[user], grant };
        self.command_about(number, subject, user, Command::Authorization(command), None);
    }

    /// What is asked of the partition that a token names.
    fn about_token(
        &mut self,
        number: usize,
        user: usize,
        token: &Secret,
        command: AuthorizationCommand,
    ) {
        let Some(partition) = PartitionId::of_token(token.reveal()) else { return };
        let subject = Subject::Partition(partition);
        self.command_about(number, subject, user, Command::Authorization(command), None);
    }
}
