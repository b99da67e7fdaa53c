//! Partner clouds and apps: registered once, by people (cloud reference 3.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shared::channel::authorization::{ClientRecord, ClientSecret, RegistryCommand};
use shared::channel::message::Reply;
use shared::ids::DeviceId;
use shared::scope::Scopes;
use shared::secret::Secret;
use url::{Host, Url};
use utoipa::ToSchema;

use super::{Refusal, check_text, done, invalid, random};
use crate::app::{App, Unfulfilled};
use crate::oauth::authorities::{self, NoAuthorities};
use crate::oauth::clients::{CLIENT_ID_BYTES_MAX, digest};
use crate::router::unix_now;

/// Secrets that are good at the same time, so that one can be replaced while the other is in use.
const SECRETS_MAX: usize = 2;
const REDIRECT_URIS_MAX: usize = 10;
const EVENTS_HOSTS_MAX: usize = 10;
const REDIRECT_URI_BYTES_MAX: usize = 2048;
const NAME_BYTES_MAX: usize = 100;
const CONTACT_BYTES_MAX: usize = 200;

/// A client to be registered.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// `client_id`; made up when none.
    #[schema(pattern = r"^[A-Za-z0-9._~-]{1,128}$")]
    #[serde(default)]
    pub id: Option<String>,
    /// What users see; at most 100 bytes.
    #[schema(
        min_length = 1,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub name: String,
    /// Whom operators talk to; at most 200 bytes.
    #[serde(default)]
    pub contact: String,
    /// Where browsers may be sent back to: absolute https URIs without user and fragment.
    #[schema(min_items = 1, max_items = 10)]
    pub redirect_uris: Vec<String>,
    /// What may be asked for, separated by spaces.
    #[schema(
        pattern = r"^(r:\*|w:\*|offline_access|mediator)( (r:\*|w:\*|offline_access|mediator))*$"
    )]
    pub scope: String,
    /// Whether it may introspect all tokens.
    #[serde(default)]
    pub introspects: bool,
    /// Authorities of its own servers, in PEM.
    #[serde(default)]
    pub authorities: String,
    /// Where its events may go: hosts, and all those below them; anywhere when empty.
    #[schema(max_items = 10)]
    #[serde(default)]
    pub events_hosts: Vec<String>,
}

/// A client as operators see it: everything but the secrets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ClientView {
    /// `client_id`.
    pub id: String,
    /// What users see.
    pub name: String,
    /// Whom operators talk to.
    pub contact: String,
    /// Where browsers may be sent back to.
    pub redirect_uris: Vec<String>,
    /// What may be asked for.
    pub scope: String,
    /// Whether it may introspect all tokens.
    pub introspects: bool,
    /// Whether it has authorities of its own.
    pub private_authorities: bool,
    /// Where its events may go: hosts, and all those below them; anywhere when empty.
    pub events_hosts: Vec<String>,
    /// When its secrets were made, in seconds since 1970.
    pub secrets_created: Vec<u64>,
    /// Whether it may do anything.
    pub enabled: bool,
    /// When it was registered, in seconds since 1970.
    pub created: u64,
}

impl From<ClientRecord> for ClientView {
    fn from(client: ClientRecord) -> Self {
        Self {
            id: client.id,
            name: client.name,
            contact: client.contact,
            redirect_uris: client.redirect_uris,
            scope: client.scopes.to_string(),
            introspects: client.introspects,
            private_authorities: !client.authorities.is_empty(),
            events_hosts: client.events_hosts,
            secrets_created: client.secrets.iter().map(|secret| secret.created).collect(),
            enabled: client.enabled,
            created: client.created,
        }
    }
}

/// Registers a client. The secret is shown once.
pub async fn add(app: &App, new: NewClient) -> Result<(ClientView, Secret), Refusal> {
    let scopes = check(&new)?;
    let id = match new.id {
        Some(id) => id,
        None => DeviceId::from_random(random()?).to_string(),
    };
    let (kept, secret) = new_secret()?;
    let client = ClientRecord {
        id,
        revision: 1,
        name: new.name,
        contact: new.contact,
        secrets: vec![kept],
        redirect_uris: new.redirect_uris,
        scopes,
        introspects: new.introspects,
        authorities: new.authorities,
        events_hosts: new.events_hosts,
        enabled: true,
        created: unix_now().0,
    };
    put(app, client.clone(), None).await?;
    Ok((client.into(), secret))
}

/// All clients.
pub async fn list(app: &App) -> Result<Vec<ClientView>, Refusal> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let reply = app.ask_registry(RegistryCommand::ListClients { after }).await?;
        let Reply::Clients { clients, more } = reply else {
            return Err(Unfulfilled::Nonsense.into());
        };
        after = clients.last().map(|client| client.id.clone());
        all.extend(clients.into_iter().map(ClientView::from));
        if !more || after.is_none() {
            return Ok(all);
        }
    }
}

/// Another secret. The one before stays good, older ones do not.
pub async fn add_secret(app: &App, id: &str) -> Result<Secret, Refusal> {
    let mut client = read(app, id).await?;
    let (kept, secret) = new_secret()?;
    client.secrets.insert(0, kept);
    client.secrets.truncate(SECRETS_MAX);
    replace(app, client).await?;
    Ok(secret)
}

/// Lets a client do what it is registered for, or nothing. In the second case its subscriptions end;
/// where that cannot be said now, asking again says it again.
pub async fn set_enabled(app: &App, id: &str, enabled: bool) -> Result<(), Refusal> {
    let client = read(app, id).await?;
    replace(app, ClientRecord { enabled, ..client }).await?;
    if !enabled {
        app.end_client(id).await?;
    }
    Ok(())
}

