//! From a request to the handler that answers it.
//!
//! ```text
//! record ─► /healthz, /readyz
//!    └────► shed above the limit ─► time limit ─┬─► authorization server, operators, documents
//!                                               └─► token ─► path ─► scope ─► handler
//! ```
//!
//! The paths of the API are not axum's to match: hrefs have slashes in them, and the rules of
//! [`crate::route`] hold for them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use shared::time::UnixTime;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};

use crate::app::App;
use crate::auth::{self, Caller};
use crate::config::millis;
use crate::oauth::{self, access_token};
use crate::problem::{Intent, Problem};
use crate::route::{Route, RouteFault};
use crate::trace::{self, Trace};
use crate::{
    body, devices, docs, health, mediator, operators, representation, resources, subscriptions,
};

/// Everything that the process serves.
pub fn router(app: Arc<App>) -> Router {
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(limit_reached))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(app.limits.requests_in_flight))
        .layer(TimeoutLayer::new(millis(app.timeouts.response_ms)));
    let api = Router::new()
        .merge(trace::serve(oauth::routes()))
        .merge(trace::serve(operators::routes()))
        .merge(trace::serve(docs::routes()))
        .fallback(answer)
        .layer(limits);
    Router::new()
        .merge(trace::serve(health::routes()))
        .fallback_service(api.with_state(app.clone()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), trace::record))
        .with_state(app)
}

async fn limit_reached(method: Method, error: BoxError) -> Problem {
    if error.is::<tower::timeout::error::Elapsed>() {
        let reads = method == Method::GET;
        Problem::too_slow(if reads { Intent::Read } else { Intent::Update })
    } else {
        Problem::overloaded()
    }
}

/// A request on its way to its handler: who asks, and all of it but the body.
pub struct Asked {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) parts: Parts,
    pub(crate) trace: Arc<Trace>,
}

impl Asked {
    /// Reads the request's body within the limits.
    pub(crate) async fn read(&self, body: Body) -> Result<bytes::Bytes, Problem> {
        read_body(&self.app, &self.parts, body).await
    }
}

pub(crate) async fn read_body(
    app: &App,
    parts: &Parts,
    body: Body,
) -> Result<bytes::Bytes, Problem> {
    let within = millis(app.timeouts.body_ms);
    body::read(&parts.headers, body, app.limits.body_bytes, within).await
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let route = Route::parse(&parts.method, parts.uri.path());
    let trace = parts.extensions.get::<Arc<Trace>>().cloned().ok_or_else(Problem::internal)?;
    if let Ok(route) = &route {
        trace.set_pattern(route.pattern());
    }
    // Below the API's base every path asks for the token first.
    if route == Err(RouteFault::Outside) {
        return Err(RouteFault::Outside.into());
    }
    if representation::is_form(&parts.headers) {
        let form = read_body(&app, &parts, body).await?;
        if std::str::from_utf8(&form).is_ok_and(auth::names_token) {
            return Err(auth::misplaced_token());
        }
        body = Body::from(form);
    }
    let caller = authenticate(&app, &parts).await?;
    trace.set_caller(caller.clone());
    let route = route?;
    let asked = Asked { app, caller, parts, trace };
    match route {
        Route::ListDevices => devices::list(asked).await,
        Route::ReadDevice(device) => devices::read(asked, device).await,
        Route::Retrieve(device, href) => resources::retrieve(asked, device, href).await,
        Route::Update(device, href) => resources::update(asked, device, href, body).await,
        Route::Subscribe(target) => subscriptions::subscribe(asked, target, body).await,
        Route::ReadSubscription(target, id) => subscriptions::read(asked, target, id).await,
        Route::Unsubscribe(target, id) => subscriptions::unsubscribe(asked, target, id).await,
        Route::RegisterMediator => mediator::register(asked).await,
        Route::IssueDeviceToken => mediator::issue_token(asked, body).await,
        Route::ListDeviceTokens => mediator::list_tokens(asked).await,
        Route::RemoveDevice(device) => mediator::remove_device(asked, device).await,
    }
}

/// Who sent a request.
pub(crate) async fn authenticate(app: &App, parts: &Parts) -> Result<Arc<Caller>, Problem> {
    let token = auth::token_of(parts)?;
    match app.authenticator.find(token, unix_now()) {
        Some(found) => found,
        None => access_token::authenticate(app, token).await,
    }
}

pub(crate) fn unix_now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
