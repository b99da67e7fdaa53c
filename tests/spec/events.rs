//! Subscriptions and their events (cloud reference 5): what is told, to whom, in which order, and
//! under which number.

use std::time::Duration;

use gateway::store::Table;
use shared::channel::events::{
    Deliveries, EventBody, EventType, EventsCommand, NewSubscription, Outcome, SubscriptionState,
    SubscriptionView, Target, Trouble,
};
use shared::channel::message::{Command, Failure, Reply, Subject};
use shared::coap::ResponseType::ServiceUnavailable;
use shared::ids::{DeviceId, SubscriptionId, UserId};
use shared::placement::PartitionId;
use tests::{Disk, FAILED, Peer, REFUSED, Subscriber, UNAVAILABLE, User, World, content, told};

use EventType::{
    DevicesOffline, DevicesOnline, DevicesRegistered, DevicesUnregistered, ResourceContentChanged,
    ResourcesPublished, ResourcesUnpublished, SubscriptionCancelled,
};

const OF_DEVICES: [EventType; 4] =
    [DevicesOffline, DevicesOnline, DevicesUnregistered, DevicesRegistered];
const OF_LINKS: [EventType; 2] = [ResourcesUnpublished, ResourcesPublished];
const OFF: &[u8] = b"\xa1\x65value\xf4";
const ON: &[u8] = b"\xa1\x65value\xf5";

fn devices(body: &EventBody) -> Vec<DeviceId> {
    let EventBody::Devices(devices) = body else { panic!("no devices: {body:?}") };
    devices.clone()
}

fn hrefs(body: &EventBody) -> Vec<String> {
    let EventBody::Links(_, links) = body else { panic!("no links: {body:?}") };
    links.iter().map(|link| link.href.clone()).collect()
}

fn representation(body: &EventBody) -> &[u8] {
    let EventBody::Content(cbor) = body else { panic!("no representation: {body:?}") };
    cbor
}

fn light_of(user: &User) -> Peer {
    let device = user.signed_in_device();
    device.publish(&["/light/1"]);
    device
}

fn to_light(device: &Peer) -> Target {
    Target::Resource(device.id, "/light/1".into())
}

/// Somebody who has heard the first state of a light, and how the light notifies.
fn subscribed_to_light(user: &User, device: &Peer) -> (Subscriber, tests::Msg) {
    let subscriber = user.subscribed(to_light(device), &[ResourceContentChanged]);
    let register = device.expect_request("/light/1");
    device.respond(&register, content(OFF).observe(1));
    let first = subscriber.accept_all();
    assert_eq!(told(&first), [(0, ResourceContentChanged)]);
    assert_eq!(representation(&first[0].2), OFF);
    (subscriber, register)
}

/// Cases 118 to 120, 124.
#[test]
fn the_first_notifications_say_what_is_in_a_fixed_order() {
    let world = World::new();
    let user = world.user();
    let online = user.signed_in_device();
    let away = user.signed_in_device();
    away.close();
    let subscriber = user.subscribed(Target::Devices, &OF_DEVICES);
    let first = subscriber.accept_all();
    assert_eq!(
        told(&first),
        [(0, DevicesRegistered), (1, DevicesUnregistered), (2, DevicesOnline), (3, DevicesOffline)]
    );
    let mut both = [online.id, away.id];
    both.sort();
    assert_eq!(devices(&first[0].2), both);
    assert_eq!(devices(&first[1].2), []);
    assert_eq!(devices(&first[2].2), [online.id]);
    assert_eq!(devices(&first[3].2), [away.id]);
    let nobody = world.user().subscribed(Target::Devices, &[DevicesOnline]);
    let empty = nobody.accept_all();
    assert_eq!((told(&empty), devices(&empty[0].2)), (vec![(0, DevicesOnline)], vec![]));
}

/// Cases 126 to 128, 131.
#[test]
fn a_device_is_registered_online_offline_and_unregistered_and_nothing_follows() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &OF_DEVICES);
    let other = world.user().subscribed(Target::Devices, &OF_DEVICES);
    subscriber.accept_all();
    other.accept_all();
    let device = user.signed_in_device();
    device.sign_out();
    device.sign_in();
    device.lose();
    world.settle();
    device.connect();
    device.sign_in();
    let all = subscriber.accept_all();
    assert_eq!(
        told(&all),
        [
            (4, DevicesRegistered),
            (5, DevicesOnline),
            (6, DevicesOffline),
            (7, DevicesOnline),
            (8, DevicesOffline),
            (9, DevicesOnline)
        ]
    );
    assert!(all.iter().all(|(_, _, body)| devices(body) == [device.id]));
    let removed = world.command(user.id, Command::RemoveDevice { device: device.id });
    assert_eq!(removed, Reply::Done);
    assert_eq!(told(&subscriber.accept_all()), [(10, DevicesUnregistered)]);
    subscriber.expect_silence();
    other.expect_silence();
}

