//! The introspection endpoint, for resource servers that do not verify tokens themselves (RFC 7662,
//! cloud reference 3.10).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use shared::channel::authorization::{AuthorizationCommand, ClientRecord};
use shared::channel::message::Failure;
use shared::ids::UserId;
use shared::secret::Secret;

use super::access_token::Claims;
use super::error::{OauthError, json};
use super::revocation::is_access_token;
use super::{access_token, clients, parameters, token};
use crate::app::{App, Unfulfilled};
use crate::docs::failures;
use crate::docs::schemas::PresentedForm;

#[derive(Serialize, Default)]
#[serde(default)]
struct Introspected {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<UserId>,
    #[serde(flatten)]
    token: Option<TokenFacts>,
}

#[derive(Serialize)]
struct TokenFacts {
    aud: access_token::Audience,
    iss: String,
    exp: u64,
    iat: u64,
    nbf: u64,
    jti: String,
    token_type: &'static str,
}

/// Ask about a token
///
/// Clients learn about their own tokens, resource servers about all.
#[utoipa::path(post, path = "/oauth/introspect", tag = "authorization",
    request_body(content = PresentedForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What it is good for, or `active: false`",
               body = serde_json::Value),
              failures::OfClient),
    security(("client" = []), ()))]
pub async fn introspect(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let form = parameters::read_form(&app, &parts, body).await?;
    let presented = token::one(&form, "token")?;
    let caller = clients::authenticate(&app, &parts.headers, &form).await?;
    let found = if is_access_token(presented) {
        of_access_token(&app, presented).await?
    } else {
        of_refresh_token(&app, presented).await?
    };
    let found = found.filter(|found| may_know(&caller, found));
    Ok(json(StatusCode::OK, &found.unwrap_or_default()))
}

fn may_know(caller: &ClientRecord, found: &Introspected) -> bool {
    caller.introspects || found.client_id.as_deref() == Some(&caller.id)
}

async fn of_access_token(app: &App, presented: &str) -> Result<Option<Introspected>, OauthError> {
    let Ok(claims) = access_token::read(app, presented).await? else { return Ok(None) };
    let live = is_live(app, &claims).await?;
    Ok(live.then(|| Introspected {
        active: true,
        scope: Some(claims.scope.scopes().to_string()),
        client_id: Some(claims.client_id),
        sub: Some(claims.sub),
        token: Some(TokenFacts {
            aud: claims.aud,
            iss: claims.iss,
            exp: claims.exp,
            iat: claims.iat,
            nbf: claims.nbf,
            jti: claims.jti,
            token_type: "Bearer",
        }),
    }))
}

async fn is_live(app: &App, claims: &Claims) -> Result<bool, OauthError> {
    if app.oauth.clients.find(app, &claims.client_id).await?.is_none() {
        return Ok(false);
    }
    match app.ask_user(claims.sub, claims.grant, AuthorizationCommand::CheckGrant).await {
        Ok(_) => Ok(true),
        Err(Unfulfilled::Failed(Failure::GrantRevoked)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn of_refresh_token(app: &App, presented: &str) -> Result<Option<Introspected>, OauthError> {
    let token = Secret::new(presented);
    let command = AuthorizationCommand::ReadRefreshToken { token: token.clone() };
    match token::ask(app, token, command).await {
        Ok(granted) => Ok(Some(Introspected {
            active: true,
            scope: Some(granted.scopes.to_string()),
            client_id: Some(granted.client),
            sub: Some(granted.user),
            token: None,
        })),
        Err(error) if error == OauthError::invalid_grant() => Ok(None),
        Err(error) => Err(error),
    }
}
