//! Codes, grants and the cloud's records as a shard keeps them (cloud reference 3.5 to 3.8).

use std::time::Duration;

use shared::channel::authorization::{
    AuthorizationCommand, Granted, LoginRecord, RegistryCommand, SigningKey,
};
use shared::channel::message::{Command, Content, Failure, Reply, Subject};
use shared::ids::{GrantId, UserId};
use shared::placement::PartitionId;
use shared::scope::Scopes;
use shared::secret::Secret;
use tests::{Disk, World};

const CLIENT: &str = "partner";
const REDIRECT: &str = "https://partner.example/cb";
const CLOUD: Subject = Subject::Partition(PartitionId::CLOUD);

fn scopes() -> Scopes {
    Scopes::READ.union(Scopes::OFFLINE_ACCESS)
}

fn of_token(token: &Secret) -> Subject {
    Subject::Partition(PartitionId::of_token(token.reveal()).expect("tokens name a partition"))
}

fn issue(world: &World, user: UserId) -> Reply {
    let command = AuthorizationCommand::IssueCode {
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        scopes: scopes(),
        challenge: Some([7; 32]),
        lifetime_secs: 60,
    };
    world.command(user, Command::Authorization(command))
}

fn code(world: &World, user: UserId) -> Secret {
    match issue(world, user) {
        Reply::AuthorizationCode(code) => code,
        other => panic!("no code: {other:?}"),
    }
}

fn redeeming(code: &Secret) -> Command {
    Command::Authorization(AuthorizationCommand::RedeemCode {
        code: code.clone(),
        client: CLIENT.into(),
        redirect_uri: REDIRECT.into(),
        challenge: Some([7; 32]),
    })
}

fn redeem(world: &World, code: &Secret) -> Reply {
    world.command_about(of_token(code), redeeming(code))
}

fn refreshing(token: &Secret, scopes: Option<Scopes>) -> Command {
    let (token, client) = (token.clone(), CLIENT.to_owned());
    Command::Authorization(AuthorizationCommand::Refresh { token, client, scopes })
}

fn refresh(world: &World, token: &Secret) -> Reply {
    world.command_about(of_token(token), refreshing(token, None))
}

#[track_caller]
fn granted(reply: Reply) -> Granted {
    match reply {
        Reply::Granted(granted) => granted,
        other => panic!("nothing granted: {other:?}"),
    }
}

fn link(world: &World, user: UserId) -> Granted {
    granted(redeem(world, &code(world, user)))
}

fn list_under(world: &World, user: UserId, grant: GrantId) -> Reply {
    let list = Command::ListDevices { after: None, content: Content::Base };
    world.command_about(Subject::User { user, grant: Some(grant) }, list)
}

const INVALID: Reply = Reply::Failed(Failure::InvalidGrant);
const REVOKED: Reply = Reply::Failed(Failure::GrantRevoked);

#[test]
fn a_code_becomes_a_grant_under_which_the_users_devices_are_listed() {
    let world = World::new();
    let user = world.user().id;
    let linked = link(&world, user);
    assert_eq!((linked.user, &*linked.client, linked.scopes), (user, CLIENT, scopes()));
    assert!(matches!(list_under(&world, user, linked.grant), Reply::Devices(_)));
    let other = world.user().id;
    assert_eq!(list_under(&world, other, linked.grant), REVOKED, "a grant is its user's");
}

/// Case 33.
#[test]
fn a_code_that_is_used_twice_ends_what_was_granted_for_it() {
    let world = World::new();
    let user = world.user().id;
    let code = code(&world, user);
    let linked = granted(redeem(&world, &code));
    assert_eq!(redeem(&world, &code), INVALID);
    assert_eq!(list_under(&world, user, linked.grant), REVOKED);
    assert_eq!(refresh(&world, &linked.refresh_token), INVALID);
    assert_eq!(redeem(&world, &code), INVALID);
}

