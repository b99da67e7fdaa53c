//! The authorization endpoint: a partner cloud sends a browser, the user consents or not, the browser
//! goes back with a code or an error (RFC 6749 §4.1, cloud reference 3.3 to 3.5).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::channel::authorization::{
    AuthorizationCommand, ClientRecord, LoginRecord, RegistryCommand,
};
use shared::channel::message::{Failure, Reply};
use shared::scope::Scopes;

use super::browser::{Purpose, Session, form_cookie, form_proof, is_our_form, session_cookie};
use super::keys::Keys;
use super::parameters::{self, Parameters};
use super::request::{self, AuthorizationRequest, Back, Refused};
use crate::app::{App, Unfulfilled};
use crate::docs::schemas::{AuthorizationQuery, ConsentForm};
use crate::pages;
use crate::router::unix_now;

/// A request that was understood, and of whom.
pub struct Asked {
    /// Who asks.
    pub client: Arc<ClientRecord>,
    /// For what.
    pub request: AuthorizationRequest,
    /// The query, for the form that answers it.
    pub query: String,
    /// The keys of today.
    pub keys: Arc<Keys>,
}

/// Ask the user
///
/// For browsers: the login page, or the consent page for who has logged in.
#[utoipa::path(get, path = "/oauth/authorize", tag = "authorization",
    params(AuthorizationQuery),
    responses((status = 200, description = "A page", body = String, content_type = "text/html"),
              (status = 303, description = "Back to the client, with `error`"),
              (status = 400, description = "A page: the client or its redirect URI is unknown",
               body = String, content_type = "text/html"),
              (status = 503, description = "A page", body = String, content_type = "text/html")))]
pub async fn show(State(app): State<Arc<App>>, request: Request) -> Response {
    let parameters = Parameters::parse(request.uri().query().unwrap_or_default());
    let asked = match understand(&app, &parameters).await {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let logs_in_again = parameters.get("prompt") == Ok(Some("login"));
    let headers = request.headers();
    let session = Session::of(headers, &asked.keys, unix_now().0).filter(|_| !logs_in_again);
    match session.zip(session_cookie(headers)) {
        Some((session, cookie)) => consent_page(&app, &asked, &session, cookie),
        None => login_page(&app, &asked, headers, "", None),
    }
}

/// Checks a request; otherwise what the browser is answered.
pub async fn understand(app: &App, parameters: &Parameters) -> Result<Asked, Response> {
    let busy = |_| pages::unavailable(app);
    let refused = |refused| refuse(app, refused);
    let id = request::client_id(parameters).map_err(refused)?;
    let client = app.oauth.clients.find(app, id).await.map_err(busy)?;
    let client = client.ok_or_else(|| refused(Refused::Page(request::UNKNOWN_CLIENT)))?;
    let request = AuthorizationRequest::check(parameters, &client).map_err(refused)?;
    let keys = app.oauth.keys.today(app).await.map_err(busy)?;
    Ok(Asked { client, request, query: parameters.without("prompt"), keys })
}

fn refuse(app: &App, refused: Refused) -> Response {
    match refused {
        Refused::Page(why) => pages::refused(app, why),
        Refused::Redirect(back, error) => go_back(app, &back, &[("error", error)]),
    }
}

/// Sends the browser back to the client.
fn go_back(app: &App, back: &Back, pairs: &[(&str, &str)]) -> Response {
    let to = back.with(&app.oauth.config.issuer, pairs);
    match HeaderValue::from_str(&to) {
        Ok(to) => pages::guarded((StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response(), None),
        // Registered URIs are ASCII, and what is added to them is encoded.
        Err(_) => pages::unavailable(app),
    }
}

/// The login page, with what was wrong before.
pub fn login_page(
    app: &App,
    asked: &Asked,
    headers: &HeaderMap,
    name: &str,
    problem: Option<pages::LoginProblem>,
) -> Response {
    let Ok(random) = random() else { return pages::unavailable(app) };
    let (cookie, set) = form_cookie(headers, random);
    let now = unix_now().0;
    let proof = form_proof(&asked.keys, now, Purpose::LogIn, &cookie, &asked.query);
    let mut page = pages::login(app, asked, &proof, name, problem);
    if let Some((header, value)) = set {
        page.headers_mut().append(header, value);
    }
    page
}

fn consent_page(app: &App, asked: &Asked, session: &Session, cookie: &str) -> Response {
    let now = unix_now().0;
    let proof = form_proof(&asked.keys, now, Purpose::Consent, cookie, &asked.query);
    pages::consent(app, asked, &proof, &session.name)
}

fn random() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Decide
///
/// For browsers: the consent page's form.
#[utoipa::path(post, path = "/oauth/authorize", tag = "authorization",
    request_body(content = ConsentForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the client, with `code` or `error`"),
              (status = 200, description = "The login page: whoever it was has to log in again",
               body = String, content_type = "text/html"),
              (status = 400, description = "A page: the form is not ours, or too old",
               body = String, content_type = "text/html"),
              (status = 503, description = "A page", body = String, content_type = "text/html")))]