#[test]
fn a_session_that_takes_the_place_of_another_is_no_event() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline, DevicesOffline]);
    subscriber.accept_all();
    let again = world.connect_as(device.id, tests::PKI.product());
    again.set_account(device.account());
    again.sign_in();
    world.settle();
    subscriber.expect_silence();
}

/// Cases 119, 129; OP-28.
#[test]
fn links_are_told_when_they_come_change_and_go() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let subscriber = user.subscribed(Target::Device(device.id), &OF_LINKS);
    let first = subscriber.accept_all();
    assert_eq!(told(&first), [(0, ResourcesPublished), (1, ResourcesUnpublished)]);
    assert_eq!((hrefs(&first[0].2), hrefs(&first[1].2)), (vec!["/light/1".into()], vec![]));
    device.publish(&["/light/1", "/light/2"]);
    let more = subscriber.accept_all();
    assert_eq!(told(&more), [(2, ResourcesPublished)]);
    assert_eq!(hrefs(&more[0].2), ["/light/2"], "only what is new");
    device.publish(&["/light/2"]);
    subscriber.expect_silence();
    device.request(tests::delete("/oic/rd"));
    let gone = subscriber.accept_all();
    assert_eq!(told(&gone), [(3, ResourcesUnpublished)]);
    let EventBody::Links(_, links) = &gone[0].2 else { panic!() };
    assert_eq!(links.len(), 2);
    assert!(
        links.iter().all(|link| !link.resource_types.is_empty() && !link.interfaces.is_empty())
    );
}

/// Cases 121, 130; one observation on the device serves clients and subscriptions.
#[test]
fn a_resource_is_observed_once_for_everybody() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let (first, register) = subscribed_to_light(&user, &device);
    let second = user.subscribed(to_light(&device), &[ResourceContentChanged]);
    let fresh = device.expect_request("/light/1");
    assert!(fresh.observed().is_none(), "the present state is read, not observed again");
    device.respond(&fresh, content(OFF));
    assert_eq!(told(&second.accept_all()), [(0, ResourceContentChanged)]);
    first.expect_silence();
    device.respond(&register, content(ON).observe(2));
    for subscriber in [&first, &second] {
        let all = subscriber.accept_all();
        assert_eq!(told(&all), [(1, ResourceContentChanged)]);
        assert_eq!(representation(&all[0].2), ON);
    }
    device.respond(&register, content(ON).observe(3));
    first.expect_silence();
    assert_eq!(first.unsubscribe(), Reply::Done);
    device.expect_silence();
    assert_eq!(second.unsubscribe(), Reply::Done);
    assert_eq!(device.expect_request("/light/1").observed(), Some(1), "nobody is left");
}

/// Cloud reference 5.12.
#[test]
fn of_a_representation_that_changes_while_another_is_delivered_the_newest_follows() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let (subscriber, register) = subscribed_to_light(&user, &device);
    for value in 0..10u8 {
        device.respond(
            &register,
            content(vec![0xa1, 0x61, b'n', value]).observe(2 + u32::from(value)),
        );
    }
    let first = subscriber.next();
    assert_eq!((first.number, representation(&first.event.body)[3]), (1, 0));
    subscriber.report(&first, Outcome::Accepted);
    let second = subscriber.next();
    assert_eq!((second.number, representation(&second.event.body)[3]), (2, 9));
    subscriber.report(&second, Outcome::Accepted);
    subscriber.expect_silence();
}

