//! The operators' API over HTTPS.
//!
//! | request | success |
//! | --- | --- |
//! | `GET /operator/v1/clients` | 200, a list |
//! | `POST /operator/v1/clients` | 201, the client and its secret |
//! | `POST /operator/v1/clients/{id}/secrets` | 201, another secret; the one before stays good |
//! | `PUT /operator/v1/clients/{id}/authorities` | 204; those of its own servers are replaced |
//! | `POST /operator/v1/clients/{id}/{enable, disable}` | 204 |
//! | `DELETE /operator/v1/clients/{id}` | 204 |
//! | `GET /operator/v1/subscriptions` | 200, a page of them and how their deliveries go |
//! | `GET /operator/v1/users` | 200, a list |
//! | `POST /operator/v1/users` | 201, the user |
//! | `DELETE /operator/v1/users/{name}` | 204, with everything that is theirs; 202 while it is under way |
//! | `POST /operator/v1/users/{name}/password` | 204 |
//! | `POST /operator/v1/users/{name}/{enable, disable}` | 204 |
//! | `GET /operator/v1/shards` | 200, what the gateway occupies and how long it takes |

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::ids::UserId;
use shared::secret::Secret;
use utoipa::ToSchema;

use super::clients::{ClientView, NewClient};
use super::shards::GatewayView;
use super::users::{Deletion, UserView};
use super::{Refusal, clients, shards, subscriptions, users};
use crate::app::App;
use crate::body::parse_object;
use crate::docs::failures;
use crate::oauth::clients::CLIENT_ID_BYTES_MAX;
use crate::oauth::error::json;
use crate::problem::Problem;
use crate::query;
use crate::representation::{self, MediaType};
use crate::router;
use crate::trace::{Routes, Trace};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(why) => Self::bad_request(why),
            Refusal::NotFound => Self::not_found("there is none of this name"),
            Refusal::Conflict => {
                Self::new(StatusCode::CONFLICT, "it exists, or has changed in the meantime")
            }
            Refusal::TooMuch => Self::too_large("there are too many, or it is too large"),
            Refusal::Unavailable => Self::unavailable("the gateway cannot say now"),
        }
    }
}

/// The paths of operators.
pub fn routes() -> Routes {
    vec![
        ("/operator/v1/clients", get(list_clients).post(add_client)),
        ("/operator/v1/clients/{id}", delete(remove_client)),
        ("/operator/v1/clients/{id}/secrets", post(add_secret)),
        ("/operator/v1/clients/{id}/authorities", put(set_authorities)),
        ("/operator/v1/clients/{id}/{switch}", post(switch_client)),
        ("/operator/v1/shards", get(read_shards)),
        ("/operator/v1/subscriptions", get(list_subscriptions)),
        ("/operator/v1/users", get(list_users).post(add_user)),
        ("/operator/v1/users/{name}", delete(delete_user)),
        ("/operator/v1/users/{name}/password", post(set_password)),
        ("/operator/v1/users/{name}/{switch}", post(switch_user)),
    ]
}

type Answer = Result<Response, Problem>;

/// Refuses whoever is no operator, and says who it is in the log of what was changed.
async fn admit(app: &App, request: Request, does: &'static str) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let caller = router::authenticate(app, &parts).await?;
    caller.must_operate()?;
    if let Some(trace) = parts.extensions.get::<Arc<Trace>>() {
        trace.set_caller(caller.clone());
        let (client, correlation) = (caller.client(), trace.correlation());
        tracing::info!(target: "api::audit", client, correlation, "{does}");
    }
    Ok(Request::from_parts(parts, body))
}

async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    if representation::body_type(&parts.headers) != Some(MediaType::Json) {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    let body = router::read_body(app, &parts, body).await?;
    // What serde says of a body may repeat a password.
    parse_object(&body)
        .ok_or_else(|| Problem::bad_request("the body is not the JSON object that is described"))
}

/// A client that was registered.
#[derive(Serialize, ToSchema)]
struct Registered {
    #[serde(flatten)]
    client: clients::ClientView,
    /// Shown this once.
    client_secret: String,
}

