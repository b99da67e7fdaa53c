//! How subscriptions end with what they hang on: the user's grant, and a device that somebody else
//! takes over (cloud reference 5.11; device reference 16, point 12).

use std::time::Duration;

use gateway::config::Takeover;
use gateway::events::Ending;
use gateway::limits::STORE_AGAIN;
use gateway::store::Table;
use shared::channel::authorization::AuthorizationCommand;
use shared::channel::events::{EventBody, EventType, EventsCommand, Outcome, Target};
use shared::channel::message::{Command, Failure, Reply, Subject};
use shared::ids::GrantId;
use shared::placement::PartitionId;
use shared::scope::Scopes;
use tests::{Disk, FAILED, User, World, told};

use EventType::{
    DevicesOffline, DevicesOnline, DevicesUnregistered, ResourcesPublished, SubscriptionCancelled,
};

const CLIENT: &str = "partner";
const REDIRECT: &str = "https://partner.example/cb";

/// What a user has granted to the partner.
fn grant(user: &User) -> GrantId {
    let issue = AuthorizationCommand::IssueCode {
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        scopes: Scopes::READ,
        challenge: None,
        lifetime_secs: 60,
    };
    let Reply::AuthorizationCode(code) = user.world.command(user.id, Command::Authorization(issue))
    else {
        panic!("no code")
    };
    let redeem = AuthorizationCommand::RedeemCode {
        code,
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        challenge: None,
    };
    let subject = Subject::Partition(PartitionId::of_user(user.id));
    match user.world.command_about(subject, Command::Authorization(redeem)) {
        Reply::Granted(granted) => granted.grant,
        other => panic!("no grant: {other:?}"),
    }
}

fn revoke(user: &User, grant: GrantId) {
    let revoke = AuthorizationCommand::RevokeGrant { grant, client: CLIENT.into() };
    let reply = user.world.command(user.id, Command::Authorization(revoke));
    assert_eq!(reply, Reply::Done);
}

/// Case 147, OP-42: one last word for each subscription, and nothing of what waited.
#[test]
fn with_a_grant_its_subscriptions_end_and_nothing_that_waited_is_sent() {
    let world = World::new();
    let user = world.user();
    let grant = grant(&user);
    let wish = || user.wish(Target::Devices, &[DevicesOnline]);
    let under = [(); 2].map(|()| user.subscribed_under(Some(grant), wish()));
    let other = user.subscribed(Target::Devices, &[DevicesOnline]);
    for subscriber in under.iter().chain([&other]) {
        subscriber.accept_all();
    }
    user.signed_in_device();
    let seen = under[0].next();
    user.signed_in_device();
    revoke(&user, grant);
    under[0].report(&seen, FAILED);
    let missed = under[1].next();
    assert_eq!(missed.number, 1, "this one was on its way before");
    under[1].report(&missed, Outcome::Accepted);
    assert_eq!(told(&under[1].accept_all()), [(2, SubscriptionCancelled)]);
    assert_eq!(other.accept_all().len(), 2, "others go on");
    world.advance_secs(2);
    assert_eq!(told(&under[0].accept_all()), [(2, SubscriptionCancelled)], "and not once more");
    let refused = user.ask_to_subscribe(Some(grant), wish());
    assert_eq!(refused, Reply::Failed(Failure::GrantRevoked));
    let ended: Vec<_> = world.subscriptions_ended().into_iter().map(|(_, why)| why).collect();
    assert_eq!(ended, [Ending::Revoked; 2]);
}

/// Cloud reference 5.11: of a device that is gone everything is told that there was to tell, but not
/// under a grant that has ended.
#[test]
fn with_a_grant_goes_what_was_still_to_be_told_of_a_device_that_is_gone() {
    let world = World::new();
    let user = world.user();
    let device = user.signed_in_device();
    device.publish(&["/light/1"]);
    let grant = grant(&user);
    let wish = user.wish(Target::Device(device.id), &[EventType::ResourcesPublished]);
    let subscriber = user.subscribed_under(Some(grant), wish);
    subscriber.accept_all();
    device.publish(&["/light/2"]);
    let seen = subscriber.next();
    device.publish(&["/light/3"]);
    let remove = Command::RemoveDevice { device: device.id };
    assert_eq!(world.command(user.id, remove), Reply::Done);
    revoke(&user, grant);
    subscriber.report(&seen, FAILED);
    world.advance_secs(2);
    let last = subscriber.accept_all();
    assert_eq!(told(&last), [(3, SubscriptionCancelled)], "the number of what is dropped is used");
}

