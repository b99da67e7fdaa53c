//! Alive and ready, for whoever supervises the process. No token is needed.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;
use crate::trace::Trace;

/// `GET /healthz`: the process answers.
pub async fn alive(Extension(trace): Extension<Arc<Trace>>) -> Response {
    trace.set_pattern("/healthz");
    "alive\n".into_response()
}

/// `GET /readyz`: the process can reach all shards.
pub async fn ready(
    State(app): State<Arc<App>>,
    Extension(trace): Extension<Arc<Trace>>,
) -> Result<Response, Problem> {
    trace.set_pattern("/readyz");
    if app.shards.is_ready() {
        Ok("ready\n".into_response())
    } else {
        Err(Problem::unavailable("the gateway is not connected"))
    }
}
