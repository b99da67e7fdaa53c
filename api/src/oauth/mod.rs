//! The authorization server: a user links a partner cloud, and the partner cloud gets tokens
//! (RFC 6749, 6750, 7009, 7517, 7636, 7662, 8414, 9068, 9207; cloud reference 3).
//!
//! ```text
//! browser ─► authorize: request ─► login: password, attempts ─► consent ─► code ─┐
//!                                                                                │ redirect
//! partner ─► token: client authentication ─► code │ refresh token ─► grant ◄─────┘
//!         ─► revoke, introspect, metadata, jwks
//! ```
//!
//! Nothing is kept here: clients, logins and signing keys are with the shard of partition 0, codes and
//! grants with the user's shard. What the browser has to bring back ([`browser`]) is signed with a key
//! that is derived from the signing keys, so every `api` process understands it.
//!
//! Reading order: [`parameters`], [`request`], [`pkce`]; [`authorize`], [`login`], [`browser`],
//! [`attempts`], [`password`]; [`clients`], [`authorities`], [`token`], [`revocation`], [`introspection`]; [`keys`],
//! [`access_token`], [`metadata`]; [`error`].

pub mod parameters;
pub mod pkce;
pub mod request;

pub mod attempts;
pub mod authorize;
pub mod browser;
pub mod login;
pub mod password;

pub mod authorities;
pub mod clients;
pub mod introspection;
pub mod revocation;
pub mod token;

pub mod access_token;
pub mod keys;
pub mod metadata;

pub mod error;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;
use crate::config;
use crate::trace::traced;
use access_token::Verified;
use attempts::Attempts;
use clients::Clients;
use keys::KeyRing;
use password::Hasher;

/// What the authorization server holds between requests: caches, and what slows down who guesses.
pub struct Oauth {
    /// What the operator decides.
    pub config: config::Authorization,
    /// Keys of access tokens.
    pub keys: KeyRing,
    /// Registered clients.
    pub clients: Clients,
    /// Access tokens that were verified.
    pub verified: Verified,
    /// Failed logins.
    pub attempts: Attempts,
    /// Hashes passwords, some at a time.
    pub hasher: Hasher,
}

impl Oauth {
    /// With these settings.
    pub fn new(config: &config::Authorization) -> Self {
        Self {
            config: config.clone(),
            keys: KeyRing::new(config.signing_key_days),
            clients: Clients::default(),
            verified: Verified::default(),
            attempts: Attempts::default(),
            hasher: Hasher::default(),
        }
    }
}

/// The paths of the authorization server.
pub fn router() -> Router<Arc<App>> {
    let authorize = get(authorize::show).post(authorize::decide);
    let metadata = "/.well-known/oauth-authorization-server";
    let openid = "/.well-known/openid-configuration";
    Router::new()
        .route("/oauth/authorize", traced("/oauth/authorize", authorize))
        .route("/oauth/login", traced("/oauth/login", post(login::log_in)))
        .route("/oauth/token", traced("/oauth/token", post(token::exchange)))
        .route("/oauth/revoke", traced("/oauth/revoke", post(revocation::revoke)))
        .route("/oauth/introspect", traced("/oauth/introspect", post(introspection::introspect)))
        .route("/oauth/jwks", traced("/oauth/jwks", get(metadata::jwks)))
        .route(metadata, traced(metadata, get(metadata::metadata)))
        .route(openid, traced(openid, get(metadata::metadata)))
}
