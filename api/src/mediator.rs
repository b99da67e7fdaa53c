//! Mediators: apps that bring a user's devices into the cloud, and take them out again.
//!
//! | request | success |
//! | --- | --- |
//! | `POST /api/v1/mediator` | 200 `{uid, accesstoken, expiresin}` |
//! | `POST /api/v1/mediator/devices` `{"di": …}` | 201 `{di?, accesstoken, cis, sid, expiresin}` |
//! | `GET /api/v1/mediator/devices` | 200 `[{di?, expiresin}]` |
//! | `DELETE /api/v1/mediator/devices/{di}` | 204 |
//!
//! All of it is JSON and takes a token with the mediator right. A registered Mediator goes on with the
//! token that it registered with: nobody else issues one.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use shared::channel::message::{Command, Reply};
use shared::ids::{CloudId, DeviceId, UserId};
use shared::ocf::account::NEVER_EXPIRES;
use utoipa::ToSchema;

use crate::app::unexpected_reply;
use crate::auth;
use crate::body::parse_object;
use crate::body::representation;
use crate::docs::failures;
use crate::problem::{Intent, Problem};
use crate::representation::{self, MediaType, accepts_json};
use crate::router::{Asked, unix_now};

/// A registered Mediator.
#[derive(Serialize, ToSchema)]
struct Registration<'a> {
    /// Whose devices it brings.
    #[schema(value_type = String, format = "uuid")]
    uid: UserId,
    /// The token that it has registered with.
    #[serde(rename = "accesstoken")]
    access_token: &'a str,
    /// Seconds until the token expires; -1 for never.
    #[serde(rename = "expiresin")]
    expires_in: i64,
}

/// For which device a token is wanted.
#[derive(Deserialize, Default, ToSchema)]
struct TokenRequest {
    /// The only device that may use it; whichever comes first when left out.
    #[schema(value_type = Option<String>, format = "uuid",
             pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
    #[serde(default)]
    di: Option<DeviceId>,
}

/// What a Mediator writes into a device.
#[derive(Serialize, ToSchema)]
struct DeviceToken<'a> {
    /// The only device that may use the token.
    #[schema(value_type = Option<String>, format = "uuid")]
    #[serde(skip_serializing_if = "Option::is_none")]
    di: Option<DeviceId>,
    /// The device signs up with it, once.
    #[serde(rename = "accesstoken")]
    access_token: &'a str,
    /// Where the device finds the cloud.
    cis: &'a str,
    /// The cloud's own id.
    #[schema(value_type = String, format = "uuid")]
    sid: CloudId,
    /// Seconds until the token expires.
    #[serde(rename = "expiresin")]
    expires_in: u64,
}

/// A token that no device has used yet.
#[derive(Serialize, ToSchema)]
struct OutstandingToken {
    /// The only device that may use it.
    #[schema(value_type = Option<String>, format = "uuid")]
    #[serde(skip_serializing_if = "Option::is_none")]
    di: Option<DeviceId>,
    /// Seconds until it expires.
    #[serde(rename = "expiresin")]
    expires_in: u64,
}

/// Register a Mediator
///
/// Its user exists from then on.
#[utoipa::path(post, path = "/api/v1/mediator", tag = "mediator",
    responses((status = 200, description = "Registered", body = Registration), failures::OfMediator),
    security(("bearer" = ["mediator"])))]
pub async fn register(asked: Asked) -> Result<Response, Problem> {
    must_mediate_in_json(&asked)?;
    let access_token = auth::bearer(&asked.parts.headers)?;
    let access_token = std::str::from_utf8(access_token).map_err(|_| Problem::internal())?;
    let command = Command::RegisterMediator;
    match asked.app.ask_store(&asked.caller, command, Intent::Update).await? {
        Reply::Done => {}
        _ => return Err(unexpected_reply("register a Mediator")),
    }
    let remaining = asked.caller.expires().map(|at| at.secs_after(unix_now()));
    let expires_in =
        remaining.map_or(NEVER_EXPIRES, |secs| i64::try_from(secs).unwrap_or(i64::MAX));
    Ok(json(&Registration { uid: asked.caller.user(), access_token, expires_in }))
}

