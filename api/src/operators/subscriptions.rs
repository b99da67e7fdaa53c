//! Subscriptions of partner clouds and how their deliveries go: what operators look at when a partner
//! says that events are missing. No secret is shown, and of an `eventsUrl` only the server: its path
//! may be a secret.

use serde::Serialize;
use shared::channel::events::{Deliveries, SubscriptionState, SubscriptionView, Target, Trouble};
use shared::ids::{DeviceId, SubscriptionId, UserId};
use utoipa::ToSchema;

use super::Refusal;
use crate::app::{App, SubscriptionsPage};

/// Some subscriptions, in the order of their ids.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// Them.
    pub subscriptions: Vec<Shown>,
    /// There may be more: `after` for the next page.
    #[schema(value_type = Option<String>, format = "uuid")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<SubscriptionId>,
}

/// A subscription. Times are in seconds since 1970; what is counted is counted since the gateway was
/// started.
#[derive(Serialize, ToSchema)]
#[schema(as = OperatorsSubscription)]
pub struct Shown {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    id: SubscriptionId,
    /// Whose it is.
    client: String,
    /// Whose devices it is about.
    #[schema(value_type = String, format = "uuid")]
    user: UserId,
    /// The device, unless it is about the list of devices.
    #[schema(value_type = Option<String>, format = "uuid")]
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    /// The resource, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    href: Option<String>,
    /// Which events.
    event_types: Vec<&'static str>,
    /// Scheme, host and port of its receiver.
    receiver: String,
    /// When it began.
    created: u64,
    /// How far it has come.
    state: State,
    /// Number of the next event: so many have been dealt with since it began.
    next_number: u64,
    /// Events that wait, with the one that is being delivered.
    waiting: u32,
    /// Events that the receiver has taken.
    delivered: u64,
    /// Events that the receiver has refused for good.
    refused: u64,
    /// Attempts that have failed, and were or will be made again.
    failed_attempts: u64,
    /// When the receiver has taken an event last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered: Option<u64>,
    /// Since when the next event has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<u64>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

/// How far a subscription has come.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = OperatorsSubscriptionState)]
enum State {
    /// It is not stored yet.
    Starting,
    /// It stands.
    Active,
    /// Its last event says that it has ended.
    Ending,
}

/// What went wrong with an attempt.
#[derive(Serialize, ToSchema)]
struct LastError {
    /// What kind of error.
    kind: ErrorKind,
    /// The status that the receiver has answered, if it is that.
    #[schema(minimum = 100, maximum = 999)]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// When.
    at: u64,
}

/// What kind of error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ErrorKind {
    /// The receiver has answered with a status that is none of success.
    Status,
    /// The receiver has not answered in time.
    TimedOut,
    /// There was no connection to the receiver, or it was lost.
    NotConnected,
    /// The receiver's host has an address to which no events go.
    NotAllowed,
    /// The receiver's certificate is not trusted.
    NotTrusted,
    /// The representation cannot be written in the form that was asked for.
    NotWritable,
    /// Nobody has asked the receiver: this cloud could not.
    NotSent,
}

impl From<SubscriptionView> for Shown {
    fn from(view: SubscriptionView) -> Self {
        let Deliveries { delivered, refused, failed, last_delivered, last_trouble, failing_since } =
            view.deliveries;
        let (device, href) = match view.target {
            Target::Devices => (None, None),
            Target::Device(device) => (Some(device), None),
            Target::Resource(device, href) => (Some(device), Some(href)),
        };
        let state = match view.state {
            SubscriptionState::Starting => State::Starting,
            SubscriptionState::Active => State::Active,
            SubscriptionState::Ending => State::Ending,
        };
        Self {
            id: view.id,
            client: view.client,
            user: view.user,
            device,
            href,
            event_types: view.types.iter().map(|one| one.as_str()).collect(),
            receiver: view.receiver,
            created: view.created,
            state,
            next_number: view.next_number,
            waiting: view.waiting,
            delivered,
            refused,
            failed_attempts: failed,
            last_delivered,
            failing_since,
            last_error: last_trouble.map(|(why, at)| LastError::new(why, at)),
        }
    }
}

