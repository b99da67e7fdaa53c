//! The introduction, with sides that keep the rules and sides that don't.

use std::io::{Read, Write};
use std::net::Shutdown;

use rustix::fs::{MemfdFlags, SealFlags};

use super::*;
use crate::channel::message::PROTOCOL_VERSION;
use crate::channel::region::Halves;
use crate::channel::socket::{DESCRIPTORS_MAX, Introduction};
use crate::channel::welcome::{Answer, Welcome};

#[test]
fn an_api_process_learns_what_it_needs_to_know() {
    let link = linked(3);
    assert_eq!(link.api.cloud, CLOUD);
    assert_eq!(link.api.endpoint, ENDPOINT);
    assert_eq!(link.api.placement.shards(), 3);
    assert_eq!((link.gateway.len(), link.api.shards.len()), (3, 3));
}

/// One message takes descriptors of 126 shards.
#[test]
fn shards_are_in_order_however_many_messages_their_descriptors_take() {
    let mut link = linked(127);
    assert_eq!(link.api.shards.len(), 127);
    for (nth, api) in link.api.shards.iter_mut().enumerate() {
        api.send(&command(nth as u64)).unwrap();
        api.flush().unwrap();
    }
    for (nth, gateway) in link.gateway.iter_mut().enumerate() {
        assert_eq!(gateway.next_command(), Ok(Some(command(nth as u64))));
        assert_eq!(gateway.announce_sleep(), Ok(Rest::Sleep));
    }
    link.api.shards[126].send(&command(1)).unwrap();
    link.api.shards[126].flush().unwrap();
    assert!(is_readable(&link.doorbells[126]));
}

#[test]
fn the_mode_of_the_socket_makes_no_difference() {
    let (gateway, api) = UnixStream::pair().unwrap();
    gateway.set_nonblocking(true).unwrap();
    api.set_nonblocking(true).unwrap();
    let doorbells = doorbells(2);
    thread::scope(|scope| {
        let welcoming = scope.spawn(|| welcome(&gateway, &offer(&doorbells), PATIENCE));
        assert_eq!(introduce(&api, PATIENCE).unwrap().shards.len(), 2);
        assert_eq!(welcoming.join().unwrap().unwrap().len(), 2);
    });
}

#[test]
fn what_cannot_be_offered_is_refused_before_anybody_connects() {
    let doorbells = doorbells(1);
    let bells = vec![doorbells[0].as_fd()];
    let shards = Offer::new(CLOUD, ENDPOINT, RingBytes::SMALLEST, vec![]).unwrap_err();
    assert_eq!(shards, InvalidOffer::Shards(0));
    let endpoint =
        Offer::new(CLOUD, "https://cloud.example", RingBytes::SMALLEST, bells).unwrap_err();
    assert_eq!(endpoint, InvalidOffer::Endpoint);
    for bytes in [0, 4096, RingBytes::MIN - 1, RingBytes::MIN + 8, RingBytes::MAX + 1, u32::MAX] {
        assert_eq!(RingBytes::new(bytes), Err(NotARingSize(bytes)));
    }
}

#[test]
fn a_refused_process_is_told_why() {
    let (gateway, api) = UnixStream::pair().unwrap();
    for why in [Refusal::NotAllowed, Refusal::TooManyProcesses, Refusal::Stopping] {
        thread::scope(|scope| {
            let refusing = scope.spawn(|| refuse(&gateway, why, PATIENCE));
            let refused = introduce(&api, PATIENCE).err().unwrap();
            assert!(matches!(refused, LinkError::Refused(said) if said == why), "{refused}");
            refusing.join().unwrap().unwrap();
        });
    }
}