/// A crash between the end of the grant and that of its subscriptions leaves none behind.
#[test]
fn a_subscription_whose_grant_is_gone_at_the_start_ends() {
    let world = World::new();
    let user = world.user();
    let grant = grant(&user);
    let wish = user.wish(Target::Devices, &[DevicesOnline]);
    let subscriber = user.subscribed_under(Some(grant), wish);
    subscriber.accept_all();
    // A grant that nobody uses ends by itself while the gateway is away.
    world.step_wall_clock(181 * 24 * 3600);
    world.restart();
    world.settle();
    world.deliver_all();
    let last = subscriber.accept_all();
    assert_eq!(told(&last), [(1, SubscriptionCancelled)]);
    assert_eq!(world.sizes(shared::ids::ShardId(0)).subscriptions, 0);
}

fn end_client(user: &User, client: &str) -> Reply {
    let subject = Subject::Partition(PartitionId::of_user(user.id));
    let command = EventsCommand::EndClient { client: client.into() };
    user.world.command_about(subject, Command::Events(command))
}

/// Cloud reference 5.11: with a client ends what users have let it be told, and that is durable when
/// it is answered; what hangs on no grant goes on.
#[test]
fn with_its_client_what_users_have_granted_ends() {
    let world = World::new();
    let user = world.user();
    let grant = grant(&user);
    let granted = user.subscribed_under(Some(grant), user.wish(Target::Devices, &[DevicesOnline]));
    let known = user.subscribed(Target::Devices, &[DevicesOnline]);
    granted.accept_all();
    known.accept_all();
    assert_eq!(end_client(&user, "somebody else"), Reply::Done);
    granted.expect_silence();
    assert!(granted.stands());
    assert_eq!(end_client(&user, CLIENT), Reply::Done);
    world.restart();
    world.settle();
    world.deliver_all();
    assert_eq!(told(&granted.accept_all()), [(1, SubscriptionCancelled)]);
    known.expect_silence();
    assert!(known.stands());
}

/// More of them than one commit takes.
#[test]
fn a_client_with_very_many_subscriptions_ends_with_all_of_them() {
    const MANY: usize = 600;
    let world = World::with(|setup| setup.limits.subscriptions_per_sec_max = 10_000);
    let user = world.user();
    let grant = grant(&user);
    for _ in 0..MANY {
        let wish = user.wish(Target::Devices, &[DevicesOnline]);
        assert!(matches!(user.ask_to_subscribe(Some(grant), wish), Reply::Subscribed(_)));
    }
    assert_eq!(end_client(&user, CLIENT), Reply::Done);
    let ended: Vec<_> = world.subscriptions_ended().into_iter().map(|(_, why)| why).collect();
    assert_eq!(ended, [Ending::Revoked; MANY]);
}

#[test]
fn the_end_of_a_client_that_the_store_refuses_is_told_so_and_asked_for_again() {
    let world = World::new();
    let user = world.user();
    let grant = grant(&user);
    let granted = user.subscribed_under(Some(grant), user.wish(Target::Devices, &[DevicesOnline]));
    granted.accept_all();
    world.disk(Disk::Refuses);
    assert_eq!(end_client(&user, CLIENT), Reply::Failed(Failure::StoreUnavailable));
    granted.expect_silence();
    world.disk(Disk::Takes(Duration::ZERO));
    assert_eq!(end_client(&user, CLIENT), Reply::Done);
    assert_eq!(told(&granted.accept_all()), [(1, SubscriptionCancelled)]);
}

/// Whoever delivers looks at the client once more: what a crash kept from ending ends then.
#[test]
fn a_client_that_is_found_to_be_gone_hears_the_last_word_only() {
    let world = World::new();
    let user = world.user();
    let grant = grant(&user);
    let granted = user.subscribed_under(Some(grant), user.wish(Target::Devices, &[DevicesOnline]));
    granted.accept_all();
    user.signed_in_device();
    let online = granted.next();
    assert!(online.granted);
    granted.report(&online, Outcome::ClientGone);
    assert_eq!(told(&granted.accept_all()), [(2, SubscriptionCancelled)]);
    let ended: Vec<_> = world.subscriptions_ended().into_iter().map(|(_, why)| why).collect();
    assert_eq!(ended, [Ending::Revoked]);
    assert!(!user.subscribed(Target::Devices, &[DevicesOnline]).next().granted);
}

/// What the store has refused is told again, but not behind the end of the device.
#[test]
fn nothing_is_told_of_a_device_after_it_was_unregistered() {
    let world = World::new();
    let user = world.user();
    let types = [DevicesOffline, DevicesUnregistered];
    let subscriber = user.subscribed(Target::Devices, &types);
    let device = user.signed_in_device();
    subscriber.accept_all();
    world.disk(Disk::Refuses);
    device.lose();
    world.settle();
    world.disk(Disk::Takes(Duration::from_secs(10)));
    let removal = world.send_command(user.id, Command::RemoveDevice { device: device.id });
    world.advance_secs(8);
    assert_eq!(world.reply(removal), None, "it is on its way to the store");
    world.disk(Disk::Takes(Duration::ZERO));
    world.advance_secs(10);
    assert_eq!(world.reply(removal), Some(Reply::Done));
    assert_eq!(told(&subscriber.accept_all()), [(2, DevicesUnregistered)]);
}

