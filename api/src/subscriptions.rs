//! Subscriptions: created (E1, E3, E5), ended (E2, E4, E6), and looked at (cloud reference 5.3, 5.4,
//! 5.11, 5.13).

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use shared::channel::events::{
    BodyFormat, EventType, EventTypes, EventsCommand, NewSubscription, Target,
};
use shared::channel::message::{Command, Reply};
use shared::ids::SubscriptionId;
use shared::secret::Secret;
use utoipa::ToSchema;

use crate::app::unexpected_reply;
use crate::body::parse_object;
use crate::problem::{Intent, Problem};
use crate::representation::{self, MediaType, negotiate};
use crate::router::Asked;

/// Characters of a signing secret, unless it is to be exactly the least (OP-6).
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 32..=256;

/// Which events are wanted, and where.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionRequest {
    events_url: String,
    event_types: Vec<String>,
    signing_secret: String,
}

/// A subscription that stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscribed {
    /// In the path of every event of it.
    #[schema(value_type = String, format = "uuid")]
    subscription_id: SubscriptionId,
}

/// E1, E3, E5. Checks in the order of cloud reference 5.3.
pub async fn subscribe(asked: Asked, target: Target, body: Body) -> Result<Response, Problem> {
    asked.caller.must_read()?;
    if representation::body_type(&asked.parts.headers) != Some(MediaType::Json) {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    let format = match negotiate(&asked.parts.headers).ok_or_else(Problem::not_acceptable)? {
        MediaType::Json => BodyFormat::Json,
        MediaType::OcfCbor => BodyFormat::OcfCbor,
        MediaType::Cbor => BodyFormat::Cbor,
    };
    let body = asked.read(body).await?;
    let request: SubscriptionRequest = parse_object(&body).ok_or_else(|| {
        let wanted = "the body is not {\"eventsUrl\": \"…\", \"eventTypes\": [\"…\"], \"signingSecret\": \"…\"}";
        Problem::bad_request(wanted)
    })?;
    let types = event_types(&request.event_types, &target)?;
    check_secret(&request.signing_secret, asked.app.webhooks.strict_secrets)?;
    let (app, name) = (&asked.app, asked.caller.client());
    let client = app.oauth.clients.registered(app, name).await.map_err(|unfulfilled| {
        tracing::warn!(client = name, ?unfulfilled, "a client cannot be looked up");
        Problem::unavailable("the client cannot be looked up")
    })?;
    let hosts = client.as_ref().map_or(&[][..], |client| &client.events_hosts);
    let url = app.webhooks.rules.check(&request.events_url, hosts).await.map_err(|fault| {
        tracing::info!(client = asked.caller.client(), %fault, "eventsUrl refused");
        Problem::bad_request("the eventsUrl is not one that events are sent to")
    })?;
    let asked_for = NewSubscription {
        client: asked.caller.client().to_owned(),
        target: target.clone(),
        types,
        url,
        secret: Secret::new(request.signing_secret),
        correlation: asked.trace.correlation().to_owned(),
        format,
    };
    let command = Command::Events(EventsCommand::Subscribe(asked_for));
    let Reply::Subscribed(id) = asked.app.ask_store(&asked.caller, command, Intent::Update).await?
    else {
        return Err(unexpected_reply("subscribe"));
    };
    audit(&asked, id, "subscription created");
    let path = asked.parts.uri.path().trim_end_matches('/');
    let location =
        HeaderValue::try_from(format!("{path}/{id}")).map_err(|_| Problem::internal())?;
    let mut response = named(id);
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn event_types(names: &[String], target: &Target) -> Result<EventTypes, Problem> {
    let types = names.iter().map(|name| EventType::named(name).filter(|one| one.is_of(target)));
    let types: Option<EventTypes> = types.collect();
    types.filter(|types| !types.is_empty()).ok_or_else(|| {
        let level = match target {
            Target::Devices => {
                "devices_registered, devices_unregistered, devices_online, devices_offline"
            }
            Target::Device(_) => "resources_published, resources_unpublished",
            Target::Resource(..) => "resource_contentchanged",
        };
        Problem::bad_request(format!("eventTypes are one or more of {level}"))
    })
}

fn check_secret(secret: &str, strict: bool) -> Result<(), Problem> {
    let chars = secret.chars().count();
    let least = *SECRET_CHARS.start();
    match strict {
        true if chars != least => {
            Err(Problem::bad_request("the signingSecret does not have 32 characters"))
        }
        false if !SECRET_CHARS.contains(&chars) => {
            Err(Problem::bad_request("the signingSecret does not have 32 to 256 characters"))
        }
        _ => Ok(()),
    }
}

/// Whether a subscription stands: its id and nothing else (OP-25).
pub async fn read(asked: Asked, target: Target, id: SubscriptionId) -> Result<Response, Problem> {
    asked.caller.must_read()?;
    let client = asked.caller.client().to_owned();
    let command = Command::Events(EventsCommand::ReadSubscription { id, client, target });
    match asked.app.ask_store(&asked.caller, command, Intent::Read).await? {
        Reply::Done => Ok(named(id)),
        _ => Err(unexpected_reply("read a subscription")),
    }
}

/// E2, E4, E6.
pub async fn unsubscribe(
    asked: Asked,
    target: Target,
    id: SubscriptionId,
) -> Result<Response, Problem> {
    asked.caller.must_read()?;
    let client = asked.caller.client().to_owned();
    let command = Command::Events(EventsCommand::Unsubscribe { id, client, target });
    match asked.app.ask_store(&asked.caller, command, Intent::Update).await? {
        Reply::Done => {
            audit(&asked, id, "subscription cancelled");
            Ok(StatusCode::ACCEPTED.into_response())
        }
        _ => Err(unexpected_reply("unsubscribe")),
    }
}

fn named(id: SubscriptionId) -> Response {
    let body = serde_json::to_vec(&Subscribed { subscription_id: id });
    let body = body.expect("a UUID has JSON");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn audit(asked: &Asked, subscription: SubscriptionId, what: &'static str) {
    tracing::info!(
        target: "api::audit",
        user = %asked.caller.user(),
        client = asked.caller.client(),
        %subscription,
        correlation = asked.trace.correlation(),
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::DeviceId;

    /// Case 103.
    #[test]
    fn event_types_are_those_of_the_level() {
        let device = DeviceId::from_bytes([1; 16]);
        let resource = Target::Resource(device, "/a".into());
        for (names, target, count) in [
            (&["devices_online", "devices_registered"][..], Target::Devices, Some(2)),
            (&["devices_online", "devices_online"], Target::Devices, Some(1)),
            (&["resources_published"], Target::Device(device), Some(1)),
            (&["resource_contentchanged"], resource.clone(), Some(1)),
            (&[], Target::Devices, None),
            (&["devices_online", "nonsense"], Target::Devices, None),
            (&["resource_published"], Target::Device(device), None),
            (&["resources_published"], Target::Devices, None),
            (&["devices_online"], resource, None),
            (&["subscription_cancelled"], Target::Devices, None),
        ] {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let types = event_types(&names, &target).ok().map(|types| types.iter().count());
            assert_eq!(types, count, "{names:?}");
        }
    }

    /// Case 104, OP-6.
    #[test]
    fn a_secret_is_counted_in_characters() {
        for (secret, is_fine, is_strict) in [
            ("x".repeat(31), false, false),
            ("x".repeat(32), true, true),
            ("п".repeat(32), true, true),
            ("x".repeat(33), true, false),
            ("x".repeat(256), true, false),
            ("x".repeat(257), false, false),
        ] {
            assert_eq!(check_secret(&secret, false).is_ok(), is_fine, "{}", secret.len());
            assert_eq!(check_secret(&secret, true).is_ok(), is_strict, "{}", secret.len());
        }
    }
}
