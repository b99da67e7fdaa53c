//! One resource: retrieve (D5) and update (D6) through the shard that has its device (cloud reference
//! 4.8 to 4.11).

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use shared::channel::message::{Command, DeviceAnswer, Reply};
use shared::coap::Code;
use shared::ids::{DeviceId, Href};

use crate::app::unexpected_reply;
use crate::body::representation;
use crate::docs::failures;
use crate::docs::schemas::{Content, ResourcePath};
use crate::problem::{Intent, Problem};
use crate::query;
use crate::representation::{self, MediaType, Root, check, negotiate, write_cbor, write_json};
use crate::router::Asked;

/// CoAP content formats in which devices answer: OCF's CBOR and plain CBOR.
const CBOR_FORMATS: [u16; 2] = [10_000, 60];

/// Read a resource
///
/// The device is asked.
#[utoipa::path(get, path = "/api/v1/devices/{di}/{href}", tag = "devices",
    params(ResourcePath,
           ("if" = Option<String>, Query, description = "One of the link's interfaces (an extension)",
            min_length = 1, max_length = 64)),
    responses((status = 200, description = "What the device says",
               content((Content = "application/json"),
                       (Vec<u8> = "application/vnd.ocf+cbor"))),
              failures::OfRead),
    security(("bearer" = ["r:*"])))]
pub async fn retrieve(asked: Asked, device: DeviceId, href: Href) -> Result<Response, Problem> {
    asked.caller.must_read()?;
    let media_type = negotiate(&asked.parts.headers).ok_or_else(Problem::not_acceptable)?;
    let interface = query::interface(asked.parts.uri.query())?;
    let command = Command::Retrieve { device, href: href.as_str().to_owned(), interface };
    let reply = asked.app.ask_device(&asked.caller, command, Intent::Read).await?;
    let Reply::Device(answer) = reply else { return Err(unexpected_reply("retrieve")) };
    passed_on(answer, media_type, Intent::Read)
}

/// Update a resource
///
/// A representation with the properties to change; JSON is sent to the device as CBOR. After a 504 the
/// update may still have happened.
#[utoipa::path(post, path = "/api/v1/devices/{di}/{href}", tag = "devices",
    params(ResourcePath,
           ("if" = Option<String>, Query, description = "One of the link's interfaces (an extension)",
            min_length = 1, max_length = 64)),
    request_body(content((Content = "application/json"), (Vec<u8> = "application/vnd.ocf+cbor"))),
    responses((status = 200, description = "What the device answers; nothing if it answers nothing",
               content((Content = "application/json"),
                       (Vec<u8> = "application/vnd.ocf+cbor"))),
              failures::OfUpdate),
    security(("bearer" = ["r:*", "w:*"])))]
pub async fn update(
    asked: Asked,
    device: DeviceId,
    href: Href,
    body: Body,
) -> Result<Response, Problem> {
    let outcome = try_update(&asked, device, &href, body).await;
    let status = match &outcome {
        Ok(response) => response.status(),
        Err(problem) => problem.status(),
    };
    tracing::info!(
        target: "api::audit",
        user = %asked.caller.user(),
        client = asked.caller.client(),
        %device,
        %href,
        status = status.as_u16(),
        correlation = asked.trace.correlation(),
        "update"
    );
    outcome
}

async fn try_update(
    asked: &Asked,
    device: DeviceId,
    href: &Href,
    body: Body,
) -> Result<Response, Problem> {
    asked.caller.must_update()?;
    let headers = &asked.parts.headers;
    let body_type = representation::body_type(headers).ok_or_else(|| {
        Problem::unsupported_media_type("application/json or application/vnd.ocf+cbor")
    })?;
    let media_type = negotiate(headers).ok_or_else(Problem::not_acceptable)?;
    let interface = query::interface(asked.parts.uri.query())?;
    let body = payload(body_type, asked.read(body).await?.into())?;
    let command = Command::Update { device, href: href.as_str().to_owned(), interface, body };
    let reply = asked.app.ask_device(&asked.caller, command, Intent::Update).await?;
    let Reply::Device(answer) = reply else { return Err(unexpected_reply("update")) };
    passed_on(answer, media_type, Intent::Update)
}

/// The CBOR that goes to the device: an object or an array.
fn payload(body_type: MediaType, body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    if body.is_empty() {
        return Err(Problem::bad_request("a body is needed"));
    }
    let (root, cbor) = match body_type {
        MediaType::Json => {
            let mut cbor = Vec::with_capacity(body.len());
            let root = write_cbor(&mut cbor, &body)
                .map_err(|fault| Problem::bad_request(format!("the body is not JSON: {fault}")))?;
            (root, cbor)
        }
        MediaType::OcfCbor | MediaType::Cbor => {
            let root = check(&body)
                .map_err(|fault| Problem::bad_request(format!("the body is not CBOR: {fault}")))?;
            (root, body)
        }
    };
    match root {
        Root::Object | Root::Array => Ok(cbor),
        Root::Scalar => Err(Problem::bad_request("the body is neither an object nor an array")),
    }
}

/// What the consumer gets for what the device answered.
fn passed_on(
    answer: DeviceAnswer,
    media_type: MediaType,
    intent: Intent,
) -> Result<Response, Problem> {
    let code = Code::from_byte(answer.code);
    if let Some(problem) = Problem::of_device(code, answer.max_age, intent) {
        return Err(problem);
    }
    if answer.body.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    if answer.content_format.is_some_and(|format| !CBOR_FORMATS.contains(&format)) {
        return Err(Problem::unreadable_answer());
    }
    match media_type {
        MediaType::OcfCbor | MediaType::Cbor => Ok(representation(media_type, answer.body)),
        MediaType::Json => {
            let mut json = Vec::with_capacity(answer.body.len() * 3 / 2);
            write_json(&mut json, &answer.body).map_err(|_| Problem::unreadable_answer())?;
            Ok(representation(media_type, json))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::coap::ResponseType;

    fn answer(content_format: Option<u16>, body: &[u8]) -> DeviceAnswer {
        let code = Code::from(ResponseType::Content).byte();
        DeviceAnswer { code, content_format, max_age: None, body: body.to_vec() }
    }

    #[test]
    fn an_answer_that_is_not_cbor_is_502() {
        for (format, body) in
            [(Some(50), &b"{}"[..]), (Some(0), b"text"), (None, b"\xff"), (Some(60), b"\xa0\xa0")]
        {
            let passed = passed_on(answer(format, body), MediaType::Json, Intent::Read);
            assert_eq!(passed.unwrap_err(), Problem::unreadable_answer());
        }
        for format in [None, Some(60), Some(10_000)] {
            let passed = passed_on(answer(format, b"\xa0"), MediaType::Json, Intent::Read);
            assert_eq!(passed.unwrap().status(), 200);
        }
    }

    /// Cloud reference 4.9, step 3.
    #[test]
    fn an_update_is_an_object_or_an_array() {
        for (body_type, body, accepted) in [
            (MediaType::Json, &b"{}"[..], true),
            (MediaType::Json, b"[]", true),
            (MediaType::Json, b"1", false),
            (MediaType::Json, b"", false),
            (MediaType::OcfCbor, b"\xa0", true),
            (MediaType::OcfCbor, b"\x80", true),
            (MediaType::OcfCbor, b"\x01", false),
            (MediaType::OcfCbor, b"\xa0\x00", false),
        ] {
            assert_eq!(payload(body_type, body.to_vec()).is_ok(), accepted, "{body:?}");
        }
    }
}
