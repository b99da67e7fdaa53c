//! Accepting, receiving, sending, closing.

use std::io::{Read, Write};

use super::support::{Seen, connection, next_of, serving, small};
use crate::ring::Close;

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
