//! Alive and ready, for whoever supervises the process. No token is needed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;
use crate::problem::Problem;
use crate::trace::Routes;

/// The paths of this module.
pub fn routes() -> Routes {
    vec![("/healthz", get(alive)), ("/readyz", get(ready))]
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
pub async fn alive() -> Response {
    "alive\n".into_response()
}

/// Whether the process reaches the gateway
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"),
              (status = 503, description = "It does not", body = crate::docs::schemas::Problem,
               content_type = "application/problem+json")))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if app.shards.is_ready() {
        Ok("ready\n".into_response())
    } else {
        Err(Problem::unavailable("the gateway is not connected"))
    }
}
