//! A partner cloud and a login to try linking with (I/O): registered once, through the operators' API,
//! as an operator would.

use anyhow::{Context, Result, bail};
use hyper::{Method, StatusCode};
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::ids::UserId;

use crate::http::{Connection, Https};

/// Name of the client, and of the login.
const NAME: &str = "demo";

/// What is needed to link the first user's devices.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Partner {
    /// `client_id`.
    pub client_id: Box<str>,
    /// `client_secret`.
    pub client_secret: Box<str>,
    /// Where the browser goes back to: a page of the API that says that it is alive.
    pub redirect_uri: Box<str>,
    /// Name of the login.
    pub login: Box<str>,
    /// Its password.
    pub password: Box<str>,
}

/// Who registers, and for whom.
pub(super) struct Wanted<'a> {
    /// The API.
    pub(super) url: String,
    /// The authority of its certificate.
    pub(super) roots: RootCertStore,
    /// A token with the operator's right.
    pub(super) operator: &'a str,
    /// Whose login it is.
    pub(super) user: UserId,
    /// The password of the login.
    pub(super) password: &'a str,
}

/// Registers both. What there is of an earlier attempt, or of a time with another port, is replaced.
pub(super) async fn register(wanted: &Wanted<'_>) -> Result<Partner> {
    let mut api = Https::new(&wanted.url, wanted.roots.clone())?.connect().await?;
    let redirect_uri = format!("{}/healthz", wanted.url);
    let user = json!({ "name": NAME, "uid": wanted.user, "password": wanted.password });
    match post(&mut api, wanted, "/operator/v1/users", Some(user)).await? {
        (StatusCode::CREATED, _) => {}
        (StatusCode::CONFLICT, _) => {
            let password = json!({ "password": wanted.password });
            let path = format!("/operator/v1/users/{NAME}/password");
            post(&mut api, wanted, &path, Some(password)).await?;
        }
        (status, answer) => bail!("the login was not added: {status} {answer}"),
    }
    let client = json!({
        "id": NAME,
        "name": "Demo Partner",
        "redirect_uris": [redirect_uri],
        "scope": "r:* w:* offline_access",
        "introspects": true,
    });
    let path = format!("/operator/v1/clients/{NAME}");
    let operator = Some(wanted.operator);
    match api.send(Method::DELETE, &path, operator, None).await? {
        (StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _) => {}
        (status, _) => bail!("the partner of before cannot be removed: {status}"),
    }
    let (status, registered) = post(&mut api, wanted, "/operator/v1/clients", Some(client)).await?;
    if status != StatusCode::CREATED {
        bail!("the partner was not registered: {status} {registered}");
    }
    let secret = registered["client_secret"].as_str().context("the answer has no secret")?;
    Ok(Partner {
        client_id: NAME.into(),
        client_secret: secret.into(),
        redirect_uri: redirect_uri.into(),
        login: NAME.into(),
        password: wanted.password.into(),
    })
}

async fn post(
    api: &mut Connection,
    wanted: &Wanted<'_>,
    path: &str,
    body: Option<Value>,
) -> Result<(StatusCode, Value)> {
    let body = body.map(|body| body.to_string().into_bytes());
    let (status, answer) = api.send(Method::POST, path, Some(wanted.operator), body).await?;
    Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
}
