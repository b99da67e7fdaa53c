//! One side keeps the rules, the other has the memory and does with it what it likes.

use proptest::prelude::*;

use super::*;
use crate::channel::message::PROTOCOL_VERSION;
use crate::channel::socket::Introduction;

/// Where the ring of commands is (see `region`).
const COMMANDS_PUBLISHED: u64 = 0;
const COMMANDS_DATA: u64 = 4096;

/// Bytes of the shared memory.
const REGION_BYTES: u64 = COMMANDS_DATA + 2 * RingBytes::MIN as u64;

/// An `api` process that was introduced like any other, and keeps no rule from then on.
struct Intruder {
    memory: OwnedFd,
    /// Kept open, as a process that lives on would.
    _others: (OwnedFd, OwnedFd, UnixStream),
}

impl Intruder {
    /// With the end of the shard that it is going to attack.
    fn introduced() -> (GatewayEnd, Self) {
        let (gateway_socket, api_socket) = UnixStream::pair().unwrap();
        let doorbells = doorbells(1);
        thread::scope(|scope| {
            let welcoming = scope.spawn(|| welcome(&gateway_socket, &offer(&doorbells), PATIENCE));
            let introduction = Introduction::within(PATIENCE, &api_socket);
            introduction.send(PROTOCOL_VERSION, &[]).unwrap();
            let (_, length) = introduction.receive_head().unwrap();
            introduction.receive_body(length).unwrap();
            let descriptors = introduction.receive_descriptors(3).unwrap();
            let [bell, memory, doorbell] = descriptors.try_into().unwrap();
            let gateway = welcoming.join().unwrap().unwrap().remove(0);
            (gateway, Self { memory, _others: (bell, doorbell, api_socket) })
        })
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        assert_eq!(rustix::io::pwrite(&self.memory, bytes, at), Ok(bytes.len()));
    }

    /// Puts bytes in the ring of commands as if they were the first message.
    fn send(&self, message: &[u8]) {
        self.write(COMMANDS_DATA, &(message.len() as u64).to_ne_bytes());
        self.write(COMMANDS_DATA + 8, message);
        let end = 8 + message.len().next_multiple_of(8) as u64;
        self.write(COMMANDS_PUBLISHED, &end.to_ne_bytes());
    }
}

#[test]
fn bytes_that_are_no_message_close_the_channel() {
    for message in [&b""[..], b"no archive", &[0xff; 300]] {
        let (mut gateway, intruder) = Intruder::introduced();
        intruder.send(message);
        let corrupt = ChannelError::Corrupt(Corruption::Message);
        assert_eq!(gateway.next_command(), Err(corrupt));
        assert_eq!(gateway.send(&reply(1)), Err(SendError::Lost(corrupt)));
        assert_eq!(gateway.flush(), Err(corrupt));
        assert_eq!(gateway.announce_sleep(), Err(corrupt));
    }
}

#[test]
fn what_was_broken_once_is_not_made_good() {
    let (mut gateway, intruder) = Intruder::introduced();
    intruder.write(COMMANDS_PUBLISHED, &u64::MAX.to_ne_bytes());
    assert_eq!(gateway.next_command(), Err(ChannelError::Corrupt(Corruption::Index)));
    intruder.write(COMMANDS_PUBLISHED, &0u64.to_ne_bytes());
    assert_eq!(gateway.next_command(), Err(ChannelError::Corrupt(Corruption::Index)));
}

#[test]
fn the_memory_cannot_be_taken_away() {
    let (mut gateway, intruder) = Intruder::introduced();
    assert!(rustix::fs::ftruncate(&intruder.memory, 0).is_err());
    // A hole reads as zeros: that is a ring which has just begun.
    let all = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&intruder.memory, all, 0, REGION_BYTES).unwrap();
    assert_eq!(gateway.next_command(), Ok(None));
}

/// The asleep flag always set: every flush costs a system call, and nothing more.
#[test]
fn a_bell_that_is_never_answered_is_rung_without_waiting() {
    let (mut gateway, intruder) = Intruder::introduced();
    const REPLIES_CONSUMED: u64 = 512 + 128;
    const REPLIES_ASLEEP: u64 = 512 + 256;
    let mut sent = 0u64;
    // More often than a pipe has room for rings.
    for _ in 0..20_000 {
        intruder.write(REPLIES_ASLEEP, &1u32.to_ne_bytes());
        gateway.send(&reply(0)).unwrap();
        gateway.flush().unwrap();
        sent += record_bytes(&reply(0));
        intruder.write(REPLIES_CONSUMED, &sent.to_ne_bytes());
    }
}

fn record_bytes(reply: &ReplyEnvelope) -> u64 {
    let mut bytes = Vec::new();
    crate::channel::codec::Message::encode(reply, &mut bytes).unwrap();
    8 + bytes.len().next_multiple_of(8) as u64
}

/// One write of the intruder: mostly where it hurts.
fn attack() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let control = (0..128_u64).prop_map(|word| word * 8);
    let beginning = (COMMANDS_DATA..COMMANDS_DATA + 2048).boxed();
    let anywhere = 0..REGION_BYTES - 64;
    let at = prop_oneof![4 => control, 4 => beginning, 1 => anywhere];
    let small = (0..2000_u64).prop_map(|value| (value * 8).to_ne_bytes().to_vec());
    let bytes = prop_oneof![small, prop::collection::vec(any::<u8>(), 1..64)];
    (at, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both ends in use by honest threads, a third party writing into their memory meanwhile: they
    /// see messages, full rings and corruption, whatever comes first, and nothing else.
    #[test]
    fn memory_that_changes_under_way_costs_the_channel_and_nothing_else(
        attacks in prop::collection::vec(attack(), 1..200),
    ) {
        let (mut gateway, intruder) = Intruder::introduced();
        let attack = || for (at, bytes) in &attacks {
            intruder.write(*at, bytes);
        };
        let serve = || for turn in 0..3000 {
            let outcome = gateway.next_command().and_then(|command| {
                let request = command.map_or(turn, |command| command.request);
                match gateway.send(&reply(request % 1000)) {
                    Ok(()) | Err(SendError::Full) => {}
                    Err(SendError::TooLarge) => unreachable!("it is small"),
                    Err(SendError::Lost(how)) => return Err(how),
                }
                gateway.flush()?;
                gateway.announce_sleep().map(drop)
            });
            match outcome {
                Ok(()) => gateway.wake(),
                Err(ChannelError::Corrupt(_)) => return,
                Err(other) => panic!("{other}"),
            }
        };
        thread::scope(|scope| {
            scope.spawn(attack);
            scope.spawn(serve);
        });
    }
}
