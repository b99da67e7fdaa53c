//! Sleeping and being woken.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::support::{PATIENCE, Seen, connection, next_of, ring, serving, small};
use crate::ring::{Config, TaskRun};
use crate::time::Instant as RingInstant;

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
    }
    for ringer in ringers {
        ringer.join().unwrap();
    }
}

/// As a runtime does: it reads the eventfd.
#[test]
fn who_sleeps_by_reading_the_eventfd_is_woken_by_completions_and_doorbells() {
    for task_run in [TaskRun::Cooperative, TaskRun::Deferred] {
        let config = Config { task_run, sockets_per_ring: Some(8), ..small() };
        let (mut ring, address) = serving(config, 4);
        let (mut peer, socket) = connection(&mut ring, address);
        ring.receive_many(socket).unwrap();
        let mut signal = File::from(ring.event_fd().try_clone_to_owned().unwrap());
        let doorbell = ring.doorbell();
        let (hellos, rings) = (1000, Arc::new(AtomicU32::new(0)));
        let client = {
            let rings = rings.clone();
            std::thread::spawn(move || {
                for _ in 0..hellos {
                    peer.write_all(b"hello").unwrap();
                    peer.read_exact(&mut [0; 5]).unwrap();
                    rings.fetch_add(1, Ordering::Relaxed);
                    doorbell.ring();
                }
            })
        };
        let mut ended = false;
        while !ended || rings.load(Ordering::Relaxed) < hellos {
            match ring.next_event().map(Seen::from) {
                Some(Seen::Received(socket, bytes)) => ring.send(socket, bytes).unwrap(),
                Some(Seen::Sent(_, _, Ok(()))) => {}
                Some(Seen::Ended(_, Ok(()))) => ended = true,
                Some(other) => panic!("{other:?}"),
                None => {
                    if ring.prepare_sleep().unwrap() {
                        signal.read_exact(&mut [0; 8]).unwrap();
                    }
                    ring.awake();
                }
            }
        }
        client.join().unwrap();
    }
}

#[test]
fn a_deadline_ends_a_sleep_and_an_earlier_one_replaces_it() {
    let mut ring = ring(small());
    let now = RingInstant::START;
    let begun = Instant::now();
    ring.wake_at(now + PATIENCE * 10, now);
    ring.submit().unwrap();
    ring.wake_at(now + Duration::from_millis(5), now);
    ring.wake_at(now + Duration::from_secs(1), now);
    // The first sleep may end with the change of the timer itself.
    while begun.elapsed() < Duration::from_millis(5) {
        ring.wait(Some(PATIENCE)).unwrap();
        while ring.next_event().is_some() {}
    }
    assert!(begun.elapsed() < PATIENCE);
    // The timer is spent: a later one can be set.
    ring.wait(Some(Duration::ZERO)).unwrap();
    while ring.next_event().is_some() {}
    ring.wake_at(now + Duration::from_millis(5), now);
    ring.wait(Some(PATIENCE)).unwrap();
    assert!(begun.elapsed() < PATIENCE);
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