#[test]
fn both_sides_name_both_versions_when_they_differ() {
    let (gateway, api) = UnixStream::pair().unwrap();
    let other = PROTOCOL_VERSION + 1;
    Introduction::within(PATIENCE, &api).send(other, &[]).unwrap();
    let doorbells = doorbells(1);
    let error = welcome(&gateway, &offer(&doorbells), PATIENCE).err().unwrap();
    let LinkError::VersionMismatch { ours, theirs } = error else { panic!("{error}") };
    assert_eq!((ours, theirs), (PROTOCOL_VERSION, other));
    assert_eq!(Introduction::within(PATIENCE, &api).receive_head().unwrap(), (PROTOCOL_VERSION, 0));

    let (gateway, api) = UnixStream::pair().unwrap();
    Introduction::within(PATIENCE, &gateway).send(other, b"anything at all").unwrap();
    let text = introduce(&api, PATIENCE).err().unwrap().to_string();
    assert!(text.contains(&other.to_string()) && text.contains(&PROTOCOL_VERSION.to_string()));
}

#[test]
fn what_does_not_speak_the_channel_is_refused() {
    let version = PROTOCOL_VERSION.to_le_bytes();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [&b"ocfshard"[..], &version, b"\xff\xff\xff\xff"].concat(),
        [&b"ocfshard"[..], &version, b"\x04\0\0\0body"].concat(),
    ] {
        let (gateway, mut api) = UnixStream::pair().unwrap();
        api.write_all(&bytes).unwrap();
        let doorbells = doorbells(1);
        let error = welcome(&gateway, &offer(&doorbells), PATIENCE).err().unwrap();
        assert!(matches!(error, LinkError::Malformed(_)), "{error}");
    }
}

#[test]
fn a_side_that_hangs_up_or_says_nothing_does_not_keep_the_other_waiting() {
    for said in [&b""[..], b"ocfshard\x01\0"] {
        let (gateway, mut api) = UnixStream::pair().unwrap();
        api.write_all(said).unwrap();
        let doorbells = doorbells(1);
        let short = Duration::from_millis(5);
        let silent = welcome(&gateway, &offer(&doorbells), short).err().unwrap();
        assert!(matches!(silent, LinkError::TimedOut), "{silent}");
        api.shutdown(Shutdown::Write).unwrap();
        let gone = welcome(&gateway, &offer(&doorbells), PATIENCE).err().unwrap();
        assert!(matches!(gone, LinkError::HungUp), "{gone}");
    }
    let (gateway, api) = UnixStream::pair().unwrap();
    drop(gateway);
    assert!(matches!(introduce(&api, PATIENCE).err().unwrap(), LinkError::HungUp));
}

/// A side that never reads fills the socket; whoever writes gives up in time.
#[test]
fn a_side_that_does_not_read_is_given_up() {
    let (gateway, mut api) = UnixStream::pair().unwrap();
    let doorbells = doorbells(1);
    gateway.set_nonblocking(true).unwrap();
    while (&gateway).write(&[0; 4096]).is_ok() {}
    Introduction::within(PATIENCE, &api).send(PROTOCOL_VERSION, &[]).unwrap();
    let short = Duration::from_millis(5);
    let stuck = welcome(&gateway, &offer(&doorbells), short).err().unwrap();
    assert!(matches!(stuck, LinkError::TimedOut), "{stuck}");
    assert_ne!(api.read(&mut [0; 1]).unwrap(), 0);
}

fn memfd(bytes: u64, seals: SealFlags) -> OwnedFd {
    let memory = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
    memory
}

fn region_bytes() -> u64 {
    4096 + 2 * u64::from(RingBytes::MIN)
}

#[test]
fn memory_that_is_not_sealed_is_refused() {
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::SEAL, all] {
        let memory = memfd(region_bytes(), all - missing);
        let refused = Halves::adopt(memory.as_fd(), RingBytes::SMALLEST).err();
        assert_eq!(refused, Some(RegionError::Unsealed), "{missing:?}");
    }
    assert!(Halves::adopt(memfd(region_bytes(), all).as_fd(), RingBytes::SMALLEST).is_ok());
}

