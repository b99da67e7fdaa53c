//! What operations may fail with, for the document (cloud reference 2.8, 4.10; RFC 6749 §5.2).

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder};

type Responses = BTreeMap<String, RefOr<Response>>;

/// What any operation may fail with, whoever asks: it took too long, or there is too much to do.
const ANYBODY: [u16; 3] = [500, 503, 504];

/// Operations on the lists of devices.
pub struct OfDevices;

/// Operations on one device.
pub struct OfDevice;

/// Reading a resource.
pub struct OfRead;

/// Updating a resource.
pub struct OfUpdate;

/// Subscribing.
pub struct OfSubscribing;

/// Operations on a subscription to a resource. What has no subscription id at the end of its path is a
/// resource itself.
pub struct OfResourceSubscription;

/// Operations of Mediators without a device.
pub struct OfMediator;

/// Operations of Mediators on a device.
pub struct OfMediatedDevice;

/// Operations of operators without a body.
pub struct OfOperator;

/// Operations of operators with a body.
pub struct OfOperatorWithBody;

/// Operations of OAuth clients.
pub struct OfClient;

/// There is nothing of this name.
pub struct NotFound;

impl IntoResponses for OfDevices {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 406])
    }
}

impl IntoResponses for OfDevice {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 406])
    }
}

impl IntoResponses for OfRead {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 501, 502])
    }
}

impl IntoResponses for OfUpdate {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 501, 502])
    }
}

impl IntoResponses for OfSubscribing {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 406, 408, 409, 413, 415, 429])
    }
}

impl IntoResponses for OfResourceSubscription {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 501, 502])
    }
}

impl IntoResponses for OfMediator {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 406, 408, 409, 413, 415])
    }
}

impl IntoResponses for OfMediatedDevice {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 406])
    }
}

impl IntoResponses for OfOperator {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 409, 413])
    }
}

impl IntoResponses for OfOperatorWithBody {
    fn responses() -> Responses {
        problems(&[400, 401, 403, 404, 408, 409, 413, 415])
    }
}

impl IntoResponses for OfClient {
    fn responses() -> Responses {
        let error = |status: u16| {
            let description = match status {
                401 => "The client is unknown, or its secret is wrong",
                _ => "The request, the code or the token is wrong",
            };
            let response = ResponseBuilder::new().description(description);
            let response = response.content("application/json", content("OauthError"));
            (status.to_string(), response.build().into())
        };
        // Too much to do may be told before anybody knows that it is about OAuth.
        let mut responses = problems(&[413]);
        responses.extend([error(400), error(401)]);
        if let Some(RefOr::T(response)) = responses.get_mut("503") {
            response.content.insert("application/json".into(), content("OauthError").into());
        }
        responses
    }
}

impl IntoResponses for NotFound {
    fn responses() -> Responses {
        problems(&[404])
    }
}

/// These and those that any operation has, with problem bodies.
fn problems(statuses: &[u16]) -> Responses {
    let statuses = statuses.iter().chain(&ANYBODY);
    statuses.map(|&status| (status.to_string(), problem(status).into())).collect()
}

fn problem(status: u16) -> Response {
    let response = ResponseBuilder::new().description(meaning(status));
    let response = response.content("application/problem+json", content("Problem"));
    let header = |kind, description| {
        let schema = ObjectBuilder::new().schema_type(kind);
        HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
    };
    let response = match status {
        401 | 403 => response.header(
            "WWW-Authenticate",
            header(Type::String, "What is wrong with the token (RFC 6750)"),
        ),
        405 => response.header("Allow", header(Type::String, "The methods that there are")),
        429 | 503 | 504 => response.header(
            "Retry-After",
            header(Type::Integer, "Seconds after which another try is worth it"),
        ),
        _ => response,
    };
    response.build()
}

fn content(schema: &str) -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build()
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Malformed, or the device says so",
        401 => "No token, or none that is good here",
        403 => "The token lacks a scope, or the device refuses",
        404 => "Not there for this user",
        405 => "The device does not allow that, or the path has no such method",
        406 => "No form that the caller accepts",
        408 => "The body did not come in time",
        409 => "It is somebody else's, or has changed meanwhile, or the device says so",
        412 => "The device says so",
        413 => "The body is too large",
        415 => "The body has no type that is understood",
        429 => "There are too many subscriptions, or too many were asked for at once",
        501 => "The device does not do that",
        502 => "The device's answer makes no sense",
        503 => "A part of this cloud, or the device, is busy",
        504 => "The device is offline, or nobody answered in time",
        _ => "The service made a mistake",
    }
}
