//! Messages as bytes: what is sent comes back, what is not a message is refused, and neither takes
//! more memory than it should.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::allocations::allocated_by;
use super::*;
use crate::channel::authorization::{
    AuthorizationCommand, ClientRecord, ClientSecret, Granted, RegistryCommand,
};
use crate::channel::codec::Message;
use crate::channel::events::{
    BodyFormat, Deliveries, Delivery, Event, EventBody, EventType, EventsCommand, NewSubscription,
    Outcome, SubscriptionState, SubscriptionView, Target, Trouble,
};
use crate::channel::figures::{Delays, ProcessMemory, ShardFigures, TableMemory};
use crate::channel::message::{
    Content, DeviceView, DevicesPage, Failure, LinkView, OutstandingToken,
};
use crate::ids::{GrantId, SubscriptionId};
use crate::ocf::device::Status;
use crate::scope::Scopes;
use crate::secret::Secret;

/// How much more than its bytes a message may take: a link takes most, whose nine vectors and
/// strings are three words each in memory and one in an archive.
const MEMORY_FACTOR: usize = 8;

fn text() -> impl Strategy<Value = String> {
    ".{0,20}"
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..100)
}

fn device() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 16]>().prop_map(DeviceId::from_bytes)
}

fn any_command() -> impl Strategy<Value = Command> {
    let href = || text().prop_map(|path| format!("/{path}"));
    prop_oneof![
        option::of(device())
            .prop_map(|after| Command::ListDevices { after, content: Content::All }),
        (device(), any::<u32>()).prop_map(|(device, first_link)| Command::ReadDevice {
            device,
            first_link,
            content: Content::Base
        }),
        (device(), href(), option::of(text()))
            .prop_map(|(device, href, interface)| Command::Retrieve { device, href, interface }),
        (device(), href(), option::of(text()), body()).prop_map(
            |(device, href, interface, body)| Command::Update { device, href, interface, body }
        ),
        Just(Command::RegisterMediator),
        option::of(device()).prop_map(|device| Command::IssueDeviceToken { device }),
        Just(Command::ListDeviceTokens),
        device().prop_map(|device| Command::RemoveDevice { device }),
        Just(Command::DeleteUser),
        Just(Command::ReadFigures),
        (text(), text(), option::of(any::<[u8; 32]>())).prop_map(|(code, client, challenge)| {
            Command::Authorization(AuthorizationCommand::RedeemCode {
                code: Secret::new(code),
                redirect_uri: format!("https://{client}/"),
                client,
                challenge,
            })
        }),
        text().prop_map(|client| Command::Events(EventsCommand::EndClient { client })),
        (option::of(any::<[u8; 16]>()), option::of(text())).prop_map(|(after, client)| {
            let after = after.map(SubscriptionId::from_bytes);
            Command::Events(EventsCommand::ListSubscriptions { after, client })
        }),
        (any::<u64>(), any_trouble(), option::of(any::<u32>())).prop_map(
            |(number, why, retry_after_secs)| {
                let id = SubscriptionId::from_bytes([1; 16]);
                let outcome = Outcome::Failed { why, retry_after_secs };
                Command::Events(EventsCommand::Delivered { id, number, outcome })
            }
        ),
        (any_client(), option::of(any::<u64>())).prop_map(|(client, replaces)| {
            Command::Registry(RegistryCommand::PutClient { client, replaces })
        }),
        (device(), href(), text(), text()).prop_map(|(device, href, client, secret)| {
            Command::Events(EventsCommand::Subscribe(NewSubscription {
                url: format!("https://{client}/"),
                client,
                target: Target::Resource(device, href),
                types: [EventType::ResourceContentChanged].into_iter().collect(),
                secret: Secret::new(secret),
                correlation: String::new(),
                format: BodyFormat::Json,
            }))
        }),
    ]
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![any::<u16>().prop_map(Trouble::Status), Just(Trouble::NotTrusted)]
}

fn any_subscription() -> impl Strategy<Value = SubscriptionView> {
    (any::<[u8; 16]>(), text(), device(), option::of((any_trouble(), any::<u64>()))).prop_map(
        |(id, text, device, last_trouble)| SubscriptionView {
            id: SubscriptionId::from_bytes(id),
            user: UserId::from_bytes(id),
            client: text.clone(),
            target: Target::Resource(device, text.clone()),
            types: [EventType::ResourceContentChanged].into_iter().collect(),
            receiver: text,
            created: 1,
            state: SubscriptionState::Active,
            next_number: 7,
            waiting: 2,
            deliveries: Deliveries { last_trouble, ..Deliveries::default() },
        },
    )
}

