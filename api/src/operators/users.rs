//! Users and their passwords.

use serde::{Deserialize, Serialize};
use shared::channel::authorization::{AuthorizationCommand, LoginRecord, RegistryCommand};
use shared::channel::message::Reply;
use shared::ids::UserId;
use shared::secret::Secret;

use super::{Refusal, check_text, done, invalid, random};
use crate::app::{App, Unfulfilled};
use crate::oauth::login::{LOGIN_NAME_BYTES_MAX, normalised};
use crate::oauth::password::{Busy, check_new};
use crate::router::unix_now;

/// A user as operators see it: everything but the password's hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserView {
    /// Under which name they log in.
    pub name: String,
    /// Who they are to devices and partner clouds.
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
