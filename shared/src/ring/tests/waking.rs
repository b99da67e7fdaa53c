//! Sleeping and being woken.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::support::{PATIENCE, Seen, connection, next_of, ring, serving, small};
use crate::ring::{Config, TaskRun};

#[test]
fn no_message_is_slept_through() {
    for (task_run, sockets_per_ring) in
        [(TaskRun::Cooperative, 64), (TaskRun::Deferred, 64), (TaskRun::Deferred, 4)]
    {
        let config = Config { task_run, sockets_per_ring: Some(sockets_per_ring), ..small() };
        let (mut ring, address) = serving(config, 4);
        let (mut peer, socket) = connection(&mut ring, address);
        ring.receive_many(socket).unwrap();
        let client = std::thread::spawn(move || {
            for round in 0u32..3000 {
                peer.write_all(&round.to_ne_bytes()).unwrap();
                let mut echo = [0; 4];
                peer.read_exact(&mut echo).unwrap();
                assert_eq!(u32::from_ne_bytes(echo), round);
            }
        });
        loop {
            let seen = match ring.next_event() {
                Some(event) => Seen::from(event),
                None => {
                    let asleep = Instant::now();
                    ring.wait(Some(PATIENCE)).unwrap();
                    assert!(asleep.elapsed() < PATIENCE, "a completion was slept through");
                    continue;
                }
            };
            match seen {
                Seen::Received(socket, bytes) => ring.send(socket, bytes).unwrap(),
                Seen::Sent(_, _, Ok(())) => {}
                Seen::Ended(_, Ok(())) => break,
                other => panic!("{other:?}"),
            }
        }
        client.join().unwrap();
    }
}

#[test]
fn a_doorbell_wakes_from_another_thread_and_no_ring_is_lost() {
    const RINGS: u32 = 5000;
    let mut ring = ring(small());
    let count = Arc::new(AtomicU32::new(0));
    let ringers: Vec<_> = (0..2)
        .map(|_| {
            let (doorbell, count) = (ring.doorbell(), count.clone());
            std::thread::spawn(move || {
                for _ in 0..RINGS {
                    count.fetch_add(1, Ordering::Relaxed);
                    doorbell.ring();
                }
            })
        })
        .collect();
    while count.load(Ordering::Relaxed) < 2 * RINGS {
        let asleep = Instant::now();
        ring.wait(Some(PATIENCE)).unwrap();
        assert!(asleep.elapsed() < PATIENCE, "a doorbell was slept through");
        while ring.next_event().is_some() {}
    }
    for ringer in ringers {
        ringer.join().unwrap();
    }
}

#[test]
fn options_are_set_where_the_kernel_can() {
    let (mut ring, address) = serving(small(), 1);
    let (_peer, socket) = connection(&mut ring, address);
    let result = ring.quick_ack(socket);
    assert_eq!(result.is_ok(), ring.capabilities().socket_options);
    ring.close(socket, crate::ring::Close::Graceful).unwrap();
    assert!(matches!(next_of(&mut ring, socket), Seen::Closed(_)));
}
