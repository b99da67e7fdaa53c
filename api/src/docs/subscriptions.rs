//! The operations of subscriptions for the document: one handler serves three levels of each (cloud
//! reference 5.3, 5.4), so they stand here.

use shared::channel::events::{EventType, Target};
use shared::ids::DeviceId;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

use super::failures;
use super::schemas::ResourcePath;
use crate::subscriptions::Subscribed;

/// Stands for whichever device.
const ANY: DeviceId = DeviceId::from_bytes([0; 16]);

/// Some of the events that a subscription to this may ask for.
fn some_of(target: &Target) -> ArrayBuilder {
    let names = EventType::ALL.into_iter().filter(|one| one.is_of(target)).map(EventType::as_str);
    let one = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
    ArrayBuilder::new().items(one).min_items(Some(1))
}

/// Creating, reading and ending subscriptions of one level.
macro_rules! level {
    ($level:ident, $all:literal, $one:literal, $of:literal, ($($parameter:tt),*),
     $request:ident, $target:expr, $failures:ident) => {
        pub(super) mod $level {
            use super::*;

            /// Which events are wanted, and where.
            #[derive(ToSchema)]
            #[schema(as = $request, rename_all = "camelCase")]
            #[expect(dead_code, reason = "only the document is made of it")]
            pub(crate) struct Request {
                /// Where events are sent to, with https: a public address, on port 443 or above 1023.
                #[schema(format = "uri", max_length = 2048, pattern = r"^https?://[^\s#\\]+$")]
                events_url: String,
                /// At least one.
                #[schema(schema_with = event_types)]
                event_types: Vec<String>,
                /// What events are signed with.
                #[schema(min_length = 32, max_length = 256)]
                signing_secret: String,
            }

            fn event_types() -> ArrayBuilder {
                some_of(&$target)
            }

            #[utoipa::path(post, path = $all, tag = "subscriptions",
                summary = concat!("Subscribe to events of ", $of),
                operation_id = concat!("subscribe_to_", stringify!($level)),
                params($($parameter),*),
                request_body(content = Request, content_type = "application/json"),
                responses((status = 201, body = Subscribed,
                           description = "It stands; its initial notifications are on their way",
                           headers(("Location" = String, description = "The subscription"))),
                          failures::OfSubscribing),
                security(("bearer" = ["r:*"])))]
            #[expect(dead_code, reason = "only the document is made of it")]
            pub(crate) fn subscribe() {}

            #[utoipa::path(get, path = $one, tag = "subscriptions",
                summary = concat!("Whether a subscription to ", $of, " stands (an extension)"),
                operation_id = concat!("read_subscription_to_", stringify!($level)),
                params($($parameter,)* ("id" = String, Path, format = "uuid", description = "Subscription id")),
                responses((status = 200, body = Subscribed, description = "It stands"),
                          failures::$failures),
                security(("bearer" = ["r:*"])))]
            #[expect(dead_code, reason = "only the document is made of it")]
            pub(crate) fn read() {}

            #[utoipa::path(delete, path = $one, tag = "subscriptions",
                summary = concat!("End a subscription to ", $of),
                operation_id = concat!("unsubscribe_from_", stringify!($level)),
                params($($parameter,)* ("id" = String, Path, format = "uuid", description = "Subscription id")),
                responses((status = 202, description = "It ends; the receiver is told as the last event"),
                          failures::$failures),
                security(("bearer" = ["r:*"])))]
            #[expect(dead_code, reason = "only the document is made of it")]
            pub(crate) fn unsubscribe() {}
        }
    };
}

level!(
    devices,
    "/api/v1/devices/subscriptions",
    "/api/v1/devices/subscriptions/{id}",
    "all devices of the user",
    (),
    DevicesSubscription,
    Target::Devices,
    OfDevice
);
level!(
    device,
    "/api/v1/devices/{di}/subscriptions",
    "/api/v1/devices/{di}/subscriptions/{id}",
    "a device",
    (("di" = String, Path, format = "uuid", description = "Device id")),
    DeviceSubscription,
    Target::Device(ANY),
    OfDevice
);
level!(
    resource,
    "/api/v1/devices/{di}/{href}/subscriptions",
    "/api/v1/devices/{di}/{href}/subscriptions/{id}",
    "a resource",
    (ResourcePath),
    ResourceSubscription,
    Target::Resource(ANY, String::new()),
    OfResourceSubscription
);