/// Device reference 16, point 12: the former owner is told.
#[test]
fn the_former_owner_of_a_device_that_is_taken_over_is_told() {
    let world = World::with(|setup| {
        setup.shards = 2;
        setup.cloud.takeover = Takeover::Allow;
    });
    let former = world.user_on(shared::ids::ShardId(0));
    let next = world.user_on(shared::ids::ShardId(1));
    let device = former.signed_in_device();
    device.publish(&["/light/1"]);
    let of_devices = former.subscribed(Target::Devices, &[DevicesUnregistered]);
    let of_links = former.subscribed(Target::Device(device.id), &[EventType::ResourcesPublished]);
    let of_next = next.subscribed(Target::Devices, &[EventType::DevicesRegistered]);
    of_devices.accept_all();
    of_links.accept_all();
    of_next.accept_all();
    let again = world.connect_as(device.id, tests::PKI.product());
    again.sign_up(&next.token_for(device.id));
    let all = of_devices.accept_all();
    assert_eq!(told(&all), [(1, DevicesUnregistered)]);
    assert_eq!(all[0].2, EventBody::Devices(vec![device.id]));
    assert_eq!(told(&of_links.accept_all()), [(1, SubscriptionCancelled)]);
    let theirs = of_next.accept_all();
    assert_eq!(theirs[0].2, EventBody::Devices(vec![device.id]));
}

/// The end that is in the commit of a removal is there whatever becomes of another one before it.
#[test]
fn what_ends_with_its_device_ends_although_another_end_was_refused() {
    for (refused, number) in [(0, 1), (1, 1), (2, 1)] {
        let world = World::new();
        let user = world.user();
        let device = user.signed_in_device();
        device.publish(&["/light/1"]);
        let subscriber = user.subscribed(Target::Device(device.id), &[ResourcesPublished]);
        subscriber.accept_all();
        world.disk(Disk::Hangs);
        let unsubscribing = world.send_command(user.id, subscriber.unsubscribing());
        let removing = world.send_command(user.id, Command::RemoveDevice { device: device.id });
        world.disk(Disk::RefusesThenTakes(refused));
        world.settle();
        let unavailable = Reply::Failed(Failure::StoreUnavailable);
        let done = |refused| if refused { unavailable.clone() } else { Reply::Done };
        assert_eq!(world.reply(unsubscribing), Some(done(refused > 0)));
        assert_eq!(world.reply(removing), Some(done(refused > 1)));
        world.disk(Disk::Takes(Duration::ZERO));
        if refused > 1 {
            assert!(subscriber.stands());
            assert_eq!(subscriber.unsubscribe(), Reply::Done);
        }
        let last = [(number, SubscriptionCancelled)];
        assert_eq!(told(&subscriber.accept_all()), last, "once, {refused} refused");
        assert!(!subscriber.stands());
        assert_eq!(world.stored(Table::Outbox), 0, "and nothing is left");
    }
}

/// What could not be stored of a device is told later, although the end of its account was on its way
/// meanwhile and was refused, and others came and went.
#[test]
fn a_device_that_stays_after_all_is_told_of() {
    let world = World::new();
    let user = world.user();
    let other = user.signed_in_device();
    let device = world.connect();
    device.sign_up(&user.token());
    let subscriber = user.subscribed(Target::Devices, &[DevicesOnline, DevicesOffline]);
    subscriber.accept_all();
    // Nobody hears that it comes, nor that it goes.
    world.disk(Disk::Refuses);
    device.sign_in();
    device.lose();
    world.advance(STORE_AGAIN);
    device.connect();
    device.sign_in();
    world.disk(Disk::Hangs);
    let removing = world.send_command(user.id, Command::RemoveDevice { device: device.id });
    world.advance(STORE_AGAIN);
    other.lose();
    world.disk(Disk::RefusesThenTakes(1));
    world.settle();
    assert_eq!(world.reply(removing), Some(Reply::Failed(Failure::StoreUnavailable)));
    world.disk(Disk::Takes(Duration::ZERO));
    world.advance(STORE_AGAIN * 2);
    let all = subscriber.accept_all();
    let is_of =
        |body: &EventBody| matches!(body, EventBody::Devices(ids) if ids.contains(&device.id));
    let last = all.iter().rfind(|(_, _, body)| is_of(body)).map(|(_, event_type, _)| *event_type);
    assert_eq!(last, Some(DevicesOnline), "{all:?}");
}