/// Case 33, when both come at once: one of them wins, and loses it again.
#[test]
fn of_two_simultaneous_uses_of_a_code_none_keeps_a_grant() {
    let world = World::new();
    let user = world.user().id;
    let code = code(&world, user);
    world.disk(Disk::Takes(Duration::from_millis(5)));
    let patience = Duration::from_secs(10);
    let both =
        [(); 2].map(|()| world.send_command_about(of_token(&code), redeeming(&code), patience));
    world.advance(Duration::from_secs(1));
    let replies = both.map(|request| world.reply(request).expect("both are answered"));
    let [first, second] = replies;
    assert_eq!(second, INVALID);
    assert_eq!(list_under(&world, user, granted(first).grant), REVOKED);
}

/// Case 34.
#[test]
fn a_code_is_good_for_its_lifetime() {
    let world = World::new();
    let code = code(&world, world.user().id);
    world.advance(Duration::from_secs(61));
    assert_eq!(redeem(&world, &code), INVALID);
}

/// Cases 39, 40 and 42.
#[test]
fn a_refresh_token_rotates_and_the_one_before_is_good_for_a_minute() {
    let world = World::new();
    let user = world.user().id;
    let first = link(&world, user);
    let wide = refreshing(&first.refresh_token, Some(scopes().union(Scopes::WRITE)));
    let wide = world.command_about(of_token(&first.refresh_token), wide);
    assert_eq!(wide, Reply::Failed(Failure::ScopeExceeded));
    let narrow = refreshing(&first.refresh_token, Some(Scopes::READ));
    let second = granted(world.command_about(of_token(&first.refresh_token), narrow));
    assert_eq!(second.scopes, Scopes::READ);
    assert_ne!(second.refresh_token, first.refresh_token);
    let again = granted(refresh(&world, &first.refresh_token));
    assert_eq!(again.refresh_token, second.refresh_token, "the same successor");
    assert_eq!(again.scopes, scopes(), "a narrower token leaves the grant as it is");
    world.advance(Duration::from_secs(61));
    assert_eq!(refresh(&world, &first.refresh_token), INVALID);
    assert_eq!(refresh(&world, &second.refresh_token), INVALID, "the grant has ended with it");
    assert_eq!(list_under(&world, user, first.grant), REVOKED);
}

/// Cases 41, 43 and 44.
#[test]
fn only_its_own_client_ends_a_grant_and_it_ends_at_once() {
    let world = World::new();
    let user = world.user().id;
    let linked = link(&world, user);
    let revoke = |client: &str, token: &Secret| {
        let (token, client) = (token.clone(), client.to_owned());
        let subject = of_token(&token);
        let command = AuthorizationCommand::RevokeRefreshToken { token, client };
        world.command_about(subject, Command::Authorization(command))
    };
    assert_eq!(revoke("other", &linked.refresh_token), INVALID);
    assert!(matches!(list_under(&world, user, linked.grant), Reply::Devices(_)));
    assert_eq!(revoke(CLIENT, &linked.refresh_token), Reply::Done);
    assert_eq!(list_under(&world, user, linked.grant), REVOKED);
    assert_eq!(refresh(&world, &linked.refresh_token), INVALID);
    assert_eq!(revoke(CLIENT, &linked.refresh_token), Reply::Done, "unknown tokens as well");
}

#[test]
fn all_grants_of_a_user_end_together_and_nobody_elses() {
    let world = World::new();
    let (anna, ben) = (world.user().id, world.user().id);
    let annas = [link(&world, anna), link(&world, anna)];
    let bens = link(&world, ben);
    let revoke = Command::Authorization(AuthorizationCommand::RevokeGrants);
    assert_eq!(world.command(anna, revoke), Reply::Done);
    for linked in &annas {
        assert_eq!(list_under(&world, anna, linked.grant), REVOKED);
    }
    assert!(matches!(list_under(&world, ben, bens.grant), Reply::Devices(_)));
}