impl LastError {
    fn new(why: Trouble, at: u64) -> Self {
        let (kind, status) = match why {
            Trouble::Status(status) => (ErrorKind::Status, Some(status)),
            Trouble::TimedOut => (ErrorKind::TimedOut, None),
            Trouble::NotConnected => (ErrorKind::NotConnected, None),
            Trouble::NotAllowed => (ErrorKind::NotAllowed, None),
            Trouble::NotTrusted => (ErrorKind::NotTrusted, None),
            Trouble::NotWritable => (ErrorKind::NotWritable, None),
            Trouble::NotSent => (ErrorKind::NotSent, None),
        };
        Self { kind, status, at }
    }
}

/// The page of all shards' subscriptions, or of those of a client, that begins behind an id.
pub async fn page(
    app: &App,
    after: Option<SubscriptionId>,
    client: Option<&str>,
) -> Result<Page, Refusal> {
    Ok(joined(app.list_subscriptions(after, client).await?))
}

/// One page of the pages of all shards: as far as every one of them has looked.
fn joined(pages: Vec<SubscriptionsPage>) -> Page {
    let next = pages.iter().filter_map(|(_, next)| *next).min();
    let all = pages.into_iter().flat_map(|(subscriptions, _)| subscriptions);
    let mut all: Vec<_> = all.filter(|view| next.is_none_or(|next| view.id <= next)).collect();
    all.sort_unstable_by_key(|view| view.id);
    Page { subscriptions: all.into_iter().map(Shown::from).collect(), next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::channel::events::EventType;

    fn id(number: u8) -> SubscriptionId {
        SubscriptionId::from_bytes([number; 16])
    }

    fn view(number: u8) -> SubscriptionView {
        SubscriptionView {
            id: id(number),
            user: UserId::from_bytes([1; 16]),
            client: "partner".into(),
            target: Target::Resource(DeviceId::from_bytes([2; 16]), "/light/1".into()),
            types: [EventType::ResourceContentChanged].into_iter().collect(),
            receiver: "https://partner.example".into(),
            created: 7,
            state: SubscriptionState::Active,
            next_number: 3,
            waiting: 1,
            deliveries: Deliveries {
                last_trouble: Some((Trouble::Status(500), 9)),
                ..Deliveries::default()
            },
        }
    }

    #[test]
    fn pages_of_shards_are_joined_as_far_as_all_have_looked() {
        let of = |numbers: &[u8], next: Option<u8>| {
            (numbers.iter().map(|&number| view(number)).collect::<Vec<_>>(), next.map(id))
        };
        let numbers =
            |page: &Page| -> Vec<_> { page.subscriptions.iter().map(|shown| shown.id).collect() };
        let all = joined(vec![of(&[1, 4], None), of(&[2], None)]);
        assert_eq!((numbers(&all), all.next), (vec![id(1), id(2), id(4)], None));
        // The second has looked until 5 and the third until 3, without finding any.
        let some = joined(vec![of(&[1, 4, 9], None), of(&[2, 5], Some(5)), of(&[], Some(3))]);
        assert_eq!((numbers(&some), some.next), (vec![id(1), id(2)], Some(id(3))));
    }

    #[test]
    fn what_operators_see_names_the_error_and_no_path() {
        let shown = serde_json::to_value(Shown::from(view(1))).unwrap();
        let error = serde_json::json!({ "kind": "status", "status": 500, "at": 9 });
        assert_eq!(shown["last_error"], error);
        assert_eq!(shown["href"], "/light/1");
        assert_eq!(shown["event_types"], serde_json::json!(["resource_contentchanged"]));
        assert!(shown.get("last_delivered").is_none());
    }
}
