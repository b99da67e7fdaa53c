//! The ring against its rules, and against an other side that keeps none.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use proptest::prelude::*;

use super::heap::{Heap, ring};
use super::*;

fn receive(consumer: &mut Consumer<Arc<Heap>>) -> Option<Vec<u8>> {
    consumer.receive(&mut Vec::new()).unwrap().map(<[u8]>::to_vec)
}

#[test]
fn what_is_staged_is_not_seen_before_it_is_published() {
    let (mut producer, mut consumer) = ring(256);
    producer.stage(b"one").unwrap();
    producer.stage(b"").unwrap();
    assert_eq!(receive(&mut consumer), None);
    assert!(!producer.publish(), "nobody sleeps");
    assert_eq!(receive(&mut consumer).unwrap(), b"one");
    assert_eq!(receive(&mut consumer).unwrap(), b"");
    assert_eq!(receive(&mut consumer), None);
}

#[test]
fn a_full_ring_refuses_and_accepts_again_when_it_has_been_read() {
    let (mut producer, mut consumer) = ring(64);
    producer.stage(&[1; 24]).unwrap();
    producer.stage(&[2; 24]).unwrap();
    assert_eq!(producer.stage(&[]), Err(Refused::Full));
    let _ = producer.publish();
    assert_eq!(producer.stage(&[]), Err(Refused::Full));
    assert_eq!(receive(&mut consumer).unwrap(), [1; 24]);
    assert_eq!(producer.stage(&[3; 25]), Err(Refused::Full));
    producer.stage(&[3; 24]).unwrap();
    let _ = producer.publish();
    assert_eq!(receive(&mut consumer).unwrap(), [2; 24]);
    assert_eq!(receive(&mut consumer).unwrap(), [3; 24]);
}

#[test]
fn the_largest_message_fits_an_empty_ring_wherever_it_begins() {
    let (mut producer, mut consumer) = ring(2 * MESSAGE_BYTES_MAX);
    let largest = vec![7; MESSAGE_BYTES_MAX];
    for _ in 0..5 {
        producer.stage(&largest).unwrap();
        producer.stage(b"shift").unwrap();
        let _ = producer.publish();
        assert_eq!(receive(&mut consumer).unwrap(), largest);
        assert_eq!(receive(&mut consumer).unwrap(), b"shift");
    }
    assert_eq!(producer.stage(&vec![7; MESSAGE_BYTES_MAX + 1]), Err(Refused::TooLarge));
    let (mut small, _consumer) = ring(64);
    assert_eq!(small.stage(&[7; 57]), Err(Refused::TooLarge));
}

#[test]
fn the_doorbell_is_rung_once_per_sleep() {
    let (mut producer, mut consumer) = ring(256);
    assert_eq!(consumer.announce_sleep(), Ok(true));
    assert!(!producer.publish(), "there is nothing to wake it for");
    producer.stage(b"a").unwrap();
    assert!(producer.publish());
    producer.stage(b"b").unwrap();
    assert!(!producer.publish(), "it has been rung");
    assert_eq!(consumer.announce_sleep(), Ok(false), "there are messages");
    producer.stage(b"c").unwrap();
    assert!(!producer.publish(), "it stayed awake");
    for _ in 0..3 {
        receive(&mut consumer).unwrap();
    }
    assert_eq!(consumer.announce_sleep(), Ok(true));
    consumer.wake();
    producer.stage(b"d").unwrap();
    assert!(!producer.publish(), "it woke by itself");
}

#[test]
fn indices_that_are_impossible_are_corruption() {
    // Beyond the capacity, within a word, back behind what was read.
    for wrong in [256 + 16 + 8, 20, 8, u64::MAX - 7] {
        let (mut producer, mut consumer) = ring(256);
        producer.stage(b"message").unwrap();
        let _ = producer.publish();
        receive(&mut consumer).unwrap();
        consumer.memory.control.published.0.store(wrong, Relaxed);
        assert_eq!(consumer.receive(&mut Vec::new()), Err(Corruption::Index), "{wrong}");
        assert_eq!(consumer.announce_sleep(), Err(Corruption::Index), "{wrong}");
    }
    // Beyond what was published, within a word, back.
    for wrong in [72, 4, u64::MAX - 7] {
        let (mut producer, _consumer) = ring(64);
        producer.stage(&[0; 56]).unwrap();
        let _ = producer.publish();
        producer.memory.control.consumed.0.store(wrong, Relaxed);
        let refused = producer.stage(b"");
        assert_eq!(refused, Err(Refused::Corrupt(Corruption::Index)), "{wrong}");
    }
}

#[test]
fn lengths_that_are_impossible_are_corruption() {
    for wrong in [9, 256, MESSAGE_BYTES_MAX as u64 + 1, u64::MAX, 1 << 32] {
        let (mut producer, mut consumer) = ring(256);
        producer.stage(b"8 bytes.").unwrap();
        let _ = producer.publish();
        consumer.memory.words[0].store(wrong, Relaxed);
        assert_eq!(consumer.receive(&mut Vec::new()), Err(Corruption::Length), "{wrong}");
    }
}

