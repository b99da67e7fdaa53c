//! Connections of ours.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::support::{Seen, next, next_of, read, ring, small};
use crate::ring::{Close, Config, ConnectRefused};

#[test]
fn a_connection_comes_from_the_address_that_was_asked_for() {
    let mut ring = ring(small());
    let v4 = IpAddr::from([127, 0, 0, 1]);
    let v6 = IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    let other = IpAddr::from([127, 0, 0, 7]);
    for (ip, local) in [(v4, None), (v4, Some(other)), (v6, None), (v6, Some(v6))] {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let peer = listener.local_addr().unwrap();
        let local = local.map(|ip| SocketAddr::from((ip, 0)));
        let socket = ring.connect(local, peer).unwrap();
        assert!(matches!(next_of(&mut ring, socket), Seen::Connected(_)));
        let (mut accepted, from) = listener.accept().unwrap();
        if let Some(local) = local {
            assert_eq!(from.ip(), local.ip());
        }
        ring.receive_once(socket).unwrap();
        accepted.write_all(b"hello").unwrap();
        assert!(
            matches!(next_of(&mut ring, socket), Seen::Received(_, bytes) if bytes == b"hello")
        );
        ring.close(socket, Close::Graceful).unwrap();
        assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
        assert_eq!(read(&mut accepted, &mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn a_connection_refused_is_told_and_closes_by_itself() {
    let mut ring = ring(small());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    drop(listener);
    let socket = ring.connect(None, peer).unwrap();
    let Seen::ConnectFailed(_, error) = next_of(&mut ring, socket) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
    assert_eq!(ring.slots_taken(), 0);
}

#[test]
fn a_local_address_that_cannot_be_bound_fails_the_connection_once() {
    let mut ring = ring(small());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = "192.0.2.1:0".parse().unwrap();
    let socket = ring.connect(Some(elsewhere), listener.local_addr().unwrap()).unwrap();
    let Seen::ConnectFailed(_, error) = next_of(&mut ring, socket) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
    assert!(ring.next_event().is_none());
}

#[test]
fn a_full_ring_refuses_to_connect() {
    let mut ring = ring(Config { sockets: 1, ..small() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    ring.connect(None, peer).unwrap();
    assert_eq!(ring.connect(None, peer), Err(ConnectRefused::Full));
}

#[test]
fn a_connection_can_be_closed_before_it_is_established() {
    let mut ring = ring(small());
    // Nobody accepts and the backlog is full, so connecting takes for ever.
    let listener = crate::ring::listen("127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let peer = listener.local_addr().unwrap();
    let sockets: Vec<_> = (0..8).map(|_| ring.connect(None, peer).unwrap()).collect();
    ring.submit().unwrap();
    for socket in sockets {
        ring.close(socket, Close::Graceful).unwrap();
    }
    let mut closed = 0;
    while closed < 8 {
        let seen = next(&mut ring);
        assert!(matches!(seen, Seen::Closed(_)), "{seen:?}");
        closed += 1;
    }
}
