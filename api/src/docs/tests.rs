//! The document says what there is: every path and method, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::ALLOW;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use shared::channel::events::Target;
use tower::ServiceExt;

use super::document::document;
use crate::app::App;
use crate::config::Config;
use crate::route::Route;
use crate::trace::Routes;
use crate::{docs, health, oauth, operators, router};

type Operations = BTreeSet<(String, String)>;

fn documented() -> Operations {
    let document = serde_json::to_value(document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

const SUBSCRIPTION: &str = "0f3c2a9e-5d0e-4a06-8d4f-0d6c7d1b6a11";

/// The path with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.replace("{di}", "53080a4f-5e3e-4291-802f-3436238232d2")
        .replace("{href}", "light/1")
        .replace("{id}", SUBSCRIPTION)
        .replace(['{', '}'], "")
}

/// What the router itself says of its paths: a method that no path has is answered with those it has.
#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let served: Vec<Routes> =
        vec![oauth::routes(), operators::routes(), docs::routes(), health::routes()];
    let app = Arc::new(App::new(&Config::default(), [1, 2]));
    let router = router::router(app);
    let mut found = Operations::new();
    for (path, _) in served.into_iter().flatten() {
        let request = Request::builder().method("REPORT").uri(filled(path));
        let request = request.body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()[ALLOW].to_str().unwrap();
        let methods = allowed.split(',').map(str::trim).filter(|method| *method != "HEAD");
        found.extend(methods.map(|method| (method.to_owned(), path.to_owned())));
    }
    let documented = documented();
    let beside: Operations =
        documented.iter().filter(|(_, path)| !path.starts_with("/api/")).cloned().collect();
    assert_eq!(beside, found);
}

/// Every operation of the API whose paths are not axum's to match.
fn operations() -> Vec<Route> {
    let device = "53080a4f-5e3e-4291-802f-3436238232d2".parse().unwrap();
    let href = shared::ids::Href::parse("/light/1").unwrap();
    let id = SUBSCRIPTION.parse().unwrap();
    let resource = Target::Resource(device, "/light/1".into());
    let levels = [Target::Devices, Target::Device(device), resource];
    let mut all: Vec<Route> = levels
        .into_iter()
        .flat_map(|level| {
            [
                Route::Subscribe(level.clone()),
                Route::ReadSubscription(level.clone(), id),
                Route::Unsubscribe(level, id),
            ]
        })
        .collect();
    all.extend([
        Route::ListDevices,
        Route::ReadDevice(device),
        Route::Retrieve(device, href.clone()),
        Route::Update(device, href),
        Route::RegisterMediator,
        Route::IssueDeviceToken,
        Route::ListDeviceTokens,
        Route::RemoveDevice(device),
    ]);
    for route in &all {
        // Whoever adds an operation finds this place.
        match route {
            Route::ListDevices
            | Route::ReadDevice(_)
            | Route::Retrieve(..)
            | Route::Update(..)
            | Route::RegisterMediator
            | Route::IssueDeviceToken
            | Route::ListDeviceTokens
            | Route::RemoveDevice(_)
            | Route::Subscribe(_)
            | Route::ReadSubscription(..)
            | Route::Unsubscribe(..) => {}
        }
    }
    all
}

#[test]
fn every_operation_of_the_api_is_in_the_document_and_the_other_way_round() {
    let documented: Operations =
        documented().into_iter().filter(|(_, path)| path.starts_with("/api/")).collect();
    let mut found = Operations::new();
    for route in operations() {
        let path = route.pattern();
        let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
        let method = methods
            .into_iter()
            .find(|method| Route::parse(method, &filled(path)).as_ref() == Ok(&route));
        let method = method.unwrap_or_else(|| panic!("{route:?} is not found at its path"));
        found.insert((method.to_string(), path.to_owned()));
    }
    assert_eq!(documented, found);
}

#[test]
fn the_document_is_whole() {
    let document = serde_json::to_value(document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} says nothing of itself");
            assert!(operation["tags"].is_array(), "{method} {path}");
            let token = operation.get("security").is_some();
            assert_eq!(token, needs_credentials(path), "{method} {path}");
        }
    }
}

fn needs_credentials(path: &str) -> bool {
    let of_clients = ["/oauth/token", "/oauth/revoke", "/oauth/introspect"];
    path.starts_with("/api/") || path.starts_with("/operator/") || of_clients.contains(&path)
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(all) => all.iter().for_each(|one| collect_references(one, found)),
        _ => {}
    }
}