/// A client's secret.
#[derive(Serialize, ToSchema)]
struct FreshSecret {
    /// Shown this once.
    client_secret: String,
}

/// List the clients
#[utoipa::path(get, path = "/operator/v1/clients", tag = "operators",
    responses((status = 200, description = "All of them", body = Vec<ClientView>), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn list_clients(State(app): State<Arc<App>>, request: Request) -> Answer {
    admit(&app, request, "clients listed").await?;
    Ok(json(StatusCode::OK, &clients::list(&app).await?))
}

/// Register a client
#[utoipa::path(post, path = "/operator/v1/clients", tag = "operators",
    request_body(content = NewClient),
    responses((status = 201, description = "Its secret is shown this once", body = Registered), failures::OfOperatorWithBody),
    security(("bearer" = ["operator"])))]
pub async fn add_client(State(app): State<Arc<App>>, request: Request) -> Answer {
    let request = admit(&app, request, "client to be registered").await?;
    let (client, secret) = clients::add(&app, read(&app, request).await?).await?;
    let registered = Registered { client, client_secret: secret.reveal().to_owned() };
    Ok(json(StatusCode::CREATED, &registered))
}

/// Make another secret; the one before stays good
#[utoipa::path(post, path = "/operator/v1/clients/{id}/secrets", tag = "operators",
    params(("id" = String, Path, description = "`client_id`")),
    responses((status = 201, description = "Shown this once", body = FreshSecret), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn add_secret(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    admit(&app, request, "client's secret to be replaced").await?;
    let secret = clients::add_secret(&app, &id).await?;
    let fresh = FreshSecret { client_secret: secret.reveal().to_owned() };
    Ok(json(StatusCode::CREATED, &fresh))
}

/// The authorities of a client's own servers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Authorities {
    /// In PEM; none of its own when empty.
    authorities: String,
}

/// Replace the authorities of a client's own servers
#[utoipa::path(put, path = "/operator/v1/clients/{id}/authorities", tag = "operators",
    params(("id" = String, Path, description = "`client_id`")),
    request_body(content = Authorities),
    responses((status = 204, description = "Replaced"), failures::OfOperatorWithBody),
    security(("bearer" = ["operator"])))]