/// Issue a token with which one device signs up
#[utoipa::path(post, path = "/api/v1/mediator/devices", tag = "mediator",
    request_body(content = Option<TokenRequest>),
    responses((status = 201, description = "Shown this once", body = DeviceToken),
              failures::OfMediator),
    security(("bearer" = ["mediator"])))]
pub async fn issue_token(asked: Asked, body: Body) -> Result<Response, Problem> {
    must_mediate_in_json(&asked)?;
    let body_type = representation::body_type(&asked.parts.headers);
    let body = asked.read(body).await?;
    let request = match body_type {
        _ if body.is_empty() => TokenRequest::default(),
        Some(MediaType::Json) => parse_object::<Option<TokenRequest>>(&body)
            .map(Option::unwrap_or_default)
            .ok_or_else(|| Problem::bad_request("the body is not {\"di\": \"<UUID>\"} or {}"))?,
        _ => return Err(Problem::unsupported_media_type("application/json")),
    };
    // The device is told where to sign up, so no token is issued while that is not known.
    let cloud = asked
        .app
        .shards
        .cloud()
        .ok_or_else(|| Problem::unavailable("the devices cannot be reached"))?;
    let command = Command::IssueDeviceToken { device: request.di };
    let reply = asked.app.ask_store(&asked.caller, command, Intent::Update).await?;
    let Reply::DeviceToken { token, expires_in_secs } = reply else {
        return Err(unexpected_reply("issue a device token"));
    };
    audit(&asked, request.di, "device token issued");
    let issued = DeviceToken {
        di: request.di,
        access_token: &token,
        cis: &cloud.endpoint,
        sid: cloud.id,
        expires_in: expires_in_secs,
    };
    let mut response = json(&issued);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// List the tokens that no device has used yet
///
/// Not themselves: they were shown once.
#[utoipa::path(get, path = "/api/v1/mediator/devices", tag = "mediator",
    responses((status = 200, description = "Those that live", body = Vec<OutstandingToken>),
              failures::OfMediator),
    security(("bearer" = ["mediator"])))]
pub async fn list_tokens(asked: Asked) -> Result<Response, Problem> {
    must_mediate_in_json(&asked)?;
    let command = Command::ListDeviceTokens;
    let reply = asked.app.ask_store(&asked.caller, command, Intent::Read).await?;
    let Reply::DeviceTokens(tokens) = reply else {
        return Err(unexpected_reply("list device tokens"));
    };
    let tokens: Vec<_> = tokens
        .into_iter()
        .map(|token| OutstandingToken { di: token.device, expires_in: token.expires_in_secs })
        .collect();
    Ok(json(&tokens))
}

/// Remove a device that is lost or sold
///
/// Its tokens, links, sessions and subscriptions end.
#[utoipa::path(delete, path = "/api/v1/mediator/devices/{di}", tag = "mediator",
    params(("di" = String, Path, format = "uuid", description = "Device id")),
    responses((status = 204, description = "Removed"), failures::OfMediatedDevice),
    security(("bearer" = ["mediator"])))]
pub async fn remove_device(asked: Asked, device: DeviceId) -> Result<Response, Problem> {
    asked.caller.must_mediate()?;
    let command = Command::RemoveDevice { device };
    match asked.app.ask_store(&asked.caller, command, Intent::Update).await? {
        Reply::Done => {
            audit(&asked, Some(device), "device removed");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(unexpected_reply("remove a device")),
    }
}

/// What changes who may control a device is logged with who did it (cloud reference 9.6).
fn audit(asked: &Asked, device: Option<DeviceId>, done: &'static str) {
    tracing::info!(
        target: "api::audit",
        user = %asked.caller.user(),
        client = asked.caller.client(),
        device = device.map_or(String::new(), |device| device.to_string()),
        correlation = asked.trace.correlation(),
        "{done}"
    );
}

fn must_mediate_in_json(asked: &Asked) -> Result<(), Problem> {
    asked.caller.must_mediate()?;
    if accepts_json(&asked.parts.headers) {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "application/json"))
    }
}

fn json(value: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(value).expect("texts and numbers have JSON");
    representation(MediaType::Json, bytes)
}