#[test]
fn subscriptions_and_numbers_survive_restarts_and_devices_are_observed_again() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let (of_light, _) = subscribed_to_light(&user, &device);
    let of_devices = user.subscribed(Target::Devices, &OF_DEVICES);
    of_devices.accept_all();
    world.restart();
    world.settle();
    world.deliver_all();
    let offline = of_devices.accept_all();
    assert_eq!(told(&offline), [(4, DevicesOffline)], "who was online is not any more");
    device.connect();
    device.sign_in();
    assert_eq!(told(&of_devices.accept_all()), [(5, DevicesOnline)]);
    let register = device.expect_request("/light/1");
    assert_eq!(register.observed(), Some(0));
    device.respond(&register, content(OFF).observe(1));
    of_light.expect_silence();
    device.respond(&register, content(ON).observe(2));
    let all = of_light.accept_all();
    assert_eq!((told(&all), representation(&all[0].2)), (vec![(1, ResourceContentChanged)], ON));
    assert!(of_light.stands() && of_devices.stands());
}

#[test]
fn what_was_handed_out_before_a_restart_is_handed_out_again_under_the_same_number() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let (subscriber, register) = subscribed_to_light(&user, &device);
    device.respond(&register, content(ON).observe(2));
    let before = subscriber.next();
    world.restart();
    world.settle();
    device.connect();
    device.sign_in();
    let register = device.expect_request("/light/1");
    device.respond(&register, content(OFF).observe(1));
    world.deliver_all();
    let again = subscriber.next();
    assert_eq!((again.number, &again.event), (before.number, &before.event));
    subscriber.report(&again, Outcome::Accepted);
    let newest = subscriber.next();
    assert_eq!((newest.number, representation(&newest.event.body)), (2, OFF));
}

#[test]
fn what_an_api_process_had_goes_to_the_next_one() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline]);
    let before = subscriber.next();
    world.lose_api();
    subscriber.expect_silence();
    world.deliver_all();
    assert_eq!(subscriber.next(), before);
    // One that says nothing for too long has it no more.
    world.advance_secs(70);
    assert_eq!(subscriber.next(), before);
}

/// Cases 144; cloud reference 5.10.
#[test]
fn a_failure_is_tried_again_later_and_order_is_kept() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesRegistered, DevicesOnline]);
    let first = subscriber.next();
    subscriber.report(&first, FAILED);
    user.signed_in_device();
    subscriber.expect_silence();
    world.advance(Duration::from_millis(1300));
    assert_eq!(subscriber.next(), first);
    subscriber.report(&first, Outcome::Failed { why: UNAVAILABLE, retry_after_secs: Some(30) });
    world.advance_secs(29);
    subscriber.expect_silence();
    world.advance_secs(2);
    let all = subscriber.accept_all();
    assert_eq!(
        told(&all),
        [(0, DevicesRegistered), (1, DevicesOnline), (2, DevicesRegistered), (3, DevicesOnline)]
    );
}

/// Case 145.
#[test]
fn a_refusal_is_not_repeated_and_ten_in_a_row_end_the_subscription() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &OF_DEVICES);
    for number in 0..4 {
        let delivery = subscriber.next();
        assert_eq!(delivery.number, number);
        subscriber.report(&delivery, REFUSED);
    }
    for _ in 0..6 {
        user.signed_in_device();
    }
    let delivery = subscriber.next();
    subscriber.report(&delivery, Outcome::Accepted);
    for _ in 0..10 {
        let delivery = subscriber.next();
        subscriber.report(&delivery, REFUSED);
    }
    let last = subscriber.accept_all();
    assert_eq!(told(&last), [(15, SubscriptionCancelled)]);
    assert!(!subscriber.stands());
}

/// Case 143.
#[test]
fn gone_ends_the_subscription_without_another_word() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &OF_DEVICES);
    let delivery = subscriber.next();
    subscriber.report(&delivery, Outcome::Gone);
    user.signed_in_device();
    subscriber.expect_silence();
    assert!(!subscriber.stands());
    let left =
        [Table::Subscription, Table::Outbox, Table::Progress].map(|table| world.stored(table));
    assert_eq!(left, [0, 0, 0], "nothing of it is left");
}

/// Cases 110, 146.
#[test]
fn unsubscribing_is_followed_by_the_last_word_with_the_next_number() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline]);
    subscriber.accept_all();
    user.signed_in_device();
    let under_way = subscriber.next();
    user.signed_in_device();
    assert_eq!(subscriber.unsubscribe(), Reply::Done);
    assert_eq!(subscriber.unsubscribe(), Reply::Failed(Failure::NoSuchSubscription));
    subscriber.report(&under_way, Outcome::Accepted);
    let last = subscriber.accept_all();
    assert_eq!(told(&last), [(2, SubscriptionCancelled)], "what waited is not sent");
    assert_eq!(world.stored(Table::Outbox) + world.stored(Table::Subscription), 0);
    assert_eq!(world.sizes(shared::ids::ShardId(0)).subscriptions, 0);
}

