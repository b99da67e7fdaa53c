//! How a task of an executor waits for another one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Called by tasks of one executor to end the sleep of another one.
#[derive(Default)]
pub struct Wake {
    called: Cell<bool>,
    sleeper: RefCell<Option<Waker>>,
}

impl Wake {
    /// Ends the sleep, or the next one.
    pub fn call(&self) {
        self.called.set(true);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }

    /// Sleeps until somebody calls.
    pub async fn called(&self) {
        poll_fn(|context| {
            if self.called.take() {
                return Poll::Ready(());
            }
            *self.sleeper.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
