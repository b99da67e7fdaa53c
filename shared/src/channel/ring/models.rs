//! Models of the ring for loom, which runs every interleaving and every value that a weakly ordered
//! memory may show: `RUSTFLAGS="--cfg loom" cargo test -p shared --features ring --release models`.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use super::heap::{Heap, ring};
use super::{Consumer, Producer, Refused};

type Sender = Producer<Arc<Heap>>;
type Receiver = Consumer<Arc<Heap>>;

/// Stages a message, giving the other side time while the ring is full.
fn stage_patiently(sender: &mut Sender, message: &[u8]) {
    loop {
        match sender.stage(message) {
            Ok(()) => return,
            Err(Refused::Full) => thread::yield_now(),
            Err(refused) => panic!("{refused:?}"),
        }
    }
}

fn receive(receiver: &mut Receiver, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    receiver.receive(buffer).expect("both sides keep the rules").map(<[u8]>::to_vec)
}

#[test]
fn what_is_received_is_what_was_sent() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(64);
        let sending = thread::spawn(move || {
            for message in [&b"first"[..], b"and the second"] {
                sender.stage(message).expect("both fit");
                let _ = sender.publish();
            }
        });
        let mut buffer = Vec::new();
        let mut expected = [&b"first"[..], b"and the second"].into_iter();
        for _ in 0..2 {
            if let Some(message) = receive(&mut receiver, &mut buffer) {
                assert_eq!(Some(&message[..]), expected.next());
            }
        }
        sending.join().expect("the sender does not panic");
        for rest in expected {
            assert_eq!(receive(&mut receiver, &mut buffer).as_deref(), Some(rest));
        }
        assert_eq!(receive(&mut receiver, &mut buffer), None);
    });
}

/// The ring has room for two of the messages, so the third goes round the end, into words that the
/// consumer has given back.
#[test]
fn words_are_reused_only_when_they_have_been_read() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(32);
        let sending = thread::spawn(move || {
            for message in 1..=3u8 {
                stage_patiently(&mut sender, &[message; 8]);
                let _ = sender.publish();
            }
        });
        let mut buffer = Vec::new();
        for expected in 1..=3u8 {
            let message = loop {
                match receive(&mut receiver, &mut buffer) {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(message, [expected; 8]);
        }
        sending.join().expect("the sender does not panic");
    });
}

#[test]
fn messages_published_together_are_seen_together_or_not_at_all() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(64);
        let sending = thread::spawn(move || {
            sender.stage(&[1; 3]).expect("fits");
            sender.stage(&[2; 9]).expect("fits");
            let _ = sender.publish();
        });
        let mut buffer = Vec::new();
        if let Some(first) = receive(&mut receiver, &mut buffer) {
            assert_eq!(first, [1; 3]);
            assert_eq!(receive(&mut receiver, &mut buffer).as_deref(), Some(&[2; 9][..]));
        }
        sending.join().expect("the sender does not panic");
    });
}

/// Receives so many messages, sleeping whenever there is none. A lost wake-up is a deadlock, and
/// loom finds it.
fn receive_sleeping(receiver: &mut Receiver, bell: &Notify, count: u8) {
    let mut buffer = Vec::new();
    let mut next = 0;
    while next < count {
        if let Some(message) = receive(receiver, &mut buffer) {
            assert_eq!(message, [next]);
            next += 1;
        } else if receiver.announce_sleep().expect("both sides keep the rules") {
            bell.wait();
            receiver.wake();
        }
    }
}

#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(64);
        let bell = Arc::new(Notify::new());
        let ringing = bell.clone();
        let sending = thread::spawn(move || {
            for message in 0..2 {
                sender.stage(&[message]).expect("fits");
                if sender.publish() {
                    ringing.notify();
                }
            }
        });
        receive_sleeping(&mut receiver, &bell, 2);
        sending.join().expect("the sender does not panic");
    });
}

/// A doorbell is also rung by others, at any time.
#[test]
fn no_wake_up_is_lost_when_others_ring_too() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(64);
        let bell = Arc::new(Notify::new());
        let (ringing, other) = (bell.clone(), bell.clone());
        let sending = thread::spawn(move || {
            sender.stage(&[0]).expect("fits");
            if sender.publish() {
                ringing.notify();
            }
        });
        let other = thread::spawn(move || other.notify());
        receive_sleeping(&mut receiver, &bell, 1);
        sending.join().expect("the sender does not panic");
        other.join().expect("the other does not panic");
    });
}

/// One side of a channel: answers what it receives, sleeping in between.
#[test]
fn both_sides_may_sleep_and_wake_each_other() {
    loom::model(|| {
        let (mut asking, mut asked) = ring(32);
        let (mut answering, mut answered) = ring(32);
        let (here, there) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (to_here, at_there) = (here.clone(), there.clone());
        let other_side = thread::spawn(move || {
            receive_sleeping(&mut asked, &at_there, 1);
            answering.stage(&[0]).expect("fits");
            if answering.publish() {
                to_here.notify();
            }
        });
        asking.stage(&[0]).expect("fits");
        if asking.publish() {
            there.notify();
        }
        receive_sleeping(&mut answered, &here, 1);
        other_side.join().expect("the other side does not panic");
    });
}