#[test]
fn the_last_word_to_somebody_who_went_away_is_tried_three_times() {
    let world = World::new();
    let subscriber = world.user().subscribed(Target::Devices, &[DevicesOnline]);
    subscriber.accept_all();
    subscriber.unsubscribe();
    for attempt in 0..3 {
        let last = subscriber.next();
        assert_eq!((attempt, last.number), (attempt, 1));
        subscriber.report(&last, FAILED);
        world.advance_secs(10);
    }
    subscriber.expect_silence();
    assert_eq!(world.sizes(shared::ids::ShardId(0)).subscriptions, 0);
}

/// Cases 111, 112.
#[test]
fn a_subscription_is_its_users_its_clients_and_of_its_level() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let target = Target::Device(device.id);
    let subscriber = user.subscribed(target.clone(), &[ResourcesPublished]);
    let not_found = Reply::Failed(Failure::NoSuchSubscription);
    let copy = |user, target, client: &str| Subscriber {
        world: world.clone(),
        user,
        id: subscriber.id,
        target,
        client: client.into(),
    };
    assert_eq!(copy(world.user().id, target.clone(), "partner").unsubscribe(), not_found);
    assert_eq!(copy(user.id, target, "another").unsubscribe(), not_found);
    assert_eq!(copy(user.id, Target::Devices, "partner").unsubscribe(), not_found);
    assert_eq!(copy(user.id, to_light(&device), "partner").unsubscribe(), not_found);
    assert!(subscriber.stands());
}

/// Case 107.
#[test]
fn what_does_not_exist_cannot_be_subscribed_to() {
    let world = World::new();
    let (user, other) = (world.user(), world.user());
    let device = light_of(&user);
    for (who, target, failure) in [
        (&user, Target::Device(world.device_id()), Failure::NoSuchDevice),
        (&other, Target::Device(device.id), Failure::NoSuchDevice),
        (&other, to_light(&device), Failure::NoSuchDevice),
        (&user, Target::Resource(device.id, "/light/2".into()), Failure::NoSuchResource),
    ] {
        let reply = who.ask_to_subscribe(None, who.wish(target, &[ResourceContentChanged]));
        assert_eq!(reply, Reply::Failed(failure));
    }
}

/// Case 147; cloud reference 5.11.
#[test]
fn with_its_device_or_resource_a_subscription_ends_after_what_it_was_to_be_told() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let (of_light, register) = subscribed_to_light(&user, &device);
    let of_links = user.subscribed(Target::Device(device.id), &OF_LINKS);
    let of_devices = user.subscribed(Target::Devices, &[DevicesUnregistered]);
    of_links.accept_all();
    of_devices.accept_all();
    device.respond(&register, content(ON).observe(2));
    device.request(tests::delete("/oic/rd"));
    assert_eq!(
        told(&of_light.accept_all()),
        [(1, ResourceContentChanged), (2, SubscriptionCancelled)]
    );
    assert_eq!(told(&of_links.accept_all()), [(2, ResourcesUnpublished)]);
    device.publish(&["/light/1"]);
    world.command(user.id, Command::RemoveDevice { device: device.id });
    assert_eq!(told(&of_links.accept_all()), [(3, ResourcesPublished), (4, SubscriptionCancelled)]);
    assert_eq!(told(&of_devices.accept_all()), [(1, DevicesUnregistered)]);
    assert!(!of_light.stands() && !of_links.stands() && of_devices.stands());
}

#[test]
fn an_outbox_that_is_full_is_the_end_and_the_subscriber_is_told() {
    let world = World::with(|setup| setup.limits.outbox_events_max = 5);
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesRegistered, DevicesOnline]);
    subscriber.accept_all();
    for _ in 0..8 {
        user.signed_in_device();
    }
    let all = subscriber.accept_all();
    assert_eq!(told(&all), [(2, DevicesRegistered), (3, SubscriptionCancelled)]);
}