pub async fn decide(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (asked, form) = match answered_form(&app, &parts.headers, body).await {
        Ok(answered) => answered,
        Err(refusal) => return refusal,
    };
    let of_form = |name| form.get(name).ok().flatten().unwrap_or_default();
    let ours =
        is_our_form(&parts.headers, &asked.keys, Purpose::Consent, &asked.query, of_form("proof"));
    let session = Session::of(&parts.headers, &asked.keys, unix_now().0).filter(|_| ours);
    let Some(session) = session else {
        let problem = Some(pages::LoginProblem::TookTooLong);
        return login_page(&app, &asked, &parts.headers, "", problem);
    };
    let decision = of_form("decision");
    tracing::info!(
        target: "api::audit",
        user = %session.user,
        client = asked.client.id,
        scopes = %asked.request.scopes,
        allowed = decision == "allow",
        "consent"
    );
    if decision != "allow" {
        let pairs = [("error", "access_denied"), ("error_description", "The user refused")];
        return go_back(&app, &asked.request.back, &pairs);
    }
    match issue_code(&app, &asked, &session).await {
        Ok(Some(code)) => go_back(&app, &asked.request.back, &[("code", &code)]),
        Ok(None) => login_page(&app, &asked, &parts.headers, "", None),
        Err(_) => go_back(&app, &asked.request.back, &[("error", "temporarily_unavailable")]),
    }
}

/// The form of one of our pages, and the request that it answers.
pub async fn answered_form(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Asked, Parameters), Response> {
    let unreadable = || pages::refused(app, "The form cannot be read. Go back and try again.");
    let form = parameters::read(app, headers, body).await.ok_or_else(unreadable)?;
    if form.any_repeated() {
        return Err(unreadable());
    }
    let query = form.get("request").ok().flatten().ok_or_else(unreadable)?;
    let asked = understand(app, &Parameters::parse(query)).await?;
    Ok((asked, form))
}

/// A code for who has logged in, unless the login has changed since.
async fn issue_code(
    app: &App,
    asked: &Asked,
    session: &Session,
) -> Result<Option<String>, Unfulfilled> {
    let login = find_login(app, &session.name).await?;
    let stands = login.is_some_and(|login| {
        login.enabled && login.user == session.user && login.revision == session.revision
    });
    if !stands {
        return Ok(None);
    }
    let command = AuthorizationCommand::IssueCode {
        client: asked.client.id.clone(),
        redirect_uri: asked.request.back.redirect_uri.clone(),
        scopes: asked.request.scopes,
        challenge: asked.request.challenge,
        lifetime_secs: app.oauth.config.code_secs,
    };
    match app.ask_user(session.user, None, command).await? {
        Reply::AuthorizationCode(code) => Ok(Some(code.reveal().to_owned())),
        _ => Err(Unfulfilled::Nonsense),
    }
}

/// The login of this name, if there is one.
pub async fn find_login(app: &App, name: &str) -> Result<Option<LoginRecord>, Unfulfilled> {
    match app.ask_registry(RegistryCommand::ReadLogin { name: name.into() }).await {
        Ok(Reply::Login(login)) => Ok(Some(login)),
        Ok(_) => Err(Unfulfilled::Nonsense),
        Err(Unfulfilled::Failed(Failure::NoSuchRecord)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a scope allows, as the user is told.
pub fn in_plain_words(scopes: Scopes) -> Vec<&'static str> {
    let words = [
        (Scopes::READ, "See your devices and their state"),
        (Scopes::WRITE, "Control your devices"),
        (Scopes::OFFLINE_ACCESS, "Stay connected while you are away"),
        (Scopes::MEDIATOR, "Add devices to your account, and remove them"),
    ];
    words.into_iter().filter(|(scope, _)| scopes.contain(*scope)).map(|(_, words)| words).collect()
}
