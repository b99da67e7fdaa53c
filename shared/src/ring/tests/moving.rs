//! A connection moves from one ring to another.

use std::io::{Read, Write};
use std::sync::mpsc;

use super::support::{Seen, connection, next_of, ring, serving, small};
use crate::ring::{Close, Config, Refused, RingAddress};

#[test]
fn a_connection_moves_between_threads_and_loses_nothing() {
    let (mut source, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut source, address);
    source.receive_once(socket).unwrap();
    peer.write_all(b"before").unwrap();
    assert!(matches!(next_of(&mut source, socket), Seen::Received(_, bytes) if bytes == b"before"));

    let (reservations, reserved) = mpsc::channel::<RingAddress>();
    let target = std::thread::spawn(move || {
        let mut ring = ring(small());
        let address = ring.reserve().unwrap().unwrap();
        let expected = address.socket();
        reservations.send(address).unwrap();
        assert!(matches!(next_of(&mut ring, expected), Seen::Arrived(_)));
        ring.receive_many(expected).unwrap();
        let mut heard = Vec::new();
        loop {
            match next_of(&mut ring, expected) {
                Seen::Received(_, bytes) => heard.extend(bytes),
                Seen::Ended(_, Ok(())) => break,
                other => panic!("{other:?}"),
            }
        }
        ring.send(expected, heard).unwrap();
        assert!(matches!(next_of(&mut ring, expected), Seen::Sent(_, _, Ok(()))));
        ring.close(expected, Close::Graceful).unwrap();
        assert!(matches!(next_of(&mut ring, expected), Seen::Closed(_)));
    });

    let address = reserved.recv().unwrap();
    peer.write_all(b"during ").unwrap();
    source.send_descriptor(socket, address).unwrap();
    assert_eq!(source.receive_once(socket), Err(Refused::InFlight));
    assert!(matches!(next_of(&mut source, socket), Seen::DescriptorSent(_, Ok(()))));
    assert_eq!(source.receive_once(socket), Err(Refused::Moved));
    peer.write_all(b"and after").unwrap();
    // Even a close that asks for more only detaches what has moved.
    source.close(socket, Close::Reset).unwrap();
    assert!(matches!(next_of(&mut source, socket), Seen::Closed(_)));
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    peer.read_to_end(&mut echo).unwrap();
    assert_eq!(echo, b"during and after");
    target.join().unwrap();
}

#[test]
fn a_full_ring_reserves_nothing_until_a_reservation_is_released() {
    let mut ring = ring(Config { sockets: 1, ..small() });
    let address = ring.reserve().unwrap().unwrap();
    assert!(ring.reserve().unwrap().is_none());
    ring.release(address).unwrap();
    assert!(ring.reserve().unwrap().is_none(), "the slot is closed first");
    ring.submit().unwrap();
    assert!(ring.next_event().is_none());
    assert!(ring.reserve().unwrap().is_some());
}

#[test]
fn a_reservation_of_another_ring_is_not_released() {
    let (mut one, mut other) = (ring(small()), ring(small()));
    let address = one.reserve().unwrap().unwrap();
    let address = other.release(address).unwrap_err();
    assert_eq!(one.slots_taken(), 1);
    one.release(address).unwrap();
}

#[test]
fn a_descriptor_for_a_ring_that_is_gone_stays_and_the_connection_goes_on() {
    let (mut source, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut source, address);
    let mut target = ring(small());
    let address = target.reserve().unwrap().unwrap();
    drop(target);
    source.send_descriptor(socket, address).unwrap();
    let Seen::DescriptorSent(_, Err((address, error))) = next_of(&mut source, socket) else {
        panic!()
    };
    assert!(error.raw_os_error().is_some(), "{error} at {address:?}");
    source.receive_once(socket).unwrap();
    peer.write_all(b"here").unwrap();
    assert!(matches!(next_of(&mut source, socket), Seen::Received(_, bytes) if bytes == b"here"));
}

#[test]
fn a_socket_with_something_in_flight_does_not_move() {
    let (mut source, address) = serving(small(), 1);
    let (_peer, socket) = connection(&mut source, address);
    let mut target = ring(small());
    source.receive_many(socket).unwrap();
    let address = target.reserve().unwrap().unwrap();
    let refused = source.send_descriptor(socket, address).unwrap_err();
    assert_eq!(refused.reason, Refused::InFlight);
    target.release(refused.address).unwrap();
}