pub async fn set_authorities(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let request = admit(&app, request, "client's authorities to be replaced").await?;
    let Authorities { authorities } = read(&app, request).await?;
    clients::set_authorities(&app, &id, authorities).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Let a client do what it is registered for, or nothing
#[utoipa::path(post, path = "/operator/v1/clients/{id}/{switch}", tag = "operators",
    params(("id" = String, Path, description = "`client_id`"), ("switch" = String, Path, description = "`enable` or `disable`")),
    responses((status = 204, description = "Done"), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn switch_client(
    State(app): State<Arc<App>>,
    Path((id, switch)): Path<(String, String)>,
    request: Request,
) -> Answer {
    admit(&app, request, "client to be switched").await?;
    clients::set_enabled(&app, &id, is_on(&switch)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Forget a client
#[utoipa::path(delete, path = "/operator/v1/clients/{id}", tag = "operators",
    params(("id" = String, Path, description = "`client_id`")),
    responses((status = 204, description = "Its tokens are good for nothing"), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn remove_client(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    admit(&app, request, "client to be removed").await?;
    clients::remove(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// List subscriptions and how their deliveries go
///
/// A page at a time. A page may have few entries, or none, and a `next` all the same.
#[utoipa::path(get, path = "/operator/v1/subscriptions", tag = "operators",
    params(("client" = Option<String>, Query, description = "Of this `client_id` only"),
           ("after" = Option<String>, Query, format = "uuid",
            description = "Begin behind this subscription: the `next` of the page before")),
    responses((status = 200, description = "A page of them", body = subscriptions::Page),
              failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn list_subscriptions(State(app): State<Arc<App>>, request: Request) -> Answer {
    let request = admit(&app, request, "subscriptions listed").await?;
    let given = request.uri().query();
    let after = query::subscription(given, "after")?;
    let client = query::text(given, "client", CLIENT_ID_BYTES_MAX)?;
    Ok(json(StatusCode::OK, &subscriptions::page(&app, after, client.as_deref()).await?))
}

/// A user to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// Under which name they log in; at most 128 bytes.
    #[schema(
        min_length = 1,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    name: String,
    /// Who they are to devices that know them already; made up when left out.
    #[schema(value_type = Option<String>, format = "uuid")]
    #[serde(default)]
    uid: Option<UserId>,
    /// Of at least 8 characters and at most 256 bytes, without control characters.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]{8,}$")]
    password: String,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// Of at least 8 characters and at most 256 bytes, without control characters.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]{8,}$")]
    password: String,
}

/// List the users who may log in
#[utoipa::path(get, path = "/operator/v1/users", tag = "operators",
    responses((status = 200, description = "All of them", body = Vec<UserView>), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn list_users(State(app): State<Arc<App>>, request: Request) -> Answer {
    admit(&app, request, "users listed").await?;
    Ok(json(StatusCode::OK, &users::list(&app).await?))
}

/// Add a user
#[utoipa::path(post, path = "/operator/v1/users", tag = "operators",
    request_body(content = NewUser),
    responses((status = 201, description = "Added", body = UserView), failures::OfOperatorWithBody),
    security(("bearer" = ["operator"])))]
pub async fn add_user(State(app): State<Arc<App>>, request: Request) -> Answer {
    let request = admit(&app, request, "user to be added").await?;
    let NewUser { name, uid, password } = read(&app, request).await?;
    let user = users::add(&app, &name, uid, Secret::new(password)).await?;
    Ok(json(StatusCode::CREATED, &user))
}

/// Delete a user with everything that is theirs
///
/// Devices with their links and sessions, tokens, and what was granted to clients. Once begun it is
/// done to the end; after a 202 ask again to know when.
#[utoipa::path(delete, path = "/operator/v1/users/{name}", tag = "operators",
    params(("name" = String, Path, description = "Name of the login, or the user's id")),
    responses((status = 204, description = "Nothing is left"),
              (status = 202, description = "It is under way"), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn delete_user(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    admit(&app, request, "user to be deleted").await?;
    let status = match users::delete(&app, &name).await? {
        Deletion::Done => StatusCode::NO_CONTENT,
        Deletion::UnderWay => StatusCode::ACCEPTED,
    };
    Ok(status.into_response())
}

/// Replace a password
#[utoipa::path(post, path = "/operator/v1/users/{name}/password", tag = "operators",
    params(("name" = String, Path, description = "Name of the login")),
    request_body(content = NewPassword),
    responses((status = 204, description = "Replaced"), failures::OfOperatorWithBody),
    security(("bearer" = ["operator"])))]
pub async fn set_password(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let request = admit(&app, request, "user's password to be replaced").await?;
    let NewPassword { password } = read(&app, request).await?;
    users::set_password(&app, &name, Secret::new(password)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Let a user log in, or not; who may not has no links either
#[utoipa::path(post, path = "/operator/v1/users/{name}/{switch}", tag = "operators",
    params(("name" = String, Path, description = "Name of the login"), ("switch" = String, Path, description = "`enable` or `disable`")),
    responses((status = 204, description = "Done"), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn switch_user(
    State(app): State<Arc<App>>,
    Path((name, switch)): Path<(String, String)>,
    request: Request,
) -> Answer {
    admit(&app, request, "user to be switched").await?;
    users::set_enabled(&app, &name, is_on(&switch)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Account for the gateway's memory
///
/// The bytes of every table of every shard, what the process occupies with them, and how long what the
/// shards read waits. Of large tables some entries are looked at: it holds up nobody.
#[utoipa::path(get, path = "/operator/v1/shards", tag = "operators",
    responses((status = 200, description = "All shards", body = GatewayView), failures::OfOperator),
    security(("bearer" = ["operator"])))]
pub async fn read_shards(State(app): State<Arc<App>>, request: Request) -> Answer {
    admit(&app, request, "shards read").await?;
    Ok(json(StatusCode::OK, &shards::read(&app).await?))
}

fn is_on(switch: &str) -> Result<bool, Problem> {
    match switch {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => Err(Problem::not_found("no such path")),
    }
}
