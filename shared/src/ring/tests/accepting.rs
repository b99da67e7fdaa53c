//! Listeners, admission and the addresses of peers.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::support::{PATIENCE, Seen, connection, next, next_of, ring, serving, small};
use crate::ring::{Close, Config, listen};

#[test]
fn peers_are_told_with_their_ipv4_or_ipv6_address() {
    let mut ring = ring(small());
    for (nth, ip) in ["127.0.0.1:0", "[::1]:0"].into_iter().enumerate() {
        let listener = listen(ip.parse().unwrap(), 16).unwrap();
        let address = listener.local_addr().unwrap();
        let id = ring.add_listener(listener, 2).unwrap();
        assert_eq!(usize::from(id.0), nth);
        let (peer, _) = connection(&mut ring, address);
        assert_eq!(peer.peer_addr().unwrap(), address);
    }
}

#[test]
fn several_rings_share_an_address_with_a_listener_each() {
    let first = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let second = listen(first.local_addr().unwrap(), 16).unwrap();
    assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
}

#[test]
fn what_is_no_listening_tcp_socket_is_refused() {
    let mut ring = ring(small());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(ring.add_listener(stream, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(ring.add_listener(pair, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn while_accepting_is_off_peers_wait_in_the_backlog() {
    let (mut ring, address) = serving(small(), 4);
    ring.submit().unwrap();
    assert_eq!(ring.slots_taken(), 4);
    ring.set_accepting(false);
    while ring.slots_taken() > 0 {
        ring.wait(Some(PATIENCE)).unwrap();
        assert!(ring.next_event().is_none(), "the accepts in flight are cancelled");
    }
    let peer = TcpStream::connect(address).unwrap();
    ring.submit().unwrap();
    assert!(ring.next_event().is_none());
    ring.set_accepting(true);
    assert!(
        matches!(next(&mut ring), Seen::Accepted(_, from) if from == peer.local_addr().unwrap())
    );
}

#[test]
fn a_full_ring_accepts_again_when_a_slot_is_free() {
    let (mut ring, address) = serving(Config { sockets: 2, ..small() }, 4);
    let (_first, socket) = connection(&mut ring, address);
    let (_second, _) = connection(&mut ring, address);
    let third = TcpStream::connect(address).unwrap();
    ring.submit().unwrap();
    assert!(ring.next_event().is_none());
    ring.close(socket, Close::Graceful).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
    let Seen::Accepted(heir, from) = next(&mut ring) else { panic!() };
    assert_eq!(from, third.local_addr().unwrap());
    assert_eq!(heir.index, socket.index);
    assert_ne!(heir.generation, socket.generation);
}

#[test]
fn when_listening_stops_peers_are_refused_and_connections_go_on() {
    let (mut ring, address) = serving(small(), 4);
    let (mut peer, socket) = connection(&mut ring, address);
    ring.stop_listening();
    ring.submit().unwrap();
    assert!(ring.next_event().is_none());
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    ring.send(socket, b"still".to_vec()).unwrap();
    ring.submit().unwrap();
    peer.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn a_listener_that_fails_is_told_of_and_tried_again_after_a_pause() {
    let mut ring = ring(small());
    let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let broken = listener.try_clone().unwrap();
    ring.add_listener(listener, 2).unwrap();
    ring.submit().unwrap();
    rustix::net::shutdown(&broken, rustix::net::Shutdown::Both).unwrap();
    // Both accepts in flight fail; those after the pause fail again.
    for _ in 0..4 {
        let Seen::AcceptFailed(listener, _) = next(&mut ring) else { panic!() };
        assert_eq!(listener.0, 0);
    }
}

#[test]
fn a_crowd_is_accepted_over_several_small_rings_one_after_the_other() {
    let config = Config { sockets: 48, sockets_per_ring: Some(8), ..small() };
    let (mut ring, address) = serving(config, 5);
    let peers: Vec<_> = (0..48).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut from: Vec<SocketAddr> = Vec::new();
    let mut indices = Vec::new();
    while from.len() < peers.len() {
        let Seen::Accepted(socket, peer) = next(&mut ring) else { panic!() };
        indices.push(socket.index);
        from.push(peer);
    }
    indices.sort_unstable();
    assert!(indices.into_iter().eq(0..48));
    from.sort();
    let mut expected: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    expected.sort();
    assert_eq!(from, expected);
}
