//! Accepting, receiving, sending, closing.

use std::io::{Read, Write};

use super::support::{PATIENCE, Seen, connection, next_of, serving, small};
use crate::ring::{Close, Config, Event, Refused};

#[test]
fn an_accepted_socket_echoes_until_the_peer_ends() {
    let (mut ring, address) = serving(small(), 4);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.receive_many(socket).unwrap();
    for text in ["one", "two", "three"] {
        peer.write_all(text.as_bytes()).unwrap();
        let Seen::Received(from, bytes) = next_of(&mut ring, socket) else { panic!() };
        assert_eq!((from, &bytes[..]), (socket, text.as_bytes()));
        ring.send(socket, bytes).unwrap();
        let Seen::Sent(_, bytes, Ok(())) = next_of(&mut ring, socket) else { panic!() };
        let mut echo = vec![0; bytes.len()];
        peer.read_exact(&mut echo).unwrap();
        assert_eq!(echo, bytes);
    }
    drop(peer);
    let Seen::Ended(_, Ok(())) = next_of(&mut ring, socket) else { panic!() };
    ring.close(socket, Close::Graceful).unwrap();
    let Seen::Closed(closed) = next_of(&mut ring, socket) else { panic!() };
    assert_eq!(closed, socket);
}

#[test]
fn receiving_once_takes_one_buffer_and_leaves_the_rest() {
    let (mut ring, address) = serving(Config { buffer_bytes: 64, ..small() }, 1);
    let (mut peer, socket) = connection(&mut ring, address);
    peer.write_all(&[1; 150]).unwrap();
    for len in [64, 64, 22] {
        ring.submit().unwrap();
        assert!(ring.next_event().is_none());
        ring.receive_once(socket).unwrap();
        assert_eq!(ring.receive_once(socket), Err(Refused::InFlight));
        let Seen::Received(_, bytes) = next_of(&mut ring, socket) else { panic!() };
        assert_eq!(bytes.len(), len);
    }
}

#[test]
fn received_bytes_can_be_changed_in_place_and_the_buffer_is_not_mixed_up() {
    let (mut ring, address) = serving(Config { buffers_per_ring: 2, ..small() }, 1);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.receive_many(socket).unwrap();
    for round in 0..50u8 {
        peer.write_all(&[round; 9]).unwrap();
        loop {
            match ring.next_event() {
                Some(Event::Received { bytes, .. }) => {
                    assert_eq!(bytes, [round; 9]);
                    bytes.fill(0xff);
                    break;
                }
                Some(other) => panic!("{other:?}"),
                None => ring.wait(Some(PATIENCE)).unwrap(),
            }
        }
    }
}

#[test]
fn a_second_send_is_refused_while_one_is_in_flight() {
    let (mut ring, address) = serving(small(), 1);
    let (_peer, socket) = connection(&mut ring, address);
    ring.send(socket, b"one".to_vec()).unwrap();
    let refused = ring.send(socket, b"two".to_vec()).unwrap_err();
    assert_eq!((refused.reason, &refused.bytes[..]), (Refused::InFlight, &b"two"[..]));
    assert!(matches!(next_of(&mut ring, socket), Seen::Sent(_, bytes, Ok(())) if bytes == b"one"));
    ring.send(socket, Vec::new()).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Sent(_, bytes, Ok(())) if bytes.is_empty()));
}