fn any_client() -> impl Strategy<Value = ClientRecord> {
    let secret = (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(salt, digest)| ClientSecret {
        salt,
        digest,
        created: 1,
    });
    (text(), text(), vec(secret, 0..3), vec(text(), 0..4)).prop_map(
        |(id, name, secrets, redirect_uris)| ClientRecord {
            id,
            revision: 7,
            name,
            contact: String::new(),
            secrets,
            redirect_uris,
            scopes: Scopes::READ,
            introspects: false,
            authorities: String::new(),
            events_hosts: Vec::new(),
            enabled: true,
            created: 1,
        },
    )
}

fn any_command_envelope() -> impl Strategy<Value = CommandEnvelope> {
    (any::<u64>(), any::<u32>(), any::<[u8; 16]>(), any_command()).prop_map(
        |(request, patience_ms, user, command)| CommandEnvelope {
            request,
            patience_ms,
            subject: Subject::User {
                user: UserId::from_bytes(user),
                grant: (request % 2 == 0).then_some(GrantId::from_bytes(user)),
            },
            command,
        },
    )
}

fn any_link() -> impl Strategy<Value = LinkView> {
    let texts = || vec(text(), 0..4);
    (text(), texts(), texts(), texts(), option::of(text()), option::of(body())).prop_map(
        |(href, resource_types, interfaces, media_types, title, representation)| LinkView {
            href,
            resource_types,
            interfaces,
            policy: 3,
            title,
            media_types,
            tag_pos_desc: None,
            tag_pos_rel: Some([0.0, 0.5, 1.0]),
            tag_func_desc: None,
            tag_locn: None,
            representation,
        },
    )
}

fn any_device() -> impl Strategy<Value = DeviceView> {
    (device(), option::of(body()), option::of(text()), vec(any_link(), 0..4)).prop_map(
        |(device, description, name, links)| DeviceView {
            device,
            status: Status::Online,
            description,
            platform: None,
            name,
            links,
        },
    )
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let token = (option::of(device()), any::<u64>())
        .prop_map(|(device, expires_in_secs)| OutstandingToken { device, expires_in_secs });
    prop_oneof![
        (vec(any_device(), 0..4), option::of(any::<u32>()), any::<bool>()).prop_map(
            |(devices, next_link, more_devices)| {
                Reply::Devices(DevicesPage { devices, next_link, more_devices })
            }
        ),
        (any::<u8>(), option::of(any::<u16>()), body()).prop_map(|(code, content_format, body)| {
            Reply::Device(DeviceAnswer { code, content_format, max_age: None, body })
        }),
        (text(), any::<u64>())
            .prop_map(|(token, expires_in_secs)| Reply::DeviceToken { token, expires_in_secs }),
        vec(token, 0..8).prop_map(Reply::DeviceTokens),
        any_client().prop_map(Reply::Client),
        (any::<[u8; 16]>(), text()).prop_map(|(id, client)| {
            Reply::Granted(Granted {
                user: UserId::from_bytes(id),
                grant: GrantId::from_bytes(id),
                refresh_token: Secret::new(client.clone()),
                client,
                scopes: Scopes::READ.union(Scopes::WRITE),
            })
        }),
        any_figures().prop_map(|figures| Reply::Figures(Box::new(figures))),
        Just(Reply::Done),
        Just(Reply::Failed(Failure::DeviceOffline)),
        (vec(any_subscription(), 0..4), option::of(any::<[u8; 16]>())).prop_map(
            |(subscriptions, next)| {
                let next = next.map(SubscriptionId::from_bytes);
                Reply::Subscriptions { subscriptions, next }
            }
        ),
        any_delivery().prop_map(|delivery| Reply::Delivery(Box::new(delivery))),
    ]
}

fn any_figures() -> impl Strategy<Value = ShardFigures> {
    let table =
        (text(), any::<[u64; 3]>()).prop_map(|(name, [entries, used_bytes, reserved_bytes])| {
            TableMemory { name, entries, used_bytes, reserved_bytes }
        });
    let delays = vec(any::<u64>(), 0..32).prop_map(|counts| Delays { max_micros: 9, counts });
    (any::<u16>(), vec(table, 0..20), delays).prop_map(|(shard, tables, read_to_send)| {
        ShardFigures {
            shard,
            tables,
            process: ProcessMemory { resident_bytes: 1, ..ProcessMemory::default() },
            unread: Delays::default(),
            read_to_send,
        }
    })
}

