//! What happens when buffers, queues or descriptors run out.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::support::{PATIENCE, Seen, connection, next, read, ring, serving, small};
use crate::ring::{Close, Config, DeviceRing, SocketId, TaskRun};

/// A few bytes that tell the senders apart.
fn bytes_of(sender: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (sender * 31 + at * 7) as u8).collect()
}

/// Everything the sockets receive until all peers have ended.
fn receive_all(ring: &mut DeviceRing, sockets: &[SocketId]) -> HashMap<SocketId, Vec<u8>> {
    let mut heard: HashMap<_, Vec<u8>> = HashMap::new();
    let mut ended = 0;
    while ended < sockets.len() {
        match next(ring) {
            Seen::Received(socket, bytes) => heard.entry(socket).or_default().extend(bytes),
            Seen::Ended(_, Ok(())) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    heard
}

#[test]
fn with_two_buffers_many_senders_are_heard_completely() {
    const SENDERS: usize = 24;
    let config = Config { buffers_per_ring: 2, buffer_bytes: 64, ..small() };
    let (mut ring, address) = serving(config, 4);
    let (mut peers, sockets): (Vec<_>, Vec<_>) =
        (0..SENDERS).map(|_| connection(&mut ring, address)).unzip();
    for &socket in &sockets {
        ring.receive_many(socket).unwrap();
    }
    ring.submit().unwrap();
    for (nth, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&bytes_of(nth, 5000)).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let heard = receive_all(&mut ring, &sockets);
    for (nth, socket) in sockets.iter().enumerate() {
        assert_eq!(heard[socket], bytes_of(nth, 5000));
    }
}

#[test]
fn a_starved_socket_can_be_closed() {
    let config = Config { buffers_per_ring: 1, buffer_bytes: 64, ..small() };
    let (mut ring, address) = serving(config, 4);
    let (mut peers, sockets): (Vec<_>, Vec<_>) =
        (0..8).map(|_| connection(&mut ring, address)).unzip();
    for (peer, &socket) in peers.iter_mut().zip(&sockets) {
        peer.write_all(&[1; 500]).unwrap();
        ring.receive_many(socket).unwrap();
    }
    ring.submit().unwrap();
    for &socket in &sockets {
        ring.close(socket, Close::Reset).unwrap();
    }
    let mut closed = 0;
    while closed < sockets.len() {
        let seen = next(&mut ring);
        assert!(matches!(seen, Seen::Closed(_)), "{seen:?}");
        closed += 1;
    }
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    for task_run in [TaskRun::Cooperative, TaskRun::Deferred] {
        let config = Config {
            submission_entries: 8,
            completion_entries: 8,
            buffers_per_ring: 128,
            buffer_bytes: 64,
            task_run,
            ..small()
        };
        let (mut ring, address) = serving(config, 4);
        let (mut peers, sockets): (Vec<_>, Vec<_>) =
            (0..32).map(|_| connection(&mut ring, address)).unzip();
        for &socket in &sockets {
            ring.receive_many(socket).unwrap();
            ring.send(socket, vec![0; 10]).unwrap();
        }
        ring.submit().unwrap();
        for (nth, peer) in peers.iter_mut().enumerate() {
            peer.read_exact(&mut [0; 10]).unwrap();
            peer.write_all(&bytes_of(nth, 3000)).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut heard: HashMap<_, Vec<u8>> = HashMap::new();
        let (mut sent, mut ended) = (0, 0);
        while sent < sockets.len() || ended < sockets.len() {
            match next(&mut ring) {
                Seen::Received(socket, bytes) => heard.entry(socket).or_default().extend(bytes),
                Seen::Ended(_, Ok(())) => ended += 1,
                Seen::Sent(_, _, Ok(())) => sent += 1,
                other => panic!("{other:?}"),
            }
        }
        for (nth, socket) in sockets.iter().enumerate() {
            assert_eq!(heard[socket], bytes_of(nth, 3000), "{task_run:?}");
        }
    }
}

#[test]
fn a_long_message_arrives_in_order_through_sends_and_small_buffers() {
    let (mut ring, address) = serving(small(), 1);
    let (mut peer, socket) = connection(&mut ring, address);
    let message = bytes_of(3, 3 << 20);
    let expected = message.clone();
    let reader = std::thread::spawn(move || {
        let mut echo = vec![0; expected.len()];
        peer.read_exact(&mut echo).unwrap();
        assert!(echo == expected);
        peer
    });
    ring.send(socket, message).unwrap();
    assert!(matches!(next(&mut ring), Seen::Sent(_, bytes, Ok(())) if bytes.len() == 3 << 20));
    reader.join().unwrap();
}

#[test]
fn four_thousand_sockets_take_hardly_any_descriptor_of_the_process() {
    const PAIRS: u32 = 2000;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let config = Config { sockets: PAIRS + 32, sockets_per_ring: Some(900), ..small() };
    let (mut server, address) = serving(config, 32);
    let mut clients = ring(config);
    let (mut begun, mut connected, mut accepted) = (0, 0, 0);
    let until = Instant::now() + PATIENCE;
    while connected < PAIRS || accepted < PAIRS {
        assert!(Instant::now() < until, "{connected} connected, {accepted} accepted");
        while begun < PAIRS && begun < accepted + 100 {
            clients.connect(None, address).unwrap();
            begun += 1;
        }
        clients.submit().unwrap();
        while let Some(event) = clients.next_event() {
            assert!(matches!(Seen::from(event), Seen::Connected(_)));
            connected += 1;
        }
        server.submit().unwrap();
        while let Some(event) = server.next_event() {
            assert!(matches!(Seen::from(event), Seen::Accepted(..)));
            accepted += 1;
        }
    }
    // Other tests of this process run at the same time and open some hundred.
    assert!(descriptors() < before + 1000);
    assert!(server.slots_taken() >= PAIRS);
}

#[test]
fn a_ring_dropped_in_full_swing_closes_its_connections() {
    let (mut ring, address) = serving(small(), 8);
    let mut peers: Vec<TcpStream> = Vec::new();
    for nth in 0..16 {
        let (peer, socket) = connection(&mut ring, address);
        ring.receive_many(socket).unwrap();
        if nth % 2 == 0 {
            ring.send(socket, vec![0; 32 << 20]).unwrap();
        }
        peers.push(peer);
    }
    ring.submit().unwrap();
    ring.connect(None, address).unwrap();
    drop(ring);
    for mut peer in peers {
        // The end, or a reset: either way it comes.
        let _ = std::io::copy(&mut peer, &mut std::io::sink());
    }
}

#[test]
fn where_the_kernel_lets_go_late_receives_are_renewed_unnoticed() {
    let (mut ring, address) = serving(Config { sockets: 24, ..small() }, 2);
    ring.sockets.capabilities.prompt_close = false;
    let (mut idle, sockets): (Vec<_>, Vec<_>) =
        (0..10).map(|_| connection(&mut ring, address)).unzip();
    for &socket in &sockets {
        ring.receive_many(socket).unwrap();
    }
    for _ in 0..100 {
        let (mut peer, socket) = connection(&mut ring, address);
        ring.close(socket, Close::Graceful).unwrap();
        assert!(matches!(next(&mut ring), Seen::Closed(_)));
        assert_eq!(read(&mut peer, &mut [0; 1]).unwrap(), 0);
    }
    for (peer, &socket) in idle.iter_mut().zip(&sockets) {
        peer.write_all(b"awake").unwrap();
        let Seen::Received(from, bytes) = next(&mut ring) else { panic!() };
        assert_eq!((from, &bytes[..]), (socket, &b"awake"[..]));
    }
}
