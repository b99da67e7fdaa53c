//! Users and their passwords.

use serde::{Deserialize, Serialize};
use shared::channel::authorization::{AuthorizationCommand, LoginRecord, RegistryCommand};
use shared::channel::message::{Failure, Reply};
use shared::ids::UserId;
use shared::secret::Secret;
use utoipa::ToSchema;

use super::{Refusal, check_text, done, invalid, random};
use crate::app::{App, Unfulfilled};
use crate::oauth::login::{LOGIN_NAME_BYTES_MAX, normalised};
use crate::oauth::password::{Busy, check_new};
use crate::router::unix_now;
use crate::shards::Unanswered;

/// A user as operators see it: everything but the password's hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Under which name they log in.
    pub name: String,
    /// Who they are to devices and partner clouds.
    #[schema(value_type = String, format = "uuid")]
    pub uid: UserId,
    /// Whether they may log in.
    pub enabled: bool,
    /// When they were added, in seconds since 1970.
    pub created: u64,
}

impl From<LoginRecord> for UserView {
    fn from(login: LoginRecord) -> Self {
        let LoginRecord { name, user, enabled, created, .. } = login;
        Self { name, uid: user, enabled, created }
    }
}

/// Adds a user; with this `uid` if devices know it already.
pub async fn add(
    app: &App,
    name: &str,
    uid: Option<UserId>,
    password: Secret,
) -> Result<UserView, Refusal> {
    let name = normalised(name);
    if name.is_empty() {
        return invalid("a name is needed");
    }
    check_text("the name", &name, LOGIN_NAME_BYTES_MAX)?;
    let password_hash = hash(app, password).await?;
    let user = match uid {
        Some(uid) => uid,
        None => UserId::from_random(random()?),
    };
    let created = unix_now().0;
    let login = LoginRecord { name, revision: 1, user, password_hash, enabled: true, created };
    put(app, login.clone(), None).await?;
    Ok(login.into())
}

/// All users.
pub async fn list(app: &App) -> Result<Vec<UserView>, Refusal> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let reply = app.ask_registry(RegistryCommand::ListLogins { after }).await?;
        let Reply::Logins { logins, more } = reply else {
            return Err(Unfulfilled::Nonsense.into());
        };
        after = logins.last().map(|login| login.name.clone());
        all.extend(logins.into_iter().map(UserView::from));
        if !more || after.is_none() {
            return Ok(all);
        }
    }
}

/// Another password. Who has logged in with the old one has to log in again; links stay.
pub async fn set_password(app: &App, name: &str, password: Secret) -> Result<(), Refusal> {
    let login = read(app, name).await?;
    let password_hash = hash(app, password).await?;
    replace(app, LoginRecord { password_hash, ..login }).await
}

/// Lets a user log in, or not. Who may not has no links either: they end.
pub async fn set_enabled(app: &App, name: &str, enabled: bool) -> Result<(), Refusal> {
    let login = read(app, name).await?;
    let user = login.user;
    replace(app, LoginRecord { enabled, ..login }).await?;
    if enabled {
        return Ok(());
    }
    done(app.ask_user(user, None, AuthorizationCommand::RevokeGrants).await?)
}

/// How far a deletion has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deletion {
    /// Nothing is left.
    Done,
    /// What is theirs goes, whoever waits for it or not.
    UnderWay,
}

/// Deletes a user with everything that is theirs: devices with their links and sessions, tokens, and
/// what was granted to clients. The login opens no more from the first moment, and goes last: as long
/// as it is there, this can be asked for again. Who has no login is named by their id.
pub async fn delete(app: &App, name: &str) -> Result<Deletion, Refusal> {
    let user = match (read(app, name).await, name.trim().parse()) {
        (Ok(login), _) => login.user,
        (Err(Refusal::NotFound), Ok(user)) => user,
        (Err(refusal), _) => return Err(refusal),
    };
    let logins: Vec<_> = list(app).await?.into_iter().filter(|login| login.uid == user).collect();
    for login in logins.iter().filter(|login| login.enabled) {
        set_enabled(app, &login.name, false).await?;
    }
    match app.ask_to_delete(user).await {
        Ok(reply) => done(reply)?,
        Err(Unfulfilled::Unanswered(Unanswered::TimedOut)) => return Ok(Deletion::UnderWay),
        Err(unfulfilled) => return Err(unfulfilled.into()),
    }
    for login in logins {
        match app.ask_registry(RegistryCommand::RemoveLogin { name: login.name }).await {
            // Somebody else has asked for the same.
            Err(Unfulfilled::Failed(Failure::NoSuchRecord)) => {}
            removed => done(removed?)?,
        }
    }
    Ok(Deletion::Done)
}

async fn hash(app: &App, password: Secret) -> Result<String, Refusal> {
    check_new(&password).or_else(|unfit| invalid(unfit.to_string()))?;
    app.oauth.hasher.hash(password).await.map_err(|Busy| Refusal::Unavailable)
}

async fn read(app: &App, name: &str) -> Result<LoginRecord, Refusal> {
    match app.ask_registry(RegistryCommand::ReadLogin { name: normalised(name) }).await? {
        Reply::Login(login) => Ok(login),
        _ => Err(Unfulfilled::Nonsense.into()),
    }
}

async fn replace(app: &App, login: LoginRecord) -> Result<(), Refusal> {
    let replaces = login.revision;
    put(app, LoginRecord { revision: replaces + 1, ..login }, Some(replaces)).await
}

async fn put(app: &App, login: LoginRecord, replaces: Option<u64>) -> Result<(), Refusal> {
    done(app.ask_registry(RegistryCommand::PutLogin { login, replaces }).await?)
}
