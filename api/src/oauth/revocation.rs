//! The revocation endpoint: a client gives up a link (RFC 7009, cloud reference 3.8).
//!
//! Whichever token is presented, the whole grant ends: its refresh token, and at the same moment every
//! access token, because shards refuse commands under a grant that has ended.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use shared::channel::authorization::AuthorizationCommand;
use shared::channel::message::Reply;
use shared::placement::PartitionId;
use shared::secret::Secret;

use super::error::OauthError;
use super::{access_token, clients, parameters, token};
use crate::app::{App, Unfulfilled};
use crate::docs::failures;
use crate::docs::schemas::PresentedForm;

/// End a link
///
/// Whichever of its tokens is named.
#[utoipa::path(post, path = "/oauth/revoke", tag = "authorization",
    request_body(content = PresentedForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It has ended, or there was none"), failures::OfClient),
    security(("client" = []), ()))]
pub async fn revoke(State(app): State<Arc<App>>, request: Request) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let form = parameters::read_form(&app, &parts, body).await?;
    let presented = token::one(&form, "token")?;
    let client = clients::authenticate(&app, &parts.headers, &form).await?;
    let done = if is_access_token(presented) {
        revoke_access_token(&app, presented, client.id.clone()).await?
    } else {
        revoke_refresh_token(&app, presented, client.id.clone()).await?
    };
    match done {
        Some(Reply::Done) => {
            tracing::info!(target: "api::audit", client = client.id, "token revoked");
            Ok(StatusCode::OK.into_response())
        }
        // An invalid token needs no revocation.
        None => Ok(StatusCode::OK.into_response()),
        Some(_) => Err(Unfulfilled::Nonsense.into()),
    }
}

/// Refresh tokens have no dots, JWTs have two.
pub fn is_access_token(token: &str) -> bool {
    token.contains('.')
}

async fn revoke_access_token(
    app: &App,
    presented: &str,
    client: String,
) -> Result<Option<Reply>, OauthError> {
    let Ok(claims) = access_token::read(app, presented).await? else { return Ok(None) };
    if claims.client_id != client {
        return Err(OauthError::invalid_grant());
    }
    let Some(grant) = claims.grant else { return Ok(None) };
    let command = AuthorizationCommand::RevokeGrant { grant, client };
    Ok(Some(app.ask_user(claims.sub, None, command).await?))
}

async fn revoke_refresh_token(
    app: &App,
    presented: &str,
    client: String,
) -> Result<Option<Reply>, OauthError> {
    let Some(partition) = PartitionId::of_token(presented) else { return Ok(None) };
    let token = Secret::new(presented);
    let command = AuthorizationCommand::RevokeRefreshToken { token, client };
    Ok(Some(app.ask_partition(partition, command).await?))
}