#[test]
fn two_threads_exchange_messages_in_order() {
    let (mut producer, mut consumer) = ring(1024);
    let sending = thread::spawn(move || {
        for nth in 0..20_000_u32 {
            let message = vec![nth as u8; nth as usize % 300];
            while producer.stage(&message) == Err(Refused::Full) {
                let _ = producer.publish();
                thread::yield_now();
            }
            if nth % 3 == 0 {
                let _ = producer.publish();
            }
        }
        let _ = producer.publish();
    });
    let mut buffer = Vec::new();
    for nth in 0..20_000_u32 {
        let message = loop {
            match consumer.receive(&mut buffer).unwrap() {
                Some(message) => break message,
                None => thread::yield_now(),
            }
        };
        assert_eq!(message.len(), nth as usize % 300);
        assert!(message.iter().all(|&byte| byte == nth as u8));
        buffer.truncate(64);
    }
    sending.join().unwrap();
}

/// What happens to a ring.
#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Publish,
    Receive,
    Sleep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..150).prop_map(Step::Send),
        2 => Just(Step::Publish),
        4 => Just(Step::Receive),
        1 => Just(Step::Sleep),
    ]
}

/// Where the other process writes to.
#[derive(Clone, Debug)]
enum Damage {
    Published(u64),
    Consumed(u64),
    Asleep(u32),
    Word(usize, u64),
}

impl Damage {
    fn inflict(&self, heap: &Heap) {
        match *self {
            Self::Published(value) => heap.control.published.0.store(value, Relaxed),
            Self::Consumed(value) => heap.control.consumed.0.store(value, Relaxed),
            Self::Asleep(value) => heap.control.asleep.0.store(value, Relaxed),
            Self::Word(at, value) => heap.words[at % heap.words.len()].store(value, Relaxed),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // Values near those that are right break more than arbitrary ones.
    let value = || prop_oneof![any::<u64>(), 0..600_u64, (0..80_u64).prop_map(|word| word * 8)];
    prop_oneof![
        value().prop_map(Damage::Published),
        value().prop_map(Damage::Consumed),
        any::<u32>().prop_map(Damage::Asleep),
        (any::<usize>(), value()).prop_map(|(at, value)| Damage::Word(at, value)),
    ]
}

proptest! {
    #[test]
    fn a_ring_behaves_like_a_queue(
        size in prop_oneof![Just(64), Just(256), Just(4096)],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let (mut producer, mut consumer) = ring(size);
        let (mut staged, mut published) = (VecDeque::new(), VecDeque::new());
        let mut asleep = false;
        let mut buffer = Vec::new();
        for step in steps {
            match step {
                Step::Send(message) => {
                    let record = |message: &Vec<u8>| WORD_BYTES + padded(message.len());
                    let used: usize = staged.iter().chain(&published).map(record).sum();
                    let sent = producer.stage(&message);
                    if record(&message) > size {
                        prop_assert_eq!(sent, Err(Refused::TooLarge));
                    } else if used + record(&message) > size {
                        prop_assert_eq!(sent, Err(Refused::Full));
                    } else {
                        prop_assert_eq!(sent, Ok(()));
                        staged.push_back(message);
                    }
                }
                Step::Publish => {
                    let ring = producer.publish();
                    prop_assert_eq!(ring, asleep && !staged.is_empty());
                    asleep &= !ring;
                    published.append(&mut staged);
                }
                Step::Receive => {
                    consumer.wake();
                    asleep = false;
                    let message = consumer.receive(&mut buffer).unwrap().map(<[u8]>::to_vec);
                    prop_assert_eq!(message, published.pop_front());
                }
                Step::Sleep => {
                    asleep = consumer.announce_sleep().unwrap();
                    prop_assert_eq!(asleep, published.is_empty());
                }
            }
        }
    }

    #[test]
    fn whatever_the_other_side_writes_each_end_answers_with_messages_or_corruption(
        steps in prop::collection::vec((step(), prop::option::of(damage())), 1..100),
    ) {
        let (mut producer, mut consumer) = ring(512);
        let heap = consumer.memory.clone();
        let mut buffer = Vec::new();
        for (step, damage) in steps {
            match step {
                Step::Send(message) => {
                    let sent = producer.stage(&message);
                    prop_assert!(producer.free() <= 512, "{:?}", sent);
                }
                Step::Publish => {
                    let _ = producer.publish();
                }
                Step::Receive => {
                    consumer.wake();
                    if let Ok(Some(message)) = consumer.receive(&mut buffer) {
                        prop_assert!(message.len() <= 512 - WORD_BYTES);
                    }
                    prop_assert!(consumer.unread() <= 512);
                    prop_assert!(buffer.len() <= 512);
                }
                Step::Sleep => {
                    let _ = consumer.announce_sleep();
                }
            }
            if let Some(damage) = damage {
                damage.inflict(&heap);
            }
        }
    }
}
