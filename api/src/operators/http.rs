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
//! | `GET /operator/v1/users` | 200, a list |
//! | `POST /operator/v1/users` | 201, the user |
//! | `POST /operator/v1/users/{name}/password` | 204 |
//! | `POST /operator/v1/users/{name}/{enable, disable}` | 204 |

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::ids::UserId;
use shared::secret::Secret;

use super::{Refusal, clients, users};
use crate::app::App;
use crate::oauth::error::json;
use crate::problem::Problem;
use crate::representation::{self, MediaType};
use crate::router;
use crate::trace::{Trace, traced};

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
pub fn router() -> Router<Arc<App>> {
    let clients = "/operator/v1/clients";
    let client = "/operator/v1/clients/{id}";
    let secrets = "/operator/v1/clients/{id}/secrets";
    let authorities = "/operator/v1/clients/{id}/authorities";
    let client_switch = "/operator/v1/clients/{id}/{switch}";
    let users = "/operator/v1/users";
    let password = "/operator/v1/users/{name}/password";
    let user_switch = "/operator/v1/users/{name}/{switch}";
    Router::new()
        .route(clients, traced(clients, get(list_clients).post(add_client)))
        .route(client, traced(client, delete(remove_client)))
        .route(secrets, traced(secrets, post(add_secret)))
        .route(authorities, traced(authorities, put(set_authorities)))
        .route(client_switch, traced(client_switch, post(switch_client)))
        .route(users, traced(users, get(list_users).post(add_user)))
        .route(password, traced(password, post(set_password)))
        .route(user_switch, traced(user_switch, post(switch_user)))
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
    serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request("the body is not the JSON object that is described"))
}

#[derive(Serialize)]
struct Registered {
    #[serde(flatten)]
    client: clients::ClientView,
    client_secret: String,
}

#[derive(Serialize)]
struct FreshSecret {
    client_secret: String,
}

async fn list_clients(State(app): State<Arc<App>>, request: Request) -> Answer {
    admit(&app, request, "clients listed").await?;
    Ok(json(StatusCode::OK, &clients::list(&app).await?))
}

async fn add_client(State(app): State<Arc<App>>, request: Request) -> Answer {
    let request = admit(&app, request, "client to be registered").await?;
    let (client, secret) = clients::add(&app, read(&app, request).await?).await?;
    let registered = Registered { client, client_secret: secret.reveal().to_owned() };
    Ok(json(StatusCode::CREATED, &registered))
}

async fn add_secret(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    admit(&app, request, "client's secret to be replaced").await?;
    let secret = clients::add_secret(&app, &id).await?;
    let fresh = FreshSecret { client_secret: secret.reveal().to_owned() };
    Ok(json(StatusCode::CREATED, &fresh))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorities {
    /// In PEM; none of its own when empty.
    authorities: String,
}

async fn set_authorities(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let request = admit(&app, request, "client's authorities to be replaced").await?;
    let Authorities { authorities } = read(&app, request).await?;
    clients::set_authorities(&app, &id, authorities).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn switch_client(
    State(app): State<Arc<App>>,
    Path((id, switch)): Path<(String, String)>,
    request: Request,
) -> Answer {
    admit(&app, request, "client to be switched").await?;
    clients::set_enabled(&app, &id, is_on(&switch)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_client(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    admit(&app, request, "client to be removed").await?;
    clients::remove(&app, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    #[serde(default)]
    uid: Option<UserId>,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    password: String,
}

async fn list_users(State(app): State<Arc<App>>, request: Request) -> Answer {
    admit(&app, request, "users listed").await?;
    Ok(json(StatusCode::OK, &users::list(&app).await?))
}

async fn add_user(State(app): State<Arc<App>>, request: Request) -> Answer {
    let request = admit(&app, request, "user to be added").await?;
    let NewUser { name, uid, password } = read(&app, request).await?;
    let user = users::add(&app, &name, uid, Secret::new(password)).await?;
    Ok(json(StatusCode::CREATED, &user))
}

async fn set_password(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let request = admit(&app, request, "user's password to be replaced").await?;
    let NewPassword { password } = read(&app, request).await?;
    users::set_password(&app, &name, Secret::new(password)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn switch_user(
    State(app): State<Arc<App>>,
    Path((name, switch)): Path<(String, String)>,
    request: Request,
) -> Answer {
    admit(&app, request, "user to be switched").await?;
    users::set_enabled(&app, &name, is_on(&switch)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn is_on(switch: &str) -> Result<bool, Problem> {
    match switch {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => Err(Problem::not_found("no such path")),
    }
}