/// Replaces the authorities of a client's own servers; none when empty.
pub async fn set_authorities(app: &App, id: &str, authorities: String) -> Result<(), Refusal> {
    check_authorities(&authorities)?;
    let client = read(app, id).await?;
    replace(app, ClientRecord { authorities, ..client }).await
}

/// Forgets a client. It may do nothing from the first moment, and goes last: as long as it is there,
/// this can be asked for again.
pub async fn remove(app: &App, id: &str) -> Result<(), Refusal> {
    set_enabled(app, id, false).await?;
    let reply = app.ask_registry(RegistryCommand::RemoveClient { id: id.into() }).await?;
    app.oauth.clients.forget(id);
    done(reply)
}

async fn read(app: &App, id: &str) -> Result<ClientRecord, Refusal> {
    match app.ask_registry(RegistryCommand::ReadClient { id: id.into() }).await? {
        Reply::Client(client) => Ok(client),
        _ => Err(Unfulfilled::Nonsense.into()),
    }
}

async fn replace(app: &App, client: ClientRecord) -> Result<(), Refusal> {
    let replaces = client.revision;
    put(app, ClientRecord { revision: replaces + 1, ..client }, Some(replaces)).await
}

async fn put(app: &App, client: ClientRecord, replaces: Option<u64>) -> Result<(), Refusal> {
    let id = client.id.clone();
    let reply = app.ask_registry(RegistryCommand::PutClient { client, replaces }).await?;
    app.oauth.clients.forget(&id);
    done(reply)
}

fn new_secret() -> Result<(ClientSecret, Secret), Refusal> {
    let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let salt = random()?;
    let kept = ClientSecret { salt, digest: digest(&salt, &secret), created: unix_now().0 };
    Ok((kept, Secret::new(secret)))
}

/// Refuses a client that could not be served.
fn check(new: &NewClient) -> Result<Scopes, Refusal> {
    if let Some(id) = &new.id {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if id.is_empty() || id.len() > CLIENT_ID_BYTES_MAX || !id.bytes().all(allowed) {
            return invalid("an id has 1 to 128 letters, digits and any of -._~");
        }
    }
    if new.name.is_empty() {
        return invalid("a name is needed: users see it");
    }
    check_text("the name", &new.name, NAME_BYTES_MAX)?;
    check_text("the contact", &new.contact, CONTACT_BYTES_MAX)?;
    if !(1..=REDIRECT_URIS_MAX).contains(&new.redirect_uris.len()) {
        return invalid("1 to 10 redirect URIs are needed");
    }
    for uri in &new.redirect_uris {
        check_redirect_uri(uri)?;
    }
    check_authorities(&new.authorities)?;
    check_events_hosts(&new.events_hosts)?;
    let scopes = Scopes::parse(&new.scope);
    scopes.or_else(|_| invalid("the scope is a list of r:*, w:*, offline_access and mediator"))
}

fn check_redirect_uri(uri: &str) -> Result<(), Refusal> {
    let printable = uri.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = Url::parse(uri).is_ok_and(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if absolute && printable && uri.len() <= REDIRECT_URI_BYTES_MAX {
        return Ok(());
    }
    invalid(format!("{uri:?} is no absolute https URI without fragment and user"))
}

fn check_authorities(pem: &str) -> Result<(), Refusal> {
    let known = authorities::parse(pem);
    known.map(drop).or_else(|wrong: NoAuthorities| invalid(wrong.to_string()))
}

fn check_events_hosts(hosts: &[String]) -> Result<(), Refusal> {
    if hosts.len() > EVENTS_HOSTS_MAX {
        return invalid("at most 10 hosts for events can be named");
    }
    // As they stand in a URL that was parsed.
    let is_host = |host: &&String| {
        Host::parse(host)
            .is_ok_and(|parsed| matches!(parsed, Host::Domain(_)) && parsed.to_string() == **host)
    };
    match hosts.iter().find(|host| !is_host(host)) {
        Some(wrong) => {
            invalid(format!("{wrong:?} is no host name in lower case, such as partner.example"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewClient {
        NewClient {
            name: "Partner".into(),
            redirect_uris: vec!["https://partner.example/cb?cloud=1".into()],
            scope: "r:* offline_access".into(),
            ..NewClient::default()
        }
    }

    #[test]
    fn a_client_that_could_not_be_served_is_refused() {
        assert_eq!(check(&new()), Ok(Scopes::READ.union(Scopes::OFFLINE_ACCESS)));
        let with_uri = |uri: &str| NewClient { redirect_uris: vec![uri.into()], ..new() };
        for wrong in [
            NewClient { id: Some("a b".into()), ..new() },
            NewClient { id: Some(String::new()), ..new() },
            NewClient { name: String::new(), ..new() },
            NewClient { name: "two\nlines".into(), ..new() },
            NewClient { redirect_uris: vec![], ..new() },
            with_uri("http://partner.example/cb"),
            with_uri("https://partner.example/cb#fragment"),
            with_uri("https://user@partner.example/cb"),
            with_uri("/cb"),
            with_uri("https://partner.example/\u{e4}"),
            with_uri("https://partner.example/a b"),
            NewClient { scope: "everything".into(), ..new() },
            NewClient { authorities: "no certificate".into(), ..new() },
            NewClient { events_hosts: vec!["Partner.example".into()], ..new() },
            NewClient { events_hosts: vec!["https://partner.example".into()], ..new() },
            NewClient { events_hosts: vec!["8.8.8.8".into()], ..new() },
            NewClient { events_hosts: vec![String::new()], ..new() },
            NewClient { events_hosts: vec!["partner.example".into(); 11], ..new() },
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
