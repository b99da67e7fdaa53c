//! How a socket ends, as its peer sees it and as the ring tells it.

use std::io::{ErrorKind, Read, Write};

use super::support::{Seen, connection, next_of, read, serving, small};
use crate::ring::{Close, Refused};

#[test]
fn a_graceful_close_of_a_receiving_socket_ends_in_order() {
    let (mut ring, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.receive_many(socket).unwrap();
    ring.send(socket, b"farewell".to_vec()).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Sent(_, _, Ok(()))));
    ring.close(socket, Close::Graceful).unwrap();
    assert_eq!(ring.close(socket, Close::Graceful), Err(Refused::Closing));
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"farewell");
    assert_eq!(ring.close(socket, Close::Graceful), Err(Refused::NoSuchSocket));
}

#[test]
fn a_graceful_close_of_an_idle_socket_ends_in_order() {
    let (mut ring, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.close(socket, Close::Graceful).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
    assert_eq!(read(&mut peer, &mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_reset_is_seen_as_one_by_the_peer() {
    let (mut ring, address) = serving(small(), 1);
    for receiving in [false, true] {
        let (mut peer, socket) = connection(&mut ring, address);
        if receiving {
            ring.receive_many(socket).unwrap();
        }
        ring.close(socket, Close::Reset).unwrap();
        assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
        let error = read(&mut peer, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{receiving}");
    }
}

#[test]
fn closing_ends_a_send_that_the_peer_does_not_read_and_its_bytes_come_back() {
    for how in [Close::Graceful, Close::Reset] {
        let (mut ring, address) = serving(small(), 1);
        let (peer, socket) = connection(&mut ring, address);
        let bytes = vec![7; 64 << 20];
        ring.send(socket, bytes.clone()).unwrap();
        ring.submit().unwrap();
        assert!(ring.next_event().is_none(), "64 MiB fit into no socket buffer");
        ring.close(socket, how).unwrap();
        let Seen::Sent(_, returned, Err(_)) = next_of(&mut ring, socket) else { panic!() };
        assert_eq!(returned, bytes);
        assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
        drop(peer);
    }
}

#[test]
fn a_broken_connection_is_an_end_and_then_closes() {
    let (mut ring, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.receive_many(socket).unwrap();
    ring.send(socket, b"unread".to_vec()).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Sent(_, _, Ok(()))));
    // A peer that closes with bytes unread resets the connection.
    assert_eq!(read(&mut peer, &mut [0; 1]).unwrap(), 1);
    drop(peer);
    let Seen::Ended(_, Err(error)) = next_of(&mut ring, socket) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    ring.close(socket, Close::Graceful).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
}

#[test]
fn after_shutdown_write_the_peer_sees_the_end_and_can_still_be_heard() {
    let (mut ring, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.receive_many(socket).unwrap();
    ring.shutdown_write(socket).unwrap();
    ring.submit().unwrap();
    assert_eq!(read(&mut peer, &mut [0; 8]).unwrap(), 0);
    peer.write_all(b"still here").unwrap();
    assert!(
        matches!(next_of(&mut ring, socket), Seen::Received(_, bytes) if bytes == b"still here")
    );
}