#[test]
fn what_was_granted_survives_a_power_cut_and_so_does_what_was_revoked() {
    let world = World::new();
    let user = world.user().id;
    let unused = code(&world, user);
    let (kept, ended) = (link(&world, user), link(&world, user));
    let end = AuthorizationCommand::RevokeGrant { grant: ended.grant, client: CLIENT.into() };
    assert_eq!(world.command(user, Command::Authorization(end)), Reply::Done);
    let next = granted(refresh(&world, &kept.refresh_token));
    world.restart();
    assert!(matches!(list_under(&world, user, kept.grant), Reply::Devices(_)));
    assert_eq!(list_under(&world, user, ended.grant), REVOKED);
    granted(refresh(&world, &next.refresh_token));
    granted(redeem(&world, &unused));
    assert_eq!(redeem(&world, &unused), INVALID, "it was used");
}

#[test]
fn a_grant_that_the_store_refuses_was_never_made() {
    let world = World::new();
    let user = world.user().id;
    let code = code(&world, user);
    world.disk(Disk::Refuses);
    assert_eq!(redeem(&world, &code), Reply::Failed(Failure::StoreUnavailable));
    world.disk(Disk::Takes(Duration::ZERO));
    granted(redeem(&world, &code));
}

#[test]
fn a_user_has_a_bounded_number_of_codes_and_a_client_of_grants() {
    let world = World::new();
    let user = world.user().id;
    let oldest = link(&world, user);
    for _ in 0..16 {
        world.advance(Duration::from_secs(1));
        link(&world, user);
    }
    assert_eq!(list_under(&world, user, oldest.grant), REVOKED, "it was not used for longest");
    let issued = (0..40).map(|_| issue(&world, user));
    let issued = issued.take_while(|reply| matches!(reply, Reply::AuthorizationCode(_))).count();
    assert_eq!(issued, 32 - 17, "codes that were used count until they are forgotten");
    assert_eq!(issue(&world, user), Reply::Failed(Failure::Overloaded));
    world.advance(Duration::from_secs(3700));
    assert!(matches!(issue(&world, user), Reply::AuthorizationCode(_)));
}

fn login(name: &str, revision: u64) -> LoginRecord {
    LoginRecord {
        name: name.into(),
        revision,
        user: UserId::from_bytes([1; 16]),
        password_hash: "$argon2id$".into(),
        enabled: true,
        created: 1,
    }
}

#[test]
fn records_of_the_cloud_survive_and_change_by_their_revisions() {
    let world = World::new();
    let registry = |command| world.command_about(CLOUD, Command::Registry(command));
    let put = |login, replaces| registry(RegistryCommand::PutLogin { login, replaces });
    assert_eq!(put(login("anna", 1), None), Reply::Done);
    assert_eq!(put(login("anna", 1), None), Reply::Failed(Failure::RecordChanged));
    assert_eq!(put(login("anna", 2), Some(1)), Reply::Done);
    let key = |id: &str, created| SigningKey { id: id.into(), created, pkcs8: vec![created as u8] };
    let add = |key, newest: Option<&str>| {
        let newest = newest.map(str::to_owned);
        registry(RegistryCommand::AddSigningKey { key, newest })
    };
    assert_eq!(add(key("a", 1), None), Reply::SigningKeys(vec![key("a", 1)]));
    let second = add(key("b", 1), None);
    assert_eq!(second, Reply::SigningKeys(vec![key("a", 1)]), "somebody else was first");
    world.restart();
    let read = RegistryCommand::ReadLogin { name: "anna".into() };
    assert_eq!(registry(read.clone()), Reply::Login(login("anna", 2)));
    assert_eq!(registry(RegistryCommand::ReadSigningKeys), second);
    let remove = RegistryCommand::RemoveLogin { name: "anna".into() };
    assert_eq!(registry(remove), Reply::Done);
    assert_eq!(registry(read), Reply::Failed(Failure::NoSuchRecord));
}

#[test]
fn the_clouds_records_are_nowhere_else() {
    let world = World::new();
    let read = Command::Registry(RegistryCommand::ReadSigningKeys);
    let reply = world.command(world.user().id, read.clone());
    assert_eq!(reply, Reply::Failed(Failure::WrongShard));
    let last = Subject::Partition(PartitionId::new(4095).expect("the last one"));
    assert_eq!(world.command_about(last, read), Reply::Failed(Failure::WrongShard));
}
