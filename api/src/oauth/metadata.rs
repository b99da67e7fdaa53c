//! What clients and verifiers have to know: metadata (RFC 8414) and public keys (RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::error::{OauthError, json};
use super::keys::{Jwk, Key};
use crate::app::App;
use crate::docs::schemas;

#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    scopes_supported: [&'static str; 3],
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint_auth_methods_supported: [&'static str; 2],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
}

const AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// Find the endpoints (RFC 8414)
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "authorization",
    responses((status = 200, description = "Metadata", body = serde_json::Value)))]
pub async fn metadata(State(app): State<Arc<App>>) -> Response {
    let issuer = &*app.oauth.config.issuer;
    let at = |path: &str| format!("{issuer}{path}");
    let metadata = Metadata {
        issuer,
        authorization_endpoint: at("/oauth/authorize"),
        token_endpoint: at("/oauth/token"),
        revocation_endpoint: at("/oauth/revoke"),
        introspection_endpoint: at("/oauth/introspect"),
        jwks_uri: at("/oauth/jwks"),
        scopes_supported: ["r:*", "w:*", "offline_access"],
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: ["authorization_code", "refresh_token"],
        token_endpoint_auth_methods_supported: AUTH_METHODS,
        revocation_endpoint_auth_methods_supported: AUTH_METHODS,
        introspection_endpoint_auth_methods_supported: AUTH_METHODS,
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
    };
    json(StatusCode::OK, &metadata)
}

/// Find the endpoints, under the name that OpenID gives it
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "authorization",
    responses((status = 200, description = "The same", body = serde_json::Value)))]
pub async fn openid(app: State<Arc<App>>) -> Response {
    metadata(app).await
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<&'a Jwk>,
}

/// The keys that sign access tokens (RFC 7517)
#[utoipa::path(get, path = "/oauth/jwks", tag = "authorization",
    responses((status = 200, description = "Public keys", body = serde_json::Value),
              (status = 503, description = "They cannot be had now", body = schemas::OauthError)))]
pub async fn jwks(State(app): State<Arc<App>>) -> Result<Response, OauthError> {
    let keys = app.oauth.keys.today(&app).await?;
    let keys = keys.iter().map(|Key { jwk, .. }| jwk).collect();
    Ok(json(StatusCode::OK, &KeySet { keys }))
}
