//! What a message costs: run by hand, in release.
//!
//! `cargo test --release -p shared --features ring measuring -- --ignored --nocapture`
//!
//! One thread echoes messages of 100 bytes on sockets of which 64 at a time, chosen at random, have a
//! message under way; a second thread, over a ring as well, is the peers. Time is CPU time of the
//! echoing thread per message, in user and kernel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::support::{PATIENCE, ring};
use crate::ring::{Config, DeviceRing, Event, SocketId, TaskRun, listen};

const ACTIVE: usize = 64;
const BYTES: usize = 100;
const MESSAGES: u64 = 400_000;
const IN_SMALL_RINGS: u32 = 400;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    sockets: u32,
    sockets_per_ring: u32,
    task_run: TaskRun,
    active: usize,
}

#[test]
#[ignore = "a measurement, not a test: it takes a minute and two idle cores"]
fn cost_of_an_echoed_message() {
    use TaskRun::{Cooperative, Deferred};
    for active in [1, 4, ACTIVE, 1024] {
        for (name, sockets, per_ring, task_run) in [
            ("  64 sockets,  1 ring,  cooperative", 64, 128, Cooperative),
            ("  64 sockets,  1 ring,  deferred   ", 64, 128, Deferred),
            ("9900 sockets,  1 ring,  cooperative", 9900, 10_000, Cooperative),
            ("9900 sockets,  1 ring,  deferred   ", 9900, 10_000, Deferred),
            ("9900 sockets, 25 rings, cooperative", 9900, IN_SMALL_RINGS, Cooperative),
            ("9900 sockets, 25 rings, deferred   ", 9900, IN_SMALL_RINGS, Deferred),
        ] {
            if active <= sockets as usize {
                measure(Case { name, sockets, sockets_per_ring: per_ring, task_run, active });
            }
        }
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

struct Echoed {
    messages: u64,
    cpu: Duration,
    wall: Duration,
    waits: u64,
}

fn measure(case: Case) {
    let (ready, at) = mpsc::channel();
    let measuring = Arc::new(AtomicBool::new(false));
    let server = {
        let measuring = measuring.clone();
        std::thread::spawn(move || echo(case, &ready, &measuring))
    };
    let address = at.recv().unwrap();
    drive(case, address, &measuring);
    let echoed = server.join().unwrap();
    println!(
        "{:4} active of {}: {:6.0} ns CPU, {:6.0} ns wall a message, {:5.1} messages a wait",
        case.active,
        case.name,
        echoed.cpu.as_nanos() as f64 / echoed.messages as f64,
        echoed.wall.as_nanos() as f64 / echoed.messages as f64,
        echoed.messages as f64 / echoed.waits.max(1) as f64,
    );
}

/// Echoes until all peers have ended; measures while told to.
fn echo(case: Case, ready: &mpsc::Sender<SocketAddr>, measuring: &AtomicBool) -> Echoed {
    let mut ring = ring(Config {
        sockets: case.sockets.next_multiple_of(100),
        sockets_per_ring: Some(case.sockets_per_ring),
        task_run: case.task_run,
        ..Config::default()
    });
    let listener = listen("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    ring.add_listener(listener, 32).unwrap();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut echoed = Echoed { messages: 0, cpu: cpu_time(), wall: Duration::ZERO, waits: 0 };
    let (mut begun, mut counting, mut ended) = (Instant::now(), false, 0);
    while ended < case.sockets {
        let mut send = None;
        match ring.next_event() {
            Some(Event::Accepted { socket, .. }) => ring.receive_many(socket).unwrap(),
            Some(Event::Received { socket, bytes }) => {
                let mut answer = spare.pop().unwrap_or_default();
                answer.clear();
                answer.extend_from_slice(bytes);
                send = Some((socket, answer));
            }
            Some(Event::Sent { bytes, .. }) => spare.push(bytes),
            Some(Event::Ended { .. }) => ended += 1,
            Some(other) => panic!("{other:?}"),
            None => {
                if counting != measuring.load(Ordering::Relaxed) {
                    counting = !counting;
                    if counting {
                        echoed = Echoed { messages: 0, cpu: cpu_time(), waits: 0, ..echoed };
                        begun = Instant::now();
                    } else {
                        echoed.cpu = cpu_time() - echoed.cpu;
                        echoed.wall = begun.elapsed();
                    }
                }
                ring.wait(Some(Duration::from_millis(100))).unwrap();
                echoed.waits += u64::from(counting);
            }
        }
        if let Some((socket, answer)) = send {
            ring.send(socket, answer).unwrap();
            echoed.messages += u64::from(counting);
        }
    }
    echoed
}

/// The peers: connects all, then keeps so many messages under way, each on a socket of its own.
fn drive(case: Case, address: SocketAddr, measuring: &AtomicBool) {
    let until = Instant::now() + PATIENCE;
    let mut ring = ring(Config { sockets: case.sockets, ..Config::default() });
    let idle = connect_all(&mut ring, case.sockets, address);
    let mut idle = idle;
    let mut random = 1u64;
    let mut spare: Vec<Vec<u8>> = (0..case.active).map(|_| vec![7; BYTES]).collect();
    let mut start = |ring: &mut DeviceRing, idle: &mut Vec<SocketId>, message: Vec<u8>| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let nth = (random >> 33) as usize % idle.len();
        ring.send(idle.swap_remove(nth), message).unwrap();
    };
    for _ in 0..case.active {
        start(&mut ring, &mut idle, spare.pop().unwrap());
    }
    let (mut answered, warm) = (0, MESSAGES / 8);
    let messages = if case.active < 8 { MESSAGES / 8 } else { MESSAGES };
    while answered < warm + messages {
        assert!(Instant::now() < until, "too slow");
        let done = match ring.next_event() {
            Some(Event::Received { socket, .. }) => socket,
            Some(Event::Sent { bytes, .. }) => {
                spare.push(bytes);
                continue;
            }
            Some(other) => panic!("{other:?}"),
            None => {
                ring.wait(Some(Duration::from_millis(100))).unwrap();
                continue;
            }
        };
        answered += 1;
        if answered == warm {
            measuring.store(true, Ordering::Relaxed);
        }
        idle.push(done);
        let message = spare.pop().unwrap_or_else(|| vec![7; BYTES]);
        start(&mut ring, &mut idle, message);
    }
    measuring.store(false, Ordering::Relaxed);
    // The other thread has seen it when it has answered all that is still under way.
    let mut under_way = case.active;
    while under_way > 0 {
        match ring.next_event() {
            Some(Event::Received { .. }) => under_way -= 1,
            Some(_) => {}
            None => ring.wait(Some(Duration::from_millis(100))).unwrap(),
        }
    }
}

fn connect_all(ring: &mut DeviceRing, sockets: u32, address: SocketAddr) -> Vec<SocketId> {
    let (mut begun, mut connected) = (0, Vec::new());
    while connected.len() < sockets as usize {
        while begun < sockets && begun < connected.len() as u32 + 32 {
            ring.connect(None, address).unwrap();
            begun += 1;
        }
        match ring.next_event() {
            Some(Event::Connected { socket }) => {
                connected.push(socket);
                ring.receive_many(socket).unwrap();
            }
            Some(other) => panic!("{other:?}"),
            None => ring.wait(Some(Duration::from_millis(100))).unwrap(),
        }
    }
    connected
}