/// Cloud reference 5.12: neighbours of the same type are merged as long as nobody may have seen them.
#[test]
fn devices_that_come_while_a_receiver_is_slow_are_told_of_together() {
    let world = World::with(|setup| setup.limits.outbox_events_max = 5);
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline, DevicesOffline]);
    subscriber.accept_all();
    let peers: Vec<_> = (0..30).map(|_| user.signed_in_device()).collect();
    let mut ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
    // The second is the first that was not handed out; the first may have been seen.
    let seen = subscriber.next();
    assert_eq!((seen.number, devices(&seen.event.body)), (2, vec![ids[0]]));
    world.restart();
    world.settle();
    world.deliver_all();
    assert_eq!(subscriber.next(), seen, "what may have been seen stays what it is");
    subscriber.report(&seen, Outcome::Accepted);
    let all = subscriber.accept_all();
    assert_eq!(told(&all), [(3, DevicesOnline), (4, DevicesOffline)]);
    assert_eq!(devices(&all[0].2), ids[1..], "all of them, in one");
    let mut gone = devices(&all[1].2);
    gone.sort_unstable();
    ids.sort_unstable();
    assert_eq!(gone, ids, "and after a restart nobody is there");
}

/// A thousand devices that come back are not a thousand events.
#[test]
fn devices_that_come_while_the_store_writes_are_told_of_together() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline, DevicesOffline]);
    subscriber.accept_all();
    let peers: Vec<_> = (0..10).map(|_| user.signed_in_device()).collect();
    subscriber.accept_all();
    world.disk(Disk::Takes(Duration::from_millis(500)));
    for peer in &peers {
        peer.lose();
        world.advance(Duration::from_millis(10));
    }
    world.advance_secs(5);
    world.disk(Disk::Takes(Duration::ZERO));
    let all = subscriber.accept_all();
    let counts: Vec<_> = all.iter().map(|(_, _, body)| devices(body).len()).collect();
    assert_eq!(counts, [1, 9]);
}

/// A subscriber for whom six notifications wait, which is as many as may.
fn with_a_full_outbox() -> (World, User, Subscriber) {
    let world = World::with(|setup| setup.limits.outbox_events_max = 6);
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesRegistered, DevicesOnline]);
    subscriber.accept_all();
    // Two each; neighbours are of different types, and not merged.
    for _ in 0..3 {
        user.signed_in_device();
    }
    (world, user, subscriber)
}

/// The end is in the commit of what was too much: whatever is stored of what follows, no subscription
/// goes on that has missed something.
#[test]
fn a_crash_behind_what_was_too_much_leaves_no_subscription_that_has_missed_it() {
    let (world, user, subscriber) = with_a_full_outbox();
    let (device, token) = (world.connect(), user.token());
    // The claim of the device's id, and its account.
    world.disk(Disk::TakesThenHangs(2));
    device.send(device.sign_up_request(&token));
    world.restart();
    assert_eq!(world.stored(Table::Device), 4, "the sign-up was stored");
    world.disk(Disk::Takes(Duration::ZERO));
    world.settle();
    world.deliver_all();
    let all = subscriber.accept_all();
    assert_eq!(all.last().expect("something").1, SubscriptionCancelled, "{:?}", told(&all));
    assert!(!subscriber.stands());
}

/// A change that the store refuses was not too much for anybody.
#[test]
fn what_the_store_refuses_fills_no_outbox() {
    let (world, user, subscriber) = with_a_full_outbox();
    let (device, token) = (world.connect(), user.token());
    world.disk(Disk::Refuses);
    device.expect(device.sign_up_request(&token), ServiceUnavailable);
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(subscriber.accept_all().len(), 6);
    device.sign_up(&token);
    assert_eq!(told(&subscriber.accept_all()), [(8, DevicesRegistered)]);
    assert!(subscriber.stands());
}

#[test]
fn there_are_only_so_many_subscriptions() {
    let world = World::with(|setup| {
        setup.limits.subscriptions_per_user_max = 3;
        setup.limits.subscriptions_per_device_max = 1;
    });
    let user = world.user();
    let device = light_of(&user);
    let ask = |target, event| user.ask_to_subscribe(None, user.wish(target, &[event]));
    let too_many = Reply::Failed(Failure::TooManySubscriptions);
    user.subscribed(Target::Device(device.id), &[ResourcesPublished]);
    assert_eq!(ask(to_light(&device), ResourceContentChanged), too_many);
    user.subscribed(Target::Devices, &[DevicesOnline]);
    user.subscribed(Target::Devices, &[DevicesOnline]);
    assert_eq!(ask(Target::Devices, DevicesOnline), too_many);
}

