//! The token endpoint: codes and refresh tokens become access tokens (cloud reference 3.6 to 3.8).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use shared::channel::authorization::{AuthorizationCommand, ClientRecord, Granted};
use shared::channel::message::Reply;
use shared::placement::PartitionId;
use shared::scope::Scopes;
use shared::secret::Secret;
use utoipa::ToSchema;

use super::error::{OauthError, json};
use super::parameters::{self, Parameters};
use super::{access_token, clients, pkce};
use crate::app::{App, Unfulfilled};
use crate::docs::failures;
use crate::docs::schemas::TokenForm;

/// What a client has got (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
struct Tokens {
    /// A JWT (RFC 9068).
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u32,
    /// Is exchanged for the next pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What was granted.
    scope: String,
}

/// Exchange a code or a refresh token
#[utoipa::path(post, path = "/oauth/token", tag = "authorization",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Tokens", body = Tokens), failures::OfClient),
    security(("client" = []), ()))]
pub async fn exchange(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let form = parameters::read_form(&app, &parts, body).await?;
    let grant_type = one(&form, "grant_type")?;
    // Before the code is looked at: a client that tries both ways to authenticate must not burn it.
    let client = clients::authenticate(&app, &parts.headers, &form).await?;
    let granted = match grant_type {
        "authorization_code" => redeem(&app, &client, &form).await?,
        "refresh_token" => refresh(&app, &client, &form).await?,
        _ => return Err(OauthError::unsupported_grant_type()),
    };
    // The user may have consented before the client lost a scope.
    if !client.scopes.contain(granted.scopes) {
        return Err(OauthError::invalid_grant());
    }
    let access_token = access_token::issue(&app, &granted).await?;
    tracing::info!(
        target: "api::audit",
        user = %granted.user,
        client = granted.client,
        grant = %granted.grant,
        grant_type,
        "tokens issued"
    );
    let config = &app.oauth.config;
    let refreshes = config.always_refresh_token || granted.scopes.contain(Scopes::OFFLINE_ACCESS);
    let tokens = Tokens {
        access_token,
        token_type: "Bearer",
        expires_in: config.access_token_secs,
        refresh_token: refreshes.then(|| granted.refresh_token.reveal().to_owned()),
        scope: granted.scopes.to_string(),
    };
    Ok(json(StatusCode::OK, &tokens))
}

/// A parameter that has to be there.
pub fn one<'f>(form: &'f Parameters, name: &'static str) -> Result<&'f str, OauthError> {
    let value = form.get(name).ok().flatten();
    value.ok_or(OauthError::invalid_request("a parameter is missing"))
}

async fn redeem(
    app: &App,
    client: &ClientRecord,
    form: &Parameters,
) -> Result<Granted, OauthError> {
    let code = Secret::new(one(form, "code")?);
    let redirect_uri = one(form, "redirect_uri")?.to_owned();
    let challenge = match form.get("code_verifier").ok().flatten() {
        Some(verifier) => Some(pkce::challenge_of(verifier).ok_or(OauthError::invalid_grant())?),
        None => None,
    };
    let client = client.id.clone();
    ask(
        app,
        code.clone(),
        AuthorizationCommand::RedeemCode { code, client, redirect_uri, challenge },
    )
    .await
}

async fn refresh(
    app: &App,
    client: &ClientRecord,
    form: &Parameters,
) -> Result<Granted, OauthError> {
    let token = Secret::new(one(form, "refresh_token")?);
    let scopes = match form.get("scope").ok().flatten() {
        Some(text) => Some(Scopes::parse(text).map_err(|_| OauthError::invalid_scope())?),
        None => None,
    };
    let client = client.id.clone();
    ask(app, token.clone(), AuthorizationCommand::Refresh { token, client, scopes }).await
}

/// Asks the shard that the code or token names.
pub async fn ask(
    app: &App,
    token: Secret,
    command: AuthorizationCommand,
) -> Result<Granted, OauthError> {
    let partition = PartitionId::of_token(token.reveal()).ok_or(OauthError::invalid_grant())?;
    match app.ask_partition(partition, command).await? {
        Reply::Granted(granted) => Ok(granted),
        _ => Err(Unfulfilled::Nonsense.into()),
    }
}
