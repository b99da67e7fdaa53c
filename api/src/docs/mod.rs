//! What developers read and try: the OpenAPI document of everything that this process serves, a page to
//! try it with, and OCF's own definition beside it.
//!
//! | path | what |
//! | --- | --- |
//! | `/openapi.json` | the OpenAPI 3.1 document, made from the handlers |
//! | `/docs/` | the page (Swagger UI); all of it comes from this process |
//! | `/ocf/…` | the definition that OCF has published, and its licence |
//!
//! [`document`] puts the parts of the document together, [`schemas`] has what bodies look like and
//! [`failures`] what every operation may fail with. None of it needs a token.

pub mod document;
pub mod failures;
pub mod schemas;
mod subscriptions;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa_swagger_ui::{Config, SwaggerFile, Url};

use crate::problem::Problem;
use crate::trace::Routes;

const DOCUMENT: &str = "/openapi.json";
const OCF: &str = "/ocf/oic.r.cloudapiforcloudservices.swagger.json";

/// The definition that OCF has published, with its licence: unchanged.
const OCF_DEFINITION: &str = include_str!("../../ocf/oic.r.cloudapiforcloudservices.swagger.json");
const OCF_LICENCE: &str = include_str!("../../ocf/LICENSE-cloud-services.md");
const OCF_DISCLAIMER: &str = include_str!("../../ocf/DISCLAIMER-cloud-services.md");

const PAGE: &str = include_str!("../../templates/docs.html");

/// Nothing but what this process serves: no other host, no script in the page, no frame around it.
/// The page's own program writes styles into elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// The document, written once.
static JSON: LazyLock<Bytes> = LazyLock::new(|| {
    serde_json::to_vec(&document::document()).expect("the document is texts and maps").into()
});

/// How the page is set up.
static PAGE_CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let documents = [Url::new("This cloud", DOCUMENT), Url::new("As OCF has published it", OCF)];
    // Validators are on other hosts. Tokens are kept no longer than the page is open.
    let config = Config::new(documents).validator_url("none").persist_authorization(false);
    Arc::new(config.try_it_out_enabled(true).display_request_duration(true))
});

/// The paths of this module.
pub fn routes() -> Routes {
    vec![
        (DOCUMENT, get(openapi)),
        (OCF, get(ocf_definition)),
        ("/ocf/LICENSE.md", get(ocf_licence)),
        ("/docs", get(to_page)),
        ("/docs/", get(page)),
        ("/docs/{file}", get(page_file)),
    ]
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "documents",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub async fn openapi() -> Response {
    served("application/json", JSON.clone())
}

/// The definition that OCF has published (Swagger 2.0)
#[utoipa::path(get, path = "/ocf/oic.r.cloudapiforcloudservices.swagger.json", tag = "documents",
    responses((status = 200, description = "Unchanged", body = serde_json::Value)))]
pub async fn ocf_definition() -> Response {
    served("application/json", OCF_DEFINITION)
}

/// The terms under which OCF's definition is passed on
#[utoipa::path(get, path = "/ocf/LICENSE.md", tag = "documents",
    responses((status = 200, description = "Licence and disclaimer", body = String,
               content_type = "text/markdown")))]
pub async fn ocf_licence() -> Response {
    served("text/markdown; charset=utf-8", format!("{OCF_LICENCE}\n{OCF_DISCLAIMER}"))
}

/// To the page
#[utoipa::path(get, path = "/docs", tag = "documents",
    responses((status = 308, description = "With a slash at the end")))]
pub async fn to_page() -> Redirect {
    Redirect::permanent("/docs/")
}

/// A page to try it
#[utoipa::path(get, path = "/docs/", tag = "documents",
    responses((status = 200, description = "Swagger UI", body = String,
               content_type = "text/html")))]
pub async fn page() -> Response {
    served("text/html; charset=utf-8", PAGE)
}

/// What the page loads
#[utoipa::path(get, path = "/docs/{file}", tag = "documents",
    params(("file" = String, Path, description = "Such as `swagger-ui.css`")),
    responses((status = 200, description = "A file of Swagger UI", body = Vec<u8>,
               content_type = "application/octet-stream"),
              failures::NotFound))]
pub async fn page_file(Path(file): Path<String>) -> Result<Response, Problem> {
    match utoipa_swagger_ui::serve(&file, PAGE_CONFIG.clone()) {
        // The page of this name is ours, under the name without it.
        Ok(Some(SwaggerFile { bytes, content_type, .. })) if file != "index.html" => {
            Ok(served(&content_type, bytes.into_owned()))
        }
        Ok(_) => Err(Problem::not_found("no such file")),
        Err(error) => {
            tracing::error!(%error, "a file of the page cannot be written");
            Err(Problem::internal())
        }
    }
}

fn served(content_type: &str, body: impl Into<Bytes>) -> Response {
    let mut response = body.into().into_response();
    let headers = response.headers_mut();
    let of: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in of {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}
