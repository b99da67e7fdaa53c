//! The login form.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::channel::authorization::LoginRecord;
use shared::secret::Secret;

use super::authorize::{Asked, answered_form, find_login, login_page};
use super::browser::{Purpose, Session, is_our_form};
use super::password::PASSWORD_BYTES_MAX;
use crate::app::App;
use crate::docs::schemas::LoginForm;
use crate::pages::{self, LoginProblem};
use crate::router::unix_now;
use crate::server::PeerAddress;

/// Longest name of a login, in bytes.
pub const LOGIN_NAME_BYTES_MAX: usize = 128;

/// Log in
///
/// For browsers: leads on to the consent page.
#[utoipa::path(post, path = "/oauth/login", tag = "authorization",
    request_body(content = LoginForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "On to the consent page"),
              (status = 400, description = "A page: the form is not ours, or too old",
               body = String, content_type = "text/html"),
              (status = 403, description = "The login page: name and password do not fit",
               body = String, content_type = "text/html"),
              (status = 429, description = "The login page: too many attempts",
               body = String, content_type = "text/html"),
              (status = 503, description = "A page", body = String, content_type = "text/html")))]
pub async fn log_in(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(PeerAddress(address)) = parts.extensions.get::<PeerAddress>().copied() else {
        return pages::unavailable(&app);
    };
    let (asked, form) = match answered_form(&app, &parts.headers, body).await {
        Ok(answered) => answered,
        Err(refusal) => return refusal,
    };
    let of_form = |field| form.get(field).ok().flatten().unwrap_or_default();
    let name = normalised(of_form("name"));
    let proof = of_form("proof");
    let again = |problem| login_page(&app, &asked, &parts.headers, &name, Some(problem));
    if !is_our_form(&parts.headers, &asked.keys, Purpose::LogIn, &asked.query, proof) {
        return again(LoginProblem::TookTooLong);
    }
    if let Err(blocked) = app.oauth.attempts.check(&name, address.ip(), Instant::now()) {
        let mut page = again(LoginProblem::TooManyAttempts);
        page.headers_mut().insert(RETRY_AFTER, blocked.for_secs.into());
        return page;
    }
    let password = Secret::new(of_form("password"));
    match check(&app, &name, password, address.ip()).await {
        Ok(Some(login)) => welcome(&app, &asked, login),
        Ok(None) => again(LoginProblem::WrongPassword),
        Err(Unavailable) => pages::unavailable(&app),
    }
}

struct Unavailable;

/// The login that opens with this password.
async fn check(
    app: &App,
    name: &str,
    password: Secret,
    address: IpAddr,
) -> Result<Option<LoginRecord>, Unavailable> {
    let fits = name.len() <= LOGIN_NAME_BYTES_MAX && password.reveal().len() <= PASSWORD_BYTES_MAX;
    let login = if fits { find_login(app, name).await.map_err(|_| Unavailable)? } else { None };
    let hash = login.as_ref().map(|login| login.password_hash.clone());
    let right = app.oauth.hasher.verify(password, hash).await.map_err(|_| Unavailable)?;
    let opens = login.filter(|login| right && login.enabled);
    match &opens {
        Some(login) => {
            app.oauth.attempts.succeeded(name);
            tracing::info!(target: "api::audit", user = %login.user, "logged in");
        }
        None => {
            app.oauth.attempts.failed(name, address, Instant::now());
            // Not the name: people type passwords there.
            tracing::info!(target: "api::audit", %address, "login failed");
        }
    }
    Ok(opens)
}

/// The browser remembers who it is, and asks again.
fn welcome(app: &App, asked: &Asked, login: LoginRecord) -> Response {
    let now = unix_now().0;
    let expires = now + u64::from(app.oauth.config.session_minutes) * 60;
    let session = Session { user: login.user, name: login.name, expires, revision: login.revision };
    let (cookie, session) = session.set_cookie(&asked.keys, now);
    let Ok(to) = HeaderValue::from_str(&format!("/oauth/authorize?{}", asked.query)) else {
        return pages::unavailable(app);
    };
    let headers = [(LOCATION, to), (cookie, session)];
    pages::guarded((StatusCode::SEE_OTHER, headers).into_response(), None)
}

/// A name as it is stored: people write their addresses in either case.
pub fn normalised(name: &str) -> String {
    name.trim().to_lowercase()
}
