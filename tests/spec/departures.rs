//! Users who are deleted with everything that is theirs (design: identity).

use std::time::Duration;

use gateway::connection::CloseReason;
use shared::channel::authorization::AuthorizationCommand;
use shared::channel::message::{Command, Failure, Reply, Subject};
use shared::coap::ResponseType::{Changed, Unauthorized};
use shared::ids::{GrantId, ShardId, UserId};
use shared::placement::PartitionId;
use shared::scope::Scopes;
use tests::{Disk, User, World};

const CLIENT: &str = "partner";
const REDIRECT: &str = "https://partner.example/cb";

fn devices(world: &World, shards: u16) -> usize {
    (0..shards).map(|shard| world.sizes(ShardId(shard)).devices).sum()
}

fn users(world: &World, shards: u16) -> usize {
    (0..shards).map(|shard| world.sizes(ShardId(shard)).users).sum()
}

/// A grant, and a code that was not exchanged.
fn grant(world: &World, user: UserId) -> GrantId {
    let issue = AuthorizationCommand::IssueCode {
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        scopes: Scopes::READ,
        challenge: None,
        lifetime_secs: 60,
    };
    let code = || match world.command(user, Command::Authorization(issue.clone())) {
        Reply::AuthorizationCode(code) => code,
        other => panic!("no code: {other:?}"),
    };
    let (used, _unused) = (code(), code());
    let partition = PartitionId::of_token(used.reveal()).expect("a code names a partition");
    let redeem = AuthorizationCommand::RedeemCode {
        code: used,
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        challenge: None,
    };
    match world.command_about(Subject::Partition(partition), Command::Authorization(redeem)) {
        Reply::Granted(granted) => granted.grant,
        other => panic!("no grant: {other:?}"),
    }
}

fn is_live(world: &World, user: UserId, grant: GrantId) -> bool {
    let subject = Subject::User { user, grant: Some(grant) };
    let check = Command::Authorization(AuthorizationCommand::CheckGrant);
    world.command_about(subject, check) == Reply::Done
}

fn tokens(world: &World, user: &User) -> usize {
    match world.command(user.id, Command::ListDeviceTokens) {
        Reply::DeviceTokens(tokens) => tokens.len(),
        other => panic!("no tokens: {other:?}"),
    }
}

#[test]
fn a_user_is_deleted_with_everything_that_is_theirs_and_nothing_of_others() {
    for shards in [1, 4] {
        let world = World::of_shards(shards);
        let (anna, ben) = (world.user(), world.user());
        assert_eq!(world.command(anna.id, Command::RegisterMediator), Reply::Done);
        let annas: Vec<_> = (0..5).map(|_| anna.signed_in_device()).collect();
        annas[0].publish(&["/light"]);
        let bens = ben.signed_in_device();
        let (linked, bens_link) = (grant(&world, anna.id), grant(&world, ben.id));
        let unused = anna.token();

        assert_eq!(world.command(anna.id, Command::DeleteUser), Reply::Done);
        for device in &annas {
            assert!(!device.is_connected());
        }
        let removed =
            world.ended().into_iter().filter(|end| end.reason == CloseReason::DeviceRemoved);
        assert_eq!(removed.count(), annas.len());
        assert_eq!((devices(&world, shards), tokens(&world, &anna)), (1, 0));
        assert!(!is_live(&world, anna.id, linked));
        assert_eq!(users(&world, shards), 1, "only the other one is left");
        assert_eq!(world.counted(|counters| counters.users_deleted), 1);
        // What devices find when they come back: their tokens are known to be bad.
        annas[0].connect();
        annas[0].expect(annas[0].session_request(true), Unauthorized);
        let stranger = world.connect();
        stranger.expect(stranger.sign_up_request(&unused), Unauthorized);
        // The device ids are free.
        let newer = world.connect_as(annas[0].id, tests::PKI.product());
        newer.sign_up(&ben.token());

        assert!(bens.is_connected() && is_live(&world, ben.id, bens_link));
        assert_eq!(devices(&world, shards), 2);
        world.restart();
        assert_eq!(devices(&world, shards), 2);
        assert!(!is_live(&world, anna.id, linked));
        assert_eq!(world.command(anna.id, Command::DeleteUser), Reply::Done, "nothing to do");
    }
}

#[test]
fn a_deletion_that_a_crash_interrupts_is_done_to_the_end() {
    for shards in [1, 4] {
        for crash_after in (0..=90).step_by(6) {
            let world = World::of_shards(shards);
            let anna = world.user();
            for _ in 0..3 {
                anna.signed_in_device();
            }
            let linked = grant(&world, anna.id);
            anna.token();
            world.disk(Disk::Takes(Duration::from_millis(13)));
            let asked = world.send_command(anna.id, Command::DeleteUser);
            world.advance(Duration::from_millis(crash_after));
            let done = world.reply(asked) == Some(Reply::Done);
            world.restart();
            world.disk(Disk::Takes(Duration::ZERO));
            world.advance_secs(5);
            // Before the first commit is durable, nothing has begun; behind it, all of it is done.
            let begun = crash_after >= 13;
            assert!(begun || !done);
            let left = (devices(&world, shards), tokens(&world, &anna));
            assert_eq!(left, if begun { (0, 0) } else { (3, 1) }, "after {crash_after} ms");
            assert_eq!(is_live(&world, anna.id, linked), !begun);
            assert_eq!(users(&world, shards), usize::from(!begun));
        }
    }
}

#[test]
fn a_store_that_refuses_loses_nothing_and_is_asked_again() {
    let world = World::new();
    let anna = world.user();
    anna.signed_in_device();
    world.disk(Disk::Refuses);
    let refused = world.command(anna.id, Command::DeleteUser);
    assert_eq!(refused, Reply::Failed(Failure::StoreUnavailable));
    assert_eq!(devices(&world, 1), 1);
    // It begins, and then the store refuses.
    world.disk(Disk::Takes(Duration::from_millis(10)));
    let asked = world.send_command(anna.id, Command::DeleteUser);
    world.advance(Duration::from_millis(15));
    world.disk(Disk::Refuses);
    world.advance(Duration::from_millis(200));
    assert_eq!(world.reply(asked), None);
    let refused = world.command(anna.id, Command::RegisterMediator);
    assert_eq!(refused, Reply::Failed(Failure::Overloaded), "nothing begins for who leaves");
    world.disk(Disk::Takes(Duration::ZERO));
    world.advance_secs(3);
    assert_eq!(world.reply(asked), Some(Reply::Done));
    assert_eq!(world.sizes(ShardId(0)).users, 0);
}

#[test]
fn a_sign_up_at_the_same_time_leaves_no_device_behind() {
    for shards in [1, 4] {
        for later in 0..=20 {
            let world = World::of_shards(shards);
            let anna = world.user();
            anna.signed_in_device();
            let device = world.connect();
            let token = anna.token();
            world.disk(Disk::Takes(Duration::from_millis(4)));
            let signing_up = device.send(device.sign_up_request(&token));
            world.advance(Duration::from_millis(later));
            let asked = world.send_command(anna.id, Command::DeleteUser);
            world.advance_secs(5);
            assert_eq!(world.reply(asked), Some(Reply::Done), "{later} ms later");
            let _answer = device.answer_to(signing_up);
            assert_eq!(users(&world, shards), 0, "{later} ms later");
            // Nobody is kept from the device.
            world.disk(Disk::Takes(Duration::ZERO));
            let other = world.user();
            let again = world.connect_as(device.id, tests::PKI.product());
            again.expect(again.sign_up_request(&other.token()), Changed);
        }
    }
}
