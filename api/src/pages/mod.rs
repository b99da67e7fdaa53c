//! Pages for people: server-rendered, without scripts, in the colours that the reader prefers.
//!
//! Everything that a page shows comes from the registry or from us; what came with the request only
//! stands in hidden fields, escaped. The style is part of the page, and the policy names its digest.

use std::sync::LazyLock;

use askama::Template;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use url::Url;

use crate::app::App;
use crate::oauth::authorize::{Asked, in_plain_words};

const STYLE: &str = include_str!("../../templates/style.css");

/// The policy's source expression for the style of our pages.
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE))));

/// Why the login page is shown again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginProblem {
    /// Name or password.
    WrongPassword,
    /// The form is not the one that was shown last, or was shown too long ago.
    TookTooLong,
    /// It was wrong too often.
    TooManyAttempts,
}

impl LoginProblem {
    fn sentence(self) -> &'static str {
        match self {
            Self::WrongPassword => "That name and password do not belong together.",
            Self::TookTooLong => "The page was open for too long. Please sign in again.",
            Self::TooManyAttempts => "Too many attempts. Please wait a quarter of an hour.",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::WrongPassword => StatusCode::FORBIDDEN,
            Self::TookTooLong => StatusCode::BAD_REQUEST,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    cloud: &'a str,
    style: &'static str,
    client: &'a str,
    request: &'a str,
    proof: &'a str,
    name: &'a str,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    cloud: &'a str,
    style: &'static str,
    client: &'a str,
    initial: String,
    /// Where the user goes back to.
    host: &'a str,
    name: &'a str,
    permissions: Vec<&'static str>,
    request: &'a str,
    proof: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    cloud: &'a str,
    style: &'static str,
    title: &'static str,
    text: &'a str,
}

/// The login page.
pub fn login(
    app: &App,
    asked: &Asked,
    proof: &str,
    name: &str,
    problem: Option<LoginProblem>,
) -> Response {
    let page = Login {
        cloud: &app.oauth.config.cloud_name,
        style: STYLE,
        client: &asked.client.name,
        request: &asked.query,
        proof,
        name,
        problem: problem.map(LoginProblem::sentence),
    };
    let status = problem.map_or(StatusCode::OK, LoginProblem::status);
    html(status, page.render(), Some(&asked.request.back.redirect_uri))
}

/// The consent page for who has logged in under this name.
pub fn consent(app: &App, asked: &Asked, proof: &str, name: &str) -> Response {
    let redirect = Url::parse(&asked.request.back.redirect_uri).ok();
    let page = Consent {
        cloud: &app.oauth.config.cloud_name,
        style: STYLE,
        client: &asked.client.name,
        initial: asked.client.name.chars().take(1).collect(),
        host: redirect.as_ref().and_then(Url::host_str).unwrap_or_default(),
        name,
        permissions: in_plain_words(asked.request.scopes),
        request: &asked.query,
        proof,
    };
    html(StatusCode::OK, page.render(), Some(&asked.request.back.redirect_uri))
}

/// A request that leads nowhere: the user is told why.
pub fn refused(app: &App, why: &str) -> Response {
    message(app, StatusCode::BAD_REQUEST, "This link does not work", why)
}

/// Our trouble.
pub fn unavailable(app: &App) -> Response {
    let text = "The service cannot answer at this moment. Please try again in a minute.";
    message(app, StatusCode::SERVICE_UNAVAILABLE, "Not now", text)
}

fn message(app: &App, status: StatusCode, title: &'static str, text: &str) -> Response {
    let page = Message { cloud: &app.oauth.config.cloud_name, style: STYLE, title, text };
    html(status, page.render(), None)
}

fn html(status: StatusCode, page: askama::Result<String>, leads_to: Option<&str>) -> Response {
    match page {
        Ok(page) => {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            guarded((status, [(CONTENT_TYPE, html)], page).into_response(), leads_to)
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            guarded(StatusCode::INTERNAL_SERVER_ERROR.into_response(), None)
        }
    }
}

/// Adds what keeps a page from being framed, scripted, or talked about (cloud reference 3.4).
/// `leads_to`: where its forms may lead in the end. Browsers hold redirects against that, too.
pub fn guarded(mut response: Response, leads_to: Option<&str>) -> Response {
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy(leads_to)) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn policy(leads_to: Option<&str>) -> String {
    let origin = leads_to.and_then(|uri| Url::parse(uri).ok());
    let origin = origin.map(|uri| uri.origin().ascii_serialization()).unwrap_or_default();
    format!(
        "default-src 'none'; style-src {}; img-src data:; form-action 'self' {origin}; \
         frame-ancestors 'none'; base-uri 'none'",
        *STYLE_SOURCE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_shows_is_escaped() {
        let page = Login {
            cloud: "Cloud",
            style: STYLE,
            client: "<script>alert(1)</script>",
            request: "a=1&b=\"><b>",
            proof: "proof",
            name: "\" onfocus=\"alert(1)",
            problem: None,
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("\" onfocus"));
    }

    #[test]
    fn the_policy_names_the_style_as_it_stands_in_the_page() {
        let page = Message { cloud: "Cloud", style: STYLE, title: "Title", text: "Text" };
        let html = page.render().unwrap();
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let digest = STANDARD.encode(Sha256::digest(style));
        assert!(policy(None).contains(&format!("style-src 'sha256-{digest}'")));
        assert!(!html.contains(" style="), "the policy forbids styles in attributes");
    }

    #[test]
    fn forms_may_lead_to_us_and_back_to_the_client_only() {
        let policy = policy(Some("https://app.consumer.example:8443/cb?x=';"));
        assert!(
            policy.contains("form-action 'self' https://app.consumer.example:8443;"),
            "{policy}"
        );
    }
}