fn any_delivery() -> impl Strategy<Value = Delivery> {
    let event = prop_oneof![
        vec(device(), 0..4)
            .prop_map(|devices| (EventType::DevicesOnline, EventBody::Devices(devices))),
        (device(), vec(any_link(), 0..4)).prop_map(|(device, links)| {
            (EventType::ResourcesPublished, EventBody::Links(device, links))
        }),
        body().prop_map(|cbor| (EventType::ResourceContentChanged, EventBody::Content(cbor))),
        Just((EventType::SubscriptionCancelled, EventBody::Nothing)),
    ];
    (any::<[u8; 16]>(), any::<u64>(), text(), event).prop_map(
        |(id, number, text, (event_type, body))| Delivery {
            user: UserId::from_bytes(id),
            id: SubscriptionId::from_bytes(id),
            number,
            client: text.clone(),
            granted: number % 2 == 0,
            url: text.clone(),
            secret: Secret::new(text.clone()),
            correlation: text,
            format: BodyFormat::OcfCbor,
            event: Event { event_type, body },
        },
    )
}

fn any_reply_envelope() -> impl Strategy<Value = ReplyEnvelope> {
    (any::<u64>(), any_reply()).prop_map(|(request, reply)| ReplyEnvelope { request, reply })
}

fn encoded(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

/// Decodes, and checks what that takes.
fn decoded<M: Message>(bytes: &[u8]) -> Result<Option<M>, TestCaseError> {
    let (message, allocated) = allocated_by(|| M::decode(bytes));
    prop_assert!(allocated.bytes <= MEMORY_FACTOR * bytes.len(), "{allocated:?}, {}", bytes.len());
    Ok(message)
}

proptest! {
    #[test]
    fn a_command_comes_back_from_its_bytes(command in any_command_envelope()) {
        prop_assert_eq!(decoded(&encoded(&command))?, Some(command));
    }

    #[test]
    fn a_reply_comes_back_from_its_bytes(reply in any_reply_envelope()) {
        prop_assert_eq!(decoded(&encoded(&reply))?, Some(reply));
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_none(bytes in vec(any::<u8>(), 0..2000)) {
        decoded::<CommandEnvelope>(&bytes)?;
        decoded::<ReplyEnvelope>(&bytes)?;
    }

    #[test]
    fn damaged_messages_are_a_message_or_none(
        command in any_command_envelope(),
        reply in any_reply_envelope(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut bytes in [encoded(&command), encoded(&reply)] {
            for (at, value) in &damages {
                let at = at.index(bytes.len());
                bytes[at] = *value;
                decoded::<CommandEnvelope>(&bytes)?;
                decoded::<ReplyEnvelope>(&bytes)?;
            }
            bytes.truncate(cut.index(bytes.len()));
            decoded::<CommandEnvelope>(&bytes)?;
            decoded::<ReplyEnvelope>(&bytes)?;
        }
    }
}

/// The shortest strings take the least room in an archive and most beside it.
#[test]
fn a_message_of_many_short_strings_takes_a_bounded_multiple_of_its_bytes() {
    let link = || LinkView {
        href: "/".into(),
        resource_types: vec!["x".into(); 10],
        interfaces: vec![String::new(); 10],
        policy: 0,
        title: None,
        media_types: vec![],
        tag_pos_desc: None,
        tag_pos_rel: None,
        tag_func_desc: None,
        tag_locn: None,
        representation: None,
    };
    for links in [vec![link(); 1800], vec![LinkView { href: String::new(), ..link() }; 1800]] {
        let device = DeviceView {
            device: DeviceId::from_bytes([0; 16]),
            status: Status::Offline,
            description: None,
            platform: None,
            name: None,
            links,
        };
        let page = DevicesPage { devices: vec![device], next_link: None, more_devices: false };
        let page = ReplyEnvelope { request: 0, reply: Reply::Devices(page) };
        assert_eq!(decoded(&encoded(&page)).unwrap(), Some(page));
    }
}

#[test]
fn sending_allocates_nothing_once_it_is_warm() {
    let mut link = linked(1);
    let (gateway, api) = (&mut link.gateway[0], &mut link.api.shards[0]);
    let reply = reply(30);
    let command = command(24);
    let mut exchange = || {
        let ((), allocated) = allocated_by(|| {
            api.send(&command).unwrap();
            api.flush().unwrap();
            gateway.send(&reply).unwrap();
            gateway.flush().unwrap();
        });
        gateway.next_command().unwrap().unwrap();
        api.next_reply().unwrap().unwrap();
        allocated.calls
    };
    exchange();
    for _ in 0..1000 {
        assert_eq!(exchange(), 0);
    }
}
