//! Many connections at once, between two threads, with everything that can happen to them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::support::{PATIENCE, Seen, ring, serving, small};
use crate::ring::{Close, Config, DeviceRing, Doorbell, RingAddress, SocketId, TaskRun};

const CONNECTIONS: u32 = 1500;
const AT_ONCE: usize = 60;

/// A message that tells connections and positions apart.
fn message(nth: u32) -> Vec<u8> {
    let len = nth.wrapping_mul(2_654_435_761) % 3000 + 4;
    let body = (4..len).map(|at| (nth + at) as u8);
    nth.to_be_bytes().into_iter().chain(body).collect()
}

fn cramped(task_run: TaskRun) -> Config {
    Config {
        sockets: 100,
        sockets_per_ring: Some(30),
        submission_entries: 8,
        completion_entries: 16,
        buffers_per_ring: 4,
        buffer_bytes: 256,
        task_run,
    }
}

/// One side of the test: a ring, and what each of its sockets has heard.
struct Side {
    ring: DeviceRing,
    heard: HashMap<SocketId, Vec<u8>>,
    until: Instant,
}

impl Side {
    fn new(ring: DeviceRing) -> Self {
        Self { ring, heard: HashMap::new(), until: Instant::now() + PATIENCE * 3 }
    }

    fn next(&mut self) -> Option<Seen> {
        assert!(Instant::now() < self.until, "stuck with {} sockets", self.heard.len());
        if let Some(event) = self.ring.next_event() {
            return Some(event.into());
        }
        self.ring.wait(Some(Duration::from_secs(1))).unwrap();
        None
    }
}

/// Connects, sends a message, expects it back, and closes one way or the other.
fn peers(config: Config, address: SocketAddr) {
    let mut side = Side::new(ring(config));
    let mut numbers: HashMap<SocketId, u32> = HashMap::new();
    let (mut begun, mut closed) = (0, 0);
    while closed < CONNECTIONS {
        while begun < CONNECTIONS && numbers.len() < AT_ONCE {
            let socket = side.ring.connect(None, address).unwrap();
            numbers.insert(socket, begun);
            begun += 1;
        }
        match side.next() {
            None => {}
            Some(Seen::Connected(socket)) => {
                side.ring.receive_many(socket).unwrap();
                side.ring.send(socket, message(numbers[&socket])).unwrap();
            }
            Some(Seen::Sent(_, _, Ok(()))) => {}
            Some(Seen::Received(socket, bytes)) => {
                let nth = numbers[&socket];
                let heard = side.heard.entry(socket).or_default();
                heard.extend(bytes);
                if heard.len() == message(nth).len() {
                    assert!(*heard == message(nth), "an echo of something else");
                    let how = if nth.is_multiple_of(3) { Close::Reset } else { Close::Graceful };
                    side.ring.close(socket, how).unwrap();
                }
            }
            Some(Seen::Closed(socket)) => {
                let nth = numbers.remove(&socket).unwrap();
                assert_eq!(
                    side.heard.remove(&socket).unwrap_or_default().len(),
                    message(nth).len()
                );
                closed += 1;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(side.ring.slots_taken(), 0);
}

/// Echoes what the sockets of this side hear, until all of them have closed.
fn echo(side: &mut Side, seen: Seen, closed: &mut u32) {
    match seen {
        Seen::Received(socket, bytes) => {
            // Several buffers of a message may be echoed as one.
            let waiting = side.heard.entry(socket).or_default();
            waiting.extend(bytes);
            let bytes = std::mem::take(waiting);
            if let Err(refused) = side.ring.send(socket, bytes) {
                side.heard.insert(socket, refused.bytes);
            }
        }
        Seen::Sent(socket, _, result) => {
            let waiting = side.heard.entry(socket).or_default();
            if result.is_ok() && !waiting.is_empty() {
                let bytes = std::mem::take(waiting);
                let _ = side.ring.send(socket, bytes);
            }
        }
        Seen::Ended(socket, _) => side.ring.close(socket, Close::Graceful).unwrap(),
        Seen::Closed(socket) => {
            side.heard.remove(&socket);
            *closed += 1;
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn thousands_of_short_connections_through_cramped_rings_all_get_their_echo() {
    for task_run in [TaskRun::Cooperative, TaskRun::Deferred] {
        let (ring, address) = serving(cramped(task_run), 7);
        let client = std::thread::spawn(move || peers(cramped(task_run), address));
        let mut side = Side::new(ring);
        let mut closed = 0;
        while closed < CONNECTIONS {
            match side.next() {
                None => {}
                Some(Seen::Accepted(socket, _)) => side.ring.receive_many(socket).unwrap(),
                Some(seen) => echo(&mut side, seen, &mut closed),
            }
        }
        client.join().unwrap();
        assert!(side.ring.slots_taken() <= 7, "only accepts are left");
    }
}

/// What the thread that accepts asks of the one that serves.
struct Request {
    reply: Sender<Option<RingAddress>>,
    wake: Doorbell,
}

/// Serves connections that arrive from another ring.
fn serve_arrivals(mut side: Side, requests: &Receiver<Request>) {
    let mut closed = 0;
    while closed < CONNECTIONS {
        while let Ok(request) = requests.try_recv() {
            request.reply.send(side.ring.reserve().unwrap()).unwrap();
            request.wake.ring();
        }
        match side.next() {
            None => {}
            Some(Seen::Arrived(socket)) => side.ring.receive_many(socket).unwrap(),
            Some(seen) => echo(&mut side, seen, &mut closed),
        }
    }
    assert_eq!(side.ring.slots_taken(), 0);
}

#[test]
fn every_connection_moves_to_another_thread_while_its_peer_is_talking() {
    for task_run in [TaskRun::Cooperative, TaskRun::Deferred] {
        let (accepting, address) = serving(cramped(task_run), 7);
        let (doorbells, doorbell) = channel();
        let (requests, to_serve) = channel();
        let server = std::thread::spawn(move || {
            let ring = ring(cramped(task_run));
            doorbells.send(ring.doorbell()).unwrap();
            serve_arrivals(Side::new(ring), &to_serve);
        });
        let client = std::thread::spawn(move || peers(small(), address));
        let doorbell = doorbell.recv().unwrap();
        let mut side = Side::new(accepting);
        let (reply, replies) = channel();
        let (mut waiting, mut gone) = (Vec::new(), 0);
        let ask = |wake: Doorbell| {
            requests.send(Request { reply: reply.clone(), wake }).unwrap();
            doorbell.ring();
        };
        while gone < CONNECTIONS {
            while let Ok(answer) = replies.try_recv() {
                match answer {
                    Some(address) => {
                        let socket = waiting.pop().unwrap();
                        side.ring.send_descriptor(socket, address).unwrap();
                    }
                    // Full: its connections will end and make room.
                    None => ask(side.ring.doorbell()),
                }
            }
            match side.next() {
                None => {}
                Some(Seen::Accepted(socket, _)) => {
                    waiting.push(socket);
                    ask(side.ring.doorbell());
                }
                Some(Seen::DescriptorSent(socket, result)) => {
                    result.unwrap();
                    side.ring.close(socket, Close::Detach).unwrap();
                }
                Some(Seen::Closed(_)) => gone += 1,
                Some(other) => panic!("{other:?}"),
            }
        }
        client.join().unwrap();
        server.join().unwrap();
    }
}