#[test]
fn memory_of_another_size_is_refused() {
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for found in [0, region_bytes() - 1, region_bytes() + 4096] {
        let refused = Halves::adopt(memfd(found, all).as_fd(), RingBytes::SMALLEST).err();
        let expected = region_bytes() as usize;
        assert_eq!(refused, Some(RegionError::WrongSize { expected, found }));
    }
}

#[test]
fn what_is_no_memory_is_refused() {
    let (socket, _other) = UnixStream::pair().unwrap();
    assert_eq!(
        Halves::adopt(socket.as_fd(), RingBytes::SMALLEST).err(),
        Some(RegionError::NotMemory)
    );
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(
        Halves::adopt(file.as_fd(), RingBytes::SMALLEST).err(),
        Some(RegionError::NotMemory)
    );
}

#[test]
fn our_own_memory_is_sealed_before_it_is_passed_on() {
    let (memory, _halves) = Halves::create(RingBytes::SMALLEST).unwrap();
    assert!(rustix::fs::ftruncate(&memory, 0).is_err());
    assert!(rustix::fs::ftruncate(&memory, 2 * region_bytes()).is_err());
    assert!(rustix::fs::fcntl_add_seals(&memory, SealFlags::FUTURE_WRITE).is_err());
    assert!(Halves::adopt(memory.as_fd(), RingBytes::SMALLEST).is_ok());
}

#[test]
fn memory_is_unmapped_when_the_last_ring_of_it_is_dropped() {
    let (memory, halves) = Halves::create(RingBytes::SMALLEST).unwrap();
    let inode = format!(" {} ", rustix::fs::fstat(&memory).unwrap().st_ino);
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|map| map.contains(&inode) && map.contains("ocf-shard-channel"))
    };
    assert!(is_mapped());
    let Halves { commands, replies } = halves;
    drop(commands);
    assert!(is_mapped());
    drop(replies);
    assert!(!is_mapped());
}

/// What an `api` process says to a gateway that answers and then sends these descriptors.
fn introduced_to(welcome: Welcome, descriptors: &[OwnedFd]) -> LinkError {
    let (gateway, api) = UnixStream::pair().unwrap();
    let introduction = Introduction::within(PATIENCE, &gateway);
    let body = rkyv::to_bytes::<rkyv::rancor::Failure>(&Answer::Welcome(welcome)).unwrap();
    introduction.send(PROTOCOL_VERSION, &body).unwrap();
    if !descriptors.is_empty() {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        introduction.send_descriptors(&descriptors).unwrap();
    }
    gateway.shutdown(Shutdown::Write).unwrap();
    introduce(&api, PATIENCE).err().unwrap()
}

#[test]
fn a_gateway_that_breaks_the_rules_is_refused() {
    let good = || Welcome {
        cloud: CLOUD,
        endpoint: ENDPOINT.into(),
        shards: 1,
        ring_bytes: RingBytes::MIN,
    };
    for bad in [
        Welcome { shards: 0, ..good() },
        Welcome { shards: u16::MAX, ..good() },
        Welcome { ring_bytes: 12, ..good() },
        Welcome { endpoint: "\n".into(), ..good() },
    ] {
        let refused = introduced_to(bad, &[]);
        assert!(matches!(refused, LinkError::Malformed(_)), "{refused}");
    }
    for count in [1, 2, 4, DESCRIPTORS_MAX] {
        let refused = introduced_to(good(), &doorbells(count));
        assert!(matches!(refused, LinkError::Malformed(_)), "{refused}");
    }
    assert!(matches!(introduced_to(good(), &[]), LinkError::HungUp));
    let refused = introduced_to(good(), &doorbells(3));
    assert!(matches!(refused, LinkError::Region(RegionError::NotMemory)), "{refused}");
    let unsealed = memfd(region_bytes(), SealFlags::empty());
    let mut descriptors = doorbells(3);
    descriptors[1] = unsealed;
    let refused = introduced_to(good(), &descriptors);
    assert!(matches!(refused, LinkError::Region(RegionError::Unsealed)), "{refused}");
}