/// Cloud reference 9.2, rule 10.
#[test]
fn a_client_makes_only_so_many_subscriptions_a_second() {
    let world = World::new();
    let (user, other) = (world.user(), world.user());
    let ask = |user: &User, client: &str| {
        let wish = user.wish(Target::Devices, &[DevicesOnline]);
        user.ask_to_subscribe(None, NewSubscription { client: client.into(), ..wish })
    };
    let too_often = Reply::Failed(Failure::SubscribesTooOften);
    for _ in 0..20 {
        assert!(matches!(ask(&user, "partner"), Reply::Subscribed(_)));
    }
    assert_eq!(ask(&user, "partner"), too_often);
    assert!(matches!(ask(&user, "another"), Reply::Subscribed(_)));
    assert!(matches!(ask(&other, "partner"), Reply::Subscribed(_)));
    world.advance(Duration::from_millis(60));
    assert!(matches!(ask(&user, "partner"), Reply::Subscribed(_)));
    assert_eq!(ask(&user, "partner"), too_often);
}

fn page(world: &World, after: Option<SubscriptionId>, client: Option<&str>) -> Page {
    let client = client.map(str::to_owned);
    let command = Command::Events(EventsCommand::ListSubscriptions { after, client });
    let subject = Subject::Partition(PartitionId::of_user(UserId::from_bytes([0; 16])));
    let Reply::Subscriptions { subscriptions, next } = world.command_about(subject, command) else {
        panic!("no list");
    };
    (subscriptions, next)
}

type Page = (Vec<SubscriptionView>, Option<SubscriptionId>);

#[test]
fn operators_see_how_deliveries_go() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesRegistered, DevicesOnline]);
    let seen = || {
        let (mut all, next) = page(&world, None, None);
        assert_eq!((all.len(), next), (1, None));
        all.remove(0)
    };
    let first = seen();
    assert_eq!((first.id, first.user, &*first.client), (subscriber.id, user.id, "partner"));
    assert_eq!((&*first.receiver, first.waiting), ("https://partner.example", 2));
    assert_eq!((first.next_number, first.deliveries), (0, Deliveries::default()));
    let delivery = subscriber.next();
    subscriber.report(&delivery, FAILED);
    let failing = seen();
    let now = failing.deliveries.failing_since.unwrap();
    let expected = Deliveries {
        failed: 1,
        last_trouble: Some((UNAVAILABLE, now)),
        failing_since: Some(now),
        ..Deliveries::default()
    };
    assert_eq!((failing.deliveries, failing.waiting), (expected, 2));
    world.advance_secs(2);
    let delivery = subscriber.next();
    subscriber.report(&delivery, Outcome::Accepted);
    let delivery = subscriber.next();
    subscriber.report(&delivery, REFUSED);
    let last = seen();
    assert_eq!((last.waiting, last.next_number), (0, 2));
    assert_eq!((last.deliveries.delivered, last.deliveries.refused), (1, 1));
    assert_eq!(last.deliveries.failing_since, None);
    assert!(last.deliveries.last_delivered > Some(now));
    assert_eq!(last.deliveries.last_trouble.unwrap().0, Trouble::Status(400));
    assert_eq!(subscriber.unsubscribe(), Reply::Done);
    assert_eq!((seen().state, seen().waiting), (SubscriptionState::Ending, 1));
}

#[test]
fn operators_see_all_subscriptions_in_pages() {
    let world = World::with(|setup| setup.limits.subscriptions_per_sec_max = 1000);
    let user = world.user();
    let mut ids: Vec<_> = (0..150)
        .map(|number| {
            let wish = user.wish(Target::Devices, &[DevicesOnline]);
            let client = if number % 50 == 0 { "rare" } else { "partner" };
            let wish = NewSubscription { client: client.into(), ..wish };
            let Reply::Subscribed(id) = user.ask_to_subscribe(None, wish) else {
                panic!("not subscribed");
            };
            id
        })
        .collect();
    ids.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (some, next) = page(&world, after, None);
        assert!(some.len() <= 64);
        found.extend(some.into_iter().map(|view| view.id));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ids);
    let (rare, next) = page(&world, None, Some("rare"));
    assert_eq!((rare.len(), next), (3, None));
}

