//! The operations of subscriptions for the document: one handler serves three levels of each (cloud
//! reference 5.3, 5.4), so they stand here.

use super::failures;
use super::schemas::ResourcePath;
use crate::subscriptions::{Subscribed, SubscriptionRequest};

/// Creating, reading and ending subscriptions of one level.
macro_rules! level {
    ($level:ident, $all:literal, $one:literal, $of:literal, ($($parameter:tt),*)) => {
        pub(super) mod $level {
            use super::*;

            #[utoipa::path(post, path = $all, tag = "subscriptions",
                summary = concat!("Subscribe to events of ", $of),
                operation_id = concat!("subscribe_to_", stringify!($level)),
                params($($parameter),*),
                request_body(content = SubscriptionRequest, content_type = "application/json"),
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
                          failures::OfDevice),
                security(("bearer" = ["r:*"])))]
            #[expect(dead_code, reason = "only the document is made of it")]
            pub(crate) fn read() {}

            #[utoipa::path(delete, path = $one, tag = "subscriptions",
                summary = concat!("End a subscription to ", $of),
                operation_id = concat!("unsubscribe_from_", stringify!($level)),
                params($($parameter,)* ("id" = String, Path, format = "uuid", description = "Subscription id")),
                responses((status = 202, description = "It ends; the receiver is told as the last event"),
                          failures::OfDevice),
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
    ()
);
level!(
    device,
    "/api/v1/devices/{di}/subscriptions",
    "/api/v1/devices/{di}/subscriptions/{id}",
    "a device",
    (("di" = String, Path, format = "uuid", description = "Device id"))
);
level!(
    resource,
    "/api/v1/devices/{di}/{href}/subscriptions",
    "/api/v1/devices/{di}/{href}/subscriptions/{id}",
    "a resource",
    (ResourcePath)
);
