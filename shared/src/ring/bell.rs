//! What makes a doorbell cheap: while its owner is known to look anyway, ringing writes nothing.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// What wakes the owner: an eventfd.
pub(super) trait Signal {
    /// Ends the owner's sleep, or its next one.
    fn raise(&self);

    /// The owner may sleep again.
    fn lower(&self);
}

#[derive(Debug)]
pub(super) struct Bell<S> {
    signal: S,
    /// Rung since the owner last answered; ringing again would tell nothing new.
    rung: AtomicBool,
}

impl<S: Signal> Bell<S> {
    pub(super) fn new(signal: S) -> Self {
        Self { signal, rung: AtomicBool::new(false) }
    }

    pub(super) fn signal(&self) -> &S {
        &self.signal
    }

    /// For what was published before.
    pub(super) fn ring(&self) {
        // Whoever finds the bell rung need not raise the signal: the owner has not answered yet, and
        // when it does, its swap sees what was published before this one.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.signal.raise();
        }
    }

    /// The owner is awake, and looks at everything after this.
    pub(super) fn answer(&self) {
        // In this order: a bell that is rung stands for a signal that is raised. Were it silenced
        // first, a ring in between would raise a signal that is lowered at once, and leave the bell
        // rung for ever.
        self.signal.lower();
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// Models for loom: `RUSTFLAGS="--cfg loom" cargo test -p shared --features ring --release models`.
#[cfg(all(loom, test))]
mod models {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    use super::{Bell, Signal};

    /// An eventfd that can be slept on.
    #[derive(Default)]
    struct Eventfd {
        counter: Mutex<u64>,
        raised: Condvar,
    }

    impl Eventfd {
        fn sleep(&self) {
            let mut counter = self.counter.lock().expect("no model panics");
            while *counter == 0 {
                counter = self.raised.wait(counter).expect("no model panics");
            }
        }
    }

    impl Signal for Eventfd {
        fn raise(&self) {
            *self.counter.lock().expect("no model panics") += 1;
            self.raised.notify_one();
        }

        fn lower(&self) {
            *self.counter.lock().expect("no model panics") = 0;
        }
    }

    /// Rung three times: to wake the owner, while it answers, and when it has looked. loom reports an
    /// owner that sleeps for ever as a deadlock.
    #[test]
    fn nothing_published_before_a_ring_is_slept_through() {
        loom::model(|| {
            let bell = Arc::new(Bell::new(Eventfd::default()));
            let published = Arc::new(AtomicU32::new(0));
            let ringer = thread::spawn({
                let (bell, published) = (bell.clone(), published.clone());
                move || {
                    for _ in 0..3 {
                        published.fetch_add(1, Ordering::Relaxed);
                        bell.ring();
                    }
                }
            });
            while published.load(Ordering::Relaxed) < 3 {
                bell.signal().sleep();
                bell.answer();
            }
            ringer.join().expect("the ringer does not panic");
        });
    }

    #[test]
    fn of_two_who_ring_at_once_neither_is_slept_through() {
        loom::model(|| {
            let bell = Arc::new(Bell::new(Eventfd::default()));
            let published = Arc::new(AtomicU32::new(0));
            for _ in 0..2 {
                let (bell, published) = (bell.clone(), published.clone());
                thread::spawn(move || {
                    published.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                });
            }
            while published.load(Ordering::Relaxed) < 2 {
                bell.signal().sleep();
                bell.answer();
            }
        });
    }
}