/// An event is in the commit of the change that it tells of.
#[test]
fn nothing_is_told_that_is_not_durable() {
    let world = World::new();
    let user = world.user();
    let subscriber = user.subscribed(Target::Devices, &[DevicesRegistered, DevicesOnline]);
    subscriber.accept_all();
    world.disk(Disk::Hangs);
    let device = world.connect();
    device.send(device.sign_up_request(&{
        world.disk(Disk::Takes(Duration::ZERO));
        let token = user.token();
        world.disk(Disk::Hangs);
        token
    }));
    subscriber.expect_silence();
    world.disk(Disk::Refuses);
    subscriber.expect_silence();
    world.disk(Disk::Takes(Duration::ZERO));
    world.settle();
    subscriber.expect_silence();
    user.signed_in_device();
    assert_eq!(told(&subscriber.accept_all()), [(2, DevicesRegistered), (3, DevicesOnline)]);
}

#[test]
fn a_subscription_that_meets_a_change_on_its_way_misses_nothing_and_hears_nothing_twice() {
    let world = World::new();
    let user = world.user();
    let token = user.token();
    world.deliver_all();
    world.disk(Disk::Takes(Duration::from_secs(2)));
    let device = world.connect();
    device.send(device.sign_up_request(&token));
    world.advance_secs(1);
    let wish = user.wish(Target::Devices, &[DevicesRegistered]);
    let command = Command::Events(EventsCommand::Subscribe(wish));
    let request = world.send_command(user.id, command);
    world.advance_secs(20);
    assert!(matches!(world.reply(request), Some(Reply::Subscribed(_))));
    world.disk(Disk::Takes(Duration::ZERO));
    let mut told = Vec::new();
    loop {
        let some = world.take_deliveries(|_| true);
        if some.is_empty() {
            break;
        }
        for delivery in some {
            told.extend(devices(&delivery.event.body));
            world.report(&delivery, Outcome::Accepted);
        }
    }
    assert_eq!(told, [device.id]);
}

/// What was heard while the subscription waited for a change before it is the present state, and the
/// device may have nothing else to say.
#[test]
fn a_representation_that_comes_before_the_subscription_stands_is_told() {
    let world = World::new();
    let user = world.user();
    let (device, token) = (light_of(&user), user.token());
    device.lose();
    world.deliver_all();
    world.disk(Disk::Takes(Duration::from_secs(2)));
    let other = world.connect();
    other.send(other.sign_up_request(&token));
    world.advance_secs(1);
    let wish = user.wish(to_light(&device), &[ResourceContentChanged]);
    let request = world.send_command(user.id, Command::Events(EventsCommand::Subscribe(wish)));
    device.connect();
    device.sign_in();
    let register = device.expect_request("/light/1");
    device.respond(&register, content(ON).observe(1));
    world.advance_secs(8);
    assert!(matches!(world.reply(request), Some(Reply::Subscribed(_))));
    device.expect_request("/light/1");
    let told = world.take_deliveries(|_| true);
    let bodies: Vec<_> = told.iter().map(|it| representation(&it.event.body)).collect();
    assert_eq!(bodies, [ON]);
}

/// Cloud reference 5.5: the present state of a device that is not there is the last one known.
#[test]
fn of_a_resource_that_nobody_knows_nothing_is_told_until_it_is_known() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    device.lose();
    world.settle();
    let subscriber = user.subscribed(to_light(&device), &[ResourceContentChanged]);
    subscriber.expect_silence();
    device.connect();
    device.sign_in();
    let register = device.expect_request("/light/1");
    device.respond(&register, content(ON).observe(1));
    assert_eq!(told(&subscriber.accept_all()), [(0, ResourceContentChanged)]);
    device.lose();
    world.settle();
    let late = user.subscribed(to_light(&device), &[ResourceContentChanged]);
    let known = late.accept_all();
    assert_eq!(
        (told(&known), representation(&known[0].2)),
        (vec![(0, ResourceContentChanged)], ON)
    );
}

#[test]
fn a_resource_that_cannot_be_observed_is_read_again_and_again() {
    let world = World::new();
    let user = world.user();
    let device = light_of(&user);
    let subscriber = user.subscribed(to_light(&device), &[ResourceContentChanged]);
    let request = device.expect_request("/light/1");
    device.respond(&request, content(OFF));
    assert_eq!(told(&subscriber.accept_all()), [(0, ResourceContentChanged)]);
    world.advance_secs(31);
    let request = device.expect_request("/light/1");
    device.respond(&request, content(ON));
    assert_eq!(told(&subscriber.accept_all()), [(1, ResourceContentChanged)]);
}
